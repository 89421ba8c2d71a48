package pebble

import (
	"bytes"
	"context"
	"errors"
	"fmt"
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

var errPortTaken = errors.New("a port was taken by another process")

// process is a running program whose output goes to a log file.
type process struct {
	name     string
	logFile  string
	logStart int64 // what earlier processes wrote into the file
	cmd      *exec.Cmd
	done     chan struct{} // closed when the program has ended
}

func startProcess(path, logFile string, env []string, args ...string) (*process, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	info, err := log.Stat()
	if err != nil {
		return nil, err
	}
	p := &process{
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
		_ = p.cmd.Wait() // killed on purpose, or noticed by awaitReady
	}()
	return p, nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill() // the only error is that it has ended
	<-p.done
}

const (
	readyTimeout = 30 * time.Second
	pollInterval = 10 * time.Millisecond
)

// awaitReady polls until the probe succeeds.
func (p *process) awaitReady(ctx context.Context, probe func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := probe(ctx)
		// challtestsrv lives on when a port is taken: only its log tells.
		if bytes.Contains(p.log(), []byte("address already in use")) {
			return fmt.Errorf("starting %s: %w", p.name, errPortTaken)
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

func (p *process) ended() error {
	log := p.log()
	if bytes.Contains(log, []byte("address already in use")) {
		return fmt.Errorf("starting %s: %w", p.name, errPortTaken)
	}
	return fmt.Errorf("%s ended: %s\n%s", p.name, p.cmd.ProcessState, log)
}

// log returns what this process has written.
func (p *process) log() []byte {
	log, err := os.ReadFile(p.logFile)
	if err != nil {
		return []byte(err.Error())
	}
	return log[min(p.logStart, int64(len(log))):]
}

// freePorts returns n ports that are free, and that no other test takes as long
// as this process lives: some are taken only later, by who answers challenges.
// They lie below the range that the kernel gives to outgoing connections, so
// that none of those takes one meanwhile.
func freePorts(n int) ([]int, error) {
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
	tcp, err := net.Listen("tcp", loopback(port))
	if err != nil {
		return false
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", loopback(port))
	if err != nil {
		return false
	}
	defer udp.Close()
	return true
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

func lookup(ctx context.Context, dnsAddr string) error {
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, dnsAddr)
	}}
	_, err := resolver.LookupIP(ctx, "ip4", "ready.test.")
	return err
}
