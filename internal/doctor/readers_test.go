package doctor_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/acl"
	"acmed/internal/doctor"
	"acmed/internal/spec"
)

// letIn is a list that gives one more user or group something.
func letIn(tag acl.Tag, id uint32, perm, group, mask uint16) acl.List {
	list := acl.List{{Tag: acl.Owner, Perm: 7}, {Tag: acl.Group, Perm: group}, {Tag: acl.Mask, Perm: mask}, {Tag: acl.Other}}
	at := 1
	if tag == acl.NamedGroup {
		at = 2
	}
	return slices.Insert(list, at, acl.Entry{Tag: tag, Perm: perm, ID: id})
}

func setList(t *testing.T, path string, list acl.List) {
	t.Helper()
	if err := unix.Setxattr(path, "system.posix_acl_access", list.Encode(), 0); err != nil {
		t.Fatal(err)
	}
}

// TestAccessControlListsCountAsForTheKernel is about users that a mode shuts out or lets in and a list does not.
func TestAccessControlListsCountAsForTheKernel(t *testing.T) {
	for sentence, c := range map[string]struct {
		file, dir acl.List // nil: the mode says all
		reader    doctor.Reader
		stops     string // "", "dir" or "key"
	}{
		"a named user reads":                        {letIn(acl.NamedUser, 4001, 4, 0, 4), nil, doctor.Reader{UID: 4001}, ""},
		"one of a named group reads":                {letIn(acl.NamedGroup, 4002, 4, 0, 4), nil, doctor.Reader{UID: 9, Groups: []int{4002}}, ""},
		"a mask shuts a named user out":             {letIn(acl.NamedUser, 4001, 4, 0, 0), nil, doctor.Reader{UID: 4001}, "key"},
		"a mask lets the group in no further":       {letIn(acl.NamedUser, 4001, 4, 0, 4), nil, doctor.Reader{UID: 9, Groups: []int{os.Getgid()}}, "key"},
		"a named user passes a directory":           {letIn(acl.NamedUser, 4001, 4, 0, 4), letIn(acl.NamedUser, 4001, 1, 0, 1), doctor.Reader{UID: 4001}, ""},
		"a named user does not pass the directory":  {letIn(acl.NamedUser, 4001, 4, 0, 4), letIn(acl.NamedUser, 4003, 1, 0, 1), doctor.Reader{UID: 4001}, "dir"},
		"everybody else is shut out as by the mode": {letIn(acl.NamedUser, 4001, 4, 0, 4), nil, doctor.Reader{UID: 9}, "key"},
	} {
		t.Run(sentence, func(t *testing.T) {
			top := t.TempDir()
			dir := top + "/dir"
			if err := errors.Join(os.Chmod(top, 0o711), os.Chmod(filepath.Dir(top), 0o711), os.Mkdir(dir, 0o711), os.WriteFile(dir+"/key", nil, 0o600)); err != nil {
				t.Fatal(err)
			}
			setList(t, dir+"/key", c.file)
			if c.dir != nil {
				setList(t, dir, c.dir)
			}
			want := map[string]string{"": "", "dir": dir, "key": dir + "/key"}[c.stops]
			if got, err := doctor.Barrier(dir+"/key", c.reader); err != nil || got != want {
				t.Errorf("stopped by %q, %v; want %q", got, err, want)
			}
		})
	}
}

func TestDoctorShowsWhoReadsAKey(t *testing.T) {
	me := ""
	if os.Geteuid() != 0 {
		me = ", " + acl.Entry{Tag: acl.NamedUser, ID: uint32(os.Geteuid())}.Who()
	}
	group := ", " + acl.Entry{Tag: acl.NamedGroup, ID: uint32(os.Getegid())}.Who()
	for sentence, c := range map[string]struct {
		content string
		mode    os.FileMode
		list    acl.List
		want    string // "": nothing is shown
	}{
		"its owner":                      {"privkey", 0o600, nil, me},
		"its group":                      {"combined", 0o640, nil, me + group},
		"a named user":                   {"privkey", 0o600, letIn(acl.NamedUser, 4001, 4, 0, 4), me + ", user:4001 (access control list user:4001:r--)"},
		"a named group, by a list alone": {"pkcs12", 0o600, letIn(acl.NamedGroup, 4002, 4, 4, 4), me + group + ", group:4002 (access control list group:4002:r--)"},
		"a named user behind a mask":     {"privkey", 0o600, letIn(acl.NamedUser, 4001, 4, 4, 0), me + " (access control list user:4001:---)"},
		"a certificate with a list":      {"cert", 0o600, letIn(acl.NamedUser, 4001, 4, 0, 4), me + ", user:4001 (access control list user:4001:r--)"},
		"a certificate without":          {"cert", 0o644, nil, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			path := dir + "/key"
			if err := errors.Join(os.Chmod(dir, 0o711), os.Chmod(filepath.Dir(dir), 0o711), os.WriteFile(path, nil, 0o600), os.Chmod(path, c.mode)); err != nil {
				t.Fatal(err)
			}
			if c.list != nil {
				setList(t, path, c.list)
			}
			k := patient(t, "www.example.com")
			k.Set.Certificate("one").Deploy.Files = []spec.File{{Path: path, Content: c.content, Mode: uint32(c.mode)}}
			var said []string
			err := doctor.Run(t.Context(), k, func(f doctor.Finding) {
				if rest, ok := strings.CutPrefix(f.Text, path+" can be read by root"); ok {
					said = append(said, rest)
				} else if f.Check == "delivery" {
					t.Errorf("%+v", f)
				}
			})
			if err != nil || len(said) > 1 || strings.Join(said, "") != c.want || c.want != "" && len(said) == 0 {
				t.Errorf("it says %q, %v; want %q", said, err, c.want)
			}
		})
	}
}

// TestWhoIsListedAndDoesNotGetThere is about lists on files in directories that let nobody else pass.
func TestWhoIsListedAndDoesNotGetThere(t *testing.T) {
	for _, tag := range []acl.Tag{acl.NamedUser, acl.NamedGroup} {
		top := t.TempDir()
		dir := top + "/dir"
		if err := errors.Join(os.Chmod(top, 0o711), os.Chmod(filepath.Dir(top), 0o711), os.Mkdir(dir, 0o700), os.WriteFile(dir+"/key", nil, 0o600)); err != nil {
			t.Fatal(err)
		}
		setList(t, dir+"/key", letIn(tag, 4001, 4, 0, 4))
		k := patient(t, "www.example.com")
		k.Set.Certificate("one").Deploy.Files = []spec.File{{Path: dir + "/key", Content: "privkey"}}
		want := map[acl.Tag]string{acl.NamedUser: "user 4001", acl.NamedGroup: "group:4001"}[tag] + " cannot reach " + dir + "/key: " + dir + " does not let it pass"
		if got := trouble(t, k); !slices.Equal(got, []string{"warning delivery one: " + want}) {
			t.Errorf("got %q", got)
		}
		setList(t, dir, letIn(tag, 4001, 1, 0, 1))
		if got := trouble(t, k); len(got) > 0 {
			t.Errorf("once they pass: %q", got)
		}
	}
}

func TestAModeShutsOutWhomADefaultListLetsIn(t *testing.T) {
	user, group := letIn(acl.NamedUser, 4001, 4, 5, 5), letIn(acl.NamedGroup, 4002, 4, 5, 5)
	for sentence, c := range map[string]struct {
		list acl.List // of the directory; nil: none
		file spec.File
		own  acl.List // of the file, which is there; nil: it is not
		want string
	}{
		"a key, by the mode that it gets without one": {user, spec.File{Content: "privkey"}, nil, "user:4001"},
		"a key store of mode 0400":                    {group, spec.File{Content: "pkcs12", Mode: 0o400}, nil, "group:4002"},
		"a certificate that nobody else reads":        {user, spec.File{Content: "cert", Mode: 0o600}, nil, "user:4001"},
		"a mode that lets the group read":             {user, spec.File{Content: "privkey", Mode: 0o640}, nil, ""},
		"a directory without a list":                  {nil, spec.File{Content: "privkey"}, nil, ""},
		"a list that lets nobody read":                {letIn(acl.NamedUser, 4001, 1, 5, 5), spec.File{Content: "privkey"}, nil, ""},
		"a file with a list of its own":               {user, spec.File{Content: "privkey"}, letIn(acl.NamedUser, 4001, 4, 0, 4), ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			c.file.Path = filepath.Join(dir, "key"+strconv.Itoa(len(c.own)))
			if c.own != nil {
				if err := os.WriteFile(c.file.Path, nil, 0o600); err != nil {
					t.Fatal(err)
				}
				setList(t, c.file.Path, c.own)
			}
			if c.list != nil {
				if err := unix.Setxattr(dir, "system.posix_acl_default", c.list.Encode(), 0); err != nil {
					t.Fatal(err)
				}
			}
			if got := doctor.ShutOut(&c.file); got != c.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
