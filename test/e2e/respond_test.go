//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"acmed/test/pebble"
)

const proofURL = "http://127.0.0.1/.well-known/acme-challenge/"

// powerless comes after an issuance, which has started the responder.
func powerless(t *testing.T, m *machine, _ *pebble.Server) {
	pid := m.show("acmed-http.service", "MainPID")
	proc := m.run("cat", "/proc/"+pid+"/status")
	holds(t, proc, powerlessProcess()...)
	for _, account := range []string{"root", "acmed"} {
		if uid := m.run("id", "-u", account); strings.Contains(proc, "Uid:\t"+uid+"\t") {
			t.Errorf("it runs as %s", account)
		}
	}
	if m.run("readlink", "/proc/"+pid+"/ns/net") == m.run("readlink", "/proc/1/ns/net") {
		t.Error("it has the network of the machine")
	}
	if routes := m.run("nsenter", "--target="+pid, "--net", "--", "ip", "route"); routes != "" {
		t.Errorf("it has a way to others:\n%s", routes)
	}
	for _, path := range []string{"/var/lib/acmed", "/etc/acmed/secrets", "/run/acmed/control"} {
		if mode := m.run("stat", "--format=%a", "/proc/"+pid+"/root"+path); mode != "0" {
			t.Errorf("it sees %s, mode %s", path, mode)
		}
	}
	if status := m.show("acmed-http.service", "StatusText"); status != "answering http-01 on [::]:80 from /run/acmed/http-01" {
		t.Errorf("status: %q", status)
	}
	// It has read acmed.yaml.
	resp, err := http.DefaultTransport.RoundTrip(mustRequest(t, "http://127.0.0.1/shop"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if to := resp.Header.Get("Location"); to != "https://127.0.0.1/shop" {
		t.Errorf("%s, to %q", resp.Status, to)
	}
}

func mustRequest(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func outlives(t *testing.T, m *machine, _ *pebble.Server) {
	const token = "evaGxfADs6pSRb2LAv9IZf17"
	m.run("systemctl", "stop", "acmed.service")
	m.write("/run/acmed/http-01/"+token, token+".thumbprint")
	if err := ok(proofURL + token); err != nil {
		t.Error(err)
	}
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acmed-http.service")
	if err := ok(proofURL + token); err != nil {
		t.Errorf("after it was killed: %v", err)
	}
	m.run("rm", "/run/acmed/http-01/"+token)
	m.run("systemctl", "start", "acmed.service")
}

func notices(t *testing.T, m *machine, _ *pebble.Server) {
	says := func(want bool) func() error {
		return func() error {
			status := m.show("acmed.service", "StatusText")
			if strings.Contains(status, "http-01: nobody answers on port 80") != want {
				return errors.New(status)
			}
			return nil
		}
	}
	m.run("systemctl", "stop", "acmed-http.socket")
	m.run("systemctl", "restart", "acmed.service")
	m.eventually(patience, "trouble is seen", says(true))
	m.run("systemctl", "start", "acmed-http.socket")
	m.eventually(patience, "its end is seen", says(false))
	if status := m.run("acmed", "status"); !strings.Contains(status, "port 80 answers from /run/acmed/http-01") {
		t.Errorf("%s", status)
	}
}

// crowd is how many slow clients hold a connection.
const crowd = 10_000

func crowded(t *testing.T, m *machine, _ *pebble.Server) {
	pid := m.show("acmed-http.service", "MainPID")
	for range crowd {
		conn, err := net.Dial("tcp", "127.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		if _, err := fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: ", strings.Repeat("a", 4000)); err != nil {
			t.Fatal(err)
		}
	}
	m.order("crowded.example.com")
	m.issued("crowded.example.com")
	if now := m.show("acmed-http.service", "MainPID"); now != pid {
		t.Error("it did not survive that")
	}
	if peak := peakMemory(t, m, pid); peak > 64<<20 {
		t.Errorf("it took %d bytes", peak)
	}
	m.eventually(patience, "they are let go", func() error {
		if open := strings.Count(m.run("ls", "/proc/"+pid+"/fd"), "\n"); open > 50 {
			return fmt.Errorf("%d open files", open)
		}
		return nil
	})
}

// peakMemory is the most memory that a process has had.
func peakMemory(t *testing.T, m *machine, pid string) (bytes int) {
	t.Helper()
	_, after, _ := strings.Cut(m.run("cat", "/proc/"+pid+"/status"), "VmHWM:")
	if _, err := fmt.Sscanf(after, "%d kB", &bytes); err != nil {
		t.Fatal(err)
	}
	return bytes << 10
}
