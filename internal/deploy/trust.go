package deploy

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// maxTrusted is the most bytes of a file that is read on trust; spec has the same bound.
const maxTrusted = 64 << 10

// maxLinks is how many symbolic links a path may lead through, as in Linux itself.
const maxLinks = 40

// trust opens what only root, or one other user, can have written: the file itself, every folder on the way to it,
// and every link that leads there. It walks the path one name at a time, each from the open folder before, so that
// nothing can change between looking and opening.
type trust struct{ uid uint32 }

// readFile returns the content of a regular file, and what is known of it.
func (t trust) readFile(name string) (text []byte, st unix.Stat_t, err error) {
	f, err := t.open(name)
	if err != nil {
		return nil, st, err
	}
	defer f.Close()
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return nil, st, &os.PathError{Op: "fstat", Path: name, Err: err}
	}
	text, err = io.ReadAll(io.LimitReader(f, maxTrusted+1))
	if err == nil && len(text) > maxTrusted {
		err = &blocked{name + " is over 64 KiB", "a file describes one thing only"}
	}
	return text, st, err
}

// open opens a regular file for reading.
func (t trust) open(name string) (*os.File, error) {
	w, err := t.walk(name)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if w.here.Mode&unix.S_IFMT != unix.S_IFREG {
		return nil, &blocked{name + " is not a regular file", "put a regular file here, or a symbolic link to one"}
	}
	// What was looked at is opened for reading: never anything else, never through a link, never waiting.
	fd, err := unix.Openat(w.dir(), w.base, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	f := os.NewFile(uintptr(fd), name)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev != w.here.Dev || st.Ino != w.here.Ino {
		return nil, errors.Join(errors.New(name+" was replaced while it was opened"), err, f.Close())
	}
	return f, nil
}

// openDir opens a folder for listing.
func (t trust) openDir(name string) (*os.File, error) {
	w, err := t.walk(name)
	if err != nil {
		return nil, err
	}
	defer w.close()
	if w.base != "" {
		return nil, &blocked{name + " is not a folder", "make it a folder"}
	}
	fd, err := unix.Openat(w.dir(), ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: name, Err: err}
	}
	return os.NewFile(uintptr(fd), name), nil
}

// owner returns to whom the folder at name belongs, which may be anybody; all on the way to it is trusted.
func (t trust) owner(name string) (uid uint32, err error) {
	w, err := t.along(name, true)
	if err != nil {
		return 0, err
	}
	defer w.close()
	if w.base != "" {
		return 0, &blocked{name + " is not a folder", "make it a folder"}
	}
	var st unix.Stat_t
	if err := unix.Fstat(w.dir(), &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Uid, nil
}

// A walk is on its way along a path.
type walk struct {
	trust
	stack []int  // open folders, from / to where it is
	at    string // the path of the last of them
	todo  []string
	links int
	lax   bool // the folder at the end may be anybody's

	base string      // what the path ends with, unless that is a folder
	here unix.Stat_t // of base
}

// walk goes along an absolute path. It ends in a folder, or in front of the base that is none.
func (t trust) walk(name string) (*walk, error) { return t.along(name, false) }

func (t trust) along(name string, lax bool) (*walk, error) {
	if !path.IsAbs(name) {
		return nil, fmt.Errorf("%s is not an absolute path", name)
	}
	w := &walk{trust: t, lax: lax}
	w.queue(name)
	err := w.rewind()
	for err == nil && len(w.todo) > 0 {
		err = w.next()
	}
	if err != nil {
		w.close()
		return nil, err
	}
	return w, nil
}

func (w *walk) dir() int { return w.stack[len(w.stack)-1] }

func (w *walk) close() {
	for _, fd := range w.stack {
		_ = unix.Close(fd) // nothing was written
	}
}

// queue puts the names of p in front of what is still to be walked.
func (w *walk) queue(p string) {
	names := slices.DeleteFunc(strings.Split(p, "/"), func(s string) bool { return s == "" || s == "." })
	w.todo = append(names, w.todo...)
}

// rewind goes to the root.
func (w *walk) rewind() error {
	w.close()
	w.stack, w.at = nil, "/"
	fd, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: "/", Err: err}
	}
	w.stack = []int{fd}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &os.PathError{Op: "stat", Path: "/", Err: err}
	}
	return w.check("/", &st)
}

// next takes one name.
func (w *walk) next() error {
	name := w.todo[0]
	w.todo = w.todo[1:]
	if name == ".." {
		if n := len(w.stack) - 1; n > 0 {
			_ = unix.Close(w.stack[n])
			w.stack, w.at = w.stack[:n], path.Dir(w.at)
		}
		return nil
	}
	full := path.Join(w.at, name)
	fd, err := unix.Openat(w.dir(), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return &os.PathError{Op: "open", Path: full, Err: err}
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return errors.Join(&os.PathError{Op: "stat", Path: full, Err: err}, unix.Close(fd))
	}
	err = w.check(full, &st)
	if err == nil && st.Mode&unix.S_IFMT == unix.S_IFDIR {
		w.stack, w.at = append(w.stack, fd), full
		return nil
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	switch {
	case err != nil:
		return err
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		return w.follow(fd, full)
	case len(w.todo) > 0:
		return &os.PathError{Op: "open", Path: full, Err: unix.ENOTDIR}
	}
	w.base, w.here = name, st
	return nil
}

// follow goes where a link leads.
func (w *walk) follow(fd int, full string) error {
	if w.links++; w.links > maxLinks {
		return &os.PathError{Op: "open", Path: full, Err: unix.ELOOP}
	}
	buf := make([]byte, unix.PathMax)
	n, err := unix.Readlinkat(fd, "", buf)
	if err != nil {
		return &os.PathError{Op: "readlink", Path: full, Err: err}
	}
	target := string(buf[:n])
	w.queue(target)
	if path.IsAbs(target) {
		return w.rewind()
	}
	return nil
}

// check refuses what somebody else could have put here or could change.
func (w *walk) check(full string, st *unix.Stat_t) error {
	kind := st.Mode & unix.S_IFMT
	open := st.Mode & 0o022
	switch {
	case w.lax && kind == unix.S_IFDIR && len(w.todo) == 0:
		return nil
	case st.Uid != 0 && st.Uid != w.uid:
		return &blocked{fmt.Sprintf("%s belongs to uid %d", full, st.Uid), "chown -h root " + full}
	case kind == unix.S_IFDIR && open != 0 && st.Mode&unix.S_ISVTX != 0:
		return nil // nobody can replace a folder of ours in there; for anything else, see below
	case kind != unix.S_IFLNK && open != 0:
		return &blocked{full + ": others than root may write it", "chmod go-w " + full}
	case kind == unix.S_IFDIR:
		return nil
	}
	// A file or link of ours may be linked to from a folder where everybody may write.
	var dir unix.Stat_t
	if err := unix.Fstat(w.dir(), &dir); err != nil {
		return &os.PathError{Op: "stat", Path: w.at, Err: err}
	}
	if dir.Mode&0o022 != 0 {
		return &blocked{w.at + ": others than root may write it", "chmod go-w " + w.at}
	}
	return nil
}
