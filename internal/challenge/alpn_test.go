package challenge_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
	"acmed/internal/challenge"
)

// alpnProof is a proof whose certificate is known by its serial number.
func alpnProof(t *testing.T, identifier, token string, serial int64) acme.Proof {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: token}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return acme.Proof{Type: "tls-alpn-01", Identifier: acme.Identifier{Value: identifier}, Token: token,
		TLSCert: &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}}
}

// serveALPN shows proofs until the test ends.
func serveALPN(t *testing.T, maxConns int) (*challenge.ALPN, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	proofs := challenge.NewALPN()
	server, err := challenge.NewALPNServer(challenge.ALPNConfig{Listeners: []net.Listener{l}, Proofs: proofs, MaxConns: maxConns})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return proofs, l.Addr().String()
}

// shown is the serial number of the certificate that a client is shown; zero: the handshake fails.
func shown(address, name string, protocols ...string) int64 {
	c, err := tls.Dial("tcp", address, &tls.Config{ServerName: name, NextProtos: protocols, InsecureSkipVerify: true})
	if err != nil {
		return 0
	}
	defer c.Close()
	if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil {
		return -1 // something was said
	}
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestProofsAreShownByALPN(t *testing.T) {
	proofs, address := serveALPN(t, 0)
	for i, identifier := range []string{"www.example.com", "192.0.2.1", "2001:db8::1"} {
		if err := proofs.Present(t.Context(), alpnProof(t, identifier, "token", int64(i+1))); err != nil {
			t.Fatal(err)
		}
	}
	for sentence, tt := range map[string]struct {
		name      string
		protocols []string
		want      int64
	}{
		"a name":                       {"www.example.com", []string{"acme-tls/1"}, 1},
		"a name in capitals":           {"WWW.example.com", []string{"acme-tls/1"}, 1},
		"an IPv4 address":              {"1.2.0.192.in-addr.arpa", []string{"acme-tls/1"}, 2},
		"an IPv6 address":              {"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa", []string{"acme-tls/1"}, 3},
		"a client that wants HTTP":     {"www.example.com", []string{"h2", "http/1.1"}, 0},
		"a client without a protocol":  {"www.example.com", nil, 0},
		"a name that nobody asked for": {"other.example.com", []string{"acme-tls/1"}, 0},
		"no name":                      {"", []string{"acme-tls/1"}, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			if got := shown(address, tt.name, tt.protocols...); got != tt.want {
				t.Errorf("got %d; want %d", got, tt.want)
			}
		})
	}
}

func TestALPNProofsComeAndGo(t *testing.T) {
	proofs, address := serveALPN(t, 0)
	first, second := alpnProof(t, "a.test", "first", 1), alpnProof(t, "a.test", "second", 2)
	for i, step := range []struct {
		do   func(context.Context, acme.Proof) error
		with acme.Proof
		want int64
	}{
		{proofs.CleanUp, first, 0},
		{proofs.Present, first, 1},
		{proofs.Present, first, 1},
		{proofs.Present, second, 2},
		{proofs.CleanUp, first, 2}, // of an order that was given up: the other one's stays
		{proofs.CleanUp, second, 0},
		{proofs.CleanUp, second, 0},
	} {
		if err := step.do(t.Context(), step.with); err != nil {
			t.Fatal(err)
		}
		if got := shown(address, "a.test", "acme-tls/1"); got != step.want {
			t.Errorf("after step %d: got %d; want %d", i, got, step.want)
		}
	}
	if err := proofs.Present(t.Context(), acme.Proof{Type: "http-01", Identifier: acme.Identifier{Value: "a.test"}}); err == nil {
		t.Error("a proof of another type was taken")
	}
}

func TestSlowClientsDoNotKeepACAOut(t *testing.T) {
	proofs, address := serveALPN(t, 8)
	if err := proofs.Present(t.Context(), alpnProof(t, "a.test", "token", 1)); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	if got := shown(address, "a.test", "acme-tls/1"); got != 1 {
		t.Errorf("got %d", got)
	}
}

// TestOrdersForANameTakeTurns: a handshake tells a name and not an order.
func TestOrdersForANameTakeTurns(t *testing.T) {
	proofs, address := serveALPN(t, 0)
	first, second, other := alpnProof(t, "a.test", "first", 1), alpnProof(t, "a.test", "second", 2), alpnProof(t, "b.test", "third", 3)
	for _, p := range []acme.Proof{first, second, other} {
		if err := proofs.Present(t.Context(), p); err != nil {
			t.Fatal(err)
		}
	}
	visible := func(p acme.Proof, want string, wantShown int64) {
		t.Helper()
		lacking, err := proofs.Visible(t.Context(), p, time.Now())
		if err != nil || lacking != want {
			t.Errorf("%s: got %q, %v; want %q", p.Token, lacking, err, want)
		}
		if got := shown(address, p.Identifier.Value, "acme-tls/1"); got != wantShown {
			t.Errorf("%s: %d is shown; want %d", p.Token, got, wantShown)
		}
	}
	const waits = "another order for a.test, which is proved first"
	visible(first, "", 1)
	visible(second, waits, 1)
	visible(first, "", 1) // once more
	visible(other, "", 3)
	if err := proofs.Present(t.Context(), second); err != nil { // as an order does that is resumed
		t.Fatal(err)
	}
	visible(second, waits, 1)
	if err := proofs.CleanUp(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	visible(second, "", 2)
	visible(first, waits, 2)
}

func TestATurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		proofs := challenge.NewALPN()
		first, second := alpnProof(t, "a.test", "first", 1), alpnProof(t, "a.test", "second", 2)
		ask := func(p acme.Proof) string {
			lacking, err := proofs.Visible(t.Context(), p, time.Now())
			if err != nil {
				t.Fatal(err)
			}
			return lacking
		}
		ask(first)
		time.Sleep(time.Minute - time.Second)
		if ask(second) == "" {
			t.Error("the CA had less than a minute to look")
		}
		time.Sleep(time.Second)
		if lacking := ask(second); lacking != "" {
			t.Errorf("after a minute still: %s", lacking)
		}
		if ask(first) == "" {
			t.Error("the second order's turn ended at once")
		}
	})
}
