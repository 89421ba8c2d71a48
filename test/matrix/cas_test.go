//go:build e2e

package matrix_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"acmed/test/matrix"
	"acmed/test/pebble"
	"acmed/test/site"
	"acmed/test/stepca"
	"acmed/test/zone"
)

// authority is a CA of the matrix.
type authority struct {
	server    *pebble.Server // nil: it is no Pebble
	name      string         // in matrix.CAs
	issuer    string         // the name of its file
	directory string
	listeners string // PEM file of the root of its listeners
	binding   string // of its file
	spec      string // what its specs have besides
	lifetime  time.Duration
	root      *x509.Certificate // to which its chains lead
	length    int               // of its chains, without the root
	revoked   func(context.Context, *x509.Certificate) (bool, error)
}

// hmacKey is that of the external account binding.
const hmacKey = "0123456789abcdef0123456789abcdef"

// startCAs starts all of matrix.CAs. Pebble is as hostile as it can be; where it wants a binding, it also is asked for one
// of two profiles and for the other of two chains.
func startCAs(t *testing.T, names *zone.Server) []authority {
	t.Helper()
	ports := pebble.Options{HTTPPort: 80, TLSPort: 443, DNSServer: names.Addr, NonceReject: 5}
	plain := ports
	plain.AuthzReuse, plain.ChainLength, plain.RetryAfterOrder, plain.RetryAfterAuthz = 50, 2, time.Second, time.Second
	bound := ports
	bound.EAB, bound.KeyAlgorithm, bound.AlternateRoots = map[string][]byte{"kid-1": []byte(hmacKey)}, "rsa", 1
	bound.Profiles = map[string]time.Duration{"classic": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour}
	p, b, s := pebble.Start(t, plain), pebble.Start(t, bound), stepca.Start(t, stepca.Options{Resolver: names.Addr})
	roots := issuingRoots(t, b)
	return []authority{
		{
			server: p, name: "Pebble", issuer: "pebble", directory: p.DirectoryURL, listeners: p.RootsFile,
			lifetime: 90 * 24 * time.Hour, root: issuingRoots(t, p)[0], length: 3, revoked: p.Revoked,
		}, {
			server: b, name: "Pebble, EAB", issuer: "pebble-eab", directory: b.DirectoryURL, listeners: b.RootsFile, binding: "kid-1",
			spec:     fmt.Sprintf("profile: shortlived\npreferredChain: %q\n", roots[1].Subject.CommonName),
			lifetime: 6 * 24 * time.Hour, root: roots[1], length: 2, revoked: b.Revoked,
		}, {
			name: "step-ca", issuer: "step-ca", directory: s.DirectoryURL, listeners: s.RootsFile,
			lifetime: 24 * time.Hour, root: s.Root, length: 2, revoked: s.Revoked,
		},
	}
}

func issuingRoots(t *testing.T, s *pebble.Server) []*x509.Certificate {
	t.Helper()
	roots, err := s.IssuingRoots(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return roots
}

// writeIssuer writes the file of a CA.
func (a authority) writeIssuer(t *testing.T, s *site.Site) {
	t.Helper()
	text := fmt.Sprintf("directory: %s\ncaBundle: %s\n", a.directory, a.listeners)
	if a.binding != "" {
		s.Write(t, "hmac", base64.RawURLEncoding.EncodeToString([]byte(hmacKey)))
		text += fmt.Sprintf("externalAccountBinding: {kid: %s, hmacKeyFile: %s}\n", a.binding, s.Path("hmac"))
	}
	s.Write(t, "issuers.d/"+a.issuer+".yaml", text)
}

// offer reads the CA's directory.
func (a authority) offer(t *testing.T) (d matrix.Directory) {
	t.Helper()
	text, err := os.ReadFile(a.listeners)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Get(a.directory)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}
