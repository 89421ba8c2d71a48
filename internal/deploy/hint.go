package deploy

import (
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
)

// rootHint is for what only root may do.
const rootHint = "have it done as root by the deploy helper: systemctl enable --now acmed-deploy.socket"

// connectHint is for a systemd that cannot be called.
func connectHint(verb string, err error) string {
	if errors.Is(err, fs.ErrPermission) {
		return rootHint
	}
	return "run acmed where systemd is, or use deploy.run in place of deploy." + verb
}

// jobHint is for a job that systemd refuses. go-systemd passes systemd's words on, without the name of the error.
func jobHint(verb, unit string, err error) string {
	words := strings.ToLower(err.Error())
	says := func(text string) bool { return strings.Contains(words, text) }
	switch {
	case says("not applicable"):
		return "systemd does not " + verb + " such a unit: name the unit of the server itself under deploy." + verb + ", or use deploy.run"
	case says("not found") || says("not loaded"):
		return "correct deploy." + verb + ", or install what " + unit + " belongs to"
	case says("masked"):
		return "run: systemctl unmask " + unit
	case says("denied") || says("authentication") || says("not permitted"):
		return rootHint
	}
	return "see: systemctl status " + unit
}

// writeHint is for a place at which a file may not be written by a process of that user.
func writeHint(euid int) string {
	if euid == 0 {
		return "root may not write there: look for the immutable attribute (lsattr), NFS with root_squash, and SELinux or AppArmor"
	}
	return "let acmed write there, or " + rootHint
}

// findHint is for a program that is not found, or cannot be run.
func findHint(name string) string {
	switch {
	case filepath.IsAbs(name) && errors.Is(runnable(name), errMode):
		return "run: chmod +x " + name
	case filepath.IsAbs(name):
		return "install it, or correct its path"
	case strings.Contains(name, "/"):
		return "write its absolute path"
	}
	return "install it, or write its absolute path"
}

// errMode is returned by runnable for a file without the permission to execute it.
var errMode = errors.New("is not a program that may be run")

// launchHint is for a program that is there, and that the kernel does not start.
func launchHint(program string, err error) string {
	switch {
	case errors.Is(err, syscall.ENOEXEC):
		return "begin " + program + " with a line such as #!/bin/sh"
	case errors.Is(err, syscall.ENOENT):
		return "correct the first line of " + program + ": the interpreter that it names does not exist"
	case errors.Is(err, syscall.EPERM):
		return rootHint
	case errors.Is(err, syscall.EACCES):
		return "let the user who runs it execute " + program + ": look at its directories, and for a file system mounted noexec"
	}
	return "make sure that " + program + " can be run there"
}

// userHint is for a user as whom a command cannot run.
func userHint(err error) string {
	if errors.Is(err, errOnlyRoot) {
		return rootHint
	}
	return "create the user, or name another one in the spec"
}

// errOnlyRoot is returned for a user that this process cannot become.
var errOnlyRoot = errors.New("only root can run it as another user")
