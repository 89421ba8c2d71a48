// Package process runs servers for tests as subprocesses: programs of the pinned tools, on loopback ports of their own,
// with their output in a file.
//
// It owns the processes. It never knows what they serve.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrPortTaken is what a process ends with that finds its port in use: it may be started again on another.
var ErrPortTaken = errors.New("a port was taken by another process")

// Process is a running program whose output goes to a log file.
type Process struct {
	name     string
	logFile  string
	logStart int64 // what earlier processes wrote into the file
	cmd      *exec.Cmd
	done     chan struct{} // closed when the program has ended
}

// Start runs a program. Its environment is env and nothing else; its output is added to logFile.
func Start(path, logFile string, env []string, args ...string) (*Process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	p := &Process{
		name:     filepath.Base(path),
		logFile:  logFile,
		logStart: info.Size(),
		cmd:      exec.Command(path, args...),
		done:     make(chan struct{}),
	}
	// The environment is ours alone, so that a developer's PEBBLE_… changes no test.
	p.cmd.Env, p.cmd.Stdout, p.cmd.Stderr = append([]string{}, env...), log, log
	// A test that dies of a panic or a timeout must not leave servers behind.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // killed on purpose, or noticed by AwaitReady
	}()
	return p, nil
}

// Kill ends the program at once, unless it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.done
}

// Stop asks the program to end, and kills it if it still runs after the grace period.
func (p *Process) Stop(grace time.Duration) {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // the only error is that it has ended
	select {
	case <-p.done:
	case <-time.After(grace):
		p.Kill()
	}
}

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.done }

const (
	readyTimeout = 30 * time.Second
	pollInterval = 10 * time.Millisecond
)

// AwaitReady polls until the probe succeeds, for half a minute at most.
func (p *Process) AwaitReady(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := probe(ctx)
		// challtestsrv lives on when a port is taken: only its log tells.
		if bytes.Contains(p.Log(), []byte("address already in use")) {
			return fmt.Errorf("starting %s: %w", p.name, ErrPortTaken)
		}
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w; see %s", p.name, err, p.logFile)
		case <-p.done:
			return p.ended()
		case <-tick.C:
		}
	}
}

func (p *Process) ended() error {
	log := p.Log()
	if bytes.Contains(log, []byte("address already in use")) {
		return fmt.Errorf("starting %s: %w", p.name, ErrPortTaken)
	}
	return fmt.Errorf("%s ended: %s\n%s", p.name, p.cmd.ProcessState, log)
}

// Log is what this process has written.
func (p *Process) Log() []byte {
	file, err := os.Open(p.logFile)
	if err != nil {
		return []byte(err.Error())
	}
	defer file.Close()
	log, err := io.ReadAll(io.NewSectionReader(file, p.logStart, math.MaxInt64-p.logStart))
	if err != nil {
		return []byte(err.Error())
	}
	return log
}

// FreePorts returns n ports that are free, and that no other test takes as long
// as this process lives: some are taken only later, by who answers challenges.
// They lie below the range that the kernel gives to outgoing connections, so
// that none of those takes one meanwhile.
func FreePorts(n int) ([]int, error) {
	var ports []int
	for range 1000 {
		port := 20000 + rand.IntN(10000)
		reserved, err := reserve(port)
		if err != nil {
			return nil, err
		}
		if !reserved || !portFree(port) {
			continue
		}
		if ports = append(ports, port); len(ports) == n {
			return ports, nil
		}
	}
	return nil, errors.New("finding free ports on 127.0.0.1: none between 20000 and 30000")
}

// reserve takes a port for this process, by a lock that ends with it.
func reserve(port int) (bool, error) {
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("acmed-test-ports-%d", os.Geteuid()))
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	fd, err := unix.Open(filepath.Join(dir, strconv.Itoa(port)), unix.O_CREAT|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return false, fmt.Errorf("reserving port %d: %w", port, err)
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return false, unix.Close(fd)
	}
	return true, nil // the descriptor stays open
}

func portFree(port int) bool {
	tcp, err := net.Listen("tcp", Loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", Loopback(port))
	if err != nil {
		return false
	}
	defer udp.Close()
	return true
}

// Loopback is a port of 127.0.0.1.
func Loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
