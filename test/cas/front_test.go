//go:build e2e

package cas_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"testing"

	"acmed/test/ca"
	"acmed/test/site"
)

// front puts a server before a CA, which passes requests on except those that refuse answers, and lets alter change the
// responses. nil: neither.
func front(t *testing.T, authority subject, refuse func(http.ResponseWriter, *http.Request) bool, alter func(*http.Response) error) subject {
	t.Helper()
	behind, err := url.Parse(authority.directory)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:        func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = behind.Scheme, behind.Host }, // the Host stays
		Transport:      &http.Transport{TLSClientConfig: &tls.Config{RootCAs: rootsOf(t, authority.caBundle)}},
		ModifyResponse: alter,
	}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if refuse == nil || !refuse(w, r) {
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	if authority.moveTo != nil {
		if err := authority.moveTo(t.Context(), server.URL); err != nil {
			t.Fatal(err)
		}
	}
	bundle := filepath.Join(t.TempDir(), "front.pem")
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), readFile(t, authority.caBundle)...)
	if authority.roots != "" {
		text = append(text, readFile(t, authority.roots)...)
	}
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	authority.caBundle = bundle
	authority.directory = server.URL + behind.Path
	return authority
}

func rootsOf(t *testing.T, file string) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(readFile(t, file)) {
		t.Fatalf("%s holds no certificate", file)
	}
	return pool
}

// rs256Only is a CA such as Dogtag, which takes account keys for RS256 alone (RFC 8555 §6.2: badSignatureAlgorithm).
func rs256Only(t *testing.T, l *lab, start func(options) subject) {
	authority := front(t, start(options{friendly: true}), refuseOtherAlgorithms, nil)
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 1)
	p.spec(t, "web", "")
	d := p.Start(t)
	p.await(t, "web", 1, site.Patience)
	d.Stop(t)
}

func refuseOtherAlgorithms(w http.ResponseWriter, r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	body, err := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	algorithm, perr := algorithmOf(body)
	if err := errors.Join(err, perr); err == nil && algorithm == "RS256" {
		return false
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Replay-Nonce", "a-nonce-that-is-not-good-for-anything")
	w.WriteHeader(http.StatusBadRequest)
	_ = json.NewEncoder(w).Encode(map[string]any{ // the client may be gone
		"type": "urn:ietf:params:acme:error:badSignatureAlgorithm", "detail": "Signature of type " + algorithm + " not supported",
		"algorithms": []string{"RS256"},
	})
	return true
}

func algorithmOf(body []byte) (string, error) {
	var jws struct{ Protected string }
	if err := json.Unmarshal(body, &jws); err != nil {
		return "", err
	}
	text, err := base64.RawURLEncoding.DecodeString(jws.Protected)
	if err != nil {
		return "", err
	}
	var header struct{ Alg string }
	err = json.Unmarshal(text, &header)
	return header.Alg, err
}

// leafAlone is a CA whose root issues, and that sends nothing but the leaf.
func leafAlone(t *testing.T, l *lab, start func(options) subject) {
	authority := front(t, start(options{onlyRoot: true}), nil, cutChain)
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 1)
	p.spec(t, "web", "")
	d := p.Start(t)
	within(t, site.Patience, "the certificate is there or refused", func() bool { return p.Live(t, "web") > 0 || len(p.status(t, "web").Failures) > 0 }, nil)
	chain := p.await(t, "web", 1, site.Patience).chain
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: rootsOf(t, authority.roots)}); err != nil || len(chain) != 2 {
		t.Errorf("the chain has %d certificates, want the leaf and the root that acmed adds: %v", len(chain), err)
	}
	if orders := ca.Count(t, authority.server, authority.newOrder); orders != 1 {
		t.Errorf("the CA got %d orders", orders)
	}
	d.Stop(t)
}

// cutChain leaves the leaf of a chain.
func cutChain(resp *http.Response) error {
	if resp.Header.Get("Content-Type") != "application/pem-certificate-chain" {
		return nil
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return errors.New("the CA's chain has no certificate")
	}
	leaf := pem.EncodeToMemory(block)
	resp.Body, resp.ContentLength = io.NopCloser(bytes.NewReader(leaf)), int64(len(leaf))
	resp.Header.Del("Content-Length")
	return nil
}

func portOf(directory string) string {
	u, err := url.Parse(directory)
	if err != nil {
		return ""
	}
	return u.Port()
}
