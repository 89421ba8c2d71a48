package daemon_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
)

// TestTheStatusPageNeverStopsRenewal is about all reasons for which admin.listen cannot be had.
func TestTheStatusPageNeverStopsRenewal(t *testing.T) {
	for name, c := range map[string]struct {
		listen string
		free   bool // the address becomes free later
	}{
		"another process has the port":           {"HOST:9402", true},
		"the address is not of this machine yet": {"192.0.2.77:9402", false},
		"a port that only root may have":         {"[2001:db8::77]:80", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			s.configure(`"HOST:9402"`, `"`+strings.ReplaceAll(c.listen, "HOST", s.host)+`", insecure: true`)
			var other net.Listener
			if c.free {
				var err error
				other, err = net.Listen("tcp", s.host+":9402")
				s.must(err)
				t.Cleanup(func() { other.Close() })
			}
			s.start()
			s.spec(www, "")
			s.await(www, 1)
			if p := s.info().AdminProblem; !strings.Contains(p, "admin.listen") {
				t.Errorf("status shows %q", p)
			}
			if n := len(s.run.log.entries("metrics and status page are not served")); n != 1 {
				t.Errorf("logged %d times", n)
			}
			if !c.free {
				return
			}
			s.must(other.Close())
			eventually(t, "the page is served", func() bool { return s.info().AdminProblem == "" })
			if _, status := s.get("/healthz"); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
		})
	}
}

func TestEveryPathIsForThisMachinesNamesOnly(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.configure("admin: {", `admin: {hosts: [metrics.example.com], `)
	s.start()
	for _, path := range []string{"/", "/metrics", "/healthz", "/readyz", "/nothing"} {
		for host, refused := range map[string]bool{
			"evil.example": true, s.host + ".evil.example:9402": true, "localhost": false, "localhost:9402": false,
			"[::1]:9402": false, "192.0.2.1": false, "metrics.example.com:9402": false, "METRICS.example.com": false, "example.com": true,
		} {
			req, err := http.NewRequest(http.MethodGet, "http://"+s.host+":9402"+path, nil)
			s.must(err)
			req.Host = host
			_, status, err := do(req)
			s.must(err)
			if (status == http.StatusMisdirectedRequest) != refused {
				t.Errorf("%s of %s answers %d", path, host, status)
			}
		}
	}
	refused := s.run.log.entries("request for another host name refused")
	if len(refused) != 3 || !slices.ContainsFunc(refused, func(e entry) bool { return e.text("host") == "evil.example" }) || !strings.Contains(refused[0].text("hint"), "admin.hosts") {
		t.Errorf("log: %v", refused)
	}
}

// TestConnectionsOfTheStatusPageAreLimited is about connections that are idle, half open, or in the middle of a request.
func TestConnectionsOfTheStatusPageAreLimited(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.start()
	var all []net.Conn
	for i := range 200 {
		c, err := net.Dial("tcp", s.host+":9402")
		s.must(err)
		t.Cleanup(func() { c.Close() })
		all = append(all, c)
		switch i % 3 {
		case 1:
			fmt.Fprintf(c, "GET /metrics HTTP/1.1\r\nHost: local")
		case 2:
			fmt.Fprintf(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		}
	}
	if body, status := s.get("/healthz"); status != http.StatusOK {
		t.Errorf("%d %s", status, body)
	}
	closed := 0
	for _, c := range all {
		s.must(c.SetReadDeadline(time.Now().Add(50 * time.Millisecond)))
		if _, err := io.Copy(io.Discard, c); err == nil {
			closed++
		} else if e, ok := err.(net.Error); !ok || !e.Timeout() {
			closed++
		}
	}
	if closed < len(all)-64 {
		t.Errorf("%d of %d connections are open", len(all)-closed, len(all))
	}
	if _, err := s.run.List(t.Context()); err != nil {
		t.Error(err)
	}
}
