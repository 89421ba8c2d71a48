package deploy

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"

	"acmed/internal/spec"
)

// perms are a file's owner, group and mode.
type perms struct {
	uid, gid uint32
	mode     fs.FileMode
}

// placement is one file on its way to where a consumer reads it.
type placement struct {
	path    string
	perms   perms
	data    []byte
	same    func(old []byte) bool // whether what is there says the same
	written bool                  // under its temporary name
	placed  bool                  // under its own name
	fresh   bool                  // there was nothing before
}

// plan says what is to be written for a file of a spec.
func plan(f spec.File, job *Job) (*placement, error) {
	p := &placement{path: f.Path}
	var err error
	if p.perms, err = permsOf(f); err != nil {
		return nil, err
	}
	p.data, p.same, err = content(f, job)
	return p, err
}

// content makes what a file holds, and what tells whether it holds that already.
func content(f spec.File, job *Job) (data []byte, same func([]byte) bool, err error) {
	files := job.Files
	switch f.Content {
	case "privkey":
		data = files.Privkey
	case "cert":
		data = files.Cert
	case "chain":
		data = files.Chain
	case "fullchain":
		data = files.Fullchain
	case "combined":
		data = append(bytes.Clone(files.Privkey), files.Fullchain...)
	case "pkcs12":
		return keyStore(f, files)
	default:
		return nil, nil, fmt.Errorf("making %q: no such content", f.Content)
	}
	return data, func(old []byte) bool { return bytes.Equal(old, data) }, nil
}

// permsOf resolves the owner and group of a file. A file with a key inside is its owner's alone unless the spec says
// otherwise.
func permsOf(f spec.File) (p perms, err error) {
	p.uid, p.gid, p.mode = uint32(os.Geteuid()), uint32(os.Getegid()), fs.FileMode(f.Mode)
	if p.mode == 0 {
		if p.mode = 0o644; f.Content == "privkey" || f.Content == "combined" || f.Content == "pkcs12" {
			p.mode = 0o600
		}
	}
	if f.Owner != "" {
		if p.uid, err = lookUp(f.Owner, "user", func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		}); err != nil {
			return p, err
		}
	}
	if f.Group != "" {
		p.gid, err = lookUp(f.Group, "group", func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
	}
	return p, err
}

// lookUp gives the number of a user or group, which may be given by its number.
func lookUp(name, what string, find func(string) (string, error)) (uint32, error) {
	if n, err := strconv.ParseUint(name, 10, 32); err == nil {
		return uint32(n), nil
	}
	text, err := find(name)
	if err != nil {
		return 0, &blocked{fmt.Sprintf("there is no %s %s on this machine", what, name), "make it, or name another one in the spec"}
	}
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err
}

// The names beside a file: of what is about to take its place, and of what it held before.
func newName(base string) string { return "." + base + ".acmed-new" }
func oldName(base string) string { return "." + base + ".acmed-old" }

// at calls f with the folder of a placement.
func (p *placement) at(f func(dir *folder, base string) error) error {
	dir, err := openFolder(filepath.Dir(p.path), p.perms.uid)
	if err != nil {
		return err
	}
	defer dir.close()
	return f(dir, filepath.Base(p.path))
}

// write writes the file under its temporary name, unless it says the same already.
func (p *placement) write(disk ops) error {
	return p.at(func(dir *folder, base string) error {
		unchanged, err := p.unchanged(dir, base)
		if err != nil || unchanged {
			return err
		}
		f, err := disk.create(dir, newName(base))
		if err != nil {
			return err
		}
		p.written = true
		err = disk.write(f, p.data)
		if err == nil {
			err = disk.own(f, p.perms)
		}
		if err == nil {
			err = disk.sync(f)
		}
		return errors.Join(err, f.Close())
	})
}

// unchanged tells whether there is anything to do, and refuses what nobody would want to be replaced.
func (p *placement) unchanged(dir *folder, base string) (bool, error) {
	var st unix.Stat_t
	err := unix.Fstatat(dir.fd(), base, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		p.fresh = true
		return false, nil
	case err != nil:
		return false, &fs.PathError{Op: "stat", Path: p.path, Err: err}
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return false, nil // it is replaced, and what it leads to stays
	case unix.S_IFREG:
	default:
		return false, &blocked{p.path + " is no file", "remove it, or name another path"}
	}
	if st.Uid != p.perms.uid || st.Gid != p.perms.gid || fs.FileMode(st.Mode&0o7777) != p.perms.mode {
		return false, nil
	}
	old, err := readEntry(dir, base)
	return err == nil && p.same(old), nil
}

// maxExisting is how much of a file is compared.
const maxExisting = 1 << 20

func readEntry(dir *folder, base string) ([]byte, error) {
	fd, err := unix.Openat(dir.fd(), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir.join(base))
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxExisting))
}

// place gives the file its own name, and keeps what had it.
func (p *placement) place(disk ops) error {
	if !p.written {
		return nil
	}
	return p.at(func(dir *folder, base string) error {
		if !p.fresh {
			if err := disk.keep(dir, base, oldName(base)); err != nil {
				return err
			}
		}
		if err := disk.rename(dir, newName(base), base); err != nil {
			return err
		}
		p.written, p.placed = false, true
		return disk.syncDir(dir)
	})
}

// settle forgets what the file held before. What cannot be removed is removed the next time.
func (p *placement) settle(disk ops) {
	_ = p.at(func(dir *folder, base string) error { return disk.remove(dir, oldName(base)) })
}

// withdraw brings back what the file held before this attempt, or before one that was interrupted.
func (p *placement) withdraw(disk ops) error {
	return p.at(func(dir *folder, base string) error {
		if p.written {
			return disk.remove(dir, newName(base))
		}
		err := disk.rename(dir, oldName(base), base)
		if errors.Is(err, unix.ENOENT) && p.fresh && p.placed {
			err = disk.remove(dir, base)
		} else if errors.Is(err, unix.ENOENT) {
			return nil // it was not changed
		}
		if err != nil {
			return err
		}
		return disk.syncDir(dir)
	})
}
