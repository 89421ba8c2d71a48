package acmetest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// request is one request on its way through the CA.
type request struct {
	*http.Request
	route
	url  string
	body []byte
	now  time.Time

	payload  []byte     // of its signature
	account  *account   // that signed it; nil: none did, or its key belongs to none
	signer   *signer    // nil: it is not signed
	accepted *challenge // by this request; nil: none was
	told     func()     // notes what the client learns if the answer arrives; nil: nothing to note
}

// reply is an answer to a request that was understood.
type reply struct {
	status     int
	location   string
	etag       string
	retryAfter time.Duration // zero: not said
	body       any           // marshalled as JSON, but []byte is a chain as it is; nil: none
}

// problem is an RFC 7807 document: the answer to a request that was refused.
type problem struct {
	Type        string       `json:"type"`
	Detail      string       `json:"detail"`
	Status      int          `json:"status"`
	Subproblems []subproblem `json:"subproblems,omitempty"`
	Algorithms  []string     `json:"algorithms,omitempty"` // of badSignatureAlgorithm (RFC 8555 §6.2)

	retryAfter time.Duration // zero: not said
}

// subproblem is what went wrong with one identifier of an order (RFC 8555 §6.7.1).
type subproblem struct {
	Type       string     `json:"type"`
	Detail     string     `json:"detail"`
	Identifier identifier `json:"identifier"`
}

// refuse makes a problem of an ACME error type, given without its prefix.
func refuse(status int, kind, format string, args ...any) *problem {
	return &problem{Type: "urn:ietf:params:acme:error:" + kind, Detail: fmt.Sprintf(format, args...), Status: status}
}

// route says how the requests of one op are served.
type route struct {
	op      string
	methods string
	serve   func(*CA, *request) (*reply, *problem) // called with ca.mu held
}

// routeFor finds the route by the first part of the path.
func routeFor(path string) (route, bool) {
	first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	if first == "order" && strings.HasSuffix(rest, "/finalize") {
		first = "finalize"
	}
	r, ok := map[string]route{
		"directory":    {"directory", "GET", (*CA).directory},
		"new-nonce":    {"newNonce", "HEAD GET", (*CA).newNonce},
		"new-account":  {"newAccount", "POST", (*CA).newAccount},
		"account":      {"account", "POST", (*CA).serveAccount},
		"key-change":   {"keyChange", "POST", (*CA).keyChange},
		"new-order":    {"newOrder", "POST", (*CA).newOrder},
		"order":        {"order", "POST", (*CA).serveOrder},
		"finalize":     {"finalize", "POST", (*CA).finalize},
		"authz":        {"authz", "POST", (*CA).serveAuthz},
		"challenge":    {"challenge", "POST", (*CA).serveChallenge},
		"certificate":  {"certificate", "POST", (*CA).serveCertificate},
		"renewal-info": {"renewalInfo", "GET", (*CA).serveRenewalInfo},
		"revoke-cert":  {"revokeCert", "POST", (*CA).revokeCert},
		"crl":          {"crl", "GET", (*CA).serveCRL},
	}[first]
	return r, ok
}

// RoundTrip implements http.RoundTripper.
func (ca *CA) RoundTrip(req *http.Request) (*http.Response, error) {
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	r, err := newRequest(req)
	if err != nil {
		return nil, err
	}
	intercept, err := ca.admit(r)
	if err != nil {
		return nil, err
	}
	if intercept != nil {
		if resp := intercept(req); resp != nil {
			resp.Request = req
			return resp, nil
		}
	}
	ca.validate(r)
	resp, err := ca.answer(r)
	if r.accepted != nil {
		ca.firstLook(r)
	}
	return resp, err
}

func newRequest(req *http.Request) (*request, error) {
	r := &request{Request: req, url: req.URL.String(), now: time.Now().Round(0)}
	r.route, _ = routeFor(req.URL.Path)
	if req.Body == nil {
		return r, nil
	}
	defer req.Body.Close()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	r.body, req.Body = body, io.NopCloser(bytes.NewReader(body))
	return r, nil
}

// admit fails the requests that do not reach the CA, and returns who is to see the others first.
func (ca *CA) admit(r *request) (intercept func(*http.Request) *http.Response, err error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if ca.script.down || spend(ca.script.refuse, r.op) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	return ca.script.intercept, nil
}

// spend takes one from m[key] if there is one.
func spend(m map[string]int, key string) bool {
	if m[key] == 0 {
		return false
	}
	m[key]--
	return true
}

// answer lets the request have its effect and answers it, unless the answer gets lost.
func (ca *CA) answer(r *request) (*http.Response, error) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	rep, prob := ca.decide(r)
	resp := ca.response(r, rep, prob)
	ca.record(Entry{Op: r.op, Method: r.Method, URL: r.url, Status: resp.StatusCode, Time: r.now})
	if spend(ca.script.lose, r.op) {
		return nil, &net.OpError{Op: "read", Net: "tcp", Err: syscall.ECONNRESET}
	}
	if r.told != nil {
		r.told()
	}
	return resp, nil
}

// decide checks what all requests have in common and calls the op's handler. Of the requests that fail by dice, one
// half fails before it takes effect and the other half after.
func (ca *CA) decide(r *request) (*reply, *problem) {
	if r.serve == nil || !strings.HasPrefix(r.url, ca.cfg.BaseURL+"/") {
		ca.misbehaved("%s %s: there is no such URL", r.Method, r.url)
		return nil, refuse(http.StatusNotFound, "malformed", "no such URL")
	}
	if p := ca.checkManners(r); p != nil {
		return nil, p
	}
	fails := ca.dice.Float64() < ca.cfg.Errors
	if fails && ca.dice.IntN(2) == 0 {
		return nil, busy(0)
	}
	if r.Method == http.MethodPost {
		if p := ca.verify(r); p != nil {
			return nil, p
		}
	}
	rep, prob := r.serve(ca, r)
	if fails {
		r.told = nil
		return nil, busy(0)
	}
	return rep, prob
}

// checkManners checks what needs no signature.
func (ca *CA) checkManners(r *request) *problem {
	if r.UserAgent() == "" {
		ca.misbehaved("%s %s: without a User-Agent (RFC 8555 §6.1)", r.Method, r.url)
	}
	if !strings.Contains(r.methods, r.Method) {
		ca.misbehaved("%s %s: the method must be %s", r.Method, r.url, r.methods)
		return refuse(http.StatusMethodNotAllowed, "malformed", "method not allowed")
	}
	if h := &ca.script.caHold; r.now.Before(h.until) {
		left := h.until.Sub(r.now)
		if h.broken(r) {
			ca.misbehaved("%s %s: %v before the CA's Retry-After ended", r.Method, r.url, left)
		}
		return busy(left)
	}
	return nil
}

func busy(retryAfter time.Duration) *problem {
	p := refuse(http.StatusServiceUnavailable, "rateLimited", "Service busy; retry later.")
	p.retryAfter = retryAfter
	return p
}

// response encodes whichever of rep and prob is not nil.
func (ca *CA) response(r *request, rep *reply, prob *problem) *http.Response {
	header := http.Header{"Cache-Control": {"no-store"}}
	if prob != nil {
		rep = &reply{status: prob.Status, retryAfter: prob.retryAfter, body: prob}
		header.Set("Content-Type", "application/problem+json")
	}
	body := encode(header, rep.body)
	if r.Method == http.MethodPost || r.op == "newNonce" {
		header.Set("Replay-Nonce", ca.nonces.issue())
		header.Set("Link", fmt.Sprintf("<%s>;rel=\"index\"", ca.DirectoryURL()))
	}
	if rep.etag != "" {
		header.Set("ETag", rep.etag)
	}
	if rep.location != "" {
		header.Set("Location", rep.location)
	}
	if rep.retryAfter > 0 {
		header.Set("Retry-After", strconv.Itoa(wholeSeconds(rep.retryAfter)))
	}
	return &http.Response{
		Status:     fmt.Sprintf("%d %s", rep.status, http.StatusText(rep.status)),
		StatusCode: rep.status,
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        header,
		Body:          io.NopCloser(bytes.NewReader(body)),
		ContentLength: int64(len(body)),
		Request:       r.Request,
	}
}

func encode(header http.Header, body any) []byte {
	switch body := body.(type) {
	case nil:
		return nil
	case []byte:
		header.Set("Content-Type", "application/pem-certificate-chain")
		return body
	}
	if header.Get("Content-Type") == "" {
		header.Set("Content-Type", "application/json")
	}
	encoded, err := json.Marshal(body)
	if err != nil {
		panic(err) // only our own types come here
	}
	return encoded
}

// wholeSeconds rounds up: a client that waits so long has waited long enough.
func wholeSeconds(d time.Duration) int { return int((d + time.Second - 1) / time.Second) }

// hold is a time until which clients are asked to wait.
type hold struct {
	until time.Time
	told  time.Time // when a client first learned of it; zero: none did
}

// inTransit is how long requests may still arrive after another one was told to wait: they were on their way.
const inTransit = time.Second

// broken tells whether a client had been told before it sent r. The answer to r tells it again.
func (h *hold) broken(r *request) bool {
	if h.told.IsZero() {
		r.told = func() { h.told = r.now }
		return false
	}
	return r.now.Sub(h.told) > inTransit
}

// directory serves RFC 8555 §7.1.1.
func (ca *CA) directory(*request) (*reply, *problem) {
	base := ca.cfg.BaseURL
	meta := map[string]any{
		"termsOfService":          base + "/terms",
		"website":                 base,
		"caaIdentities":           []string{"ca.test"},
		"externalAccountRequired": ca.cfg.RequireEAB,
	}
	if len(ca.cfg.Profiles) > 0 {
		profiles := make(map[string]string)
		for name, lifetime := range ca.cfg.Profiles {
			profiles[name] = fmt.Sprintf("certificates for %v", lifetime)
		}
		meta["profiles"] = profiles
	}
	dir := map[string]any{
		"newNonce":   base + "/new-nonce",
		"newAccount": base + "/new-account",
		"newOrder":   base + "/new-order",
		"revokeCert": base + "/revoke-cert",
		"keyChange":  base + "/key-change",
		"meta":       meta,
	}
	if ca.cfg.RenewalInfo {
		dir["renewalInfo"] = base + "/renewal-info"
	}
	return &reply{status: http.StatusOK, body: dir}, nil
}

// newNonce serves RFC 8555 §7.2.
func (ca *CA) newNonce(r *request) (*reply, *problem) {
	if r.Method == http.MethodHead {
		return &reply{status: http.StatusOK}, nil
	}
	return &reply{status: http.StatusNoContent}, nil
}
