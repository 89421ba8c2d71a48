package deploy_test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
	"golang.org/x/sys/unix"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// TestACommandReadsTheBytesThatWereVerified has the owner of the state directory exchange what live/NAME leads to after the
// helper has verified it, and root's command read it then.
func TestACommandReadsTheBytesThatWereVerified(t *testing.T) {
	for sentence, exchange := range map[string]string{
		"a file becomes a link":         `ln -sf SECRET REV/privkey.pem; ln -sf SECRET REV/fullchain.pem; ln -sf SECRET REV/cert.pem`,
		"a file becomes another one":    `for f in REV/*.pem; do echo secret >$f.new; mv $f.new $f; done`,
		"the revision becomes a link":   `mv REV REV.old; ln -s ELSEWHERE REV`,
		"live/NAME leads somewhere":     `ln -sfn ELSEWHERE LIVE`,
		"a file is written in place":    `for f in REV/*.pem; do echo secret >$f; done`,
		"everything is removed":         `rm -rf REV LIVE`,
		"its directory becomes a link":  `mv CERTS CERTS.old; ln -s ELSEWHERE CERTS`,
		"a file becomes a hard link":    `for f in REV/*.pem; do ln -f SECRET $f; done`,
		"a file becomes a named pipe":   `rm REV/privkey.pem; mkfifo REV/privkey.pem`,
		"nothing happens":               `:`,
		"a file becomes a link to proc": `ln -sf /proc/self/environ REV/fullchain.pem`,
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			out := folderFor(t)
			r.write("etc/secret", "secret\n")
			r.no(os.Mkdir(r.path("elsewhere"), 0o755))
			for _, base := range []string{"privkey.pem", "fullchain.pem", "cert.pem"} {
				r.write("elsewhere/"+base, "secret\n")
			}
			exchange = strings.NewReplacer("SECRET", r.path("etc/secret"), "REV", r.revision(site), "LIVE", r.path("var/state/live/"+site),
				"ELSEWHERE", r.path("elsewhere"), "CERTS", r.path("var/state/certs")).Replace(exchange)
			r.write("exchange", exchange)
			r.spec(site, `deploy: {run: [{command: [sh, `+r.path("exchange")+`]}, {command: [sh, -c, 'cp "$RENEWED_LINEAGE"/*.pem "$ACMED_LIVE/privkey.pem" `+out+`']}]}`)
			r.config.Executor = newExecutor(t, nil)
			want := r.pairs(1)
			if a := r.deploy(site); a.Problem != "" || len(a.Results) != 2 || !a.Results[0].OK || !a.Results[1].OK {
				t.Fatalf("%+v", a)
			}
			if full, known := want[read(t, out+"/privkey.pem")]; !known || full != read(t, out+"/fullchain.pem") {
				t.Errorf("it read the key %q and the chain %q", read(t, out+"/privkey.pem"), read(t, out+"/fullchain.pem"))
			}
		})
	}
}

// look writes down what a command finds in its copy.
const look = `cd "$ACMED_LIVE"; echo "$ACMED_LIVE"; stat -c "%a %u %n" . .. *; cat *.pem`

func TestACopyIsPrivateAndGoneAfterwards(t *testing.T) {
	for sentence, end := range map[string]string{"success": "", "failure": "; exit 1", "its time is up": "; sleep 1000", "a process stays": "; setsid sleep 2 & true"} {
		t.Run(sentence, func(t *testing.T) {
			dir, e := folderFor(t), newExecutor(t, nil)
			e.CopyTo(dir + "/copies")
			j := job(t, "www.example.com", spec.Deploy{Run: []spec.Run{{Command: sh("(" + look + ") >" + dir + "/seen" + end), Timeout: time.Second}}})
			one(t, e, j)
			seen := read(t, dir+"/seen")
			where, _, _ := strings.Cut(seen, "\n")
			if filepath.Base(where) != "www.example.com" || !strings.HasPrefix(where, dir+"/copies/") {
				t.Errorf("it is in %s", where)
			}
			for _, want := range []string{"\n700 0 .\n", "\n700 0 ..\n", "\n600 0 privkey.pem\n", "\n644 0 fullchain.pem\n", string(j.Files.Privkey), string(j.Files.Fullchain)} {
				if want = strings.ReplaceAll(want, " 0 ", " "+strconv.Itoa(os.Geteuid())+" "); !strings.Contains(seen, want) {
					t.Errorf("no %q in\n%s", want, seen)
				}
			}
			if left := names(t, dir+"/copies"); len(left) > 0 {
				t.Errorf("%v is left", left)
			}
			if info, err := os.Stat(dir + "/copies"); err != nil || info.Mode().Perm() != 0o711 {
				t.Errorf("%v, %v", info, err)
			}
		})
	}
}

func TestWhoFindsTheKeyInACopy(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for sentence, c := range map[string]struct {
		run   spec.Run
		owner uint32
		bare  bool // a certificate with csrFile
		key   bool
	}{
		"root, who runs all":             {key: true},
		"root, by name":                  {run: spec.Run{User: "root"}, key: true},
		"root, by number":                {run: spec.Run{User: "0"}, key: true},
		"a user":                         {run: spec.Run{User: "nobody"}},
		"a user by number":               {run: spec.Run{User: "65534"}},
		"a user to whom the spec gives":  {run: spec.Run{User: "nobody", Privkey: true}, key: true},
		"the owner of the state":         {run: spec.Run{User: "nobody"}, owner: 65534, key: true},
		"root, where the key is not":     {bare: true},
		"a user, where the key is not":   {run: spec.Run{User: "nobody", Privkey: true}, bare: true},
		"a user where another one can":   {run: spec.Run{User: "nobody"}, owner: 4711},
		"a user of many groups, unasked": {run: spec.Run{User: "daemon"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir, e := folderFor(t), newExecutor(t, nil)
			must0(t, os.Chmod(dir, 0o777))
			c.run.Command, c.run.Timeout = sh("("+look+") >"+dir+"/seen; : >\"$ACMED_LIVE/x\"; mv \"$ACMED_LIVE\" \"$ACMED_LIVE.x\"; ls "+dir+"/../*/copies >>"+dir+"/seen"), time.Minute
			j := job(t, "www.example.com", spec.Deploy{Run: []spec.Run{c.run}})
			if j.Owner = c.owner; c.bare {
				j.Files.Privkey = nil
			}
			one(t, e, j)
			seen := read(t, dir+"/seen")
			if !strings.Contains(seen, string(j.Files.Fullchain)) || !strings.Contains(seen, " cert.pem\n") || !strings.Contains(seen, " chain.pem\n") {
				t.Errorf("it cannot read the certificate:\n%s", seen)
			}
			block, _ := pem.Decode([]byte(seen[max(0, strings.Index(seen, "-----BEGIN PRIVATE KEY")):]))
			if found := strings.Contains(seen, "privkey.pem"); found != c.key || found != (block != nil && block.Type == "PRIVATE KEY") {
				t.Errorf("the key is found: %v\n%s", found, seen)
			}
			if root := []string{"", "root", "0"}; !slices.Contains(root, c.run.User) && strings.Count(seen, "copy-") != 1 {
				t.Errorf("it sees the copies of others:\n%s", seen)
			}
		})
	}
}

func TestCopiesOfAProcessThatWasKilledAreRemoved(t *testing.T) {
	dir, e := folderFor(t), newExecutor(t, nil)
	copies := dir + "/copies"
	e.CopyTo(copies)
	e.Sweep() // there is nothing yet
	for _, name := range []string{"copy-OLD/www.example.com", "copy-USED/www.example.com", "copy-EMPTY", "other"} {
		must0(t, os.MkdirAll(copies+"/"+name, 0o700))
	}
	write(t, copies+"/copy-OLD/www.example.com/privkey.pem", "key", 0o600)
	must0(t, os.Symlink("../other", copies+"/copy-OLD/link"))
	write(t, copies+"/other/file", "not a copy", 0o600)
	used, err := os.Open(copies + "/copy-USED")
	must0(t, err)
	defer used.Close()
	must0(t, unix.Flock(int(used.Fd()), unix.LOCK_EX))
	e.Sweep()
	if left := names(t, copies); !slices.Equal(left, []string{"copy-USED", "other"}) || read(t, copies+"/other/file") == "" {
		t.Errorf("left are %v", left)
	}
	must0(t, used.Close())
	e.Sweep()
	if left := names(t, copies); !slices.Equal(left, []string{"other"}) {
		t.Errorf("left are %v", left)
	}
}

// TestADirectoryOfAnotherUserIsNotSwept has a user create the directory in /dev/shm: that is nothing to warn of, and no copy
// is written there.
func TestADirectoryOfAnotherUserIsNotSwept(t *testing.T) {
	for sentence, spoil := range map[string]func(t *testing.T, dir string){
		"it belongs to another user": func(t *testing.T, dir string) { estrange(t, dir) },
		"all may write there":        func(t *testing.T, dir string) { must0(t, os.Chmod(dir, 0o777)) },
		"it is a link": func(t *testing.T, dir string) {
			must0(t, os.Rename(dir, dir+".real"))
			must0(t, os.Symlink(dir+".real", dir))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := folderFor(t) + "/copies"
			core, logs := observer.New(zap.WarnLevel)
			e, err := deploy.NewExecutor(deploy.ExecutorConfig{Units: &units{}, Copies: []string{dir}, Log: zap.New(core)})
			must0(t, err)
			e.CopyTo(dir)
			must0(t, os.MkdirAll(dir+"/copy-THEIRS", 0o755))
			spoil(t, dir)
			e.Sweep()
			if left := names(t, dir); len(left) != 1 || logs.Len() > 0 {
				t.Errorf("left are %v, logged is %v", left, logs.All())
			}
			for _, r := range one(t, e, job(t, "www.example.com", spec.Deploy{Run: []spec.Run{{Command: sh("true"), Timeout: time.Minute}}})) {
				if r.OK || !strings.Contains(r.Problem, "no directory in memory") {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}

// TestCopiesThatAreInUseAreLeftAlone has a helper that starts sweep while another one's commands run.
func TestCopiesThatAreInUseAreLeftAlone(t *testing.T) {
	dir, e, other := folderFor(t), newExecutor(t, nil), newExecutor(t, nil)
	e.CopyTo(dir + "/copies")
	other.CopyTo(dir + "/copies")
	var jobs []deploy.Job
	for _, name := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		jobs = append(jobs, job(t, name, spec.Deploy{Run: []spec.Run{{Timeout: time.Minute,
			Command: sh("touch " + dir + "/$ACMED_CERT; until test -e " + dir + "/swept; do sleep 0.01; done; test -s $ACMED_LIVE/privkey.pem")}}}))
	}
	done := make(chan []deploy.Answer)
	go func() { done <- e.Deploy(t.Context(), jobs) }()
	for tick := time.NewTicker(time.Millisecond); len(names(t, dir)) < 4; {
		<-tick.C
	}
	other.Sweep()
	write(t, dir+"/swept", "", 0o600)
	for _, a := range <-done {
		if len(a.Results) != 1 || !a.Results[0].OK {
			t.Errorf("%+v", a)
		}
	}
}

func TestACopyIsInMemory(t *testing.T) {
	if err := deploy.InMemory("/dev/shm/none-such"); err != nil {
		t.Error(err)
	}
	for _, dir := range []string{"/proc", "/sys/none-such", "/none/such"} {
		if deploy.InMemory(dir) == nil {
			t.Errorf("%s is taken for memory", dir)
		}
	}
	shm, err := os.MkdirTemp("/dev/shm", "acmed-test-") //nolint:usetesting // in memory
	must0(t, err)
	t.Cleanup(func() { os.RemoveAll(shm) })
	out := folderFor(t)
	d := spec.Deploy{Run: []spec.Run{{Command: sh("stat -f -c %T $ACMED_LIVE >" + out + "/type"), Timeout: time.Minute}}}
	for sentence, c := range map[string]struct {
		dirs []string
		says string // "": it works
	}{
		"it is":                     {dirs: []string{shm + "/copies"}},
		"the second one is":         {dirs: []string{"/proc/copies", shm + "/copies"}},
		"the first has no parent":   {dirs: []string{"/none/such/copies", shm + "/copies"}},
		"none is":                   {dirs: []string{"/proc/copies", "/sys/copies"}, says: "/proc/copies is not on a tmpfs; /sys/copies is not on a tmpfs"},
		"all may write":             {dirs: []string{shm + "/open"}, says: "others could replace what is written there"},
		"it is a link":              {dirs: []string{shm + "/link"}, says: "is a link to"},
		"it is a file":              {dirs: []string{shm + "/file"}, says: "is not a folder"},
		"its parent is not trusted": {dirs: []string{shm + "/open/copies"}, says: "others could replace what is written there"},
	} {
		t.Run(sentence, func(t *testing.T) {
			must0(t, os.MkdirAll(shm+"/open", 0o777))
			must0(t, os.Chmod(shm+"/open", 0o777))
			_ = os.Symlink("copies", shm+"/link") // it may be there
			write(t, shm+"/file", "", 0o600)
			e, err := deploy.NewExecutor(deploy.ExecutorConfig{Units: &units{}, Copies: c.dirs})
			must0(t, err)
			for _, r := range one(t, e, job(t, "www.example.com", d)) {
				if c.says == "" && (!r.OK || read(t, out+"/type") != "tmpfs\n") || c.says != "" && (r.OK || !strings.Contains(r.Problem, c.says) || !strings.Contains(r.Hint, "mount a tmpfs")) {
					t.Errorf("%+v", r)
				}
			}
		})
	}
}
