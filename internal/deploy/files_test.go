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

	"golang.org/x/sys/unix"
	"software.sslmate.com/src/go-pkcs12"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

func TestFilesHoldWhatTheSpecAsksFor(t *testing.T) {
	dir := folderFor(t)
	write(t, filepath.Join(dir, "password"), "open sesame\n", 0o600)
	var d spec.Deploy
	for _, content := range []string{"privkey", "cert", "chain", "fullchain", "combined", "pkcs12"} {
		d.Files = append(d.Files, spec.File{Path: filepath.Join(dir, content), Content: content, PasswordFile: filepath.Join(dir, "password")})
	}
	d.Files[3].Mode = 0o604
	j := job(t, "www.example.com", d)
	e := newExecutor(t, nil)
	for key, r := range one(t, e, j) {
		if !r.OK {
			t.Errorf("%s: %+v", key, r)
		}
	}
	for name, want := range map[string]string{
		"privkey": string(j.Files.Privkey), "cert": string(j.Files.Cert), "chain": string(j.Files.Chain),
		"fullchain": string(j.Files.Fullchain), "combined": string(j.Files.Privkey) + string(j.Files.Fullchain),
	} {
		if got := read(t, filepath.Join(dir, name)); got != want {
			t.Errorf("%s holds\n%s", name, got)
		}
	}
	for name, want := range map[string]os.FileMode{"privkey": 0o600, "cert": 0o644, "fullchain": 0o604, "combined": 0o600, "pkcs12": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	_, leaf, issuers, err := pkcs12.DecodeChain([]byte(read(t, filepath.Join(dir, "pkcs12"))), "open sesame")
	if err != nil || leaf.DNSNames[0] != "www.example.com" || len(issuers) != 1 {
		t.Errorf("the key store: %v", err)
	}
	before := stamps(t, dir)
	one(t, e, j)
	if after := stamps(t, dir); after != before {
		t.Errorf("what was right was written again:\n%s\n%s", before, after)
	}
	if left := names(t, dir); len(left) != 7 {
		t.Errorf("left behind: %v", left)
	}
}

// stamps are the inodes in a folder.
func stamps(t *testing.T, dir string) (s string) {
	t.Helper()
	for _, name := range names(t, dir) {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		s += fmt.Sprint(name, " ", info.Sys().(*syscall.Stat_t).Ino, "\n")
	}
	return s
}

func TestWhereFilesAreNotWritten(t *testing.T) {
	for sentence, c := range map[string]struct {
		prepare func(dir string) error // of the folder that holds "a/key"
		path    string                 // below it; "": a/key
		says    string
	}{
		"a folder that is not there": {func(dir string) error { return os.Remove(dir + "/a") }, "", "does not exist"},
		"a link on the way": {func(dir string) error {
			return errors.Join(os.Rename(dir+"/a", dir+"/b"), os.Symlink("b", dir+"/a"))
		}, "", "is a link to b"},
		"a file on the way":              {func(dir string) error { return errors.Join(os.Remove(dir+"/a"), os.WriteFile(dir+"/a", nil, 0o600)) }, "", "is not a folder"},
		"a folder of everybody's":        {func(dir string) error { return os.Chmod(dir+"/a", 0o777) }, "", "others could replace"},
		"a sticky folder of everybody's": {func(dir string) error { return os.Chmod(dir+"/a", 0o777|os.ModeSticky) }, "", "others could replace"},
		"a folder of a group's":          {func(dir string) error { return os.Chmod(dir+"/a", 0o775) }, "", "others could replace"},
		"a folder of everybody's above":  {func(dir string) error { return errors.Join(os.Mkdir(dir+"/a/b", 0o755), os.Chmod(dir+"/a", 0o777)) }, "a/b/key", "others could replace"},
		"a folder in its place":          {func(dir string) error { return os.Mkdir(dir+"/a/key", 0o755) }, "", "is no file"},
		"a named pipe in its place":      {func(dir string) error { return unix.Mkfifo(dir+"/a/key", 0o600) }, "", "is no file"},
		"a socket in its place":          {func(dir string) error { return unix.Mknod(dir+"/a/key", unix.S_IFSOCK|0o600, 0) }, "", "is no file"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := folderFor(t)
			if err := errors.Join(os.Mkdir(dir+"/a", 0o755), os.Chmod(dir+"/a", 0o755), c.prepare(dir)); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "a/key")
			if c.path != "" {
				path = filepath.Join(dir, c.path)
			}
			before := tree(t, dir)
			j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: path, Content: "privkey"}}, Reload: []string{"a.service"}})
			u := &units{}
			r := one(t, newExecutor(t, u), j)["file "+path]
			if r.OK || !strings.Contains(r.Problem, c.says) || r.Hint == "" {
				t.Errorf("got %+v, want a problem with %q", r, c.says)
			}
			if after := tree(t, dir); after != before || len(u.reloads) > 0 {
				t.Errorf("it changed\n%s\nto\n%s\nand reloaded %v", before, after, u.reloads)
			}
		})
	}
}

func tree(t *testing.T, dir string) (s string) {
	t.Helper()
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		s += fmt.Sprint(strings.TrimPrefix(path, dir), " ", info.Mode(), "\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestALinkInItsPlaceIsReplacedNotFollowed(t *testing.T) {
	dir := folderFor(t)
	write(t, dir+"/precious", "mine", 0o600)
	if err := os.Symlink("precious", dir+"/key"); err != nil {
		t.Fatal(err)
	}
	j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}})
	if r := one(t, newExecutor(t, nil), j)["file "+dir+"/key"]; !r.OK {
		t.Errorf("%+v", r)
	}
	if read(t, dir+"/precious") != "mine" || read(t, dir+"/key") != string(j.Files.Privkey) {
		t.Error("the link was followed")
	}
}

func TestUnknownAccountsAreNamed(t *testing.T) {
	dir := folderFor(t)
	for _, f := range []spec.File{{Owner: "no-such-user"}, {Group: "no-such-group"}} {
		f.Path, f.Content = dir+"/key", "cert"
		r := one(t, newExecutor(t, nil), job(t, "www.example.com", spec.Deploy{Files: []spec.File{f}}))["file "+f.Path]
		if r.OK || !strings.Contains(r.Problem, "there is no") || !strings.Contains(r.Problem, f.Owner+f.Group) {
			t.Errorf("%+v", r)
		}
	}
	if left := names(t, dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestEveryStepMayFail stops or fails the delivery of two files at each change of the disk: a file holds the old or the
// new content, never anything else, both are of the same certificate unless it was stopped between the two renames,
// and the next attempt brings both.
func TestEveryStepMayFail(t *testing.T) {
	stopped := errors.New("stopped")
	for _, fault := range []error{stopped, syscall.ENOSPC, syscall.EIO, syscall.EROFS} {
		for _, check := range [][]string{nil, {"true"}, {"false"}} {
			for n := 1; failAt(t, n, fault, fault == stopped, check); n++ {
			}
		}
	}
}

// failAt fails the n-th step, and all that follow if it stops there. It tells whether there was an n-th step.
func failAt(t *testing.T, n int, fault error, stops bool, check []string) bool {
	t.Helper()
	dir := folderFor(t)
	d := spec.Deploy{Check: check, Files: []spec.File{{Path: dir + "/key", Content: "privkey"}, {Path: dir + "/crt", Content: "fullchain"}}}
	old, next := job(t, "www.example.com", d), job(t, "www.example.com", d)
	write(t, dir+"/key", string(old.Files.Privkey), 0o600)
	write(t, dir+"/crt", string(old.Files.Fullchain), 0o644)
	e := newExecutor(t, nil)
	step := 0
	e.SetStep(func(_, _ string, do func() error) error {
		if step++; step == n || stops && step > n {
			return fault
		}
		return do()
	})
	results := one(t, e, next)
	reached := step >= n
	where := fmt.Sprintf("step %d, %v, check %v", n, fault, check)
	key, crt := read(t, dir+"/key"), read(t, dir+"/crt")
	for file, pair := range map[string][2]string{key: {string(old.Files.Privkey), string(next.Files.Privkey)}, crt: {string(old.Files.Fullchain), string(next.Files.Fullchain)}} {
		if !slices.Contains(pair[:], file) {
			t.Fatalf("%s: a file holds neither the old nor the new content:\n%s", where, file)
		}
	}
	accepted := results["file "+dir+"/key"].OK && results["file "+dir+"/crt"].OK
	if isNew := key == string(next.Files.Privkey) && crt == string(next.Files.Fullchain); accepted && !isNew {
		t.Errorf("%s: it is said to be there, and is not", where)
	}

	e = newExecutor(t, nil)
	for _, r := range one(t, e, next) {
		if !r.OK && slices.Equal(check, []string{"true"}) {
			t.Errorf("%s: the next attempt: %+v", where, r)
		}
	}
	want := next
	if slices.Equal(check, []string{"false"}) {
		want = old
	}
	key, crt = read(t, dir+"/key"), read(t, dir+"/crt")
	if key != string(want.Files.Privkey) || crt != string(want.Files.Fullchain) {
		t.Errorf("%s: after the next attempt the files are not what they should be", where)
	}
	if left := names(t, dir); len(left) != 2 {
		t.Errorf("%s: left behind: %v", where, left)
	}
	return reached
}

func TestVerifyBelievesNothing(t *testing.T) {
	good := job(t, "www.example.com", spec.Deploy{})
	other := job(t, "www.example.com", spec.Deploy{})
	for sentence, c := range map[string]struct {
		change func(*deploy.Job)
		good   bool
	}{
		"what belongs together":   {func(*deploy.Job) {}, true},
		"another key":             {func(j *deploy.Job) { j.Files.Privkey = other.Files.Privkey }, false},
		"another leaf":            {func(j *deploy.Job) { j.Files.Cert = other.Files.Cert }, false},
		"another chain":           {func(j *deploy.Job) { j.Files.Chain = other.Files.Chain }, false},
		"a full chain with more":  {func(j *deploy.Job) { j.Files.Fullchain = append(slices.Clone(j.Files.Fullchain), "junk"...) }, false},
		"a name more":             {func(j *deploy.Job) { j.Want.DNSNames = []string{"www.example.com", "b.example.com"} }, false},
		"another name":            {func(j *deploy.Job) { j.Want.DNSNames = []string{"b.example.com"} }, false},
		"no key":                  {func(j *deploy.Job) { j.Files.Privkey = nil }, false},
		"a certificate for a key": {func(j *deploy.Job) { j.Files.Privkey = j.Files.Cert }, false},
		"two keys":                {func(j *deploy.Job) { j.Files.Privkey = slices.Concat(j.Files.Privkey, j.Files.Privkey) }, false},
		"a huge file":             {func(j *deploy.Job) { j.Files.Privkey = make([]byte, 1<<20) }, false},
		"no chain":                {func(j *deploy.Job) { j.Files.Chain, j.Files.Fullchain = nil, j.Files.Cert }, false},
	} {
		j := good
		w := *good.Want
		j.Want = &w
		c.change(&j)
		leaf, err := deploy.Verify(j.Want, j.Files, now())
		if (err == nil) != c.good || c.good && leaf != good.Leaf {
			t.Errorf("%s: %q, %v", sentence, leaf, err)
		}
	}
}
