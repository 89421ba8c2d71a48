package daemon_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"syscall"

	"acmed/internal/daemon"
)

// childConfig, in its environment, makes this test binary the daemon that systemd starts, with that acmed.yaml.
const childConfig = "ACMED_TEST_CONFIG"

func runChild(config string) int {
	os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // which its parent could not know
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := daemon.Run(ctx, daemon.Config{ConfigFile: config}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// startChild is start in a process of its own, with more in its environment and open files from 3 on.
func (s *site) startChild(env []string, files ...*os.File) *os.Process {
	s.t.Helper()
	r := &run{ended: make(chan error, 1), log: &logbook{}}
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), childConfig+"="+s.path("acmed.yaml"), "GORACE=atexit_sleep_ms=0")
	child.Env = append(child.Env, env...)
	child.ExtraFiles, child.Stderr = files, r.log
	if err := child.Start(); err != nil {
		s.t.Fatal(err)
	}
	r.end = func() {
		if err := child.Process.Signal(syscall.SIGTERM); err != nil {
			s.t.Errorf("stopping the daemon: %v", err)
		}
	}
	go func() { r.ended <- child.Wait() }()
	s.awaitReady(r)
	return child.Process
}
