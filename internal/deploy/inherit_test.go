package deploy_test

import (
	"errors"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/acl"
	"acmed/internal/deploy"
	"acmed/internal/spec"
)

const reader = 4001 // a user who is let in

// listed is a list that lets in the reader, or a group of that number, besides owner and group.
func listed(tag acl.Tag, group, mask uint16) acl.List {
	named := acl.Entry{Tag: tag, Perm: 4, ID: reader}
	list := acl.List{{Tag: acl.Owner, Perm: 6}, {Tag: acl.Group, Perm: group}, {Tag: acl.Mask, Perm: mask}, {Tag: acl.Other}}
	at := 1
	if tag == acl.NamedGroup {
		at = 2
	}
	return append(list[:at:at], append(acl.List{named}, list[at:]...)...)
}

func setList(t *testing.T, path string, list acl.List) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := acl.Set(f, list); err != nil {
		t.Fatal(err)
	}
}

func listOf(t *testing.T, path string) acl.List {
	t.Helper()
	list, err := acl.Access(path)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// delivered delivers a new certificate to one file.
func deliverOne(t *testing.T, e *deploy.Executor, f spec.File, check ...string) deploy.Result {
	t.Helper()
	j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{f}, Check: check})
	return one(t, e, j)["file "+f.Path]
}

func TestWhoReadsADeployedFileByAnAccessControlListReadsTheOneAfterIt(t *testing.T) {
	for sentence, c := range map[string]struct {
		content string
		mode    uint32
		list    acl.List
		change  func(path string) error // by hand; nil: none
	}{
		"a user reads the key":                             {"privkey", 0, listed(acl.NamedUser, 0, 4), nil},
		"a group reads the key and its certificate":        {"combined", 0o600, listed(acl.NamedGroup, 0, 4), nil},
		"a user reads the certificate":                     {"cert", 0o640, listed(acl.NamedUser, 4, 4), nil},
		"the list gives its group more than the mode":      {"privkey", 0o600, listed(acl.NamedUser, 4, 6), nil},
		"the mask shuts its named user out":                {"privkey", 0o600, listed(acl.NamedUser, 0, 0), nil},
		"somebody has taken rights from its owner":         {"privkey", 0o600, listed(acl.NamedUser, 0, 4), func(path string) error { return os.Chmod(path, 0o440) }},
		"somebody has given it away":                       {"privkey", 0o600, listed(acl.NamedUser, 0, 4), chownByHand},
		"an older acmed has deployed it":                   {"privkey", 0o600, listed(acl.NamedUser, 0, 4), forgetAccess},
		"another program has written it, with these modes": {"privkey", 0o600, listed(acl.NamedGroup, 0, 4), forgetAccess},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir, e := folderFor(t), newExecutor(t, nil)
			f := spec.File{Path: dir + "/tls", Content: c.content, Mode: c.mode}
			deliverOne(t, e, f)
			setList(t, f.Path, c.list)
			if c.change != nil {
				if err := c.change(f.Path); err != nil {
					t.Fatal(err)
				}
			}
			before := read(t, f.Path)
			for range 2 {
				if r := deliverOne(t, e, f); !r.OK || r.Note != "" {
					t.Errorf("%+v", r)
				}
			}
			if got := listOf(t, f.Path); got.String() != c.list.String() || got.Mode() != c.list.Mode() || read(t, f.Path) == before {
				t.Errorf("it has %v (%v), want %v (%v)", got, got.Mode(), c.list, c.list.Mode())
			}
			if info, err := os.Stat(f.Path); err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
				t.Errorf("its owner was not put right: %v", err)
			}
		})
	}
}

func chownByHand(path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	return os.Chown(path, reader, reader)
}

func forgetAccess(path string) error { return unix.Removexattr(path, "user.acmed.access") }

func TestAChangedSpecLeavesNoReaderBehind(t *testing.T) {
	for sentence, c := range map[string]struct {
		was, is spec.File
		list    acl.List
		root    bool
	}{
		"a tightened mode":                     {spec.File{Mode: 0o640}, spec.File{Mode: 0o600}, listed(acl.NamedUser, 4, 4), false},
		"a tightened mode, which the list had": {spec.File{Mode: 0o640}, spec.File{Mode: 0o600}, listed(acl.NamedUser, 0, 4), false},
		"a mode that came back to the default": {spec.File{Mode: 0o640}, spec.File{}, listed(acl.NamedGroup, 4, 4), false},
		"another owner":                        {spec.File{Mode: 0o600}, spec.File{Mode: 0o600, Owner: "4002"}, listed(acl.NamedUser, 0, 4), true},
		"another group":                        {spec.File{Mode: 0o640}, spec.File{Mode: 0o640, Group: "4002"}, listed(acl.NamedGroup, 4, 4), true},
	} {
		t.Run(sentence, func(t *testing.T) {
			if c.root && os.Geteuid() != 0 {
				t.Skip("needs root")
			}
			dir, e := folderFor(t), newExecutor(t, nil)
			c.was.Path, c.was.Content = dir+"/key", "privkey"
			c.is.Path, c.is.Content = dir+"/key", "privkey"
			deliverOne(t, e, c.was)
			setList(t, c.is.Path, c.list)
			if r := deliverOne(t, e, c.is); !r.OK || !strings.Contains(r.Note, "access control list removed ("+c.list.String()+")") {
				t.Errorf("%+v", r)
			}
			if got := listOf(t, c.is.Path); got != nil {
				t.Errorf("it has %v", got)
			}
			if r := deliverOne(t, e, c.is); !r.OK || r.Note != "" {
				t.Errorf("the next time: %+v", r)
			}
		})
	}
}

// TestOneContentWithAnotherSpecLeavesNoReaderBehind is about an edit without a new certificate.
func TestOneContentWithAnotherSpecLeavesNoReaderBehind(t *testing.T) {
	dir, e := folderFor(t), newExecutor(t, nil)
	j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "privkey", Mode: 0o640}}})
	one(t, e, j)
	setList(t, dir+"/key", listed(acl.NamedUser, 0, 4))
	before := stamps(t, dir)
	one(t, e, j)
	if after := stamps(t, dir); after != before {
		t.Error("what was right was written again")
	}
	j.Want.Deploy.Files[0].Mode = 0o600
	if r := one(t, e, j)["file "+dir+"/key"]; !r.OK || r.Note == "" || listOf(t, dir+"/key") != nil {
		t.Errorf("it has %v: %+v", listOf(t, dir+"/key"), r)
	}
}

func TestAListThatCannotBeTakenOverFailsTheTarget(t *testing.T) {
	for _, refusal := range []error{syscall.ENOTSUP, syscall.EPERM, syscall.ENOSPC} {
		dir, e := folderFor(t), newExecutor(t, nil)
		f := spec.File{Path: dir + "/key", Content: "privkey"}
		deliverOne(t, e, f)
		setList(t, f.Path, listed(acl.NamedUser, 0, 4))
		before := read(t, f.Path)
		e.SetStep(func(op, path string, do func() error) error {
			if op == "acl" {
				if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0 {
					t.Errorf("before it has its list, it has the mode %v, %v", info.Mode(), err)
				}
				return refusal
			}
			return do()
		})
		r := deliverOne(t, e, f)
		if r.OK || !strings.Contains(r.Problem, "access control list (user:4001:r--)") || !strings.Contains(r.Problem, refusal.Error()) || !strings.Contains(r.Hint, "setfacl -b "+f.Path) {
			t.Errorf("%+v", r)
		}
		if read(t, f.Path) != before || listOf(t, f.Path) == nil {
			t.Error("the file is another one")
		}
	}
}

func TestAListComesBackWithWhatACheckRefuses(t *testing.T) {
	dir, e := folderFor(t), newExecutor(t, nil)
	f := spec.File{Path: dir + "/key", Content: "privkey", Mode: 0o640}
	deliverOne(t, e, f)
	setList(t, f.Path, listed(acl.NamedUser, 4, 4))
	f.Mode = 0o600
	if r := deliverOne(t, e, f, "false"); r.OK || listOf(t, f.Path).String() != listed(acl.NamedUser, 4, 4).String() {
		t.Errorf("it has %v: %+v", listOf(t, f.Path), r)
	}
}

func TestALinkHandsOnNothingOfWhatItLeadsTo(t *testing.T) {
	dir, e := folderFor(t), newExecutor(t, nil)
	write(t, dir+"/other", "other", 0o600)
	setList(t, dir+"/other", listed(acl.NamedUser, 0, 4))
	if err := os.Symlink("other", dir+"/key"); err != nil {
		t.Fatal(err)
	}
	if r := deliverOne(t, e, spec.File{Path: dir + "/key", Content: "privkey"}); !r.OK || r.Note != "" || listOf(t, dir+"/key") != nil {
		t.Errorf("it has %v: %+v", listOf(t, dir+"/key"), r)
	}
}

func TestANewFileHasTheDefaultListOfItsDirectoryWithinItsMode(t *testing.T) {
	for mode, want := range map[uint32]string{0o640: "user:4001:r--", 0o600: "user:4001:---"} {
		dir, e := folderFor(t), newExecutor(t, nil)
		if err := unix.Setxattr(dir, "system.posix_acl_default", listed(acl.NamedUser, 5, 5).Encode(), 0); err != nil {
			t.Fatal(err)
		}
		f := spec.File{Path: dir + "/key", Content: "privkey", Mode: mode}
		for range 2 {
			if r := deliverOne(t, e, f); !r.OK || r.Note != "" || listOf(t, f.Path).String() != want {
				t.Errorf("mode %#o: it has %v: %+v", mode, listOf(t, f.Path), r)
			}
		}
	}
}

func TestASecurityLabelIsTakenOverOrMissed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	dir, e := folderFor(t), newExecutor(t, nil)
	f := spec.File{Path: dir + "/key", Content: "privkey"}
	deliverOne(t, e, f)
	labels := map[string]string{"security.selinux": "system_u:object_r:cert_t:s0", "security.SMACK64": "web"}
	for name, label := range labels {
		if err := unix.Setxattr(f.Path, name, []byte(label), 0); err != nil {
			t.Fatal(err)
		}
	}
	if r := deliverOne(t, e, f); !r.OK || r.Note != "" {
		t.Errorf("%+v", r)
	}
	for name, label := range labels {
		got := make([]byte, 100)
		if n, err := unix.Getxattr(f.Path, name, got); err != nil || string(got[:n]) != label {
			t.Errorf("%s is %q, %v", name, got[:max(n, 0)], err)
		}
	}
	e.SetStep(func(op, _ string, do func() error) error {
		if op == "label" {
			return syscall.EPERM
		}
		return do()
	})
	if r := deliverOne(t, e, f); !r.OK || !strings.Contains(r.Note, "security label security.selinux not set: operation not permitted") {
		t.Errorf("%+v", r)
	}
}

func TestServersFindEveryCopyNewer(t *testing.T) {
	for sentence, before := range map[string]time.Duration{"an old copy": -time.Hour, "one of just now": 0, "one from before the clock went back": time.Hour} {
		t.Run(sentence, func(t *testing.T) {
			dir := folderFor(t)
			write(t, dir+"/key", "old", 0o600)
			write(t, dir+"/crt", "old", 0o644)
			began := time.Now()
			if err := os.Chtimes(dir+"/crt", began.Add(before), began.Add(before)); err != nil {
				t.Fatal(err)
			}
			j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "privkey"}, {Path: dir + "/crt", Content: "cert"}}})
			one(t, newExecutor(t, nil), j)
			key, kerr := os.Stat(dir + "/key")
			crt, cerr := os.Stat(dir + "/crt")
			if err := errors.Join(kerr, cerr); err != nil {
				t.Fatal(err)
			}
			if !key.ModTime().Equal(crt.ModTime()) || crt.ModTime().Unix() <= began.Unix() || crt.ModTime().Sub(began.Add(before)) < time.Second {
				t.Errorf("they have the times %v and %v, after %v", key.ModTime(), crt.ModTime(), began.Add(before))
			}
		})
	}
}
