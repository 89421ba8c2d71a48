package deploy

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	// usualTimeout is for a command that has none.
	usualTimeout = time.Minute
	// stopGrace is how long a command has to end after SIGTERM, and what it leaves behind to let go of its output.
	stopGrace = 5 * time.Second
)

// command is a program that is run for a certificate.
type command struct {
	argv    []string
	timeout time.Duration
	user    string   // "": who runs this
	env     []string // besides the usual
	stdin   []byte
	grace   time.Duration
	apart   bool // what it says is its standard output alone; else both, as they come
}

// hintAgain is for a command of a delivery that ended badly.
const hintAgain = "see what it says, and mend the cause; acmed deploy tries again at once"

// Program is one that serves no certificate, and is run as those that do: as the user of this process, with a clean
// environment, for its time, and nothing of it stays.
type Program struct {
	Argv    []string
	Env     []string // besides the usual
	Stdin   []byte
	Timeout time.Duration // zero: a minute
}

// Run runs p and returns the last of what it said. The error says how it ended, and that as well.
func Run(ctx context.Context, p Program) (output string, err error) {
	e := command{argv: p.Argv, env: p.Env, stdin: p.Stdin, timeout: p.Timeout, grace: stopGrace}.run(ctx)
	if e.problem == "" {
		return e.said, nil
	}
	if e.output != "" {
		e.problem += ": " + strings.TrimSpace(e.output)
	}
	return e.output, errors.New(e.problem)
}

// ended is how a command ended.
type ended struct {
	problem string // "": with success
	hint    string
	note    string // with success: what is worth knowing
	output  string // without: the last of what it said
	said    string // with success: the same, for who asked for it
	stopped bool   // it came to no end of its own, and not for lack of time either
}

func (e ended) result() Result {
	return Result{OK: e.problem == "", Problem: e.problem, Hint: e.hint, Note: e.note, Output: e.output}
}

// run runs the command in a group of its own, with a clean environment and for its time at most. What it leaves running
// in its group is ended; where its time is up, or somebody holds on to its output, all that came of it is.
func (c command) run(ctx context.Context) ended {
	if ctx.Err() != nil {
		return c.judge(ctx, ctx, ctx.Err(), "")
	}
	program, err := find(c.argv[0])
	if err != nil {
		return ended{problem: err.Error(), hint: findHint(c.argv[0])}
	}
	account, err := accountOf(c.user)
	if err != nil {
		return ended{problem: err.Error(), hint: userHint(err)}
	}
	limited, cancel := context.WithTimeout(ctx, cmp.Or(c.timeout, usualTimeout))
	defer cancel()
	all, out := newFamily(), &ending{max: maxOutput}
	cmd := exec.CommandContext(limited, program, c.argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "/", out, out
	if c.stdin != nil {
		cmd.Stdin = bytes.NewReader(c.stdin)
	}
	cmd.Env = append(append(account.environment(), c.env...), all.mark)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: account.credential}
	cmd.Cancel = func() error { return all.terminate(cmd.Process.Pid) }
	cmd.WaitDelay = c.grace
	said := out
	if c.apart {
		said = &ending{max: maxOutput}
		cmd.Stdout = said
	}
	if err := cmd.Start(); err != nil {
		if ctx.Err() != nil {
			return c.judge(ctx, limited, err, "")
		}
		return ended{problem: "cannot be started: " + err.Error(), hint: launchHint(program, err)}
	}
	err = cmd.Wait()
	all.kill(cmd.Process.Pid, limited.Err() != nil || errors.Is(err, exec.ErrWaitDelay))
	output := out.String()
	if c.apart {
		output = said.String() + output
	}
	e := c.judge(ctx, limited, err, output)
	if e.problem == "" && c.apart {
		e.said = said.String()
	}
	return e
}

// judge words how the command ended.
func (c command) judge(ctx, limited context.Context, err error, output string) ended {
	e := ended{output: output, hint: hintAgain}
	exit, _ := errors.AsType[*exec.ExitError](err)
	switch {
	case err == nil:
		return ended{said: output}
	case errors.Is(err, exec.ErrWaitDelay):
		return ended{note: "left a process behind, which was ended"}
	case ctx.Err() != nil:
		e.problem, e.hint, e.stopped = "was ended, for there was no more time for deliveries", "it is run again", true
	case limited.Err() != nil:
		e.problem = fmt.Sprintf("took longer than %s and was killed", inWords(cmp.Or(c.timeout, usualTimeout)))
		e.hint = "see why it hangs, or give it a longer timeout"
	case exit != nil && exit.Exited():
		e.problem = fmt.Sprintf("exited with status %d", exit.ExitCode())
	case exit != nil:
		e.problem = fmt.Sprintf("was ended by a signal: %v", exit.Sys().(syscall.WaitStatus).Signal())
	default:
		e.problem = err.Error()
	}
	return e
}

// inWords is a duration as a spec has it: 60s, 5m.
func inWords(d time.Duration) string {
	if d > time.Minute && d%time.Minute == 0 {
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	if d%time.Second == 0 {
		return fmt.Sprintf("%ds", d/time.Second)
	}
	return d.String()
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
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("there is no program %s", program)
	case err != nil:
		return fmt.Errorf("looking for the program: %w", err)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a program that may be run", program)
	case info.Mode()&0o111 == 0:
		return fmt.Errorf("%s %w", program, errMode)
	}
	return nil
}
