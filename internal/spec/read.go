package spec

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// A stamp tells whether a file is the one that was read. Its zero value is that of no file.
type stamp struct {
	device, inode uint64
	size          int64
	modified      int64 // nanoseconds since 1970
	changed       int64 // likewise: the inode, which also a rename or chmod touches
	mode          uint32
}

func stampOf(st *unix.Stat_t) stamp {
	return stamp{st.Dev, st.Ino, st.Size, st.Mtim.Nano(), st.Ctim.Nano(), st.Mode}
}

func (s stamp) modTime() time.Time { return time.Unix(0, s.modified) }

// touched is when the file changed in any way.
func (s stamp) touched() time.Time { return time.Unix(0, max(s.modified, s.changed)) }

// A refusal is why a file is not even read.
type refusal fault

func (r *refusal) Error() string { return r.problem }

// check refuses whatever is not a regular file of a fair size.
func (s stamp) check() error {
	const plain = "put a regular file here, or a symbolic link to one"
	switch s.mode & unix.S_IFMT {
	case unix.S_IFREG:
		if s.size > maxSize {
			return &refusal{"over 64 KiB", "a file describes one thing only"}
		}
		return nil
	case unix.S_IFDIR:
		return &refusal{"is a folder", plain}
	case unix.S_IFIFO:
		return &refusal{"is a named pipe", plain}
	case unix.S_IFSOCK:
		return &refusal{"is a socket", plain}
	}
	return &refusal{"is a device", plain}
}

// readText returns the text of a regular file. It never blocks: no other sort of file is opened for reading, and if
// one takes the place meanwhile, opening does not wait for its other end.
func readText(path string) ([]byte, error) {
	text, _, err := readStamped(path)
	return text, err
}

// readStamped is readText that tells the stamp as well.
func readStamped(path string) ([]byte, stamp, error) {
	s, err := stampPath(path)
	if err == nil {
		err = s.check()
	}
	if err != nil {
		return nil, stamp{}, err
	}
	return openText(path)
}

func stampPath(path string) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return stamp{}, &fs.PathError{Op: "stat", Path: path, Err: err}
	}
	return stampOf(&st), nil
}

// openText is readText for what was seen to be a regular file just now, and tells the stamp that it had before and
// after.
func openText(path string) ([]byte, stamp, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return nil, stamp{}, err
	}
	defer f.Close()
	return readOpen(f)
}

// errUnsteady means that a file changed while it was read.
var errUnsteady = errors.New("changed while it was read")

func readOpen(f *os.File) ([]byte, stamp, error) {
	before, err := stampFile(f)
	if err == nil {
		err = before.check()
	}
	if err != nil {
		return nil, stamp{}, err
	}
	text := make([]byte, before.size)
	if _, err := io.ReadFull(f, text); err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, stamp{}, err
	}
	after, err := stampFile(f)
	if err == nil && after != before {
		err = errUnsteady
	}
	return text, after, err
}

func stampFile(f *os.File) (stamp, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return stamp{}, &fs.PathError{Op: "fstat", Path: f.Name(), Err: err}
	}
	return stampOf(&st), nil
}

// fileProblem words an error of reading for the person who wrote the file.
func fileProblem(file string, err error) *Problem {
	f := faultOf(err)
	return &Problem{File: file, Problem: f.problem, Hint: f.hint}
}

func faultOf(err error) fault {
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return fault(*refused)
	case errors.Is(err, unix.ELOOP):
		return fault{"is a symbolic link that leads back to itself", "point it at a regular file"}
	case errors.Is(err, fs.ErrNotExist):
		return fault{"is a symbolic link to a file that does not exist", "point it at a regular file, or remove it"}
	case errors.Is(err, fs.ErrPermission):
		return fault{"may not be read", "let the user of acmed read it: chmod 0644"}
	}
	for under := errors.Unwrap(err); under != nil; under = errors.Unwrap(err) {
		err = under
	}
	return fault{"cannot be read: " + err.Error(), ""}
}
