package deploy

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// Prober looks whether servers serve the certificate that they were given. The zero value is ready.
type Prober struct {
	limit   time.Duration // for a server to serve it; zero: 10 s
	attempt time.Duration // for one connection; zero: 3 s
}

// Probe connects to every address of a target, for up to ten seconds or until each shows the certificate of these files
// and its chain: a reload takes a moment.
func (p *Prober) Probe(ctx context.Context, want *spec.Certificate, t spec.Target, files store.Files) Result {
	began := time.Now()
	var r Result
	if chain, err := readChain(files); err != nil {
		r = failed(err)
	} else {
		r = p.probe(ctx, want, want.Deploy.Probe[t.Index], chain)
	}
	r.Key, r.Fingerprint, r.Took = t.Key, t.Fingerprint, time.Since(began)
	return r
}

func (p *Prober) probe(ctx context.Context, want *spec.Certificate, at spec.Probe, chain []*x509.Certificate) Result {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.limit, 10*time.Second))
	defer cancel()
	look := look{Probe: at, want: want, chain: chain, attempt: cmp.Or(p.attempt, 3*time.Second)}
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
	want    *spec.Certificate
	chain   []*x509.Certificate // the leaf and what is above it
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
	shown, err := l.connect(ctx, address, &tls.Config{})
	if len(shown) > 0 && !l.is(shown) {
		again, aerr := l.connect(ctx, address, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: suitesFor(l.want.PrivateKey.Algorithm)})
		if aerr == nil && l.is(again) {
			shown, err = again, nil
		}
	}
	switch {
	case len(shown) == 0:
		return unreachable(err, l.StartTLS)
	case !l.is(shown):
		return l.another(shown[0])
	case err != nil:
		return Result{Problem: "shows the certificate, but the handshake fails: " + oneLine(err.Error()),
			Hint: "see that the server reads the key of this certificate: a key that it has kept, or that is in another file, fails like this", NotAfter: shown[0].NotAfter}
	}
	if problem := lacks(shown, l.chain[1:]); problem != "" {
		return Result{Problem: problem, Hint: "have the server send fullchain.pem, or renew the chain that it has in a file of its own: deploy.files with content: chain",
			NotAfter: shown[0].NotAfter}
	}
	return Result{OK: true, NotAfter: shown[0].NotAfter}
}

// is reports whether the leaf is shown.
func (l look) is(shown []*x509.Certificate) bool { return len(shown) > 0 && shown[0].Equal(l.chain[0]) }

// another is the result of a server that shows another leaf.
func (l look) another(served *x509.Certificate) Result {
	r := Result{
		Problem: fmt.Sprintf("serves another certificate (serial %x, for %s, until %s)", served.SerialNumber, nameOf(served), served.NotAfter.Format(time.DateOnly)),
		Hint:    "see that its configuration names the files of this certificate, and that deploy.reload names its unit", NotAfter: served.NotAfter,
	}
	if units := strings.Join(l.want.Deploy.Reload, ", "); units != "" && l.old(served) {
		r.Hint = "the reload worked, and the server still has the certificate that it read before: it may need a restart; if it does, write restart: in place of reload: for its unit (" + units + ")"
	}
	return r
}

// old reports whether a leaf is for a name or address of this one: the server has kept it.
func (l look) old(served *x509.Certificate) bool {
	shares := func(name string) bool { return slices.Contains(served.DNSNames, name) }
	return slices.ContainsFunc(l.want.DNSNames, shares) || slices.ContainsFunc(l.want.IPAddresses, func(a netip.Addr) bool {
		return slices.ContainsFunc(served.IPAddresses, net.IP(a.AsSlice()).Equal)
	})
}

// lacks words which intermediates a server does not send; "": it sends them all, in any order and beside whatever else.
func lacks(shown, chain []*x509.Certificate) string {
	var missing []string
	for _, want := range chain {
		if selfSigned(want) || slices.ContainsFunc(shown, want.Equal) {
			continue
		}
		i := slices.IndexFunc(shown, func(c *x509.Certificate) bool { return bytes.Equal(c.RawSubject, want.RawSubject) })
		if i < 0 {
			missing = append(missing, "does not send the intermediate "+nameOf(want))
			continue
		}
		missing = append(missing, fmt.Sprintf("sends another %s (serial %x, until %s) than it was issued with (serial %x, until %s)", nameOf(want),
			shown[i].SerialNumber, shown[i].NotAfter.Format(time.DateOnly), want.SerialNumber, want.NotAfter.Format(time.DateOnly)))
	}
	return strings.Join(missing, "; ")
}

// selfSigned reports whether a certificate is a root, which clients have.
func selfSigned(c *x509.Certificate) bool {
	return bytes.Equal(c.RawIssuer, c.RawSubject) && c.CheckSignature(c.SignatureAlgorithm, c.RawTBSCertificate, c.Signature) == nil
}

func nameOf(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return cmp.Or(c.Subject.CommonName, c.Subject.String(), "no name")
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

// connect makes one TLS handshake and returns what is shown, also of one that fails later. One that a server ends because
// it wants a certificate of the client has not failed: by then it has shown its own, and that it has the key.
func (l look) connect(ctx context.Context, address string, c *tls.Config) (shown []*x509.Certificate, err error) {
	ctx, cancel := context.WithTimeout(ctx, l.attempt)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })() // ends whatever is under way
	if err := startTLS(conn, l.StartTLS, l.ServerName); err != nil {
		return nil, err
	}
	proven := false
	c.VerifyPeerCertificate = func(raw [][]byte, _ [][]*x509.Certificate) error {
		for _, der := range raw {
			one, err := x509.ParseCertificate(der)
			if err != nil {
				return err
			}
			shown = append(shown, one)
		}
		return nil
	}
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		proven = true // it is asked for once the server's signature has been verified
		return new(tls.Certificate), nil
	}
	// Whose certificate it is, is the question, and not whether this machine trusts its issuer: the caller compares it
	// with the one that the CA has issued.
	c.InsecureSkipVerify, c.ServerName = true, l.ServerName
	c.MinVersion = tls.VersionTLS12
	session := tls.Client(conn, c)
	if err := session.HandshakeContext(ctx); err != nil && !proven {
		return shown, err
	}
	_ = session.Close() // politely; what the server thinks of it does not matter
	return shown, nil
}

// unreachable words why there was no handshake.
func unreachable(err error, protocol string) Result {
	var timeout net.Error
	switch refused, _ := errors.AsType[*noTLS](err); {
	case refused != nil:
		return Result{Problem: "does not start TLS by " + protocol + ": " + refused.Error(), Hint: "see that the server offers it on this port, and that startTLS is right"}
	case errors.Is(err, syscall.ECONNREFUSED):
		return Result{Problem: "refuses the connection", Hint: "see that the server runs and listens there"}
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Result{Problem: "cannot be reached: " + err.Error(), Hint: "name an address to which this machine has a route, such as 127.0.0.1"}
	case errors.As(err, &timeout) && timeout.Timeout(), errors.Is(err, context.DeadlineExceeded):
		return Result{Problem: "does not answer in time", Hint: "see that the server runs, and that no firewall is between"}
	}
	r := Result{Problem: "makes no TLS handshake: " + err.Error(), Hint: "see that the server speaks TLS there, or name the protocol in startTLS"}
	alert, ok := errors.AsType[*net.OpError](err)
	switch {
	case ok && alert.Op == "remote error": // the server speaks TLS, and refuses
		r.Hint = "see that the server has a certificate for the name that is asked for, or correct serverName in deploy.probe; its log says why it refuses"
	case protocol != "":
		r.Hint = "see in the log of the server why TLS does not begin after " + protocol + " has been asked for it"
	}
	return r
}
