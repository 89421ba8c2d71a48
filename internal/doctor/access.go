package doctor

import (
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"

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

// barrier is what keeps a reader from a file: the first folder on the way that it may not pass, or the file itself. It
// is "" when nothing does. It goes by mode bits; an access control list may let in whom they keep out.
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
		need := fs.FileMode(0o4)
		if info.IsDir() {
			need = 0o1
		}
		if r.class(info)&need == 0 {
			return step, nil
		}
	}
	return "", nil
}

// class are the three bits that apply to a reader: the first of owner, group and others that it belongs to.
func (r reader) class(info fs.FileInfo) fs.FileMode {
	st, mode := info.Sys().(*syscall.Stat_t), info.Mode().Perm()
	switch {
	case r.uid == int(st.Uid):
		return mode >> 6 & 7
	case slices.Contains(r.groups, int(st.Gid)):
		return mode >> 3 & 7
	}
	return mode & 7
}

// access looks whether those for whom a copy is made get at it.
func (k *check) access(c *spec.Certificate, f spec.File) {
	all, err := readers(f)
	if err != nil {
		k.bad(Failure, "delivery", c.Name, "correct owner and group in the spec, or make the user", "%s: %v", f.Path, err)
		return
	}
	for _, r := range all {
		switch at, err := barrier(f.Path, r); {
		case err != nil:
			k.bad(Skipped, "delivery", c.Name, "run acmed doctor as root", "%v", err)
		case at != "" && at != f.Path:
			k.bad(Warning, "delivery", c.Name, "chmod or chgrp "+at+", or have the file elsewhere; an access control list is not looked at", "%s cannot reach %s: %s does not let it pass", r.who, f.Path, at)
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
