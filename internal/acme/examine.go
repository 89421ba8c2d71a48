package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"net/http"
	"time"
)

// Examined is what can be seen of a CA without an account there.
type Examined struct {
	Directory Directory
	Took      time.Duration // to read the directory
	NonceTook time.Duration // to fetch a nonce
	// Skew is by how much this machine's clock is ahead of the CA's, in whole seconds and only if it is more than the
	// question took.
	Skew     time.Duration
	TLS      string    // the version
	IssuedBy string    // common name of who issued the CA's TLS certificate
	NotAfter time.Time // of that certificate
}

// Examine reads the directory of a CA and fetches a nonce, and nothing else: nothing is registered. Config.Key and
// Config.KID are not used.
func Examine(ctx context.Context, cfg Config) (Examined, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Examined{}, badConfig(err.Error(), "")
	}
	cfg.Key, cfg.KID = key, ""
	c, err := New(cfg)
	if err != nil {
		return Examined{}, err
	}
	defer c.Close()
	seen := &witness{next: c.guard.next}
	c.guard.next = seen

	start := time.Now()
	d, err := c.Directory(ctx)
	if err != nil {
		return Examined{}, err
	}
	out := Examined{Directory: d, Took: time.Since(start)}
	seen.report(&out)
	start = time.Now()
	if _, err := c.fetchNonce(ctx); err != nil {
		return Examined{}, err
	}
	out.NonceTook = time.Since(start)
	return out, nil
}

// fetchNonce asks for a nonce even if there is one.
func (c *Client) fetchNonce(ctx context.Context) (nonce string, err error) {
	defer c.finish(OpNonce, &err)
	c.nonces = noncePool{}
	return c.nonce(ctx)
}

// witness remembers how the first answer came.
type witness struct {
	next  http.RoundTripper
	first *http.Response
	sent  time.Time
	came  time.Time
}

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(req *http.Request) (*http.Response, error) {
	sent := time.Now()
	res, err := w.next.RoundTrip(req)
	if w.first == nil && err == nil {
		w.first, w.sent, w.came = res, sent, time.Now()
	}
	return res, err
}

// report fills in what was seen beside the answers themselves.
func (w *witness) report(out *Examined) {
	if date, err := http.ParseTime(w.first.Header.Get("Date")); err == nil {
		out.Skew = skew(w.sent, w.came, date)
	}
	if s := w.first.TLS; s != nil && len(s.PeerCertificates) > 0 {
		leaf := s.PeerCertificates[0]
		out.TLS, out.IssuedBy, out.NotAfter = tls.VersionName(s.Version), clean(leaf.Issuer.CommonName), leaf.NotAfter
	}
}

// skew is by how much a clock is ahead of another one that said date, a whole second, between sent and came.
func skew(sent, came, date time.Time) time.Duration {
	switch {
	case sent.After(date.Add(time.Second)):
		return sent.Sub(date).Truncate(time.Second)
	case came.Before(date):
		return came.Sub(date).Truncate(time.Second)
	}
	return 0
}
