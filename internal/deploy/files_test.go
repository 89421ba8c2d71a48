package deploy_test

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"software.sslmate.com/src/go-pkcs12"

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
		path    string                 // below it, or absolute; "": a/key
		says    string
	}{
		"a folder that is not there": {func(dir string) error { return os.Remove(dir + "/a") }, "", "does not exist"},
		"a link on the way": {func(dir string) error {
			return errors.Join(os.Rename(dir+"/a", dir+"/b"), os.Symlink("b", dir+"/a"))
		}, "", "is a link to b"},
		"a link further up":              {func(dir string) error { return errors.Join(os.Mkdir(dir+"/a/b", 0o755), os.Symlink("a", dir+"/c")) }, "c/b/key", "/c is a link to a"},
		"a link to root's own":           {func(dir string) error { return os.Symlink("/etc", dir+"/a/etc") }, "a/etc/key", "is a link to /etc"},
		"a link to itself":               {func(dir string) error { return errors.Join(os.Remove(dir+"/a"), os.Symlink("a", dir+"/a")) }, "", "is a link to a"},
		"a file on the way":              {func(dir string) error { return errors.Join(os.Remove(dir+"/a"), os.WriteFile(dir+"/a", nil, 0o600)) }, "", "is not a folder"},
		"a device on the way":            {nil, "/dev/null/key", "is not a folder"},
		"a folder of everybody's":        {func(dir string) error { return os.Chmod(dir+"/a", 0o777) }, "", "others could replace"},
		"a sticky folder of everybody's": {func(dir string) error { return os.Chmod(dir+"/a", 0o777|os.ModeSticky) }, "", "others could replace"},
		"the system's temporary folder":  {nil, "/tmp/key", "others could replace"},
		"a folder of a group's":          {func(dir string) error { return os.Chmod(dir+"/a", 0o775) }, "", "others could replace"},
		"a folder of everybody's above":  {func(dir string) error { return errors.Join(os.Mkdir(dir+"/a/b", 0o755), os.Chmod(dir+"/a", 0o777)) }, "a/b/key", "others could replace"},
		"a stranger's folder":            {giveAway, strangers("a/key"), strangersWords()},
		"a stranger's folder above":      {func(dir string) error { return errors.Join(os.Mkdir(dir+"/a/b", 0o755), giveAway(dir)) }, strangers("a/b/key"), strangersWords()},
		"a folder in its place":          {func(dir string) error { return os.Mkdir(dir+"/a/key", 0o755) }, "", "is no file"},
		"a named pipe in its place":      {func(dir string) error { return unix.Mkfifo(dir+"/a/key", 0o600) }, "", "is no file"},
		"a socket in its place":          {func(dir string) error { return unix.Mknod(dir+"/a/key", unix.S_IFSOCK|0o600, 0) }, "", "is no file"},
		"a device in its place":          {nil, "/dev/null", "is no file"},
		"a name that is too long":        {nil, "a/" + strings.Repeat("k", 255), "file name too long"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := folderFor(t)
			if err := errors.Join(os.Mkdir(dir+"/a", 0o755), os.Chmod(dir+"/a", 0o755)); err != nil {
				t.Fatal(err)
			}
			if c.prepare != nil {
				if err := c.prepare(dir); err != nil {
					t.Fatal(err)
				}
			}
			path := cmp.Or(c.path, "a/key")
			if !filepath.IsAbs(path) {
				path = filepath.Join(dir, path)
			}
			before := tree(t, dir)
			d := spec.Deploy{Files: []spec.File{{Path: path, Content: "privkey"}, {Path: dir + "/good", Content: "cert"}}, Reload: []string{"a.service"}}
			j, u := job(t, "www.example.com", d), &units{}
			results := one(t, newExecutor(t, u), j)
			if r := results[d.Targets(j.Leaf)[0].Key]; r.OK || r.Withdrawn || !strings.Contains(r.Problem, c.says) || r.Hint == "" {
				t.Errorf("got %+v, want a problem with %q", r, c.says)
			}
			if r := results["file "+dir+"/good"]; r.OK || !r.Withdrawn || r.Hint == "" {
				t.Errorf("of the file beside it: %+v", r)
			}
			if after := tree(t, dir); after != before || len(u.reloads) > 0 {
				t.Errorf("it changed\n%s\nto\n%s\nand reloaded %v", before, after, u.reloads)
			}
		})
	}
}

// giveAway gives the folder a to somebody else, which root alone can do.
func giveAway(dir string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(dir+"/a", 65534, 65534)
}

// strangers is a path in what giveAway gave away. All but root have a folder of root's for that.
func strangers(path string) string {
	if os.Geteuid() != 0 {
		return "/etc/key"
	}
	return path
}

func strangersWords() string {
	if os.Geteuid() != 0 {
		return "permission denied"
	}
	return "belongs to user 65534, who could replace"
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
	for sentence, to := range map[string]string{"to a file": "precious", "to a folder": "folder", "to nothing": "nothing", "to itself": "key"} {
		for _, check := range []string{"true", "false"} {
			t.Run(sentence+", checked: "+check, func(t *testing.T) {
				dir := folderFor(t)
				write(t, dir+"/precious", "mine", 0o600)
				if err := errors.Join(os.Mkdir(dir+"/folder", 0o755), os.Symlink(to, dir+"/key")); err != nil {
					t.Fatal(err)
				}
				j := job(t, "www.example.com", spec.Deploy{Check: []string{check}, Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}})
				if r := one(t, newExecutor(t, nil), j)["file "+dir+"/key"]; r.OK != (check == "true") {
					t.Errorf("%+v", r)
				}
				if read(t, dir+"/precious") != "mine" || len(names(t, dir+"/folder")) > 0 || len(names(t, dir)) != 3 {
					t.Errorf("the link was followed: %v", names(t, dir))
				}
				if link, err := os.Readlink(dir + "/key"); (err == nil) != (check == "false") || err == nil && link != to {
					t.Errorf("it leads to %q, %v", link, err)
				}
			})
		}
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
