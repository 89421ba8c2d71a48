package acmetest_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"acmed/internal/acmetest"
)

// recorder is a testing.TB that keeps the failures of a CA's client to itself.
type recorder struct {
	testing.TB
	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

// end is the end of the test that the recorder plays.
func (r *recorder) end() {
	for _, f := range r.cleanups {
		f()
	}
}

// raw is a client that can be told to misbehave.
type raw struct {
	t     *testing.T
	ca    *acmetest.CA
	key   *ecdsa.PrivateKey
	kid   string
	nonce string // for the next request; "": a new one is fetched
}

// message is a request that is about to be signed and sent.
type message struct {
	nonce, url, contentType, userAgent string
	jwk                                bool
}

// answer is what came back.
type answer struct {
	*http.Response
	body []byte
}

func (a answer) decode(t *testing.T, v any) {
	t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		t.Fatalf("decoding %q: %v", a.body, err)
	}
}

// problem is the ACME error type without its prefix.
func (a answer) problem() string {
	var p struct{ Type string }
	if json.Unmarshal(a.body, &p) != nil {
		return ""
	}
	return strings.TrimPrefix(p.Type, "urn:ietf:params:acme:error:")
}

func newRaw(t *testing.T, ca *acmetest.CA) *raw {
	t.Helper()
	r := &raw{t: t, ca: ca, key: newKey(t)}
	r.register(`{"termsOfServiceAgreed":true}`)
	return r
}

func (r *raw) register(payload string) answer {
	r.t.Helper()
	a := r.post("https://ca.test/new-account", payload, func(m *message) { m.jwk = true })
	r.kid = a.Header.Get("Location")
	return a
}

func (r *raw) send(method, url, body string, m message) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		r.t.Fatal(err)
	}
	req.Header.Set("User-Agent", m.userAgent)
	req.Header.Set("Content-Type", m.contentType)
	resp, err := r.ca.RoundTrip(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	r.nonce = resp.Header.Get("Replay-Nonce")
	return answer{resp, read}
}

func (r *raw) get(url string) answer {
	r.t.Helper()
	return r.send(http.MethodGet, url, "", message{userAgent: "test"})
}

func (r *raw) post(url, payload string, edits ...func(*message)) answer {
	r.t.Helper()
	if r.nonce == "" {
		r.send(http.MethodHead, "https://ca.test/new-nonce", "", message{userAgent: "test"})
	}
	m := message{nonce: r.nonce, url: url, contentType: "application/jose+json", userAgent: "test"}
	for _, edit := range edits {
		edit(&m)
	}
	opts := (&jose.SignerOptions{EmbedJWK: m.jwk}).WithHeader("url", m.url).WithHeader("nonce", m.nonce)
	if !m.jwk {
		opts = opts.WithHeader("kid", r.kid)
	}
	return r.send(http.MethodPost, url, r.sign(jose.ES256, r.key, opts, payload), m)
}

func (r *raw) sign(alg jose.SignatureAlgorithm, key any, opts *jose.SignerOptions, payload string) string {
	r.t.Helper()
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, opts)
	if err != nil {
		r.t.Fatal(err)
	}
	jws, err := signer.Sign([]byte(payload))
	if err != nil {
		r.t.Fatal(err)
	}
	return jws.FullSerialize()
}

// bind makes an external account binding.
func (r *raw) bind(kid string, key []byte) string {
	r.t.Helper()
	opts := (&jose.SignerOptions{}).WithHeader("url", "https://ca.test/new-account").WithHeader("kid", kid)
	jwk, err := (&jose.JSONWebKey{Key: r.key.Public()}).MarshalJSON()
	if err != nil {
		r.t.Fatal(err)
	}
	return fmt.Sprintf(`{"termsOfServiceAgreed":true,"externalAccountBinding":%s}`, r.sign(jose.HS256, key, opts, string(jwk)))
}

// order is what a raw client reads of one.
type order struct {
	URL            string `json:"-"`
	Status         string
	Authorizations []string
	Finalize       string
	Certificate    string
}

// orderFor asks for an order; extra is more JSON for it.
func (r *raw) orderFor(extra string, names ...string) (o order, a answer) {
	r.t.Helper()
	var ids []string
	for _, name := range names {
		ids = append(ids, fmt.Sprintf(`{"type":"dns","value":%q}`, name))
	}
	a = r.post("https://ca.test/new-order", fmt.Sprintf(`{"identifiers":[%s]%s}`, strings.Join(ids, ","), extra))
	if a.StatusCode == http.StatusCreated {
		a.decode(r.t, &o)
		o.URL = a.Header.Get("Location")
	}
	return o, a
}

// finalize sends a CSR for names.
func (r *raw) finalize(o order, key *ecdsa.PrivateKey, names ...string) (order, answer) {
	r.t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: names}, key)
	if err != nil {
		r.t.Fatal(err)
	}
	a := r.post(o.Finalize, fmt.Sprintf(`{"csr":%q}`, base64.RawURLEncoding.EncodeToString(der)))
	if a.StatusCode == http.StatusOK {
		a.decode(r.t, &o)
	}
	return o, a
}

// obtain gets a certificate for name from a CA that validates nothing, and returns its CertID.
func (r *raw) obtain(extra, name string) (certID string, o order) {
	r.t.Helper()
	o, a := r.orderFor(extra, name)
	if o.Status != "ready" {
		r.t.Fatalf("newOrder: %s", a.body)
	}
	o, a = r.finalize(o, newKey(r.t), name)
	if o.Status != "valid" {
		r.t.Fatalf("finalize: %s", a.body)
	}
	certs := r.ca.Certificates()
	return acmetest.CertID(certs[len(certs)-1]), o
}

// httpChallenge returns the URL and the token of an order's first http-01 challenge.
func (r *raw) httpChallenge(o order) (url, token string) {
	r.t.Helper()
	var authz struct {
		Challenges []struct{ Type, URL, Token string }
	}
	r.post(o.Authorizations[0], "").decode(r.t, &authz)
	for _, c := range authz.Challenges {
		if c.Type == "http-01" {
			return c.URL, c.Token
		}
	}
	r.t.Fatal("there is no http-01 challenge")
	return "", ""
}

// keyAuth is what proves token.
func (r *raw) keyAuth(token string) string {
	sum, err := (&jose.JSONWebKey{Key: r.key.Public()}).Thumbprint(crypto.SHA256)
	if err != nil {
		r.t.Fatal(err)
	}
	return token + "." + base64.RawURLEncoding.EncodeToString(sum)
}
