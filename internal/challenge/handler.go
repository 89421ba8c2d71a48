package challenge

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// challengePath is where a CA looks for a token (RFC 8555 §8.3).
const challengePath = "/.well-known/acme-challenge/"

// The values of HandlerConfig.Fallback.
const (
	FallbackNotFound = "notFound" // answer 404
	FallbackRedirect = "redirect" // send the client to the same URL with https
)

// Answerer knows the key authorizations that are to be shown now.
type Answerer interface {
	// KeyAuthorization reports false for every token that it does not know, however malformed.
	KeyAuthorization(token string) (string, bool)
}

// HandlerConfig says what a handler serves.
type HandlerConfig struct {
	Tokens   Answerer // required
	Fallback string   // what requests for anything but a token get; "": FallbackNotFound
	Metrics  *Metrics // nil: not counted
}

type handler struct {
	tokens   Answerer
	redirect bool
	metrics  *Metrics
}

// NewHandler returns the http-01 handler (RFC 8555 §8.3). It answers GET and HEAD without a body, for the exact
// path of a known token, on any host: a CA follows redirects, and proxies rewrite the Host.
func NewHandler(cfg HandlerConfig) (http.Handler, error) {
	if cfg.Tokens == nil {
		return nil, errors.New("making the http-01 handler: no tokens")
	}
	switch cfg.Fallback {
	case "", FallbackNotFound, FallbackRedirect:
	default:
		return nil, fmt.Errorf("making the http-01 handler: fallback %q is unknown; use %s or %s",
			cfg.Fallback, FallbackNotFound, FallbackRedirect)
	}
	return &handler{
		tokens:   cfg.Tokens,
		redirect: cfg.Fallback == FallbackRedirect,
		metrics:  cmp.Or(cfg.Metrics, NewMetrics()),
	}, nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	h.metrics.requests.WithLabelValues(h.answer(w, r)).Inc()
}

// answer writes the response and names it for the metrics.
func (h *handler) answer(w http.ResponseWriter, r *http.Request) (result string) {
	// The path as it was sent: an encoded or unclean one never passes for a token.
	token, found := strings.CutPrefix(r.URL.EscapedPath(), challengePath)
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		w.Header().Set("Allow", "GET, HEAD")
		return refuse(w, http.StatusMethodNotAllowed)
	case r.ContentLength != 0: // -1: chunked
		return refuse(w, http.StatusBadRequest)
	case found:
		return h.prove(w, token)
	default:
		return h.fallback(w, r)
	}
}

func (h *handler) prove(w http.ResponseWriter, token string) (result string) {
	keyAuth, ok := h.tokens.KeyAuthorization(token)
	if !ok {
		return notFound(w, resultUnknown)
	}
	w.Header().Set("Content-Type", "text/plain")
	_, _ = io.WriteString(w, keyAuth) // a client that left has no use for the error
	return resultAnswered
}

func (h *handler) fallback(w http.ResponseWriter, r *http.Request) (result string) {
	host, ok := hostname(r.Host)
	if !h.redirect || !ok {
		return notFound(w, resultFallback)
	}
	target := url.URL{Scheme: "https", Host: host, Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	w.Header().Set("Content-Type", "text/plain") // keeps http.Redirect from writing a page that quotes the request
	http.Redirect(w, r, target.String(), http.StatusMovedPermanently)
	return resultFallback
}

func notFound(w http.ResponseWriter, result string) string {
	http.Error(w, "not found", http.StatusNotFound)
	return result
}

func refuse(w http.ResponseWriter, status int) (result string) {
	// A body is not drained: its sender would hold the connection. Without a real connection there is none to hold.
	_ = http.NewResponseController(w).SetReadDeadline(time.Unix(1, 0))
	http.Error(w, http.StatusText(status), status)
	return resultRefused
}

// hostname returns the name or IPv4 address in a Host header without its port; false if anything else is in it.
func hostname(host string) (string, bool) {
	name, port, _ := strings.Cut(host, ":")
	for _, c := range []byte(port) {
		if c < '0' || c > '9' {
			return "", false
		}
	}
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || !isBase64URL(label) {
			return "", false
		}
	}
	return name, len(name) <= 253
}
