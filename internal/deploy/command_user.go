package deploy

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"
)

// account is who runs a command.
type account struct {
	name, home string
	credential *syscall.Credential // nil: who runs this
}

// accountOf finds a user by name or number; "" is who runs this.
func accountOf(name string) (account, error) {
	if name == "" {
		if u, err := user.Current(); err == nil {
			return account{name: u.Username, home: u.HomeDir}, nil
		}
		return account{name: strconv.Itoa(os.Geteuid()), home: "/"}, nil // a user that exists only while this runs
	}
	u, err := user.Lookup(name)
	if err != nil {
		u, err = user.LookupId(name)
	}
	if err != nil {
		return account{}, fmt.Errorf("there is no user %s on this machine", name)
	}
	c, err := credentialOf(u)
	switch {
	case err != nil:
		return account{}, fmt.Errorf("looking up user %s: %w", name, err)
	case os.Geteuid() == 0:
	case int(c.Uid) == os.Geteuid():
		c = nil
	default:
		return account{}, fmt.Errorf("%w: %s", errOnlyRoot, name)
	}
	return account{u.Username, u.HomeDir, c}, nil
}

// credentialOf is what makes a process one of the user's: with all groups that it is in, and no other.
func credentialOf(u *user.User) (*syscall.Credential, error) {
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	ids, ierr := u.GroupIds()
	if err := errors.Join(err, gerr, ierr); err != nil {
		return nil, err
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, id := range ids {
		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			return nil, err
		}
		c.Groups = append(c.Groups, uint32(n))
	}
	return c, nil
}

func (a account) environment() []string {
	return []string{"PATH=" + searchPath, "LANG=C.UTF-8", "HOME=" + a.home, "USER=" + a.name, "LOGNAME=" + a.name}
}
