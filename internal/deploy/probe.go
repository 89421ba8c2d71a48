package deploy

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"acmed/internal/spec"
)

// Prober looks whether servers serve the certificate that they were given. The zero value is ready.
type Prober struct {
	limit   time.Duration // for a server to serve it; zero: 10 s
	attempt time.Duration // for one connection; zero: 3 s
}

// Probe connects to every address of a target, for up to ten seconds or until each shows the leaf with this SHA-256
// checksum: a reload takes a moment.
func (p *Prober) Probe(ctx context.Context, want *spec.Certificate, t spec.Target, leaf string) Result {
	began := time.Now()
	r := p.probe(ctx, want, want.Deploy.Probe[t.Index], leaf)
	r.Key, r.Fingerprint, r.Took = t.Key, t.Fingerprint, time.Since(began)
	return r
}

func (p *Prober) probe(ctx context.Context, want *spec.Certificate, at spec.Probe, leaf string) Result {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.limit, 10*time.Second))
	defer cancel()
	look := look{Probe: at, key: want.PrivateKey.Algorithm, leaf: leaf, attempt: cmp.Or(p.attempt, 3*time.Second)}
	if look.ServerName == "" && len(want.DNSNames) > 0 {
		look.ServerName = strings.TrimPrefix(want.DNSNames[0], "*.")
	}
	var last Result
	for pause := 100 * time.Millisecond; ; pause = min(2*pause, 2*time.Second) {
		r := look.everywhere(ctx)
		switch {
		case r.OK:
			return r
		case ctx.Err() != nil && last.Problem != "":
			return last // a look that the end cut short tells nothing
		}
		last = r
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return r
		}
	}
}

// look is one way of looking at a server.
type look struct {
	spec.Probe
	key     string // algorithm of the leaf's key: "ECDSA" or "RSA"
	leaf    string
	attempt time.Duration
}

// everywhere looks at each address that the host has: all have to serve the certificate.
func (l look) everywhere(ctx context.Context) Result {
	host, port, err := net.SplitHostPort(l.Address)
	if err != nil {
		return Result{Problem: err.Error(), Hint: `write host and port, such as "127.0.0.1:443"`}
	}
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return Result{Problem: "looking up " + host + ": " + err.Error(), Hint: "name an address, or see that the name resolves"}
	}
	var first Result
	for i, a := range addresses {
		r := l.at(ctx, net.JoinHostPort(a, port))
		if !r.OK {
			if len(addresses) > 1 {
				r.Problem = a + " " + r.Problem
			}
			return r
		}
		if i == 0 || r.NotAfter.Before(first.NotAfter) {
			first = r
		}
	}
	return first
}

// at looks at one address. A server may have a certificate for each type of key: the one in question is asked for once
// more when another is shown.
func (l look) at(ctx context.Context, address string) Result {
	served, err := l.connect(ctx, address, &tls.Config{})
	if err == nil && !l.is(served) {
		again, aerr := l.connect(ctx, address, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: suitesFor(l.key)})
		if aerr == nil && l.is(again) {
			served = again
		}
	}
	switch {
	case err != nil:
		return unreachable(err, l.StartTLS)
	case !l.is(served):
		return Result{
			Problem: fmt.Sprintf("serves another certificate (serial %x, for %s, until %s)", served.SerialNumber, nameOf(served), served.NotAfter.Format(time.DateOnly)),
			Hint:    "see that its configuration names the files of this certificate, and that deploy.reload names its unit", NotAfter: served.NotAfter,
		}
	}
	return Result{OK: true, NotAfter: served.NotAfter}
}

func (l look) is(c *x509.Certificate) bool {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:]) == l.leaf
}

func nameOf(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return cmp.Or(c.Subject.CommonName, "no name")
}

// suitesFor are the cipher suites of TLS 1.2 that need a key of that type.
func suitesFor(key string) (ids []uint16) {
	for _, s := range tls.CipherSuites() {
		if strings.HasPrefix(s.Name, "TLS_ECDHE_"+key+"_") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

// connect makes one TLS handshake and returns the leaf that is shown.
func (l look) connect(ctx context.Context, address string, c *tls.Config) (leaf *x509.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.attempt)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // ends whatever is under way
	if err := startTLS(conn, l.StartTLS); err != nil {
		return nil, err
	}
	// Whose certificate it is, is the question, and not whether this machine trusts its issuer: the caller compares it
	// with the one that the CA has issued.
	c.InsecureSkipVerify, c.ServerName = true, l.ServerName
	c.MinVersion = tls.VersionTLS12
	session := tls.Client(conn, c)
	if err := session.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	_ = session.Close() // politely; what the server thinks of it does not matter
	return session.ConnectionState().PeerCertificates[0], nil
}

// unreachable words why there was no handshake.
func unreachable(err error, protocol string) Result {
	var timeout net.Error
	switch refused, _ := errors.AsType[*noTLS](err); {
	case refused != nil:
		return Result{Problem: "does not start TLS by " + protocol + ": " + refused.Error(), Hint: "see that the server offers it on this port, and that startTLS is right"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Result{Problem: "refuses the connection", Hint: "see that the server runs and listens there"}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return Result{Problem: "does not answer in time", Hint: "see that the server runs, and that no firewall is between"}
	}
	return Result{Problem: "makes no TLS handshake: " + err.Error(), Hint: "see that the server speaks TLS there, or name the protocol in startTLS"}
}
