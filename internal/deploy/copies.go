package deploy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// copyPrefix begins the name of each private copy.
const copyPrefix = "copy-"

// copies creates the private copies of certificates that commands read. A copy holds the bytes that were verified: the
// owner of the state directory may exchange a file there for a link after it was verified, and root would follow it.
type copies struct {
	dirs   []string               // absolute; the first of them that is in memory is used
	memory func(dir string) error // why a directory is not in memory; tests replace it
}

// copiedFile is a file of a copy.
type copiedFile struct {
	name string
	data []byte
	mode fs.FileMode
}

// copiedFiles returns the files that a command finds. A certificate with csrFile has no key.
func copiedFiles(job *Job, key bool) []copiedFile {
	all := []copiedFile{
		{"cert.pem", job.Files.Cert, 0o644}, {"chain.pem", job.Files.Chain, 0o644}, {"fullchain.pem", job.Files.Fullchain, 0o644},
	}
	if key && job.Files.Privkey != nil {
		all = append(all, copiedFile{"privkey.pem", job.Files.Privkey, 0o600})
	}
	return all
}

// create returns the directory of a new copy for one command, which ends with the name of the certificate, and how to
// remove the copy. For a nil user, only this process's user can open it; otherwise that user can read it as well.
func (c *copies) create(job *Job, files []copiedFile, user *account) (dir string, remove func() error, err error) {
	s, err := c.open()
	if err != nil {
		return "", nil, err
	}
	base := copyPrefix + rand.Text()
	lock, err := s.begin(base)
	if err == nil {
		err = s.fill(path.Join(base, job.Name), files, user)
	}
	remove = func() error {
		err := s.root.RemoveAll(base)
		if lock != nil {
			lock.Close()
		}
		return errors.Join(err, s.close())
	}
	if err != nil {
		return "", nil, errors.Join(fmt.Errorf("copying the certificate for a command: %w", err), remove())
	}
	return filepath.Join(s.folder.path, base, job.Name), remove, nil
}

// sweep removes the copies that a process has left behind that was killed. Those of other processes are locked. A directory
// that belongs to another user, as anybody can create one in /dev/shm, has never held a copy.
func (c *copies) sweep() error {
	var errs []error
	for _, dir := range c.dirs {
		s, err := openShelf(dir)
		if _, foreign := errors.AsType[*blocked](err); foreign || errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = errors.Join(s.sweep(), s.close())
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// open returns the directory for copies, which it creates if its parent exists.
func (c *copies) open() (*shelf, error) {
	var problems []string
	for _, dir := range c.dirs {
		err := c.memory(dir)
		if err == nil {
			err = makeShelf(dir)
		}
		var s *shelf
		if err == nil {
			s, err = openShelf(dir)
		}
		if err == nil {
			return s, nil
		}
		problems = append(problems, err.Error())
	}
	return nil, &blocked{"no directory in memory for a private copy of the certificate: " + strings.Join(problems, "; "),
		"mount a tmpfs at /run, and make sure that acmed can write to " + c.dirs[0]}
}

// inMemory reports why a directory, or the one that it is to be created in, is not in memory: a key that is written to a
// disk can be read there after its file is gone.
func inMemory(dir string) error {
	var st unix.Statfs_t
	err := unix.Statfs(dir, &st)
	if errors.Is(err, unix.ENOENT) {
		err = unix.Statfs(path.Dir(dir), &st)
	}
	switch {
	case err != nil:
		return &fs.PathError{Op: "statfs", Path: dir, Err: err}
	case st.Type != unix.TMPFS_MAGIC && st.Type != unix.RAMFS_MAGIC:
		return errors.New(dir + " is not on a tmpfs")
	}
	return nil
}

// A shelf is an open directory for copies.
type shelf struct {
	folder *folder
	root   *os.Root
}

// makeShelf creates a directory that others can pass through but not list.
func makeShelf(dir string) error {
	err := os.Mkdir(dir, 0o711)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, 0o711) // whatever the umask
}

func openShelf(dir string) (s *shelf, err error) {
	if _, err := os.Lstat(dir); err != nil {
		return nil, err
	}
	s = &shelf{}
	if s.folder, err = openFolder(dir); err != nil {
		return nil, err
	}
	if s.root, err = os.OpenRoot(dir); err != nil { // by its path, which is trusted
		s.folder.close()
		return nil, err
	}
	return s, nil
}

func (s *shelf) close() error {
	s.folder.close()
	return s.root.Close()
}

// alone calls f while no other process begins or sweeps here.
func (s *shelf) alone(f func() error) error {
	fd := s.folder.fd()
	if err := unix.Flock(fd, unix.LOCK_EX); err != nil {
		return &fs.PathError{Op: "flock", Path: s.folder.path, Err: err}
	}
	return errors.Join(f(), unix.Flock(fd, unix.LOCK_UN))
}

// begin creates the directory of a copy and locks it. The kernel unlocks it when this process ends, in whatever way.
func (s *shelf) begin(base string) (lock *os.File, err error) {
	err = s.alone(func() error {
		if err := s.root.Mkdir(base, 0o700); err != nil {
			return err
		}
		if lock, err = s.root.Open(base); err != nil {
			return err
		}
		return unix.Flock(int(lock.Fd()), unix.LOCK_EX)
	})
	return lock, err
}

// sweep removes the copies that nobody has locked.
func (s *shelf) sweep() error {
	return s.alone(func() error {
		entries, err := fs.ReadDir(s.root.FS(), ".")
		errs := []error{err}
		for _, e := range entries {
			if strings.HasPrefix(e.Name(), copyPrefix) && !s.locked(e.Name()) {
				errs = append(errs, s.root.RemoveAll(e.Name()))
			}
		}
		return errors.Join(errs...)
	})
}

func (s *shelf) locked(base string) bool {
	f, err := s.root.OpenFile(base, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}

// fill writes the files of a copy. Only the key belongs to the user: the user can read all files, and can neither add nor
// exchange one.
func (s *shelf) fill(dir string, files []copiedFile, user *account) error {
	if err := s.root.Mkdir(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if err := s.write(path.Join(dir, f.name), f, user); err != nil {
			return err
		}
	}
	if user == nil {
		return nil
	}
	for _, p := range slices.Backward([]string{path.Dir(dir), dir}) {
		if err := errors.Join(s.root.Chown(p, -1, int(user.credential.Gid)), s.root.Chmod(p, 0o750)); err != nil {
			return err
		}
	}
	return nil
}

func (s *shelf) write(p string, c copiedFile, user *account) error {
	f, err := s.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(c.data)
	if err == nil {
		err = f.Chmod(c.mode) // whatever the umask
	}
	if err == nil && user != nil && c.mode&0o077 == 0 {
		err = f.Chown(int(user.credential.Uid), int(user.credential.Gid))
	}
	return errors.Join(err, f.Close())
}
