package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"go.uber.org/zap"
)

const (
	maxJSON    = 256 << 10
	maxChain   = 64 << 10
	maxProblem = 64 << 10
	maxHeader  = 64 << 10
	maxUnread  = 64 << 10 // of an answer, before anyone reads it; the least that HTTP/2 allows, whose default is 4 MB

	requestTimeout  = 30 * time.Second
	finalizeTimeout = 120 * time.Second // some CAs issue while the request waits

	minRetryAfter = time.Second
	maxRetryAfter = 24 * time.Hour
	maxOwnLimit   = 7 * 24 * time.Hour // of a rate limit of one order: CAs count certificates by the week

	headerNonce      = "Replay-Nonce"
	headerRetryAfter = "Retry-After"
)

// guard stands between everything in this package and the network. It lets requests go only where the directory
// says, over https, and reads each answer whole before anyone sees it: bounded in bytes and in time, with
// Retry-After as a sane number of seconds. Callers thus cannot forget a limit, and connections are always reusable.
// Every error of its own is an *Error.
type guard struct {
	next    http.RoundTripper
	allowed func(*url.URL) error
	failed  func(url string)                      // told of every URL that brought no answer
	proxy   func(*http.Request) (*url.URL, error) // nil: none is known
	agent   string
	issuer  string
	metrics *Metrics
	log     *zap.Logger
}

// RoundTrip implements http.RoundTripper.
func (g *guard) RoundTrip(req *http.Request) (*http.Response, error) {
	op := opOf(req.Context())
	if err := g.allowed(req.URL); err != nil {
		return nil, oddAnswer(op, 0, err.Error())
	}
	ctx, cancel := context.WithTimeout(req.Context(), timeout(op))
	defer cancel()
	start := time.Now()
	res, err := g.exchange(op, g.dress(req.Clone(ctx)))
	status, took := 0, time.Since(start)
	if res != nil {
		status = res.StatusCode
	} else {
		g.failed(req.URL.String())
	}
	g.metrics.request(g.issuer, op, status, took)
	g.log.Debug("asked the CA", zap.String("issuer", g.issuer), zap.String("op", op), zap.Int("status", status),
		zap.Duration("took", took))
	return res, err
}

func (g *guard) dress(req *http.Request) *http.Request {
	req.Header.Set("User-Agent", g.agent)
	req.Header.Set("Accept-Language", "en")
	req.Header.Set("Accept-Encoding", "identity") // nothing is ever decompressed
	return req
}

// exchange sends one request and reads its answer.
func (g *guard) exchange(op string, req *http.Request) (*http.Response, error) {
	res, err := g.next.RoundTrip(req)
	if err != nil {
		return nil, g.unanswered(op, req, err)
	}
	defer res.Body.Close()
	limit := bodyLimit(op, res.StatusCode)
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return nil, networkError(op, req.URL, fmt.Errorf("reading the answer: %w", cmp.Or(req.Context().Err(), err)))
	}
	if int64(len(body)) > limit {
		return nil, &Error{Kind: Transient, Op: op, Problem: "tooLarge", Status: res.StatusCode,
			Detail: fmt.Sprintf("the CA's answer is larger than %d bytes", limit)}
	}
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	clampRetryAfter(res.Header, longestWait(op, res.StatusCode), time.Now())
	return res, nil
}

func timeout(op string) time.Duration {
	if op == OpFinalize {
		return finalizeTimeout
	}
	return requestTimeout
}

func bodyLimit(op string, status int) int64 {
	switch {
	case status >= 300:
		return maxProblem
	case op == OpCertificate:
		return maxChain
	}
	return maxJSON
}

// longestWait is the upper bound of Retry-After in an answer. An order that is rate limited may wait for days; whatever
// concerns more than one order may not, for a wrong Retry-After must not let other certificates expire.
func longestWait(op string, status int) time.Duration {
	if status == http.StatusTooManyRequests && (op == OpNewOrder || op == OpFinalize) {
		return maxOwnLimit
	}
	return maxRetryAfter
}

// clampRetryAfter replaces Retry-After, seconds or a date, by seconds within the bounds, or drops it.
func clampRetryAfter(h http.Header, most time.Duration, now time.Time) {
	d := parseRetryAfter(h.Get(headerRetryAfter), most, now)
	h.Del(headerRetryAfter)
	if d > 0 {
		h.Set(headerRetryAfter, strconv.Itoa(int(math.Ceil(d.Seconds()))))
	}
}

// parseRetryAfter returns a wait within the bounds, or zero if the value says nothing (RFC 9110 §10.2.3). A value beyond most is
// a mistake of the CA: at most a day counts of it.
func parseRetryAfter(value string, most time.Duration, now time.Time) time.Duration {
	n, err := strconv.ParseInt(value, 10, 64)
	wait := time.Duration(min(max(n, 0), int64(most/time.Second)+1)) * time.Second
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		date, err := http.ParseTime(value)
		if err != nil {
			return 0
		}
		wait = date.Sub(now)
	}
	if wait > most {
		return min(most, maxRetryAfter)
	}
	return max(wait, minRetryAfter)
}

// retryAfter reads what the guard left of Retry-After; zero: the CA did not say.
func retryAfter(h http.Header) time.Duration {
	n, _ := strconv.Atoi(h.Get(headerRetryAfter))
	return time.Duration(n) * time.Second
}

// sameHost follows a redirect of a GET within its host; any other redirect is handed to the caller as it is.
func sameHost(req *http.Request, via []*http.Request) error {
	first := via[0]
	if first.Method != http.MethodGet || req.URL.Host != first.URL.Host || len(via) > 3 {
		return http.ErrUseLastResponse
	}
	return nil
}

// networkError classifies the failure of a request that got no answer; nil: its URL is not known.
func networkError(op string, u *url.URL, err error) *Error {
	e := &Error{Kind: Transient, Op: op, Problem: "network", Detail: clean(err.Error()), Whole: true, Err: err,
		Hint: hintNetwork(u, err)}
	refused, byProxy := errors.AsType[*proxyRefusal](err)
	switch {
	case byProxy:
		e.Problem, e.Detail, e.Hint = "proxy", clean(refused.Error()), refused.hint()
	case errors.Is(err, context.Canceled):
		e.Problem, e.Whole, e.Hint = "canceled", false, ""
	case errors.Is(err, context.DeadlineExceeded):
		e.Problem, e.Whole = "timeout", op != OpFinalize
	case isTLS(err):
		e.Problem, e.Hint = "tls", hintTLS(err)
	}
	return e
}

// onPort names the port of a URL of the CA.
func onPort(u *url.URL) string {
	if u == nil {
		return ""
	}
	return " on port " + cmp.Or(u.Port(), "443")
}

func isTLS(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return true
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return true
	}
	alert, ok := errors.AsType[*net.OpError](err)
	return ok && (alert.Op == "remote error" || alert.Op == "local error") // crypto/tls's own words
}

// newTransport makes the package's own way to the network.
func newTransport(roots *x509.CertPool, proxy func(*http.Request) (*url.URL, error)) *http.Transport {
	return &http.Transport{
		Proxy:                  proxy,
		OnProxyConnectResponse: onProxyAnswer,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
		TLSClientConfig:        &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    10 * time.Second,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{MaxReceiveBufferPerStream: maxUnread},
		DisableCompression:     true,
		MaxResponseHeaderBytes: maxHeader,
		MaxIdleConnsPerHost:    maxParallel,
		IdleConnTimeout:        90 * time.Second,
	}
}

type opKey struct{}

// withOp tells the guard what a request is for.
func withOp(ctx context.Context, op string) context.Context {
	return context.WithValue(ctx, opKey{}, op)
}

func opOf(ctx context.Context) string {
	op, _ := ctx.Value(opKey{}).(string)
	return op
}
