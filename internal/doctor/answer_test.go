package doctor_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"acmed/internal/challenge"
	"acmed/internal/doctor"
)

// TestPort80IsLookedAtWhereAcmedListens is about http.listen with a specific address, with none, and with another port.
func TestPort80IsLookedAtWhereAcmedListens(t *testing.T) {
	for _, at := range []string{"127.7.5.1:0", "127.7.5.2:0", "[::1]:0", "localhost:0", "0.0.0.0:0", ":0"} {
		t.Run(at, func(t *testing.T) {
			c := patient(t, "www.example.com")
			c.Port80, c.Settings.HTTP.Solver = nil, "listen"
			l := listen(t, at)
			c.Settings.HTTP.Listen = at[:len(at)-1] + port(l)
			server := &http.Server{Handler: notFound(t)} //nolint:gosec // nobody else connects
			go func() { _ = server.Serve(l) }()
			if got := trouble(t, c); len(got) > 0 {
				t.Errorf("acmed answers, and it says %q", got)
			}
			if err := server.Close(); err != nil {
				t.Fatal(err)
			}
			if got := trouble(t, c); len(got) != 1 || !strings.HasPrefix(got[0], "failure port 80 ") || !strings.HasSuffix(got[0], ":"+port(l)+": nobody answers") {
				t.Errorf("nobody answers, and it says %q", got)
			}
		})
	}
}

// TestAPortIsLookedForOnEveryAddressThatListens is about sockets of systemd, and web servers, that have one address each.
func TestAPortIsLookedForOnEveryAddressThatListens(t *testing.T) {
	for _, at := range []string{"127.7.5.5:0", "127.7.5.6:0", "0.0.0.0:0"} {
		l := listen(t, at)
		want := []string{"127.0.0.1:" + port(l), "[::1]:" + port(l)}
		if host := at[:len(at)-2]; host != "0.0.0.0" {
			want = append(want, l.Addr().String())
		}
		if got := doctor.Answering(uint16(l.Addr().(*net.TCPAddr).Port)); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", at, got, want)
		}
	}
}

// TestAServerAtAnotherAddressHoldsNoPort is about a web server that has the same port at another address.
func TestAServerAtAnotherAddressHoldsNoPort(t *testing.T) {
	other := listen(t, "127.7.5.3:0")
	for _, host := range []string{"127.7.5.4", "[::1]"} {
		c := patient(t, "www.example.com")
		c.Port80, c.Settings.HTTP.Solver, c.Settings.HTTP.Listen = nil, "listen", host+":"+port(other)
		want := "failure port 80 " + c.Settings.HTTP.Listen + ": nobody answers"
		if got := trouble(t, c); !slices.Equal(got, []string{want}) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	c := patient(t, "www.example.com")
	c.Port80 = []string{other.Addr().String()}
	go func() {
		for conn, err := other.Accept(); err == nil; conn, err = other.Accept() {
			_ = conn.Close()
		}
	}()
	if got := trouble(t, c); len(got) != 1 || !strings.HasSuffix(got[0], fmt.Sprintf("nobody answers; the port is held by doctor.test (%d)", os.Getpid())) {
		t.Errorf("at its own address: %q", got)
	}
}

// TestTheHintOfPort80IsForTheWayInWhichAcmedAnswers is about the keys of acmed.yaml and the specs that decide on it.
func TestTheHintOfPort80IsForTheWayInWhichAcmedAnswers(t *testing.T) {
	silent := listen(t, "127.0.0.1:0")
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	for sentence, tt := range map[string]struct {
		edit func(c *doctor.Config)
		want string
	}{
		"the responder": {func(*doctor.Config) {}, "systemctl enable --now acmed-http.socket, or start the web server that serves /run/acmed/http-01"},
		"the daemon, at an address": {func(c *doctor.Config) {
			c.Settings.HTTP.Solver, c.Settings.HTTP.Listen, c.Port80 = "listen", silent.Addr().String(), nil
		}, "systemctl restart acmed: with http.listen it answers there itself"},
		"the daemon, on a socket of systemd": {func(c *doctor.Config) { c.Settings.HTTP.Solver = "listen" }, "systemctl stop acmed; systemctl enable --now acmed-listen.socket; systemctl start acmed"},
		"a web server":                       {func(c *doctor.Config) { c.Set.Certificate("one").Challenge.Webroot = "/srv/www" }, "start the web server that serves /srv/www"},
	} {
		c := patient(t, "www.example.com")
		c.Port80 = []string{silent.Addr().String()}
		tt.edit(&c)
		if got := hintOf(t, c, "port 80"); got != tt.want {
			t.Errorf("%s: got %q, want %q", sentence, got, tt.want)
		}
	}
	nginx := httptest.NewServer(http.NotFoundHandler())
	defer nginx.Close()
	c := patient(t, "www.example.com")
	c.Port80, c.Settings.HTTP.Solver, c.Settings.HTTP.Listen = nil, "listen", strings.TrimPrefix(nginx.URL, "http://")
	if got := hintOf(t, c, "port 80"); !strings.HasPrefix(got, "stop that server, or set http.solver: responder ") {
		t.Errorf("another server at http.listen: %q", got)
	}
}

// TestPort443IsLookedAtWhereAcmedListens is about tlsALPN.listen: who answers there, and whether it knows the protocol.
func TestPort443IsLookedAtWhereAcmedListens(t *testing.T) {
	for _, at := range []string{"127.7.5.1:0", "127.7.5.2:0", "[::1]:0", "0.0.0.0:0"} {
		t.Run(at, func(t *testing.T) {
			c := patient(t, "www.example.com")
			c.Set.Certificate("one").Challenge.Type = "tls-alpn-01"
			l := listen(t, at)
			c.Settings.TLSALPN.Listen = at[:len(at)-1] + port(l)
			server, err := challenge.NewALPNServer(challenge.ALPNConfig{Listeners: []net.Listener{l}, Proofs: challenge.NewALPN()})
			if err != nil {
				t.Fatal(err)
			}
			go func() { _ = server.Run(t.Context()) }()
			if got := trouble(t, c); len(got) > 0 {
				t.Errorf("got %q", got)
			}
		})
	}
	c := patient(t, "www.example.com")
	c.Set.Certificate("one").Challenge.Type = "tls-alpn-01"
	silent := listen(t, "127.7.5.1:0")
	c.Settings.TLSALPN.Listen = silent.Addr().String()
	if err := silent.Close(); err != nil {
		t.Fatal(err)
	}
	if got, want := trouble(t, c), "failure port 443 "+c.Settings.TLSALPN.Listen+": nobody answers"; !slices.Equal(got, []string{want}) {
		t.Errorf("got %q, want %q", got, want)
	}
	for sentence, protocols := range map[string][]string{"a server without ALPN": nil, "one of other protocols": {"h2", "http/1.1"}} {
		web := httptest.NewUnstartedServer(http.NotFoundHandler())
		web.TLS = &tls.Config{NextProtos: protocols} //nolint:gosec // as servers have it
		web.StartTLS()
		c.Settings.TLSALPN.Listen = web.Listener.Addr().String()
		want := fmt.Sprintf("warning port 443 %s: the server there does not know acme-tls/1, the protocol of tls-alpn-01; the port is held by doctor.test (%d)", c.Settings.TLSALPN.Listen, os.Getpid())
		if got := trouble(t, c); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: got %q, want %q", sentence, got, want)
		}
		web.Close()
	}
}

func listen(t *testing.T, at string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func port(l net.Listener) string { return fmt.Sprint(l.Addr().(*net.TCPAddr).Port) }

// hintOf returns the hint of the only finding of a check that is not good.
func hintOf(t *testing.T, c doctor.Config, check string) (hint string) {
	t.Helper()
	err := doctor.Run(t.Context(), c, func(f doctor.Finding) {
		if f.Check == check && f.Level != doctor.Good {
			hint = f.Hint
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return hint
}
