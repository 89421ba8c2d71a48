package acl_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/acl"
)

// list has a named user, a named group, and a mask that leaves no right to write.
func list(mask uint16) acl.List {
	return acl.List{
		{Tag: acl.Owner, Perm: 6}, {Tag: acl.NamedUser, Perm: 6, ID: 4001}, {Tag: acl.NamedUser, Perm: 0, ID: 4002}, {Tag: acl.Group, Perm: 0},
		{Tag: acl.NamedGroup, Perm: 4, ID: 5001}, {Tag: acl.Mask, Perm: mask}, {Tag: acl.Other, Perm: 0},
	}
}

func TestAListComesBackAsItWasSet(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l, err := acl.Access(f.Name()); l != nil || err != nil {
		t.Fatalf("before, it has %v, %v", l, err)
	}
	want := list(4)
	if err := acl.Set(f, want); err != nil {
		t.Fatal(err)
	}
	got, err := acl.Access(f.Name())
	if err != nil || got.String() != want.String() || got.String() != "user:4001:r--,user:4002:---,group:5001:r--" {
		t.Errorf("got %v, %v", got, err)
	}
	info, err := f.Stat()
	if err != nil || info.Mode() != 0o640 || got.Mode() != 0o600 {
		t.Errorf("the mode is %v, %v and the list's %v", info.Mode(), err, got.Mode())
	}
	if err := f.Chmod(0o600); err != nil { // which is a mask of nothing
		t.Fatal(err)
	}
	if got, err := acl.Access(f.Name()); err != nil || got.String() != "user:4001:---,user:4002:---,group:5001:---" {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWhoIsLetIn(t *testing.T) {
	const owner, group = 1000, 1001
	for sentence, c := range map[string]struct {
		uid    int
		groups []int
		mask   uint16
		want   uint16
	}{
		"the owner, whatever the mask says":                      {owner, nil, 0, 6},
		"a named user, as far as the mask goes":                  {4001, nil, 4, 4},
		"a named user under an empty mask":                       {4001, nil, 0, 0},
		"a named user without rights, who is in a group with":    {4002, []int{5001}, 7, 0},
		"a member of a named group":                              {9, []int{5001}, 4, 4},
		"a member of the file's group and of a named one":        {9, []int{group, 5001}, 4, 4},
		"a member of the file's group only":                      {9, []int{group}, 7, 0},
		"everybody else":                                         {9, []int{9}, 7, 0},
		"somebody who is known only as a member of a group":      {-1, []int{5001}, 7, 4},
		"somebody whose number as a user is that of the group's": {5001, nil, 7, 0},
	} {
		if got := list(c.mask).Allows(c.uid, c.groups, owner, group); got != c.want {
			t.Errorf("%s: got %s, want %s", sentence, acl.Text(got), acl.Text(c.want))
		}
	}
}

func TestADirectoryHasAListForNewFiles(t *testing.T) {
	dir := t.TempDir()
	data := []byte{2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 5, 0, 33, 0, 0, 0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 5, 0, 255, 255, 255, 255, 32, 0, 0, 0, 255, 255, 255, 255}
	if err := unix.Setxattr(dir, "system.posix_acl_default", data, 0); err != nil {
		t.Fatal(err)
	}
	l, err := acl.Default(dir)
	if err != nil || len(l.Named()) != 1 || l.Named()[0].ID != 33 {
		t.Fatalf("got %v, %v", l, err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "key"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if l, err := acl.Access(f.Name()); err != nil || l.Named()[0].Perm != 0 {
		t.Errorf("mode 0600 leaves %v, %v", l, err)
	}
}

func TestWhatIsNoListIsRefused(t *testing.T) {
	if _, err := acl.Access(filepath.Join(t.TempDir(), "nothing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err := acl.Parse([]byte{2, 0, 0, 0, 1}); err == nil {
		t.Error("a part of an entry is accepted")
	}
	if _, err := acl.Parse([]byte{9, 0, 0, 0}); err == nil {
		t.Error("another version is accepted")
	}
}

func TestOwnerAndOthersFollowTheMode(t *testing.T) {
	l := list(4).WithMode(0o404)
	if l.Mode() != 0o404 || l.String() != list(4).String() {
		t.Errorf("got %v with mode %v", l, l.Mode())
	}
	if before := list(4).Mode(); before != 0o600 {
		t.Errorf("what it was made of has %v now", before)
	}
}
