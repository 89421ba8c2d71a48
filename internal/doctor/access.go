package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"acmed/internal/acl"
	"acmed/internal/spec"
)

// reader is who is to read a file: a user with its groups, or, with uid -1, whoever is in the one group.
type reader struct {
	who    string
	uid    int
	groups []int
}

// readers are those for whom a copy is made: its owner, and the group that its mode lets in. Root reads everything.
func readers(f spec.File) (all []reader, err error) {
	if f.Owner != "" {
		u, err := account(f.Owner)
		if err != nil {
			return nil, err
		}
		if u.uid != 0 {
			all = append(all, u)
		}
	}
	if f.Group != "" && f.Group != "root" && f.Mode&0o040 != 0 {
		gid, err := strconv.Atoi(f.Group)
		if err != nil {
			g, err := user.LookupGroup(f.Group)
			if err != nil {
				return nil, err
			}
			gid, _ = strconv.Atoi(g.Gid) // it is a number on Linux
		}
		all = append(all, reader{"group " + f.Group, -1, []int{gid}})
	}
	return all, nil
}

// listed are the users and groups that the access control list of a file lets read.
func listed(path string) (all []reader) {
	list, err := acl.Access(path)
	if err != nil {
		return nil // showReaders has nothing to show either
	}
	for _, e := range list.Named() {
		switch {
		case e.Perm&acl.Read == 0 || e.ID == 0:
		case e.Tag == acl.NamedGroup:
			all = append(all, reader{e.Who(), -1, []int{int(e.ID)}})
		default:
			if r, err := account(strconv.FormatUint(uint64(e.ID), 10)); err == nil {
				all = append(all, r)
			}
		}
	}
	return all
}

// account looks a user up by name or number.
func account(name string) (reader, error) {
	u, err := user.Lookup(name)
	if uid, numeric := strconv.Atoi(name); numeric == nil {
		if u, err = user.LookupId(name); u == nil {
			return reader{"user " + name, uid, nil}, nil // a number needs no name
		}
	}
	if err != nil {
		return reader{}, err
	}
	r := reader{who: "user " + u.Username}
	r.uid, _ = strconv.Atoi(u.Uid)
	ids, err := u.GroupIds()
	if err != nil {
		return reader{}, fmt.Errorf("listing the groups of %s: %w", name, err)
	}
	for _, id := range ids {
		gid, _ := strconv.Atoi(id)
		r.groups = append(r.groups, gid)
	}
	return r, nil
}

// barrier is what keeps a reader from a file: the first directory on the way that it may not pass, or the file itself. It
// is "" when nothing does. Access control lists count as they do for the kernel.
func barrier(path string, r reader) (string, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return "", err
	}
	way := []string{real}
	for dir := real; dir != "/"; {
		dir = filepath.Dir(dir)
		way = append(way, dir)
	}
	slices.Reverse(way)
	for _, step := range way {
		info, err := os.Stat(step)
		if err != nil {
			return "", err
		}
		need := acl.Read
		if info.IsDir() {
			need = acl.Pass
		}
		allowed, err := r.allowed(step, info)
		if err != nil {
			return "", err
		}
		if allowed&need == 0 {
			return step, nil
		}
	}
	return "", nil
}

// allowed returns what a reader may do with a file or directory, by its access control list or its mode.
func (r reader) allowed(path string, info fs.FileInfo) (uint16, error) {
	list, err := listOf(path, info)
	st := info.Sys().(*syscall.Stat_t)
	return list.Allows(r.uid, r.groups, st.Uid, st.Gid), err
}

// listOf returns the access control list of a file, or one that says what its mode says.
func listOf(path string, info fs.FileInfo) (acl.List, error) {
	list, err := acl.Access(path)
	if list == nil {
		list = acl.OfMode(info.Mode())
	}
	return list, err
}

// whoReads names everybody who may read a file, as far as the file itself says.
func whoReads(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	list, err := listOf(path, info)
	st := info.Sys().(*syscall.Stat_t)
	return strings.Join(append([]string{"root"}, list.Readers(st.Uid, st.Gid)...), ", "), err
}

// showReaders reports who may read a deployed file, if it holds a key or has an access control list.
func (k *check) showReaders(c *spec.Certificate, f spec.File) {
	list, err := acl.Access(f.Path)
	if err != nil || list == nil && !f.HoldsKey() {
		return // access has said what could not be looked at
	}
	who, err := whoReads(f.Path)
	if err != nil {
		return
	}
	how := ""
	if list != nil {
		how = fmt.Sprintf(" (access control list %v)", list)
	}
	k.good("delivery", c.Name, "%s can be read by %s%s", f.Path, who, how)
}

// ShutOut names the users and groups that the default access control list of a directory lets read, and whom the mode of
// a file that is deployed to it shuts out: a mode that gives the group nothing leaves nothing of such a list. It is ""
// if there are none. A file that is there with a list keeps that.
func ShutOut(f *spec.File) string {
	own, _ := acl.Access(f.Path) // of a file that cannot be seen, the list of its directory counts
	list, err := acl.Default(filepath.Dir(f.Path))
	if err != nil || own != nil || f.FileMode()&0o040 != 0 {
		return ""
	}
	var names []string
	for _, e := range list.Named() {
		if e.Perm&acl.Read != 0 {
			names = append(names, e.Who())
		}
	}
	return strings.Join(names, ", ")
}

// access looks whether those for whom a copy is made get at it.
func (k *check) access(c *spec.Certificate, f spec.File) {
	all, err := readers(f)
	if err != nil {
		k.bad(Failure, "delivery", c.Name, "correct owner and group in the spec, or make the user", "%s: %v", f.Path, err)
		return
	}
	for _, r := range append(all, listed(f.Path)...) {
		switch at, err := barrier(f.Path, r); {
		case err != nil:
			k.bad(Skipped, "delivery", c.Name, "run acmed doctor as root", "%v", err)
		case at != "" && at != f.Path:
			k.bad(Warning, "delivery", c.Name, "chmod or chgrp "+at+", or have the file elsewhere", "%s cannot reach %s: %s does not let it pass", r.who, f.Path, at)
		case at != "":
			k.bad(Warning, "delivery", c.Name, "set mode, owner or group under deploy.files", "%s cannot read %s", r.who, f.Path)
		}
	}
}

// unprivileged looks whether a server that reloads with a certificate, and is no root from its start, can read the key: those
// in the state directory are root's and acmed's alone.
func (k *check) unprivileged(c *spec.Certificate, unit string, u Unit) {
	if u.User == "" || u.User == "root" || u.User == "0" || len(c.Deploy.Files) > 0 || len(c.Deploy.Run) > 0 {
		return
	}
	k.bad(Warning, "unit", unit, "list a copy under deploy.files, with owner: "+u.User,
		"it runs as %s, which cannot read the key of %s in %s", u.User, c.Name, filepath.Join(k.Settings.StateDir, "live", c.Name))
}
