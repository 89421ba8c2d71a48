package acme

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// maxSkew is how far ahead of this machine's clock a certificate may begin.
	maxSkew    = time.Hour
	maxRSABits = 8192
	maxNames   = 200 // in a leaf
)

// Verify decides whether a chain is trusted: its leaf is for the key and for exactly the identifiers, all dates hold, and
// each certificate is signed by the next, which is a CA. The cost is bounded, whatever the chain holds. Every failure is an
// *Error with the problem badCertificate; ChainRefused reports whether the leaf was good.
func Verify(der [][]byte, key crypto.PublicKey, ids []Identifier, now time.Time) (Issued, error) {
	issued, err := verify(der, key, ids, now)
	if err == nil {
		return issued, nil
	}
	e := &Error{Kind: Validation, Op: OpCertificate, Problem: problemBadCertificate, Detail: clean(err.Error()),
		Hint: "report this to the CA; the certificate in use stays", Err: err}
	if _, dated := errors.AsType[*dateError](err); dated {
		e.Hint = "make sure that the clock of this machine is right; if it is, report this to the CA. The certificate in use stays"
	}
	if len(der) == 1 && ChainRefused(e) {
		e.Hint = "set caBundle in the issuer to the PEM file of the CA's root: the CA sends no issuer with its certificates"
	}
	return Issued{}, e
}

// chainError is a fault beyond the leaf.
type chainError struct{ err error }

func (e *chainError) Error() string { return e.err.Error() }
func (e *chainError) Unwrap() error { return e.err }

// dateError is a certificate at the wrong time.
type dateError struct {
	error
	leafEnded time.Time // zero: it is not the leaf, or has not ended
}

// LeafEnded returns when the leaf ended that Verify refused for that; false if it refused something else.
func LeafEnded(err error) (time.Time, bool) {
	e, ok := errors.AsType[*dateError](err)
	if !ok {
		return time.Time{}, false
	}
	return e.leafEnded, !e.leafEnded.IsZero()
}

// ChainRefused reports whether Verify accepted the leaf and refused the rest of the chain.
func ChainRefused(err error) bool {
	_, is := errors.AsType[*chainError](err)
	return is
}

func verify(der [][]byte, key crypto.PublicKey, ids []Identifier, now time.Time) (Issued, error) {
	if err := checkSize(der); err != nil {
		return Issued{}, err
	}
	leaf, err := parseCertificate(0, der[0])
	if err != nil {
		return Issued{}, err
	}
	if err := errors.Join(checkLeaf(leaf, key, ids), checkDates(0, leaf, now)); err != nil {
		return Issued{}, err
	}
	chain, err := checkIssuers(leaf, der[1:], now)
	if err != nil {
		return Issued{}, &chainError{err}
	}
	return Issued{Chain: chain, DER: der}, nil
}

// checkIssuers parses the certificates beyond the leaf, and verifies that each signed the one before.
func checkIssuers(leaf *x509.Certificate, der [][]byte, now time.Time) ([]*x509.Certificate, error) {
	if len(der) == 0 {
		return nil, fmt.Errorf("the chain holds 1 certificates: a leaf, its issuer and at most %d in all are needed", maxCertificates)
	}
	chain := []*x509.Certificate{leaf}
	for i, d := range der {
		cert, err := parseCertificate(i+1, d)
		if err != nil {
			return nil, err
		}
		if err := errors.Join(checkDates(i+1, cert, now), checkLink(chain[i], cert)); err != nil {
			return nil, err
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// checkSize bounds how much a hostile chain can cost before it is parsed.
func checkSize(der [][]byte) error {
	if len(der) < 1 || len(der) > maxCertificates {
		return fmt.Errorf("the chain holds %d certificates: a leaf, its issuer and at most %d in all are needed", len(der), maxCertificates)
	}
	size := 0
	for _, d := range der {
		size += len(d)
	}
	if size > maxChain {
		return fmt.Errorf("the chain is larger than %d bytes", maxChain)
	}
	return nil
}

func parseCertificate(i int, der []byte) (*x509.Certificate, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("certificate %d of the chain: %w", i, err)
	}
	if k, ok := cert.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
		return nil, fmt.Errorf("certificate %d of the chain: its key has more than %d bits", i, maxRSABits)
	}
	return cert, nil
}

func checkLeaf(leaf *x509.Certificate, key crypto.PublicKey, ids []Identifier) error {
	ours, ok := key.(interface{ Equal(crypto.PublicKey) bool })
	switch {
	case !ok || !ours.Equal(leaf.PublicKey):
		return errors.New("the certificate is for another key")
	case len(leaf.UnhandledCriticalExtensions) > 0:
		return errors.New("the certificate has a critical extension that TLS clients do not know")
	case leaf.IsCA:
		return errors.New("the certificate is that of a CA")
	case !serves(leaf):
		return errors.New("the certificate is not for TLS servers")
	case len(leaf.DNSNames)+len(leaf.IPAddresses) > maxNames, len(leaf.EmailAddresses)+len(leaf.URIs) > 0,
		!sameIdentifiers(names(leaf), ids):
		return errors.New("the certificate is for other names than those asked for")
	}
	return nil
}

func serves(leaf *x509.Certificate) bool {
	usages := leaf.ExtKeyUsage
	return len(usages)+len(leaf.UnknownExtKeyUsage) == 0 ||
		slices.Contains(usages, x509.ExtKeyUsageServerAuth) || slices.Contains(usages, x509.ExtKeyUsageAny)
}

func names(leaf *x509.Certificate) []Identifier {
	var ids []Identifier
	for _, n := range leaf.DNSNames {
		ids = append(ids, Identifier{Type: "dns", Value: n})
	}
	for _, a := range leaf.IPAddresses {
		ids = append(ids, Identifier{Type: "ip", Value: a.String()})
	}
	return ids
}

func checkDates(i int, cert *x509.Certificate, now time.Time) error {
	switch {
	case !cert.NotAfter.After(cert.NotBefore):
		return fmt.Errorf("certificate %d of the chain ends before it begins", i)
	case cert.NotBefore.After(now.Add(maxSkew)):
		return &dateError{error: fmt.Errorf("certificate %d of the chain begins only at %s", i, cert.NotBefore.UTC().Format(time.RFC3339))}
	case !cert.NotAfter.After(now):
		e := &dateError{error: fmt.Errorf("certificate %d of the chain ended at %s", i, cert.NotAfter.UTC().Format(time.RFC3339))}
		if i == 0 {
			e.leafEnded = cert.NotAfter
		}
		return e
	}
	return nil
}

// checkLink verifies that issuer, which must be a CA, signed cert.
func checkLink(cert, issuer *x509.Certificate) error {
	if !bytes.Equal(cert.RawIssuer, issuer.RawSubject) {
		return errors.New("the chain is broken: a certificate does not follow its issuer's")
	}
	if !issuer.BasicConstraintsValid || !issuer.IsCA {
		return errors.New("the chain is broken: an issuer is no CA")
	}
	if err := cert.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("the chain is broken: %w", err)
	}
	return nil
}
