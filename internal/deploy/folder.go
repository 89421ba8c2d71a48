package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// folder is an open folder that was reached without following a link, and in which nobody can put anything who is not
// trusted.
type folder struct {
	file *os.File
	path string
}

func (d *folder) fd() int                 { return int(d.file.Fd()) }
func (d *folder) join(name string) string { return filepath.Join(d.path, name) }
func (d *folder) close()                  { d.file.Close() }

// lstat tells what is known of an entry; nil: there is none.
func (d *folder) lstat(name string) (*unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstatat(d.fd(), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil, nil
	case err != nil:
		return nil, &fs.PathError{Op: "stat", Path: d.join(name), Err: err}
	}
	return &st, nil
}

// holds tells whether there is an entry of any of these names.
func (d *folder) holds(names ...string) (bool, error) {
	for _, name := range names {
		if st, err := d.lstat(name); err != nil || st != nil {
			return err == nil, err
		}
	}
	return false, nil
}

// blocked is why a path is not written to: its text says what is wrong, and hint what to do.
type blocked struct{ problem, hint string }

func (b *blocked) Error() string { return b.problem }

// openFolder opens the folder of an absolute path, one component after the other. Each has to belong to root, to one of
// the trusted users or to who runs this, and to be writable for nobody else; a sticky folder of root's, such as /tmp,
// may be on the way, for there nobody can replace what is another's.
func openFolder(path string, trusted ...uint32) (*folder, error) {
	trusted = append(trusted, 0, uint32(os.Geteuid()))
	at, err := unix.Open("/", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: "/", Err: err}
	}
	defer func() { _ = unix.Close(at) }()
	way := "/"
	parts := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	for i, part := range append([]string{""}, parts...) {
		if part != "" {
			way = filepath.Join(way, part)
			next, err := descend(at, part, way)
			if err != nil {
				return nil, err
			}
			_ = unix.Close(at) // an O_PATH descriptor has nothing to lose
			at = next
		}
		if err := checkFolder(at, way, i == len(parts), trusted); err != nil {
			return nil, err
		}
	}
	fd, err := unix.Openat(at, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return &folder{file: os.NewFile(uintptr(fd), path), path: path}, nil
}

// descend opens the next component.
func descend(at int, part, way string) (int, error) {
	next, err := unix.Openat(at, part, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return -1, &blocked{way + " does not exist", "make the folder: mkdir -p " + way}
	}
	if err != nil {
		return -1, &fs.PathError{Op: "open", Path: way, Err: err}
	}
	var st unix.Stat_t
	err = unix.Fstat(next, &st)
	switch {
	case err != nil:
		err = &fs.PathError{Op: "stat", Path: way, Err: err}
	case st.Mode&unix.S_IFMT == unix.S_IFLNK:
		target := make([]byte, 256)
		n, _ := unix.Readlinkat(at, part, target) // for the message only
		err = &blocked{fmt.Sprintf("%s is a link to %s", way, target[:max(n, 0)]), "name the folder that it leads to"}
	case st.Mode&unix.S_IFMT != unix.S_IFDIR:
		err = &blocked{way + " is not a folder", "name a file in a folder"}
	}
	if err != nil {
		_ = unix.Close(next)
		return -1, err
	}
	return next, nil
}

// checkFolder refuses a folder in which somebody could put another thing under the name that is about to be used.
func checkFolder(fd int, way string, last bool, trusted []uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return &fs.PathError{Op: "stat", Path: way, Err: err}
	}
	mode := st.Mode & 0o7777
	switch {
	case !slices.Contains(trusted, st.Uid):
		return &blocked{fmt.Sprintf("%s belongs to user %d, who could replace what is written there", way, st.Uid),
			"write below a folder of root's, or of the owner of the file"}
	case mode&0o022 == 0, mode&unix.S_ISVTX != 0 && st.Uid == 0 && !last:
		return nil
	}
	return &blocked{fmt.Sprintf("%s has mode %#o: others could replace what is written there", way, mode), "chmod go-w " + way}
}
