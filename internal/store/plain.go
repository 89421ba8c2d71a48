package store

import (
	"errors"
	"fmt"
	"io"
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
	return r.readOpen(f, p, maxPEM)
}

func openAt(dir *os.File, name string, flags int) (*os.File, error) {
	fd, err := unix.Openat(int(dir.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), name), nil
}

// readOpen returns the content of f, if it is a regular file of the folder's owner and of a fair size.
func (r *Reader) readOpen(f *os.File, p string, most int64) ([]byte, error) {
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || owner(info) != r.uid:
		return nil, r.damaged(p, fmt.Errorf("it is not a regular file of uid %d", r.uid))
	case info.Size() > most:
		return nil, r.damaged(p, fmt.Errorf("it has %d bytes", info.Size()))
	}
	data := make([]byte, info.Size())
	if _, err = io.ReadFull(f, data); errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		err = r.damaged(p, errors.New("it shrank while it was read"))
	}
	return data, err
}
