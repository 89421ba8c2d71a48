package site

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"
)

// Process is `acmed run`. It is killed at the end of the test.
type Process struct {
	cmd   *exec.Cmd
	ready chan struct{}
	ended chan struct{}
}

// Launch starts the daemon and waits for nothing.
func (s *Site) Launch(t testing.TB) *Process {
	t.Helper()
	log, err := os.OpenFile(s.Path("acmed.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p := &Process{
		cmd:   exec.Command("acmed", "run", "--config", s.Path("acmed.yaml")),
		ready: make(chan struct{}), ended: make(chan struct{}),
	}
	systemd := p.playSystemd(t, s.Path("notify"))
	p.cmd.Stdout, p.cmd.Stderr = log, log
	// A test that dies of a panic or a timeout must not leave daemons behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // what it ended with is in ProcessState
		_ = systemd.Close()
	}()
	t.Cleanup(p.Kill)
	return p
}

// playSystemd listens where the daemon will say that it is ready.
func (p *Process) playSystemd(t testing.TB, socket string) *net.UnixConn {
	t.Helper()
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	p.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET="+socket)
	go func() {
		told := sync.OnceFunc(func() { close(p.ready) }) // after a reload it says so again
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return // the daemon has ended
			}
			if bytes.Contains(buf[:n], []byte("READY=1")) {
				told()
			}
		}
	}()
	return conn
}

// Start starts the daemon and waits until it has told systemd that it is ready.
func (s *Site) Start(t testing.TB) *Process {
	t.Helper()
	p := s.Launch(t)
	p.AwaitReady(t)
	return p
}

// AwaitReady waits until the daemon has told systemd that it is ready.
func (p *Process) AwaitReady(t testing.TB) {
	t.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		t.Fatalf("the daemon ended: %s", p.cmd.ProcessState)
	case <-time.After(Patience):
		t.Fatal("the daemon does not become ready")
	}
}

// Ready is closed when the daemon has told systemd that it is ready.
func (p *Process) Ready() <-chan struct{} { return p.ready }

// Ended is closed when the daemon has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Stop ends the daemon as systemd does. Its exit code has to be zero.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := p.ExitCode(t); code != 0 {
		t.Fatalf("after SIGTERM the exit code is %d, want 0", code)
	}
}

// Kill ends the daemon at once, unless it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.ended
}

// KillAfter waits before it kills the daemon.
func (p *Process) KillAfter(d time.Duration) {
	select {
	case <-time.After(d):
	case <-p.ended:
	}
	p.Kill()
}

// ExitCode waits for the end of the daemon.
func (p *Process) ExitCode(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(Patience):
		t.Fatal("the daemon does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}
