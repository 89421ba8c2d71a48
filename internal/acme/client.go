package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/zap"
)

// maxParallel bounds the requests that one step sends at once.
const maxParallel = 8

// Config is what a Client is made from.
type Config struct {
	Directory string                                // https URL of the CA's directory; required
	Key       crypto.Signer                         // the account's key, *ecdsa.PrivateKey or *rsa.PrivateKey; required
	KID       string                                // the account's URL; "": Register or Lookup first
	RootCAs   *x509.CertPool                        // nil: the system's
	Proxy     func(*http.Request) (*url.URL, error) // nil: none; an *Error of its is passed on
	UserAgent string                                // "": "acmed"
	Transport http.RoundTripper                     // nil: a transport of the package's own, to which RootCAs and Proxy apply
	Metrics   *Metrics                              // nil: not counted
	Issuer    string                                // label of metrics and field of logs
	Log       *zap.Logger                           // nil: silent
}

// Client speaks to one CA on behalf of one account. It is safe for concurrent use. No lock is held while it waits
// for the network.
type Client struct {
	base    *url.URL // of the directory
	issuer  string
	key     crypto.Signer
	alg     jose.SignatureAlgorithm
	roots   *x509.CertPool // nil: the system's
	guard   *guard
	http    *http.Client
	nonces  noncePool
	metrics *Metrics

	mu     sync.Mutex
	kid    string
	dir    *directory // nil: never read
	until  time.Time  // when dir is read anew
	flight *flight    // nil: nobody reads the directory
}

// New makes a Client without touching the network. Its errors are Permanent.
func New(cfg Config) (*Client, error) {
	u, err := url.Parse(cfg.Directory)
	if err == nil {
		err = checkURL(u)
	}
	if err != nil {
		return nil, badConfig("the directory's URL cannot be used: "+err.Error(), "set directory in the issuer to an https URL")
	}
	alg, err := algorithm(cfg.Key)
	if err != nil {
		return nil, badConfig(err.Error(), "use an ECDSA or RSA key for the account")
	}
	c := &Client{base: u, issuer: cfg.Issuer, key: cfg.Key, alg: alg, roots: cfg.RootCAs, kid: cfg.KID, metrics: cfg.Metrics}
	c.guard = &guard{
		next: cfg.Transport, allowed: c.allowed, failed: c.doubtDirectory, agent: cmp.Or(cfg.UserAgent, "acmed"),
		issuer: cfg.Issuer, metrics: cfg.Metrics, log: cmp.Or(cfg.Log, zap.NewNop()),
	}
	if cfg.Transport == nil {
		c.guard.proxy = cfg.Proxy
		c.guard.next = newTransport(cfg.RootCAs, cfg.Proxy)
	}
	c.http = &http.Client{Transport: c.guard, CheckRedirect: sameHost}
	return c, nil
}

func badConfig(detail, hint string) *Error {
	return &Error{Kind: Permanent, Op: OpDirectory, Problem: problemConfiguration, Detail: clean(detail), Whole: true, Hint: hint}
}

// Close lets go of idle connections. The Client stays usable.
func (c *Client) Close() {
	if t, ok := c.guard.next.(interface{ CloseIdleConnections() }); ok {
		t.CloseIdleConnections()
	}
}

// account returns the account's URL; "" while it is unknown.
func (c *Client) account() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.kid
}

// finish makes an *Error of what a step returned, and counts it. Every exported step defers it.
func (c *Client) finish(op string, err *error) {
	if *err == nil {
		return
	}
	e := asError(op, *err)
	c.metrics.failed(c.issuer, e)
	*err = e
}

// answer is what the CA answered, read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
	url    *url.URL // of the request, for relative references
}

func newAnswer(res *http.Response) (*answer, error) {
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body) // the guard has bounded it
	return &answer{status: res.StatusCode, header: res.Header, body: body, url: res.Request.URL}, err
}

// decode parses the JSON of an answer.
func (a *answer) decode(op string, v any) error {
	if err := json.Unmarshal(a.body, v); err != nil {
		return malformed(op, a.status, err)
	}
	return nil
}

// do sends one request once. An answer other than 2xx is an *Error.
func (c *Client) do(ctx context.Context, op, method, url string, body []byte) (*answer, error) {
	req, err := http.NewRequestWithContext(withOp(ctx, op), method, url, bytes.NewReader(body))
	if err != nil {
		return nil, oddAnswer(op, 0, err.Error())
	}
	if method == http.MethodPost {
		req.Header.Set("Content-Type", "application/jose+json")
	}
	res, err := c.http.Do(req)
	if err != nil {
		return nil, asError(op, err)
	}
	a, err := newAnswer(res)
	if err != nil {
		return nil, networkError(op, nil, err)
	}
	if method != http.MethodHead {
		c.nonces.put(a.header.Get(headerNonce), time.Now())
	}
	if a.status/100 != 2 {
		return nil, c.refusal(op, url, a)
	}
	return a, nil
}

// refusal classifies an answer other than 2xx, and notes when it suggests that the directory has changed.
func (c *Client) refusal(op, url string, a *answer) *Error {
	if a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed {
		c.doubtDirectory(url)
	}
	if a.status/100 == 3 {
		return oddAnswer(op, a.status, "the CA redirects to "+a.header.Get("Location")+", which is not followed")
	}
	return classify(op, a.status, parseProblem(a.body), retryAfter(a.header), time.Now())
}
