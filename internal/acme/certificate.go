package acme

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"net/http"
	"slices"
	"strings"
)

const (
	maxCertificates = 10 // of one chain
	maxAlternates   = 10
)

// Fetch reads the chain of a valid order, leaf first (RFC 8555 §7.4.2). The alternates are read only when
// preferredChain, the common name of an issuer, is set and the default chain does not lead there; if none does, the
// default chain is returned, and offered tells where the chains lead that could be read, the default one first; else
// offered is nil. The chain is not to be believed before Verify.
func (c *Client) Fetch(ctx context.Context, o *Order, preferredChain string) (der [][]byte, offered []string, err error) {
	defer c.finish(OpCertificate, &err)
	if o.CertificateURL == "" {
		return nil, nil, oddAnswer(OpCertificate, 0, "the order names no certificate")
	}
	der, a, err := c.fetch(ctx, o.CertificateURL)
	if err != nil || preferredChain == "" || leadsTo(der, preferredChain) {
		return der, nil, err
	}
	offered = append(offered, topOf(der))
	for _, ref := range alternates(a.header) {
		url, err := c.resolve(OpCertificate, a.url, ref)
		if err != nil {
			continue
		}
		other, _, err := c.fetch(ctx, url)
		if err != nil {
			continue
		}
		if leadsTo(other, preferredChain) {
			return other, nil, nil
		}
		offered = append(offered, topOf(other))
	}
	return der, offered, nil
}

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

// leadsTo reports whether a certificate of the chain, or the issuer of one, has the common name.
func leadsTo(der [][]byte, name string) bool {
	return slices.ContainsFunc(der, func(d []byte) bool {
		cert, err := x509.ParseCertificate(d)
		return err == nil && (cert.Subject.CommonName == name || cert.Issuer.CommonName == name)
	})
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
