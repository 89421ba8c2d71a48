// Package newfile writes the files that a command line creates for the daemon.
//
// It owns the way in which such a file appears: whole, durable, with its mode and the group of its directory, and never
// over another file unless the caller allows that. It does not know what the files contain.
package newfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Put writes text to file. It creates the directory of the file if only that is missing. Without replace, an existing
// file is an error that wraps fs.ErrExist.
func Put(file string, text []byte, mode fs.FileMode, replace bool) error {
	dir := filepath.Dir(file)
	if err := makeDirectory(dir, mode|mode&0o444>>2); err != nil {
		return err
	}
	tmp, err := draft(dir, text, mode)
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	if replace {
		err = os.Rename(tmp, file)
	} else {
		err = os.Link(tmp, file) // unlike a rename, it never replaces
	}
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", file, err)
	}
	return syncDirectory(dir)
}

// Writable returns an error if Put cannot write to dir, or to the directory in which it would create dir.
func Writable(dir string) error {
	for {
		err := unix.Access(dir, unix.W_OK|unix.X_OK)
		if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
			if err != nil {
				return &fs.PathError{Op: "writing to", Path: dir, Err: err}
			}
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// draft writes a durable file under a name that acmed does not read.
func draft(dir string, text []byte, mode fs.FileMode) (name string, err error) {
	f, err := os.CreateTemp(dir, ".acmed-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	err = errors.Join(err, f.Chown(-1, groupOf(dir)), f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// makeDirectory creates a directory for files of acmed. An existing one stays as it is: the package installs them.
func makeDirectory(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, os.Chown(dir, -1, groupOf(dir)), os.Chmod(dir, mode))
}

// groupOf returns the group for new files in dir: the group of dir, or acmed if that is root's.
func groupOf(dir string) int {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return -1
	}
	if acmed, err := user.LookupGroup("acmed"); err == nil && st.Gid == 0 {
		if gid, err := strconv.Atoi(acmed.Gid); err == nil {
			return gid
		}
	}
	return int(st.Gid)
}

func syncDirectory(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
