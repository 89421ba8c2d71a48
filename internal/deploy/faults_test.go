package deploy_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

var errStopped = errors.New("the process was stopped")

// fault is what goes wrong at one change of the disk.
type fault struct {
	err     error
	applied bool // although it was done
	lasting bool // nothing works from then on
}

func (f fault) stops() bool { return errors.Is(f.err, errStopped) }

func faults() map[string]fault {
	return map[string]fault{
		"killed before":          {err: errStopped, lasting: true},
		"killed after":           {err: errStopped, lasting: true, applied: true},
		"no space, not applied":  {err: syscall.ENOSPC},
		"I/O error, applied":     {err: syscall.EIO, applied: true},
		"read-only from then on": {err: syscall.EROFS, lasting: true},
	}
}

// scene is a delivery of two files, over old ones or none, with a check that says yes, says no, or is not asked.
type scene struct {
	had     bool
	check   []string
	dir     string
	old, of deploy.Job // what is there, and what is delivered
}

// scenes are all of them, for two certificates.
func scenes(t *testing.T) map[string]scene {
	first, second := job(t, "www.example.com", spec.Deploy{}), job(t, "www.example.com", spec.Deploy{})
	all := map[string]scene{}
	for had, files := range map[bool]string{true: "over files", false: "over nothing"} {
		for verdict, check := range map[string][]string{"": nil, ", which are checked": {"true"}, ", which are refused": {"false"}} {
			all[files+verdict] = scene{had: had, check: check, old: first, of: second}
		}
	}
	return all
}

// begin makes a folder with what is there before.
func (s scene) begin(t *testing.T) *scene {
	t.Helper()
	s.dir = folderFor(t)
	want := *s.of.Want
	want.Deploy = spec.Deploy{Check: s.check, Files: []spec.File{{Path: s.dir + "/key", Content: "privkey"}, {Path: s.dir + "/crt", Content: "fullchain"}}}
	s.of.Want = &want
	if s.had {
		write(t, s.dir+"/key", string(s.old.Files.Privkey), 0o600)
		write(t, s.dir+"/crt", string(s.old.Files.Fullchain), 0o644)
	}
	return &s
}

// states are what the two files hold: "old", "new", "none", or else something that no reader may ever see.
func (s *scene) states(t *testing.T) (states [2]string) {
	t.Helper()
	for i, pair := range [][2]string{{string(s.old.Files.Privkey), string(s.of.Files.Privkey)}, {string(s.old.Files.Fullchain), string(s.of.Files.Fullchain)}} {
		switch held := read(t, s.dir+"/"+[]string{"key", "crt"}[i]); held {
		case "":
			states[i] = "none"
		case pair[1]:
			states[i] = "new"
		case pair[0]:
			states[i] = "old"
		default:
			states[i] = "torn: " + held
		}
	}
	return states
}

func (s *scene) before() [2]string {
	switch {
	case s.old.Leaf == s.of.Leaf:
		return [2]string{"new", "new"}
	case s.had:
		return [2]string{"old", "old"}
	}
	return [2]string{"none", "none"}
}

// after is what a delivery without faults leaves.
func (s *scene) after() [2]string {
	if strings.Join(s.check, "") == "false" {
		return s.before()
	}
	return [2]string{"new", "new"}
}

// attempt delivers with a fault at the n-th change, 0: none. It tells how many changes there were.
func (s *scene) attempt(t *testing.T, f fault, n int) (results map[string]deploy.Result, count int) {
	t.Helper()
	e := newExecutor(t, nil)
	e.SetStep(func(op, path string, do func() error) error {
		s.never(t, op+" "+path)
		defer s.never(t, op+" "+path)
		count++
		switch {
		case n == 0 || count < n || count > n && !f.lasting:
			return do()
		case count == n && f.applied:
			if err := do(); err != nil {
				return err
			}
		}
		return f.err
	})
	return one(t, e, s.of), count
}

// never checks what must not be for an instant: a file that is torn, or one with a key that others can read.
func (s *scene) never(t *testing.T, where string) {
	t.Helper()
	for _, state := range s.states(t) {
		if strings.HasPrefix(state, "torn") || state == "none" && s.had {
			t.Errorf("at %s: %s", where, state)
		}
	}
	for _, name := range names(t, s.dir) {
		info, err := os.Lstat(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(name, "key") && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("at %s: %s has mode %v", where, name, info.Mode())
		}
	}
}

// believes checks that what was answered is so.
func (s *scene) believes(t *testing.T, results map[string]deploy.Result) {
	t.Helper()
	if s.of.Done != nil {
		return // what was said before counts
	}
	for i, state := range s.states(t) {
		r := results["file "+s.dir+"/"+[]string{"key", "crt"}[i]]
		if r.OK && state != "new" || r.Withdrawn && state != s.before()[i] {
			t.Errorf("file %d is %s, and what is said is %+v", i, state, r)
		}
		if !r.OK && r.Fingerprint != "" && (r.Problem == "" || r.Hint == "") {
			t.Errorf("a failure without a word: %+v", r)
		}
	}
}

// recover delivers without faults, and checks that it is as if there had not been any.
func (s *scene) recover(t *testing.T, check []string) {
	t.Helper()
	s.of.Want.Deploy.Check = check
	results, _ := s.attempt(t, fault{}, 0)
	s.believes(t, results)
	want := s.after()
	if len(s.check) > 0 && check[0] == "true" {
		want = [2]string{"new", "new"}
	}
	if got := s.states(t); got != want {
		t.Errorf("in the end they are %v, want %v: %+v", got, want, results)
	}
	for _, name := range names(t, s.dir) {
		if strings.HasPrefix(name, ".") {
			t.Errorf("%s is left behind", name)
		}
	}
}

// TestFilesSurviveAFaultAnywhere has everything go wrong at each change of the disk.
func TestFilesSurviveAFaultAnywhere(t *testing.T) {
	for sentence, base := range scenes(t) {
		for what, f := range faults() {
			t.Run(sentence+": "+what, func(t *testing.T) {
				t.Parallel()
				for n := 1; ; n++ {
					s := base.begin(t)
					results, count := s.attempt(t, f, n)
					if f.stops() {
						results = nil // nobody is told
					}
					s.believes(t, results)
					for _, r := range results {
						if r.OK {
							s.of.Done = append(s.of.Done, r.Fingerprint)
						}
					}
					// Where the disk works again at once, the files are of one certificate at the end of every attempt, unless it
					// failed when they were brought back.
					if states := s.states(t); !f.lasting && states[0] != states[1] && s.after() != s.before() {
						t.Errorf("a key with the certificate of another: %v", states)
					}
					s.recover(t, s.check)
					if t.Failed() {
						t.Fatalf("at change %d of %d", n, count)
					}
					if count < n {
						return
					}
				}
			})
		}
	}
}

// TestFilesSurviveTwoKills kills a delivery, and the one that carries on. What was there before the first is what
// counts, whatever the check says to the third.
func TestFilesSurviveTwoKills(t *testing.T) {
	kill := fault{err: errStopped, lasting: true, applied: true}
	for sentence, base := range scenes(t) {
		if len(base.check) == 0 {
			continue
		}
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			for first := 1; ; first++ {
				var count int
				for second := 1 + first%3; ; second += 3 {
					s := base.begin(t)
					_, count = s.attempt(t, kill, first)
					_, more := s.attempt(t, kill, second)
					s.recover(t, s.check)
					if t.Failed() {
						t.Fatalf("killed at change %d, and then at %d", first, second)
					}
					if more < second {
						break
					}
				}
				if count < first {
					return
				}
			}
		})
	}
}

// TestAnotherVerdictAfterAKill has the check say something else to the attempt after one that was killed.
func TestAnotherVerdictAfterAKill(t *testing.T) {
	for sentence, base := range scenes(t) {
		if len(base.check) == 0 {
			continue
		}
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				s := base.begin(t)
				_, count := s.attempt(t, fault{err: errStopped, lasting: true, applied: true}, n)
				other := map[string]string{"true": "false", "false": "true"}[s.check[0]]
				s.recoverAs(t, other)
				if t.Failed() {
					t.Fatalf("killed at change %d of %d", n, count)
				}
				if count < n {
					return
				}
			}
		})
	}
}

// recoverAs is recover with another verdict. What the first attempt came to accept, one file or all, stays.
func (s *scene) recoverAs(t *testing.T, verdict string) {
	t.Helper()
	s.check = []string{verdict}
	if accepted := s.states(t) == [2]string{"new", "new"} && !slices.ContainsFunc(names(t, s.dir), isKeptKey); accepted {
		s.had, s.old = true, s.of
	}
	s.recover(t, s.check)
}

// isKeptKey is for what the first of the files held before.
func isKeptKey(name string) bool { return name == ".key.acmed-old" || name == ".key.acmed-none" }

// TestTheNextCertificateAfterAKill has another one follow at once, and the check refuse that.
func TestTheNextCertificateAfterAKill(t *testing.T) {
	third := job(t, "www.example.com", spec.Deploy{})
	for sentence, base := range scenes(t) {
		if len(base.check) == 0 {
			continue
		}
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n++ {
				s := base.begin(t)
				_, count := s.attempt(t, fault{err: errStopped, lasting: true, applied: true}, n)
				next := third
				want := *s.of.Want
				want.Deploy.Check = []string{"false"}
				next.Want = &want
				results := one(t, newExecutor(t, nil), next)
				if got := s.states(t); got != s.before() && got != [2]string{"new", "new"} {
					t.Fatalf("killed at change %d of %d, they are %v: %+v", n, count, got, results)
				}
				if count < n {
					return
				}
			}
		})
	}
}

// TestTheOrderOfChanges is what makes it so: of two files in two folders, what the first held before is kept, durably,
// before anything else changes, is forgotten first, and brought back last.
func TestTheOrderOfChanges(t *testing.T) {
	const write = "create a/.key.acmed-new, write a/.key.acmed-new, own a/.key.acmed-new, sync a/.key.acmed-new, " +
		"create b/.crt.acmed-new, write b/.crt.acmed-new, own b/.crt.acmed-new, sync b/.crt.acmed-new, "
	const replace = "rename a/key, sync a, rename b/crt, sync b, "
	for check, want := range map[string]string{
		"true": write + "link a/.key.acmed-old, sync a, create b/.crt.acmed-none, " + replace +
			"remove a/.key.acmed-old, sync a, remove b/.crt.acmed-none, sync b",
		"false": write + "link a/.key.acmed-old, sync a, create b/.crt.acmed-none, " + replace +
			"remove b/crt, sync b, remove b/.crt.acmed-none, sync b, rename a/key, sync a",
	} {
		dir := folderFor(t)
		if err := errors.Join(os.Mkdir(dir+"/a", 0o755), os.Mkdir(dir+"/b", 0o755), os.WriteFile(dir+"/a/key", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		var trace []string
		e := newExecutor(t, nil)
		e.SetStep(func(op, path string, do func() error) error {
			trace = append(trace, op+" "+strings.TrimPrefix(path, dir+"/"))
			return do()
		})
		j := job(t, "www.example.com", spec.Deploy{Check: []string{check}, Files: []spec.File{{Path: dir + "/a/key", Content: "privkey"}, {Path: dir + "/b/crt", Content: "cert"}}})
		one(t, e, j)
		if got := strings.Join(trace, ", "); got != want {
			t.Errorf("checked: %s\n got %s\nwant %s", check, got, want)
		}
	}
}

// TestOneFileCostsTwoSyncs is what most certificates need, where there is nothing to be asked.
func TestOneFileCostsTwoSyncs(t *testing.T) {
	dir, e := folderFor(t), newExecutor(t, nil)
	count := 0
	e.SetStep(func(op, _ string, do func() error) error {
		if op == "sync" {
			count++
		}
		return do()
	})
	j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "combined"}}})
	if one(t, e, j); count != 2 {
		t.Errorf("it took %d", count)
	}
}

// TestWhatIsLeftOfOlderAttemptsIsSwept is about one that was killed, and whose work somebody did by hand.
func TestWhatIsLeftOfOlderAttemptsIsSwept(t *testing.T) {
	s := scenes(t)["over nothing"].begin(t)
	write(t, s.dir+"/key", string(s.of.Files.Privkey), 0o600)
	write(t, s.dir+"/crt", string(s.of.Files.Fullchain), 0o644)
	for _, name := range []string{".key.acmed-new", ".key.acmed-old", ".crt.acmed-none"} {
		write(t, s.dir+"/"+name, "left", 0o600)
	}
	s.recover(t, nil)
}

func TestAFailureNamesTheFileAndTheCure(t *testing.T) {
	for err, hint := range map[error]string{syscall.ENOSPC: "make room", syscall.EROFS: "drop-in", syscall.EACCES: deploy.WriteHint(os.Geteuid())} {
		s := scenes(t)["over files"].begin(t)
		results, _ := s.attempt(t, fault{err: err}, 1)
		r := results["file "+s.dir+"/key"]
		want := fmt.Sprintf("create %s/.key.acmed-new: %v", s.dir, err)
		if r.Problem != want || !strings.Contains(r.Hint, hint) {
			t.Errorf("got %q (%s), want %q (… %s …)", r.Problem, r.Hint, want, hint)
		}
		if other := results["file "+s.dir+"/crt"]; !other.Withdrawn || other.OK {
			t.Errorf("the other file: %+v", other)
		}
	}
}
