package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxFile = 64 << 20  // the most that a file of the state directory may hold; issuer ledgers are the largest
	maxPEM  = 256 << 10 // of a revision; acme takes no chain over 64 KiB
)

// open opens p for reading as os.Root would, in one call of the kernel where os.Root makes several for each folder on
// the way. It fails where os.Root may not, on kernels before Linux 5.6 for one: whoever calls it then asks os.Root.
func (r *Reader) open(p string, flags uint64) (fd int, err error) {
	return unix.Openat2(int(r.base.Fd()), p, &unix.OpenHow{
		Flags: flags | unix.O_CLOEXEC, Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	})
}

// exists errs on the side of no: what is to be made then fails with a better error.
func (r *Reader) exists(p string) bool {
	fd, err := r.open(p, unix.O_PATH|unix.O_NOFOLLOW)
	switch {
	case err == nil:
		_ = unix.Close(fd)
		return true
	case errors.Is(err, unix.ENOENT):
		return false
	}
	_, err = r.root.Lstat(p)
	return err == nil
}

// read returns the content of a regular file that belongs to the owner of the folder.
func (r *Reader) read(p string) ([]byte, error) {
	fd, err := r.open(p, unix.O_NONBLOCK) // a FIFO must not hold us up
	switch {
	case err == nil:
		defer func() { _ = unix.Close(fd) }() // nothing was written
		return r.readOpen(fd, p, maxFile)
	case errors.Is(err, unix.ENOENT):
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	f, err := r.root.OpenFile(p, unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return r.readOpen(int(f.Fd()), p, maxFile)
}

// list returns the names in a folder, in no order; none when it does not exist.
func (r *Reader) list(dir string) (names []string, err error) {
	f, err := r.openDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return f.Readdirnames(-1)
}

func (r *Reader) openDir(dir string) (*os.File, error) {
	fd, err := r.open(dir, unix.O_DIRECTORY)
	if err != nil {
		return r.root.Open(dir)
	}
	return os.NewFile(uintptr(fd), dir), nil
}

// openPlain opens a folder below, with no link on the way to it: each folder from the one before. os.Root would follow
// links, although not out of it.
func (r *Reader) openPlain(p string) (*os.File, error) {
	at, err := r.root.Open(".")
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(p, "/") {
		next, err := openAt(at, name, unix.O_PATH|unix.O_DIRECTORY)
		at.Close()
		if err != nil {
			return nil, &fs.PathError{Op: "open", Path: p, Err: err}
		}
		at = next
	}
	return at, nil
}

// readPlain is read for the file p, which is in dir: of a fair size, and no link.
func (r *Reader) readPlain(dir *os.File, p string) ([]byte, error) {
	f, err := openAt(dir, path.Base(p), unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: p, Err: err}
	}
	defer f.Close()
	return r.readOpen(int(f.Fd()), p, maxPEM)
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readOpen returns the content of an open file, if it is a regular one of the folder's owner and of a fair size.
func (r *Reader) readOpen(fd int, p string, most int64) ([]byte, error) {
	var info unix.Stat_t
	if err := unix.Fstat(fd, &info); err != nil {
		return nil, &fs.PathError{Op: "stat", Path: p, Err: err}
	}
	switch {
	case info.Mode&unix.S_IFMT != unix.S_IFREG || info.Uid != r.uid:
		return nil, r.damaged(p, fmt.Errorf("it is not a regular file of uid %d", r.uid))
	case info.Size > most:
		return nil, r.damaged(p, fmt.Errorf("it has %d bytes", info.Size))
	}
	data := make([]byte, info.Size)
	for have := 0; have < len(data); {
		n, err := unix.Read(fd, data[have:])
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return nil, &fs.PathError{Op: "read", Path: p, Err: err}
		case n == 0:
			return nil, r.damaged(p, errors.New("it shrank while it was read"))
		default:
			have += n
		}
	}
	return data, nil
}
