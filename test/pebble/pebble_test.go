package pebble_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/test/pebble"
)

// directory is the part of an ACME directory (RFC 8555, section 7.1.1) that
// Options shape.
type directory struct {
	NewNonce    string
	RenewalInfo string
	Meta        struct {
		ExternalAccountRequired bool
		Profiles                map[string]string
	}
}

func client(t *testing.T, s *pebble.Server) *http.Client {
	t.Helper()
	pem, err := os.ReadFile(s.RootsFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		t.Fatal("no certificate in RootsFile")
	}
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func get(t *testing.T, c *http.Client, url string) *http.Response {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

func getDirectory(t *testing.T, s *pebble.Server) (d directory) {
	t.Helper()
	if err := json.NewDecoder(get(t, client(t, s), s.DirectoryURL).Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestOptionsShapeTheDirectory(t *testing.T) {
	s := pebble.Start(t, pebble.Options{
		Profiles: map[string]time.Duration{"minute": time.Minute, "two": 2 * time.Minute},
		EAB:      map[string][]byte{"kid-1": []byte("0123456789abcdef0123456789abcdef")},
	})
	d := getDirectory(t, s)
	if !d.Meta.ExternalAccountRequired {
		t.Error("EAB keys were given, but the directory asks for none")
	}
	if got := d.Meta.Profiles["minute"]; got != "certificates of 1m0s" || len(d.Meta.Profiles) != 2 {
		t.Errorf("profiles: %v", d.Meta.Profiles)
	}
}

func TestRequestsCountsWhatAClientAsked(t *testing.T) {
	s := pebble.Start(t, pebble.Options{})
	before := s.Count(t)
	if before.Total() != 0 {
		t.Errorf("starting up counted as requests: %v", before)
	}
	d := getDirectory(t, s)
	for range 3 {
		get(t, client(t, s), d.NewNonce)
	}
	get(t, client(t, s), d.RenewalInfo+"/none.such")
	got := s.Count(t)
	if got["directory"] != 1 || got["newNonce"] != 3 || got["renewalInfo"] != 1 || got.Total("newNonce") != 2 {
		t.Errorf("counted %v", got)
	}
	if since := got.Since(before); since.Total() != 5 {
		t.Errorf("since the start: %v", since)
	}
	if since := got.Since(got); len(since) != 0 {
		t.Errorf("since now: %v", since)
	}
}

func TestRestartKeepsTheAddressesAndLosesTheRoots(t *testing.T) {
	s := pebble.Start(t, pebble.Options{AlternateRoots: 1, ChainLength: 2})
	before := issuingRoots(t, s)
	getDirectory(t, s)

	s.Stop()
	if _, err := client(t, s).Get(s.DirectoryURL); err == nil {
		t.Error("a stopped CA answers")
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	getDirectory(t, s)
	if after := issuingRoots(t, s); after[0].Equal(before[0]) {
		t.Error("the issuing root outlived a restart")
	}
	if got := s.Count(t); got["directory"] != 2 {
		t.Errorf("counts across a restart: %v", got)
	}
}

func issuingRoots(t *testing.T, s *pebble.Server) []*x509.Certificate {
	t.Helper()
	roots, err := s.IssuingRoots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(roots) != 2 || !roots[0].IsCA || roots[0].Equal(roots[1]) {
		t.Fatalf("want two different roots, got %d", len(roots))
	}
	return roots
}

func TestDNSAnswersLoopbackUntilToldOtherwise(t *testing.T) {
	s := pebble.Start(t, pebble.Options{})
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, s.DNSAddr)
	}}
	addrs, err := resolver.LookupHost(t.Context(), "www.example.com.")
	if err != nil || len(addrs) != 1 || addrs[0] != "127.0.0.1" {
		t.Errorf("www.example.com resolves to %v, %v", addrs, err)
	}
	if err := s.SetDNS(t.Context(), "set-servfail", map[string]any{"host": "www.example.com."}); err != nil {
		t.Fatal(err)
	}
	if addrs, err := resolver.LookupHost(t.Context(), "www.example.com."); err == nil {
		t.Errorf("after set-servfail it resolves to %v", addrs)
	}
}

func TestSetRenewalInfoPassesOnTheCAsRefusal(t *testing.T) {
	s := pebble.Start(t, pebble.Options{})
	err := s.SetRenewalInfo(t.Context(), []byte("no PEM"), "{}")
	if err == nil || !strings.Contains(err.Error(), "decoding certificate PEM") {
		t.Errorf("got %v", err)
	}
}

func TestTwoServersShareAMachine(t *testing.T) {
	a, b := pebble.Start(t, pebble.Options{}), pebble.Start(t, pebble.Options{})
	if a.DirectoryURL == b.DirectoryURL || a.HTTPAddr == b.HTTPAddr {
		t.Errorf("both at %s, proofs at %s", a.DirectoryURL, a.HTTPAddr)
	}
	getDirectory(t, a)
	getDirectory(t, b)
}

func TestNewSaysWhyItCannotStart(t *testing.T) {
	tests := map[string]struct {
		options pebble.Options
		want    string
	}{
		"no folder":                    {pebble.Options{}, "Options.Dir is empty"},
		"a folder that does not exist": {pebble.Options{Dir: filepath.Join(t.TempDir(), "none")}, "no such file"},
		"an algorithm Pebble lacks":    {pebble.Options{Dir: t.TempDir(), KeyAlgorithm: "dsa"}, "invalid key algorithm"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s, err := pebble.New(t.Context(), test.options)
			if err == nil {
				s.Close()
				t.Fatal("it started")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}
