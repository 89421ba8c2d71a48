package acme

import (
	"net/url"
	"time"
)

// What tests and fuzzing reach inside.
var (
	Clean         = clean
	Alternates    = alternates
	Skew          = skew
	ParseChain    = parseChain
	KnownProblems = knownProblems
	MaxRetryAfter = maxRetryAfter
)

// ParseRetryAfter is parseRetryAfter of most answers.
func ParseRetryAfter(value string, now time.Time) time.Duration {
	return parseRetryAfter(value, maxRetryAfter, now)
}

// Classify parses and classifies the body of a refusal.
func Classify(op string, status int, body []byte) *Error {
	return classify(op, status, parseProblem(body), 0, time.Time{})
}

// NoncePool is noncePool.
type NoncePool struct{ p noncePool }

func NewNoncePool() *NoncePool                       { return &NoncePool{} }
func (n *NoncePool) Put(nonce string, now time.Time) { n.p.put(nonce, now) }
func (n *NoncePool) Take(now time.Time) string       { return n.p.take(now) }

// NetworkError is networkError of the directory.
func NetworkError(u *url.URL, err error) *Error { return networkError(OpDirectory, u, err) }
