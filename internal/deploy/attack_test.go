package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// rounds is how often something is delivered while somebody attacks.
const rounds = 150

// attacker is somebody else where root runs this, and else oneself.
func attacker() (user string, uid int) {
	if os.Geteuid() == 0 {
		return "nobody", 65534
	}
	return "", os.Geteuid()
}

// attack runs a shell script over and over, in a folder and as the attacker, until the test ends or stop is called. The
// script has done its work at least once when attack returns.
func attack(t *testing.T, dir, script string) (stop func() string) {
	t.Helper()
	_, uid := attacker()
	ctx, cancel := context.WithCancel(t.Context())
	ready, said, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", script+"\necho ready >&3; exec 3>&-; while :; do "+script+"\ndone")
	cmd.Dir, cmd.Stdout, cmd.ExtraFiles = dir, &out, []*os.File{said}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if uid != os.Geteuid() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}
	}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	if err := errors.Join(cmd.Start(), said.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := ready.Read(make([]byte, 1)); err != nil {
		t.Fatalf("the attacker does not get going: %v", err)
	}
	return func() string {
		cancel()
		_ = cmd.Wait() // it was killed
		ready.Close()
		return out.String()
	}
}

// own gives a path to the attacker.
func own(t *testing.T, path string) {
	t.Helper()
	if _, uid := attacker(); uid != os.Geteuid() {
		if err := os.Chown(path, uid, uid); err != nil {
			t.Fatal(err)
		}
	}
}

// TestAnOwnerWhoSwapsGainsNothing has the owner of the folder, for whom the file is meant, exchange everything that root
// touches there for links to what is root's: the folder, the file, and all that may be beside it.
func TestAnOwnerWhoSwapsGainsNothing(t *testing.T) {
	for sentence, script := range map[string]string{
		"the folder": "mv -T a b; ln -s ../vault a; rm a; mv -T b a",
		"the file":   "ln -sf ../../vault/precious a/key; rm -f a/key; mkdir a/key; rmdir a/key; mkfifo a/key; exec 4<>a/key; rm -f a/key",
		"what is to be the file": "ln -sf ../../vault/precious a/.key.acmed-new; rm -rf a/.key.acmed-new; mkdir a/.key.acmed-new; " +
			"touch a/.key.acmed-new/x; rm -rf a/.key.acmed-new",
		"what it was": "ln -sf ../../vault/precious a/.key.acmed-old; rm -f a/.key.acmed-old; mkdir a/.key.acmed-old; rmdir a/.key.acmed-old",
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			dir := folderFor(t)
			for _, sub := range []string{"/vault", "/home", "/home/a"} {
				if err := os.Mkdir(dir+sub, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			write(t, dir+"/vault/precious", "mine", 0o600)
			own(t, dir+"/home")
			own(t, dir+"/home/a")
			user, _ := attacker()
			d := spec.Deploy{Check: []string{"false"}, Files: []spec.File{{Path: dir + "/home/a/key", Content: "privkey", Owner: user}}}
			yes := d
			yes.Check = nil
			jobs, e := []spec.Deploy{d, yes}, newExecutor(t, nil)
			j := job(t, "www.example.com", d)
			stop := attack(t, dir+"/home", script+" 2>/dev/null")
			for i := range rounds {
				w := *j.Want
				w.Deploy, j.Want = jobs[i%2], &w
				one(t, e, j)
			}
			stop()
			info, err := os.Stat(dir + "/vault/precious")
			if err != nil || info.Mode().Perm() != 0o600 || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() || read(t, dir+"/vault/precious") != "mine" {
				t.Errorf("what is root's was changed: %v, %v", info.Mode(), err)
			}
			if left := names(t, dir+"/vault"); len(left) != 1 {
				t.Errorf("something was written there: %v", left)
			}
		})
	}
}

// TestWhatComesBetweenIsNotWrittenTo puts something in the way at the last moment.
func TestWhatComesBetweenIsNotWrittenTo(t *testing.T) {
	for sentence, plant := range map[string]func(vault, path string) error{
		"a link":                           func(vault, path string) error { return os.Symlink(vault+"/precious", path) },
		"a second name":                    func(vault, path string) error { return os.Link(vault+"/precious", path) },
		"a link to where there is nothing": func(vault, path string) error { return os.Symlink(vault+"/new", path) },
	} {
		t.Run(sentence, func(t *testing.T) {
			dir, vault := folderFor(t), folderFor(t)
			write(t, vault+"/precious", "mine", 0o600)
			e := newExecutor(t, nil)
			e.SetStep(func(op, path string, do func() error) error {
				if op == "create" {
					return errors.Join(plant(vault, path), do())
				}
				return do()
			})
			j := job(t, "www.example.com", spec.Deploy{Check: []string{"true"}, Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}})
			if r := one(t, e, j)["file "+dir+"/key"]; r.OK {
				t.Errorf("%+v", r)
			}
			if read(t, vault+"/precious") != "mine" || len(names(t, vault)) != 1 || len(names(t, dir)) != 0 {
				t.Errorf("something was written: %v, %v", names(t, vault), names(t, dir))
			}
		})
	}
}

// TestAPipeIsNotWaitedFor is about one that came between, and whose other end says nothing.
func TestAPipeIsNotWaitedFor(t *testing.T) {
	path := folderFor(t) + "/key"
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	held, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if text, err := deploy.ReadEntry(path); err == nil {
		t.Errorf("it said %q", text)
	}
}

// TestNobodyReadsAKeyOnItsWay has somebody else try to read everything in the folder, all the time.
func TestNobodyReadsAKeyOnItsWay(t *testing.T) {
	dir := folderFor(t)
	d := spec.Deploy{Check: []string{"true"}, Files: []spec.File{{Path: dir + "/key", Content: "privkey"}, {Path: dir + "/all", Content: "combined", Mode: 0o400}}}
	j, e := job(t, "www.example.com", d), newExecutor(t, nil)
	var stop func() string
	if user, _ := attacker(); user != "" {
		stop = attack(t, dir, "cat key all .key.acmed-new .all.acmed-new .key.acmed-old 2>/dev/null")
	} else {
		stop = func() string { return "" } // one may read one's own
	}
	for range rounds {
		for key, r := range one(t, e, j) {
			if !r.OK {
				t.Fatalf("%s: %+v", key, r)
			}
		}
		if err := os.Remove(dir + "/key"); err != nil {
			t.Fatal(err)
		}
	}
	if seen := stop(); seen != "" {
		t.Errorf("somebody else has read %s", seen)
	}
}

func TestOwnerGroupAndModeAreThoseOfTheSpec(t *testing.T) {
	dir := folderFor(t)
	user, uid := attacker()
	for _, f := range []spec.File{
		{Content: "privkey", Owner: user, Group: strconv.Itoa(uid), Mode: 0o640},
		{Content: "cert", Owner: strconv.Itoa(uid), Mode: 0o444},
		{Content: "chain", Mode: 0o604},
		{Content: "combined", Mode: 0o040},
		{Content: "fullchain"},
	} {
		f.Path = dir + "/" + f.Content
		d := spec.Deploy{Files: []spec.File{f}}
		j, e := job(t, "www.example.com", d), newExecutor(t, nil)
		if uid == os.Geteuid() && f.Group != "" {
			f.Group = strconv.Itoa(os.Getegid())
			d.Files[0] = f
		}
		for range 2 { // anew, and over what is there
			if r := one(t, e, j)["file "+f.Path]; !r.OK {
				t.Fatalf("%s: %+v", f.Content, r)
			}
			expectOwner(t, f, uid)
			j = job(t, "www.example.com", d)
		}
		// What somebody has changed by hand is put right.
		if err := os.Chmod(f.Path, 0o666); err != nil {
			t.Fatal(err)
		}
		one(t, e, j)
		expectOwner(t, f, uid)
	}
}

func expectOwner(t *testing.T, f spec.File, uid int) {
	t.Helper()
	info, err := os.Stat(f.Path)
	if err != nil {
		t.Fatal(err)
	}
	mode, owner, group := os.FileMode(f.Mode), os.Geteuid(), os.Getegid()
	if mode == 0 {
		mode = 0o644
	}
	if f.Owner != "" {
		owner = uid
	}
	if f.Group != "" {
		group, _ = strconv.Atoi(f.Group)
	}
	st := info.Sys().(*syscall.Stat_t)
	if info.Mode().Perm() != mode || int(st.Uid) != owner || int(st.Gid) != group {
		t.Errorf("%s: mode %v of %d:%d, want %v of %d:%d", f.Content, info.Mode(), st.Uid, st.Gid, mode, owner, group)
	}
	if strings.HasPrefix(f.Content, "priv") && info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%s is open to everybody", f.Content)
	}
}
