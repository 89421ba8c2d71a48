package store

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"time"

	"golang.org/x/sys/unix"
)

// stepper performs one change of the disk: do. Tests stop, fail and count here; nothing else ever replaces it.
type stepper func(op, path string, do func() error) error

// ops are all the ways in which the store changes the disk. Paths are relative to the state directory, and none
// leads out of it.
type ops struct {
	root *os.Root
	step stepper
}

// mkdir makes a folder whose mode does not depend on the umask.
func (o ops) mkdir(p string, mode fs.FileMode) error {
	return o.step("mkdir", p, func() error {
		if err := o.root.Mkdir(p, mode); err != nil {
			return err
		}
		return o.root.Chmod(p, mode)
	})
}

// create makes a file that was not there, with a mode that does not depend on the umask.
func (o ops) create(p string, mode fs.FileMode) (f *os.File, err error) {
	err = o.step("create", p, func() error {
		if f, err = o.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode); err != nil {
			return err
		}
		return f.Chmod(mode)
	})
	if err != nil && f != nil {
		err = errors.Join(err, f.Close())
	}
	return f, err
}

func (o ops) write(f *os.File, p string, data []byte) error {
	return o.step("write", p, func() error {
		_, err := f.Write(data)
		return err
	})
}

func (o ops) sync(f *os.File, p string) error {
	return o.step("sync", p, f.Sync)
}

// syncDir makes durable which names the folder holds.
func (o ops) syncDir(p string) error { return o.syncFile(p) }

// syncFile makes durable what a file holds, and its times.
func (o ops) syncFile(p string) error {
	f, err := o.root.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(o.sync(f, p), f.Close())
}

// syncAll makes everything on the filesystem durable.
func (o ops) syncAll() error {
	f, err := o.root.Open(".")
	if err != nil {
		return err
	}
	err = o.step("syncfs", ".", func() error { return unix.Syncfs(int(f.Fd())) })
	return errors.Join(err, f.Close())
}

func (o ops) rename(from, to string) error {
	return o.step("rename", to, func() error { return o.root.Rename(from, to) })
}

func (o ops) link(from, to string) error {
	return o.step("link", to, func() error { return o.root.Link(from, to) })
}

func (o ops) symlink(target, p string) error {
	return o.step("symlink", p, func() error { return o.root.Symlink(target, p) })
}

func (o ops) chtimes(p string, t time.Time) error {
	return o.step("chtimes", p, func() error { return o.root.Chtimes(p, t, t) })
}

// remove removes a file or a folder with all that it holds. It is no error when there is none.
func (o ops) remove(p string) error {
	return o.step("remove", p, func() error { return o.root.RemoveAll(p) })
}

// discard removes what a change that did not work left behind. What resists is left to a later sweep: the error
// that counts is the one before.
func (o ops) discard(p string) { _ = o.remove(p) }

// anew calls try, and once more when something lies in its way at p, which only an interrupted change can have left.
func (o ops) anew(p string, try func() error) error {
	err := try()
	if errors.Is(err, fs.ErrExist) {
		o.discard(p)
		err = try()
	}
	return err
}

// put writes a file that was not there. It does not remove one that it could not write whole.
func (o ops) put(p string, mode fs.FileMode, data []byte, d Durability) error {
	f, err := o.create(p, mode)
	if err != nil {
		return err
	}
	if len(data) > 0 {
		err = o.write(f, p, data)
	}
	if err == nil && d != Lazy {
		err = o.sync(f, p)
	}
	return errors.Join(err, f.Close())
}

// replace gives the file at p new content: write it under another name, fsync, rename, fsync the folder. When any of
// it fails, the new file is discarded and never synced again: after a failed fsync the kernel may call lost data
// clean.
func (o ops) replace(p string, mode fs.FileMode, data []byte, d Durability) error {
	tmp := temp(p)
	err := o.anew(tmp, func() error { return o.put(tmp, mode, data, d) })
	if err == nil {
		err = o.rename(tmp, p)
	}
	if err != nil {
		o.discard(tmp)
		return err
	}
	if d != Durable {
		return nil
	}
	return o.syncDir(path.Dir(p))
}

// assemble makes the folder p with all its files at once: fill puts them, durably, into the folder tmp, which is
// then synced and renamed. When it fails, p is not there and is made from scratch the next time.
func (o ops) assemble(p string, mode fs.FileMode, fill func(tmp string) error) error {
	tmp := temp(p)
	err := o.anew(tmp, func() error { return o.mkdir(tmp, mode) })
	if err == nil {
		err = fill(tmp)
	}
	if err == nil {
		err = o.syncDir(tmp)
	}
	if err == nil {
		err = o.publish(tmp, p)
	}
	if err != nil {
		o.discard(tmp)
	}
	return err
}

// publish renames tmp to p durably, or takes it back.
func (o ops) publish(tmp, p string) error {
	err := o.rename(tmp, p)
	if err == nil {
		err = o.syncDir(path.Dir(p))
	}
	if err != nil {
		_ = o.rename(p, tmp) // when this fails too, the next sweep decides what p is
	}
	return err
}

// removeDir makes the folder vanish at once and then deletes it.
func (o ops) removeDir(p string) error {
	if err := o.rename(p, trash(p)); err != nil {
		return err
	}
	return o.remove(trash(p))
}

// sweep removes what interrupted changes left in a folder. It is no error when there is no such folder.
func (o ops) sweep(r *Reader, dir string) error {
	names, err := r.list(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isTemp(name) {
			if err := o.remove(path.Join(dir, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
