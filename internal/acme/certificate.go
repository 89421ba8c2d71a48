package acme

import (
	"bytes"
	"cmp"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"strings"
)

const (
	maxCertificates = 10 // of one chain
	maxAlternates   = 10
)

// Fetch reads the chain of a valid order, leaf first (RFC 8555 §7.4.2). With preferredChain, the common name of an issuer,
// it reads the alternates as well. A chain whose topmost issuer has that name wins over a chain that only mentions it: a
// root may be cross-signed by an older one. The shortest chain wins a tie. If no chain has the name, Fetch returns the
// default chain, and in offered the topmost issuers of all chains, the default one first; else offered is nil. To a leaf
// alone it adds the root that signed it, if Config.RootCAs or the system has it. Verify decides whether the chain is
// trusted.
func (c *Client) Fetch(ctx context.Context, o *Order, preferredChain string) (der [][]byte, offered []string, err error) {
	defer c.finish(OpCertificate, &err)
	if o.CertificateURL == "" {
		return nil, nil, oddAnswer(OpCertificate, 0, "the order names no certificate")
	}
	der, a, err := c.fetch(ctx, o.CertificateURL)
	if err != nil || preferredChain == "" {
		return c.complete(der), nil, err
	}
	best := rankOf(der, preferredChain)
	offered = append(offered, topOf(der))
	for _, ref := range alternates(a.header) {
		if best.final() {
			break
		}
		other, ok := c.alternate(ctx, a, ref)
		if !ok {
			continue
		}
		offered = append(offered, topOf(other))
		if rank := rankOf(other, preferredChain); rank.better(best) {
			der, best = other, rank
		}
	}
	if best.match != noMatch {
		offered = nil
	}
	return c.complete(der), offered, nil
}

// complete adds the root that signed a leaf which came alone: RFC 8555 §7.4.2 lets a CA leave the root out, and servers
// and revocation lists need the issuer. Verify judges the rest.
func (c *Client) complete(der [][]byte) [][]byte {
	if len(der) != 1 {
		return der
	}
	leaf, err := x509.ParseCertificate(der[0])
	if err != nil {
		return der
	}
	opts := x509.VerifyOptions{Roots: c.roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}}
	found, err := leaf.Verify(opts)
	if err != nil && c.roots != nil {
		opts.Roots = nil // the system's
		found, err = leaf.Verify(opts)
	}
	if err != nil {
		return der
	}
	for _, cert := range found[0][1:] {
		der = append(der, cert.Raw)
	}
	return der
}

// alternate reads an alternate chain. If it cannot be read, the certificate is still good with another chain.
func (c *Client) alternate(ctx context.Context, a *answer, ref string) (der [][]byte, ok bool) {
	url, err := c.resolve(OpCertificate, a.url, ref)
	if err != nil {
		return nil, false
	}
	der, _, err = c.fetch(ctx, url)
	return der, err == nil
}

// match says how a chain leads to the preferred issuer, the best first.
type match int

const (
	topMatch   match = iota // the topmost issuer has the name
	innerMatch              // another certificate of the chain has it
	noMatch
)

// rank orders chains by match, then by length.
type rank struct {
	match  match
	length int
}

func rankOf(der [][]byte, preferred string) rank {
	m := noMatch
	for i, d := range der {
		cert, err := x509.ParseCertificate(d)
		switch {
		case err != nil:
		case i == len(der)-1 && cert.Issuer.CommonName == preferred:
			m = topMatch
		case cert.Subject.CommonName == preferred || cert.Issuer.CommonName == preferred:
			m = min(m, innerMatch)
		}
	}
	return rank{m, len(der)}
}

// better reports whether a chain wins over another one. Without a match none does.
func (r rank) better(other rank) bool {
	return r.match != noMatch && cmp.Or(cmp.Compare(r.match, other.match), cmp.Compare(r.length, other.length)) < 0
}

// final reports whether no other chain can be better. A chain has an issuer beside its leaf.
func (r rank) final() bool { return r.match == topMatch && r.length <= 2 }

func (c *Client) fetch(ctx context.Context, url string) ([][]byte, *answer, error) {
	a, err := c.post(ctx, OpCertificate, url, nil)
	if err != nil {
		return nil, nil, err
	}
	der, err := parseChain(a.body)
	if err != nil {
		return nil, nil, malformed(OpCertificate, a.status, err)
	}
	return der, a, nil
}

// parseChain reads application/pem-certificate-chain, which holds certificates and nothing else (RFC 8555 §9.1).
func parseChain(text []byte) ([][]byte, error) {
	var der [][]byte
	for text = bytes.TrimSpace(text); len(text) > 0; text = bytes.TrimSpace(text) {
		if !bytes.HasPrefix(text, []byte("-----BEGIN CERTIFICATE-----")) {
			return nil, errors.New("the chain holds something else than certificates")
		}
		block, rest := pem.Decode(text)
		if block == nil || len(block.Headers) > 0 || bytes.Count(text[:len(text)-len(rest)], []byte("-----BEGIN")) != 1 {
			return nil, errors.New("the chain holds something else than certificates")
		}
		if der = append(der, block.Bytes); len(der) > maxCertificates {
			return nil, errors.New("the chain is too long")
		}
		text = rest
	}
	if len(der) == 0 {
		return nil, errors.New("the chain is empty")
	}
	return der, nil
}

// topOf is the common name of the topmost issuer of a chain, made harmless; "": it has none.
func topOf(der [][]byte) string {
	cert, err := x509.ParseCertificate(der[len(der)-1])
	if err != nil {
		return ""
	}
	return clean(cert.Issuer.CommonName)
}

// alternates returns the references of the Link header with the relation "alternate" (RFC 8288 §3).
func alternates(h http.Header) []string {
	var refs []string
	for link := range links(strings.Join(h.Values("Link"), ",")) {
		if link.relation("alternate") && len(refs) < maxAlternates {
			refs = append(refs, link.ref)
		}
	}
	return refs
}
