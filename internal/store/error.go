package store

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
)

// DamagedError tells that something is not what acmed wrote: flipped bytes, a truncated or missing file.
type DamagedError struct {
	Path     string // absolute
	Err      error  // what is wrong with it
	Archived string // where it was moved, so that it starts anew; "": it was left in place
}

func (e *DamagedError) Error() string {
	if e.Archived != "" {
		return fmt.Sprintf("%s is damaged: %v; it was moved to %s and starts anew", e.Path, e.Err, e.Archived)
	}
	return fmt.Sprintf("%s is damaged: %v; restore it from a backup, or move it away and let acmed make it anew", e.Path, e.Err)
}

// Unwrap returns what is wrong.
func (e *DamagedError) Unwrap() error { return e.Err }

// FormatError tells that a newer acmed has laid out the state directory. Nothing in it was touched.
type FormatError struct{ Found, Known int }

func (e *FormatError) Error() string {
	return fmt.Sprintf("it has format %d and this acmed knows %d: install the newer acmed again and start it, "+
		"or restore a backup from before the upgrade", e.Found, e.Known)
}

// advisedError is an error of the operating system with what to do about it.
type advisedError struct {
	err    error
	advice string
}

func (e *advisedError) Error() string { return e.err.Error() + "; " + e.advice }
func (e *advisedError) Unwrap() error { return e.err }

// advise adds what to do about an error of the operating system, once.
func (r *Reader) advise(err error) error {
	var advice string
	_, done := errors.AsType[*advisedError](err)
	switch {
	case done:
		return err
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		advice = "free space or inodes on the filesystem of " + r.dir
	case errors.Is(err, syscall.EROFS):
		advice = "make the filesystem of " + r.dir + " writable again"
	case errors.Is(err, syscall.EIO):
		advice = "the disk below " + r.dir + " fails: see the kernel's log"
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		advice = "raise LimitNOFILE= of acmed.service"
	case errors.Is(err, fs.ErrPermission):
		advice = fmt.Sprintf("see that everything below %s belongs to uid %d", r.dir, r.uid)
	default:
		return err
	}
	return &advisedError{err, advice}
}
