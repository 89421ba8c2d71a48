package acme_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"acmed/internal/acme"
)

const host = "https://ca.test"

// reply is one scripted answer.
type reply struct {
	status  int
	header  http.Header
	body    string
	err     error
	noNonce bool // leave the nonce out
}

func ok(body string) reply { return reply{status: 200, body: body} }

func located(status int, url, body string) reply {
	return reply{status: status, header: http.Header{"Location": {url}}, body: body}
}

func refusal(status int, word, detail string) reply {
	return reply{status: status, body: fmt.Sprintf(`{"type":"urn:ietf:params:acme:error:%s","detail":%q}`, word, detail)}
}

func (r reply) with(key, value string) reply {
	h := r.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	h.Add(key, value)
	r.header = h
	return r
}

// fakeCA is an http.RoundTripper that answers from a script and fails the test when a nonce is used twice, a POST is
// not a signed one, or a request was not expected.
type fakeCA struct {
	t *testing.T

	mu      sync.Mutex
	answers map[string][]reply // by "METHOD path"; the last one repeats
	log     []string
	bodies  []string // decoded payloads of POSTs
	headers []map[string]any
	issued  int
	used    map[string]bool
	hook    func(*http.Request) // runs before each answer, without the lock
}

const directoryJSON = `{"newNonce":"https://ca.test/nonce","newAccount":"https://ca.test/account","newOrder":"https://ca.test/new",` +
	`"renewalInfo":"https://ca.test/ari","meta":{"termsOfService":"https://ca.test/terms","profiles":{"short":"a week"}}}`

func newFake(t *testing.T) *fakeCA {
	f := &fakeCA{t: t, used: map[string]bool{}, answers: map[string][]reply{}}
	f.on("GET /dir", ok(directoryJSON))
	f.on("HEAD /nonce", reply{status: 200})
	return f
}

// on scripts the answers to a request.
func (f *fakeCA) on(request string, answers ...reply) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answers[request] = answers
}

func (f *fakeCA) RoundTrip(req *http.Request) (*http.Response, error) {
	var body []byte
	if req.Body != nil {
		body, _ = io.ReadAll(req.Body)
		req.Body.Close()
	}
	if f.hook != nil {
		f.hook(req)
	}
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	name := req.Method + " " + req.URL.Path
	if req.URL.Host != "ca.test" {
		name = req.Method + " " + req.URL.String()
	}
	f.log = append(f.log, name)
	if req.Method == http.MethodPost {
		f.check(req, body)
	}
	script := f.answers[name]
	if len(script) == 0 {
		f.t.Errorf("unexpected request: %s", name)
		return nil, fmt.Errorf("unexpected request %s", name)
	}
	r := script[0]
	if len(script) > 1 {
		f.answers[name] = script[1:]
	}
	if r.err != nil {
		return nil, r.err
	}
	return f.response(req, r), nil
}

func (f *fakeCA) response(req *http.Request, r reply) *http.Response {
	h := r.header.Clone()
	if h == nil {
		h = http.Header{}
	}
	if req.Method != http.MethodGet && !r.noNonce && h.Get("Replay-Nonce") == "" {
		f.issued++
		h.Set("Replay-Nonce", fmt.Sprintf("nonce%d", f.issued))
	}
	return &http.Response{StatusCode: r.status, Header: h, Request: req, Body: io.NopCloser(strings.NewReader(r.body))}
}

// check looks at a signed request as a strict CA does.
func (f *fakeCA) check(req *http.Request, body []byte) {
	var jws map[string]string
	if err := json.Unmarshal(body, &jws); err != nil || req.Header.Get("Content-Type") != "application/jose+json" {
		f.t.Errorf("%s: not a JWS: %s", req.URL, body)
		return
	}
	if _, ok := jws["payload"]; !ok {
		f.t.Errorf("%s: the payload is missing", req.URL)
	}
	protected, _ := base64.RawURLEncoding.DecodeString(jws["protected"])
	payload, _ := base64.RawURLEncoding.DecodeString(jws["payload"])
	var h map[string]any
	if err := json.Unmarshal(protected, &h); err != nil {
		f.t.Errorf("%s: %v", req.URL, err)
	}
	nonce, _ := h["nonce"].(string)
	if nonce == "" || f.used[nonce] {
		f.t.Errorf("%s: nonce %q is missing or was used before", req.URL, nonce)
	}
	f.used[nonce] = true
	if h["url"] != req.URL.String() {
		f.t.Errorf("%s: signed for %v", req.URL, h["url"])
	}
	f.headers = append(f.headers, h)
	f.bodies = append(f.bodies, string(bytes.TrimSpace(payload)))
}

// requests returns what was asked since the last call.
func (f *fakeCA) requests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	log := f.log
	f.log = nil
	return log
}

func (f *fakeCA) payload(i int) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i < 0 {
		i += len(f.bodies)
	}
	return f.bodies[i]
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// client makes a client of the fake that has an account.
func (f *fakeCA) client(change ...func(*acme.Config)) *acme.Client {
	f.t.Helper()
	cfg := acme.Config{Directory: host + "/dir", Key: newKey(f.t), KID: host + "/account/1", Transport: f, Issuer: "test"}
	for _, c := range change {
		c(&cfg)
	}
	c, err := acme.New(cfg)
	if err != nil {
		f.t.Fatal(err)
	}
	return c
}

// errorOf returns the *Error that every failure must be.
func errorOf(t *testing.T, err error) *acme.Error {
	t.Helper()
	e, ok := err.(*acme.Error)
	if !ok {
		t.Fatalf("got %T (%v), want *acme.Error", err, err)
	}
	return e
}

func dns(names ...string) []acme.Identifier {
	var ids []acme.Identifier
	for _, n := range names {
		ids = append(ids, acme.Identifier{Type: "dns", Value: n})
	}
	return ids
}

// orderJSON is an order for a.test in a state.
func orderJSON(status string) string {
	return fmt.Sprintf(`{"status":%q,"identifiers":[{"type":"dns","value":"a.test"}],"authorizations":["%[2]s/authz/1"],`+
		`"finalize":"%[2]s/finalize/1","certificate":"%[2]s/cert/1"}`, status, host)
}

func authzJSON(status, challenges string) string {
	return fmt.Sprintf(`{"status":%q,"identifier":{"type":"dns","value":"a.test"},"challenges":[%s]}`, status, challenges)
}

const token = "abcdefghijklmnopqrstuvwxyz012345"

func challengeJSON(typ, status string) string {
	return fmt.Sprintf(`{"type":%q,"url":"https://ca.test/chall/1","token":%q,"status":%q}`, typ, token, status)
}

func anOrder(status acme.OrderStatus) *acme.Order {
	return &acme.Order{URL: host + "/order/1", Status: status, Identifiers: dns("a.test"), Authorizations: []string{host + "/authz/1"},
		FinalizeURL: host + "/finalize/1", CertificateURL: host + "/cert/1"}
}
