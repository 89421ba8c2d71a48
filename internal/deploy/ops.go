package deploy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// stepper performs one change of the disk: do. Tests stop, fail and count here; nothing else ever replaces it.
type stepper func(op, path string, do func() error) error

// ops are all the ways in which files of consumers are changed: by the name of an entry in an open folder, so that no
// link is followed.
type ops struct{ step stepper }

// create makes a file that only its owner can read, and removes what an interrupted attempt left under its name.
func (o ops) create(dir *folder, name string) (f *os.File, err error) {
	err = o.step("create", dir.join(name), func() error {
		const flags = unix.O_WRONLY | unix.O_CREAT | unix.O_EXCL | unix.O_NOFOLLOW | unix.O_CLOEXEC
		fd, err := unix.Openat(dir.fd(), name, flags, 0o600)
		if errors.Is(err, unix.EEXIST) {
			if err := unix.Unlinkat(dir.fd(), name, 0); err != nil {
				return err
			}
			fd, err = unix.Openat(dir.fd(), name, flags, 0o600)
		}
		if err == nil {
			f = os.NewFile(uintptr(fd), dir.join(name))
		}
		return err
	})
	return f, err
}

func (o ops) write(f *os.File, data []byte) error {
	return o.step("write", f.Name(), func() error {
		_, err := f.Write(data)
		return err
	})
}

// own gives the file its owner and then its mode: it never belongs to one with the rights meant for another.
func (o ops) own(f *os.File, p perms) error {
	return o.step("own", f.Name(), func() error {
		if err := f.Chown(int(p.uid), int(p.gid)); err != nil {
			return err
		}
		return f.Chmod(p.mode)
	})
}

func (o ops) sync(f *os.File) error { return o.step("sync", f.Name(), f.Sync) }

func (o ops) syncDir(dir *folder) error { return o.step("sync", dir.path, dir.file.Sync) }

// keep gives what is at name a second name, unless that is taken: then it is older, and the one to be kept.
func (o ops) keep(dir *folder, name, as string) error {
	return o.step("link", dir.join(as), func() error {
		err := unix.Linkat(dir.fd(), name, dir.fd(), as, 0)
		if errors.Is(err, unix.EEXIST) {
			return nil
		}
		return err
	})
}

func (o ops) rename(dir *folder, from, to string) error {
	return o.step("rename", dir.join(to), func() error { return unix.Renameat(dir.fd(), from, dir.fd(), to) })
}

// remove removes a file. It is no error when there is none.
func (o ops) remove(dir *folder, name string) error {
	return o.step("remove", dir.join(name), func() error {
		if err := unix.Unlinkat(dir.fd(), name, 0); !errors.Is(err, unix.ENOENT) {
			return err
		}
		return nil
	})
}
