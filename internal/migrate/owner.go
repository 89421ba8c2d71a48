package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// daemonUser is whom the package's unit runs acmed as.
const daemonUser = "acmed"

// ownerOf tells whom the state folder belongs to. A missing one is made, by root for the daemon's user if there is one.
func ownerOf(dir string) (uid, gid int, err error) {
	info, err := os.Stat(dir)
	if err == nil {
		st := info.Sys().(*syscall.Stat_t)
		return int(st.Uid), int(st.Gid), nil
	}
	uid, gid = os.Geteuid(), os.Getegid()
	if !errors.Is(err, fs.ErrNotExist) || uid != 0 {
		return uid, gid, nil // opening it will explain it better
	}
	if u, err := user.Lookup(daemonUser); err == nil {
		return makeFor(u, dir)
	}
	return uid, gid, nil
}

// makeFor makes the state folder of a user.
func makeFor(u *user.User, dir string) (uid, gid int, err error) {
	uid, err = strconv.Atoi(u.Uid)
	if err == nil {
		gid, err = strconv.Atoi(u.Gid)
	}
	if err == nil {
		err = errors.Join(os.Mkdir(dir, 0o711), os.Chmod(dir, 0o711), os.Chown(dir, uid, gid))
	}
	if err != nil {
		return 0, 0, fmt.Errorf("creating the state folder: %w", err)
	}
	return uid, gid, nil
}

// as runs f with the rights of a user, so that what it makes is theirs and what they put in its way fools nobody. Only
// root can; for others, and for their own folders, nothing changes.
func as(uid, gid int, f func() error) (err error) {
	if os.Geteuid() != 0 || uid == 0 {
		return f()
	}
	root := os.Getegid()
	// The group first: only root may choose it.
	if err := syscall.Setregid(-1, gid); err != nil {
		return fmt.Errorf("taking the group %d of the state folder: %w", gid, err)
	}
	if err := syscall.Setreuid(-1, uid); err != nil {
		return errors.Join(fmt.Errorf("taking the user %d of the state folder: %w", uid, err), syscall.Setregid(-1, root))
	}
	defer func() {
		err = errors.Join(err, syscall.Setreuid(-1, 0), syscall.Setregid(-1, root))
	}()
	return f()
}
