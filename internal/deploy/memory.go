package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// The paths in the helper's own folder. A name that starts with a dot is never a certificate's.
const (
	memoryLock   = "lock"
	memoryConfig = "acmed.yaml"
	memorySpecs  = "specs"
	memoryDNS    = "dns"  // providers
	memorySaid   = "said" // what their programs wrote when they set a record that is still there
)

func memorySpec(name string) string { return path.Join(memorySpecs, name+".yaml") }

func memoryProvider(name string) string { return path.Join(memoryDNS, name+".yaml") }

// memoryTurn is the lock of a provider, whose program is called for one record at a time.
func memoryTurn(name string) string { return path.Join(memoryDNS, "."+name+".lock") }

// maxKept is the maximum size of a version in bytes: a spec, what it means, and in base64 the CSR that it names.
const maxKept = 5 * maxTrusted

// lockPause is how long to wait before another try to get the lock.
const lockPause = 50 * time.Millisecond

// memory is the helper's own folder: the last good version of each spec and of acmed.yaml, as they were when the helper
// read them itself. Nobody but root looks in or changes anything, and one helper at a time writes.
type memory struct {
	dir  string
	uid  uint32 // to whom all in there belongs
	root *os.Root
	lock *os.File // nil: not held
	disk memoryDisk
}

// openMemory opens the folder, which it makes if only the last element is missing.
func openMemory(dir string, t trust, step stepper) (*memory, error) {
	m := &memory{dir: dir, uid: t.uid, disk: memoryDisk{step: step}}
	if err := m.open(t); err != nil {
		problem, hint := parts(err)
		return nil, &Error{fmt.Errorf("opening the helper's folder: %s", problem), cmp.Or(hint, "see that root can write in "+dir)}
	}
	return m, nil
}

func (m *memory) open(t trust) error {
	parent, err := t.openDir(filepath.Dir(m.dir))
	if err != nil {
		return err
	}
	defer parent.Close()
	if err := os.Mkdir(m.dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	own, err := t.openDir(m.dir)
	if err != nil {
		return err
	}
	defer own.Close()
	if m.root, err = os.OpenRoot(m.dir); err != nil { // by its path, which is trusted
		return err
	}
	m.disk.root = m.root
	err = m.checkMode()
	if err == nil {
		err = m.disk.mkdir(memorySpecs)
	}
	if err != nil {
		_ = m.close() // nothing was written there
	}
	return err
}

// checkMode refuses a folder that others may look into: what they see there, they could prepare for.
func (m *memory) checkMode() error {
	info, err := m.root.Stat(".")
	if err == nil && (info.Mode().Perm()&0o077 != 0 || info.Sys().(*syscall.Stat_t).Uid != m.uid) {
		err = &blocked{m.dir + " is open to others", "chmod 0700 " + m.dir + ", and chown it to root"}
	}
	return err
}

func (m *memory) close() error {
	if m.lock != nil {
		m.lock.Close()
	}
	return m.root.Close()
}

// acquire waits for the lock until ctx ends. The kernel gives it back when the process ends.
func (m *memory) acquire(ctx context.Context) (err error) {
	if m.lock, err = m.wait(ctx, memoryLock); err != nil {
		return fmt.Errorf("locking the helper's folder: %w", err)
	}
	return nil
}

// wait waits for the lock at p until ctx ends. Closing the file gives it back.
func (m *memory) wait(ctx context.Context, p string) (*os.File, error) {
	f, err := m.disk.openLock(p)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(lockPause)
	defer tick.Stop()
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(errors.New("another request is still being carried out"), f.Close())
		case <-tick.C:
		}
	}
}

// recall returns the last good version of a file, or fs.ErrNotExist when there is none, or none to be believed.
func (m *memory) recall(p string) ([]byte, error) {
	info, err := m.root.Lstat(p)
	if err != nil {
		return nil, err
	}
	if !m.plain(info) {
		return nil, &fs.PathError{Op: "open", Path: p, Err: fs.ErrNotExist}
	}
	f, err := m.root.OpenFile(p, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxKept))
}

// plain tells whether a file is one that the helper can have written.
func (m *memory) plain(info fs.FileInfo) bool {
	return info.Mode().IsRegular() && info.Mode().Perm()&0o022 == 0 && info.Size() <= maxKept &&
		info.Sys().(*syscall.Stat_t).Uid == m.uid
}

// remember keeps texts, by their paths, as the last good versions. Each file is replaced at once or not at all, and all
// are durable when it returns.
func (m *memory) remember(texts map[string][]byte) error {
	paths := slices.Sorted(maps.Keys(texts))
	folders := map[string]bool{}
	var errs []error
	for _, p := range paths {
		if err := m.disk.replace(p, texts[p]); err != nil {
			errs = append(errs, err)
			continue
		}
		folders[path.Dir(p)] = true
	}
	for _, dir := range slices.Sorted(maps.Keys(folders)) {
		errs = append(errs, m.disk.syncDir(dir))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("keeping the last good versions: %w", err)
	}
	return nil
}

// forget removes the last good version of a file, for good. It is no error when there is none.
func (m *memory) forget(p string) error {
	if _, err := m.root.Lstat(p); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	err := m.disk.remove(p)
	if err == nil {
		err = m.disk.syncDir(path.Dir(p))
	}
	if err != nil {
		return fmt.Errorf("forgetting a last good version: %w", err)
	}
	return nil
}

// memoryDisk is all the ways in which the helper changes its own folder. Paths are relative to it.
type memoryDisk struct {
	root *os.Root
	step stepper
}

// mkdir makes a folder that another helper may be making as well: nobody holds the lock yet.
func (d memoryDisk) mkdir(p string) error {
	if _, err := d.root.Lstat(p); err == nil {
		return nil
	}
	err := d.step("mkdir", p, func() error { return d.root.Mkdir(p, 0o700) })
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return err
}

// openLock opens a lock, which it makes the first time.
func (d memoryDisk) openLock(p string) (f *os.File, err error) {
	const flags = os.O_RDONLY | unix.O_NOFOLLOW | unix.O_NONBLOCK
	if f, err = d.root.OpenFile(p, flags, 0); !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	err = d.step("create", p, func() error {
		f, err = d.root.OpenFile(p, flags|os.O_CREATE, 0o600)
		return err
	})
	return f, err
}

// replace gives the file at p new content: written under another name, synced, renamed. Its folder is not synced.
func (d memoryDisk) replace(p string, text []byte) error {
	dir, base := path.Split(p)
	tmp := dir + "." + base + ".tmp"
	if err := d.remove(tmp); err != nil { // an interrupted change can have left it
		return err
	}
	err := d.write(tmp, text)
	if err == nil {
		err = d.step("rename", p, func() error { return d.root.Rename(tmp, p) })
	}
	if err != nil {
		return errors.Join(err, d.remove(tmp))
	}
	return nil
}

func (d memoryDisk) write(p string, text []byte) error {
	var f *os.File
	err := d.step("create", p, func() (err error) {
		f, err = d.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		return err
	})
	if err == nil {
		err = d.step("write", p, func() error { _, err := f.Write(text); return err })
	}
	if err == nil {
		err = d.step("sync", p, f.Sync)
	}
	if f != nil {
		err = errors.Join(err, f.Close())
	}
	return err
}

// syncDir makes durable which names the folder holds.
func (d memoryDisk) syncDir(p string) error {
	f, err := d.root.Open(p)
	if err != nil {
		return err
	}
	return errors.Join(d.step("sync", p, f.Sync), f.Close())
}

// remove removes a file or a folder with all that it holds. It is no error when there is none.
func (d memoryDisk) remove(p string) error {
	if _, err := d.root.Lstat(p); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return d.step("remove", p, func() error { return d.root.RemoveAll(p) })
}
