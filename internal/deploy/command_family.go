package deploy

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// runMark names a variable that all processes of one command have, whatever group they join and whoever adopts them.
const runMark = "ACMED_RUN"

// family are the processes that come of one command: its group, their children, and whoever bears its mark.
type family struct {
	mark  string
	known map[int]string // processes that were seen: when each was started, by its number
}

func newFamily() *family {
	return &family{mark: runMark + "=" + rand.Text(), known: map[int]string{}}
}

// terminate asks the group to end. Whose children the others are is seen now, for orphans cannot be told any more.
func (f *family) terminate(leader int) error {
	f.look(leader)
	if err := syscall.Kill(-leader, syscall.SIGTERM); errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return nil
}

// kill ends the group and, with all, the whole family. Some may start others meanwhile: so it looks again.
func (f *family) kill(leader int, all bool) {
	_ = syscall.Kill(-leader, syscall.SIGKILL) // there is nothing left of most
	for range 5 {
		if !all || !f.killed(leader) {
			return
		}
	}
}

// killed ends the members that are alive, and tells whether there was one.
func (f *family) killed(leader int) (any bool) {
	for _, p := range f.look(leader) {
		// The handle is of the process that has the number now: it is ours if it was started when ours was.
		handle, err := os.FindProcess(p.pid)
		if err != nil {
			continue
		}
		if now, ok := readProcess(p.pid); ok && now.started == p.started {
			any = handle.Signal(syscall.SIGKILL) == nil || any
		}
		_ = handle.Release() // it only let go of a descriptor
	}
	return any
}

// look finds the members that are alive.
func (f *family) look(leader int) (members []process) {
	all := processes()
	alive := map[int]string{}
	for _, p := range all {
		if alive[p.pid] = p.started; p.group == leader || f.bears(p.pid) {
			f.known[p.pid] = p.started
		}
	}
	ours := func(pid int) bool { return alive[pid] != "" && f.known[pid] == alive[pid] }
	for found := true; found; {
		found = false
		for _, p := range all {
			if ours(p.parent) && !ours(p.pid) {
				f.known[p.pid], found = p.started, true
			}
		}
	}
	for _, p := range all {
		if ours(p.pid) {
			members = append(members, p)
		}
	}
	return members
}

// bears tells whether a process has the mark in the environment that it was started with. Those of other users show
// theirs to root alone.
func (f *family) bears(pid int) bool {
	environ, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	return err == nil && strings.Contains("\x00"+string(environ), "\x00"+f.mark+"\x00")
}

// process is what /proc/PID/stat of proc(5) tells of one.
type process struct {
	pid, parent, group int
	started            string // in ticks since the machine was
}

// processes are all that are alive.
func processes() (all []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, dir := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(dir)) // no process has the number 0
		if p, ok := readProcess(pid); ok {
			all = append(all, p)
		}
	}
	return all
}

func readProcess(pid int) (process, bool) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := strings.Cut(string(text), "(")
	fields := strings.Fields(rest[strings.LastIndexByte(rest, ')')+1:]) // the name may hold anything
	if err != nil || len(fields) < 20 || fields[0] == "Z" || fields[0] == "X" {
		return process{}, false
	}
	parent, err := strconv.Atoi(fields[1])
	group, gerr := strconv.Atoi(fields[2])
	return process{pid, parent, group, fields[19]}, errors.Join(err, gerr) == nil
}
