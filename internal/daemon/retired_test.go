package daemon_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

// serveLive serves what is live of www.example.com, as a server does that is never told of a removal.
func (s *site) serveLive() (address string) {
	s.t.Helper()
	l, err := tls.Listen("tcp", net.JoinHostPort(s.host, "0"), &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		c, err := tls.LoadX509KeyPair(s.path("state/live/"+www+"/fullchain.pem"), s.path("state/live/"+www+"/privkey.pem"))
		return &c, err
	}})
	s.must(err)
	s.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_ = c.(*tls.Conn).Handshake() // the client knows what came of it
			c.Close()
		}
	}()
	return l.Addr().String()
}

// TestRetiredCertificatesKeepMetrics is about certificates whose specs went while acmed ran, or while it was stopped.
func TestRetiredCertificatesKeepMetrics(t *testing.T) {
	for name, c := range map[string]struct {
		stopped bool // when the spec goes
		probe   bool
	}{
		"removed while acmed runs, still served":       {false, true},
		"removed while acmed is stopped, still served": {true, true},
		"removed while acmed runs, without a probe":    {false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			text := "{}"
			if c.probe {
				text = fmt.Sprintf("deploy: {probe: [{address: %q, serverName: %s}]}\n", s.serveLive(), www)
			}
			s.spec("other.example.com", "")
			s.start()
			s.spec(www, text)
			s.await("other.example.com", 1)
			s.await(www, 1)
			if c.stopped {
				s.stop()
			}
			s.remove(www)
			if c.stopped {
				s.start()
			}
			eventually(t, "it is retired", func() bool { return s.list()[www].Phase == control.Retired })
			eventually(t, "it is counted", func() bool { return s.metric(`acmed_retired_certificates{state="unexpired"}`) == 1 })
			at, expiry := s.metric(`acmed_certificate_retired_timestamp_seconds{cert="www.example.com"}`), s.metric(`acmed_certificate_retired_expiry_timestamp_seconds{cert="www.example.com"}`)
			if at >= expiry {
				t.Errorf("retired at %v, expires at %v", at, expiry)
			}
			const served = `acmed_certificate_retired_served{cert="www.example.com"}`
			if !c.probe {
				if body, _ := s.get("/metrics"); strings.Contains(body, served) {
					t.Error("a certificate without a probe is said to be served, or not")
				}
				return
			}
			eventually(t, "it is seen", func() bool { body, _ := s.get("/metrics"); return strings.Contains(body, served+" 1") })
			if got := s.metric(`acmed_retired_certificates{state="served"}`); got != 1 {
				t.Errorf("%v are served", got)
			}
		})
	}
}
