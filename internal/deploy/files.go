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
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/spec"
)

// perms are a file's owner, group and mode.
type perms struct {
	uid, gid uint32
	mode     fs.FileMode
}

// placement is one file on its way to where a consumer reads it.
//
// What it held before is kept beside it, as a second name of it or as a mark that there was nothing. These tell, and
// nothing in memory does, what is to be brought back: so it does not matter how many attempts were interrupted.
type placement struct {
	target  spec.Target
	began   time.Time
	path    string
	perms   perms
	data    []byte
	from    inherited
	time    time.Time // that it gets
	kept    bool      // by an attempt that was interrupted
	changes bool      // what is there is not what it shall be
	note    string    // what is worth knowing about it
	err     error     // what went wrong with it
}

// content makes what a file holds.
func content(f spec.File, job *Job) ([]byte, error) {
	files := job.Files
	switch f.Content {
	case "privkey":
		return files.Privkey, nil
	case "cert":
		return files.Cert, nil
	case "chain":
		return files.Chain, nil
	case "fullchain":
		return files.Fullchain, nil
	case "combined":
		return slices.Concat(files.Privkey, files.Fullchain), nil
	case "pkcs12":
		return keyStore(f.PasswordFile, files)
	}
	return nil, fmt.Errorf("making %q: no such content", f.Content)
}

// permsOf resolves the owner and group of a file. A file with a key inside is its owner's alone unless the spec says
// otherwise.
func permsOf(f spec.File) (p perms, err error) {
	p.uid, p.gid, p.mode = uint32(os.Geteuid()), uint32(os.Getegid()), f.FileMode()
	if f.Owner != "" {
		p.uid, err = lookUp(f.Owner, "user", func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
	}
	if f.Group != "" && err == nil {
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

// The names beside a file. None is one that servers read that are given a whole folder.
func newName(base string) string  { return "." + base + ".acmed-new" }  // what is about to take its place
func oldName(base string) string  { return "." + base + ".acmed-old" }  // what it held before
func noneName(base string) string { return "." + base + ".acmed-none" } // that there was nothing before

// at calls f with the folder of a placement.
func (p *placement) at(f func(dir *folder, base string) error) error {
	dir, err := openFolder(filepath.Dir(p.path), p.perms.uid)
	if err != nil {
		return err
	}
	defer dir.close()
	return f(dir, filepath.Base(p.path))
}

// prepare finds out what is to be written where, and what there is.
func (p *placement) prepare(f spec.File, job *Job) (err error) {
	if p.perms, err = permsOf(f); err != nil {
		return err
	}
	if p.data, err = content(f, job); err != nil {
		return err
	}
	p.path = f.Path
	return p.at(func(dir *folder, base string) error {
		if p.kept, err = dir.holds(oldName(base), noneName(base)); err != nil {
			return err
		}
		if p.from, err = dir.inherit(base, p.perms); err != nil {
			return err
		}
		same, err := p.unchanged(dir, base)
		if p.changes = !same; err == nil && p.changes && dir.mounted(base) {
			return mountedOver(p.path)
		}
		return err
	})
}

// write writes the file under its temporary name, unless it says the same already.
func (p *placement) write(disk ops) error {
	if !p.changes {
		return nil
	}
	return p.at(func(dir *folder, base string) error { return p.create(disk, dir, newName(base)) })
}

// create makes a whole file, durably.
func (p *placement) create(disk ops, dir *folder, name string) error {
	f, err := disk.create(dir, name)
	if err != nil {
		return err
	}
	if err = disk.write(f, p.data); err == nil {
		p.note, err = disk.dress(f, p.perms, p.from, p.time)
	}
	if err == nil {
		err = disk.sync(f)
	}
	return errors.Join(err, f.Close())
}

// unchanged tells whether there is nothing to do, and refuses what nobody would want to be replaced.
func (p *placement) unchanged(dir *folder, base string) (bool, error) {
	st, err := dir.lstat(base)
	if err != nil || st == nil {
		return false, err
	}
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return false, nil // it is replaced, and what it leads to stays
	case unix.S_IFREG:
	default:
		return false, &blocked{p.path + " is no file", "remove it, or name another path"}
	}
	if st.Uid != p.perms.uid || st.Gid != p.perms.gid || !p.rightMode(fs.FileMode(st.Mode&0o7777)) {
		return false, nil
	}
	old, err := readEntry(dir, base, int64(len(p.data)))
	return err == nil && bytes.Equal(old, p.data), nil // what cannot be read is replaced
}

// rightMode tells whether a file that has this mode lets in those that it should. Where it has a list, its mode shows the
// mask in place of the group, and the list says all about both.
func (p *placement) rightMode(mode fs.FileMode) bool {
	if p.from.stale || p.from.dropped != nil {
		return false
	}
	if p.from.list != nil {
		return mode&^0o070 == p.perms.mode&^0o070
	}
	return mode == p.perms.mode
}

// readEntry reads a little more than so much of a regular file. Nothing else can hold it up: who owns the folder may
// have put a named pipe there since it was looked at.
func readEntry(dir *folder, base string, most int64) ([]byte, error) {
	fd, err := unix.Openat(dir.fd(), base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), dir.join(base))
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(errors.New("it is no file"), err)
	}
	return io.ReadAll(io.LimitReader(f, most+1))
}

// keep keeps what is there, if it changes or not. What an interrupted attempt has kept is older, and so what is to be
// brought back. With durably, it is there before anything else changes.
func (p *placement) keep(disk ops, durably bool) error {
	return p.at(func(dir *folder, base string) error {
		if p.kept {
			return nil
		}
		there, err := dir.holds(base)
		switch {
		case err != nil:
			return err
		case there:
			err = disk.link(dir, base, oldName(base))
		default:
			err = disk.mark(dir, noneName(base))
		}
		if err == nil && durably {
			err = disk.syncDir(dir)
		}
		return err
	})
}

// place gives the file its own name.
func (p *placement) place(disk ops) error {
	return p.at(func(dir *folder, base string) error {
		if p.changes {
			err := disk.rename(dir, newName(base), base)
			if errors.Is(err, unix.EBUSY) {
				return mountedOver(p.path)
			}
			if err != nil {
				return err
			}
		}
		return disk.syncDir(dir) // also for an attempt that was interrupted just before this
	})
}

// withdraw brings back what was kept.
func (p *placement) withdraw(disk ops) error {
	return p.at(func(dir *folder, base string) error {
		old, err := dir.holds(oldName(base))
		none, nerr := dir.holds(noneName(base))
		switch err = errors.Join(err, nerr); {
		case err != nil:
		case old:
			err = disk.rename(dir, oldName(base), base)
		case none:
			err = disk.remove(dir, base)
		}
		if err == nil && (old || none) {
			err = disk.syncDir(dir)
		}
		if err != nil {
			return fmt.Errorf("bringing back what %s held before: %w", p.path, err)
		}
		return tidy(disk, dir, base)
	})
}

// settle forgets what was kept.
func (p *placement) settle(disk ops) error {
	p.kept = false
	return p.at(func(dir *folder, base string) error { return tidy(disk, dir, base) })
}

// tidy leaves nothing beside the file, durably: what was kept must not be taken for older than it is another time.
func tidy(disk ops, dir *folder, base string) error {
	beside := []string{newName(base), oldName(base), noneName(base)}
	left, err := dir.holds(beside...)
	if err != nil || !left {
		return err
	}
	for _, name := range beside {
		if err := disk.remove(dir, name); err != nil {
			return err
		}
	}
	return disk.syncDir(dir)
}
