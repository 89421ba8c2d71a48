package daemon_test

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"acmed/internal/acmetest"
)

// manager is what systemd hears.
type manager struct {
	socket string
	mu     sync.Mutex
	heard  []string
}

// playManager listens for a daemon.
func playManager(t *testing.T) *manager {
	t.Helper()
	dir, err := os.MkdirTemp("", "acmed") //nolint:usetesting // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{socket: socket}
	var reading sync.WaitGroup
	reading.Go(func() {
		for buf := make([]byte, 4096); ; {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			m.mu.Lock()
			m.heard = append(m.heard, string(buf[:n]))
			m.mu.Unlock()
		}
	})
	t.Cleanup(func() { conn.Close(); reading.Wait() })
	return m
}

func (m *manager) env() []string {
	return []string{"NOTIFY_SOCKET=" + m.socket, "WATCHDOG_USEC=120000000", "WATCHDOG_PID="}
}

// until waits for a datagram that begins so, after the first n, and returns how many there are up to it.
func (m *manager) until(t *testing.T, n int, prefix string) int {
	t.Helper()
	found := -1
	eventually(t, "systemd hears "+prefix, func() bool {
		found = slices.IndexFunc(m.all()[n:], func(s string) bool { return strings.HasPrefix(s, prefix) })
		return found >= 0
	})
	return n + found + 1
}

func (m *manager) all() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.heard)
}

func TestSystemdHearsHowItIs(t *testing.T) {
	t.Parallel()
	m := playManager(t)
	s := newSite(t, acmetest.Config{})
	s.startChild(m.env())
	m.until(t, 0, "WATCHDOG=1")
	n := m.until(t, 0, "READY=1\nSTATUS=0 certificates")
	if first := m.all()[0]; first != "EXTEND_TIMEOUT_USEC=60000000" {
		t.Errorf("it begins with %q", first)
	}
	s.spec(www, "")
	s.reload(false)
	n = m.until(t, n, "RELOADING=1\nMONOTONIC_USEC=")
	n = m.until(t, n, "READY=1\nSTATUS=1 certificate")
	s.await(www, 1)
	s.spec(www, "{")
	n = m.until(t, n, "STATUS=problem in www.example.com.yaml:1; 1 certificate: 1 valid")
	s.spec(www, "{}")
	n = m.until(t, n, "STATUS=1 certificate: 1 valid")
	s.stop()
	n = m.until(t, n, "STOPPING=1\nSTATUS=stopping: ")
	if rest := m.all()[n:]; len(rest) > 0 {
		t.Errorf("after STOPPING systemd hears %q", rest)
	}
}

func TestASocketThatSystemdHoldsIsAnsweredAcrossRestarts(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.configure(`listen: "HOST:5002"`, `listen: ""`)
	listener, err := net.Listen("tcp", s.host+":5002")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	for _, name := range []string{"a.example.com", "b.example.com"} {
		s.startChild([]string{"LISTEN_FDS=1", "LISTEN_FDNAMES=http"}, socket)
		if info := s.info(); info.HTTP01 != "acmed listens on "+s.host+":5002" {
			t.Errorf("http-01 is answered so: %s", info.HTTP01)
		}
		s.spec(name, "")
		s.await(name, 1)
		s.stop()
	}
}

func TestWithoutAListenerItSaysThatNobodyAnswers(t *testing.T) {
	t.Parallel()
	m := playManager(t)
	s := newSite(t, acmetest.Config{})
	s.configure(`listen: "HOST:5002"`, `listen: ""`)
	s.startChild(m.env())
	m.until(t, 0, "READY=1\nSTATUS=http-01: nobody answers on port 80; 0 certificates")
	if info := s.info(); !strings.Contains(info.HTTP01, "systemctl enable --now acmed-http.socket") {
		t.Errorf("info shows %q", info.HTTP01)
	}
}
