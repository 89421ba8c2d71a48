package eab

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

// put writes a whole and durable file with the group of its folder, in the place of another one only if it may.
func put(file string, text []byte, mode fs.FileMode, replace bool) error {
	dir := filepath.Dir(file)
	if err := makeFolder(dir, mode|mode&0o444>>2); err != nil {
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
	return syncFolder(dir)
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

// makeFolder makes a folder for files of acmed, unless it is there: the package brings both.
func makeFolder(dir string, mode fs.FileMode) error {
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return errors.Join(err, os.Chown(dir, -1, groupOf(dir)), os.Chmod(dir, mode))
}

// groupOf is the group that a folder gives its files: its own, or acmed's where root made the folder.
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

func syncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
