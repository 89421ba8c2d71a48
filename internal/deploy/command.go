package deploy

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// stopGrace is how long a command has to end after SIGTERM.
	stopGrace = 5 * time.Second
	// maxOutput is how much of what a command says is kept: the end.
	maxOutput = 64 << 10
	// runMark names a variable that all processes of one command have, whatever group they join.
	runMark = "ACMED_RUN"
)

// command is a program that is run for a certificate.
type command struct {
	argv    []string
	timeout time.Duration
	user    string   // "": who runs this
	env     []string // besides the usual
	grace   time.Duration
}

// ended is how a command ended.
type ended struct {
	problem string // "": with success
	hint    string
	note    string
	output  string
}

// run runs the command in a group of its own, with a clean environment and for its time at most. Whatever it leaves
// running in its group is ended; after its time is up, all processes that come of it are.
func (c command) run(ctx context.Context) ended {
	program, err := find(c.argv[0])
	if err != nil {
		return ended{problem: err.Error(), hint: "install it, or give its absolute path"}
	}
	account, err := accountOf(c.user)
	if err != nil {
		return ended{problem: err.Error(), hint: "make the user, or name another one in the spec"}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	mark := runMark + "=" + rand.Text()
	out := &ending{max: maxOutput}
	cmd := exec.CommandContext(ctx, program, c.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	cmd.Env = append(append(account.environment(), c.env...), mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: account.credential}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = c.grace
	if err := cmd.Start(); err != nil {
		return ended{problem: "cannot be started: " + err.Error(), hint: "see that " + program + " is a program that may be run there"}
	}
	err = cmd.Wait()
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group has ended when there is nothing left
	if ctx.Err() != nil {
		killMarked(mark)
	}
	return c.judge(ctx, err, out.String())
}

// judge words how the command ended.
func (c command) judge(ctx context.Context, err error, output string) ended {
	e := ended{output: output, hint: "see what it says, and mend the cause; acmed deploy tries again at once"}
	exit, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		e.problem, e.hint = fmt.Sprintf("took longer than %s and was ended", c.timeout), "see why it hangs, or give it a longer timeout"
	case ctx.Err() != nil:
		e.problem, e.hint = "was ended, for acmed stops", "it is run again"
	case err == nil:
		return ended{output: output}
	case errors.Is(err, exec.ErrWaitDelay):
		return ended{output: output, note: "left a process behind, which was ended"}
	case exit != nil && exit.Exited():
		e.problem = fmt.Sprintf("exited with status %d", exit.ExitCode())
	case exit != nil:
		e.problem = fmt.Sprintf("was ended by a signal: %v", exit.Sys().(syscall.WaitStatus).Signal())
	default:
		e.problem = err.Error()
	}
	return e
}

// find gives the path of a program: an absolute one, or one of searchPath.
func find(name string) (string, error) {
	if strings.Contains(name, "/") {
		if !filepath.IsAbs(name) {
			return "", fmt.Errorf("%q is neither a name nor an absolute path", name)
		}
		return name, runnable(name)
	}
	for _, dir := range filepath.SplitList(searchPath) {
		if program := filepath.Join(dir, name); runnable(program) == nil {
			return program, nil
		}
	}
	return "", fmt.Errorf("there is no program %q in %s", name, searchPath)
}

func runnable(program string) error {
	info, err := os.Stat(program)
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() || info.Mode()&0o111 == 0 {
		return fmt.Errorf("%s is not a program that may be run", program)
	}
	return nil
}

// account is who runs a command.
type account struct {
	user       *user.User
	credential *syscall.Credential // nil: who runs this
}

// accountOf finds a user by name or number; "" is who runs this.
func accountOf(name string) (account, error) {
	if name == "" {
		u, err := user.Current()
		if err != nil {
			u = &user.User{Uid: strconv.Itoa(os.Geteuid()), Username: "nobody", HomeDir: "/"}
		}
		return account{user: u}, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return account{}, fmt.Errorf("there is no user %s on this machine", name)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	gid, gerr := strconv.ParseUint(u.Gid, 10, 32)
	ids, ierr := u.GroupIds()
	if err := errors.Join(err, gerr, ierr); err != nil {
		return account{}, fmt.Errorf("looking up user %s: %w", name, err)
	}
	if int(uid) == os.Geteuid() && uid != 0 {
		return account{user: u}, nil
	}
	if os.Geteuid() != 0 {
		return account{}, fmt.Errorf("only root can run it as %s", name)
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	for _, id := range ids {
		if n, err := strconv.ParseUint(id, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(n))
		}
	}
	return account{u, c}, nil
}

func (a account) environment() []string {
	return []string{
		"PATH=" + searchPath, "LANG=C.UTF-8", "HOME=" + a.user.HomeDir, "USER=" + a.user.Username, "LOGNAME=" + a.user.Username,
	}
}

// killMarked ends every process that has the mark in the environment it was started with. Two rounds, for one may have
// started another meanwhile.
func killMarked(mark string) {
	for range 2 {
		files, _ := filepath.Glob("/proc/[0-9]*/environ") // the pattern is good
		for _, file := range files {
			environ, err := os.ReadFile(file)
			pid, perr := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			if err == nil && perr == nil && strings.Contains("\x00"+string(environ), "\x00"+mark+"\x00") {
				_ = syscall.Kill(pid, syscall.SIGKILL) // it may have ended by itself
			}
		}
	}
}

// ending keeps the end of what is written to it.
type ending struct {
	max  int
	text []byte
}

func (e *ending) Write(p []byte) (int, error) {
	e.text = append(e.text, p[max(0, len(p)-e.max):]...)
	if len(e.text) > 2*e.max {
		e.text = append(e.text[:0], e.text[len(e.text)-e.max:]...)
	}
	return len(p), nil
}

// String is the end as text. Control characters, which could garble a terminal, are marked.
func (e *ending) String() string {
	text := strings.ToValidUTF8(string(e.text[max(0, len(e.text)-e.max):]), "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0x7f {
			return '\uFFFD'
		}
		return r
	}, text)
}
