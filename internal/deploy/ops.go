package deploy

import (
	"errors"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// stepper performs one change of the disk: do. Tests stop, fail and count here; nothing else ever replaces it.
type stepper func(op, path string, do func() error) error

// ops are all the ways in which files of consumers are changed: by the name of an entry in an open folder, so that no
// link is followed.
type ops struct{ step stepper }

// perform has a step done, and says of an error what it is about.
func (o ops) perform(op, path string, do func() error) error {
	err := o.step(op, path, do)
	if _, said := errors.AsType[*fs.PathError](err); err != nil && !said {
		err = &fs.PathError{Op: op, Path: path, Err: err}
	}
	return err
}

// create makes a file that nobody can open before it is given away, and removes what an interrupted attempt left under
// its name.
func (o ops) create(dir *folder, name string) (f *os.File, err error) {
	const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
	if err := o.remove(dir, name); err != nil {
		return nil, err
	}
	err = o.perform("create", dir.join(name), func() error {
		fd, err := unix.Openat(dir.fd(), name, flags, 0)
		if err == nil {
			f = os.NewFile(uintptr(fd), dir.join(name))
		}
		return err
	})
	if err != nil && f != nil {
		f.Close() // nothing was written to it
	}
	return f, err
}

// mark makes an empty file.
func (o ops) mark(dir *folder, name string) error {
	f, err := o.create(dir, name)
	if err != nil {
		return err
	}
	return f.Close()
}

func (o ops) write(f *os.File, data []byte) error {
	return o.perform("write", f.Name(), func() error {
		_, err := f.Write(data)
		return err
	})
}

// own gives the file its owner and then, with withMode, its mode: it never belongs to one with the rights meant for
// another.
func (o ops) own(f *os.File, p perms, withMode bool) error {
	return o.perform("own", f.Name(), func() error {
		if err := f.Chown(int(p.uid), int(p.gid)); err != nil || !withMode {
			return err
		}
		return f.Chmod(p.mode)
	})
}

func (o ops) sync(f *os.File) error { return o.perform("sync", f.Name(), f.Sync) }

// syncDir makes durable which names the folder holds, where the file system can.
func (o ops) syncDir(dir *folder) error {
	return o.perform("sync", dir.path, func() error {
		if err := dir.file.Sync(); !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOTSUP) {
			return err
		}
		return nil
	})
}

// link gives what is at name a second name, even if it is a link.
func (o ops) link(dir *folder, name, as string) error {
	return o.perform("link", dir.join(as), func() error { return unix.Linkat(dir.fd(), name, dir.fd(), as, 0) })
}

func (o ops) rename(dir *folder, from, to string) error {
	return o.perform("rename", dir.join(to), func() error { return unix.Renameat(dir.fd(), from, dir.fd(), to) })
}

// remove removes a file or link. It is no error when there is none, and then no change.
func (o ops) remove(dir *folder, name string) error {
	there, err := dir.holds(name)
	if err != nil || !there {
		return err
	}
	return o.perform("remove", dir.join(name), func() error {
		if err := unix.Unlinkat(dir.fd(), name, 0); !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}
