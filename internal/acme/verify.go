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

// Verify decides whether a chain may be believed: its leaf is for the key and for exactly the identifiers, all dates
// hold, and each certificate is signed by the next, which is a CA. The cost is bounded, whatever the chain holds.
// Every failure is an *Error with the problem badCertificate.
func Verify(der [][]byte, key crypto.PublicKey, ids []Identifier, now time.Time) (Issued, error) {
	issued, err := verify(der, key, ids, now)
	if err != nil {
		return Issued{}, &Error{Kind: Validation, Op: OpCertificate, Problem: problemBadCertificate, Detail: clean(err.Error()),
			Hint: "report this to the CA; the certificate in use stays", Err: err}
	}
	return issued, nil
}

func verify(der [][]byte, key crypto.PublicKey, ids []Identifier, now time.Time) (Issued, error) {
	chain, err := parseCertificates(der)
	if err != nil {
		return Issued{}, err
	}
	if err := errors.Join(checkLeaf(chain[0], key, ids), checkDates(chain, now)); err != nil {
		return Issued{}, err
	}
	for i, cert := range chain[1:] {
		if err := checkLink(chain[i], cert); err != nil {
			return Issued{}, err
		}
	}
	return Issued{Chain: chain, DER: der}, nil
}

// parseCertificates bounds what a hostile chain can cost before it parses.
func parseCertificates(der [][]byte) ([]*x509.Certificate, error) {
	if len(der) < 2 || len(der) > maxCertificates {
		return nil, fmt.Errorf("the chain holds %d certificates: a leaf, its issuer and at most %d in all are needed", len(der), maxCertificates)
	}
	size := 0
	for _, d := range der {
		size += len(d)
	}
	if size > maxChain {
		return nil, fmt.Errorf("the chain is larger than %d bytes", maxChain)
	}
	chain := make([]*x509.Certificate, len(der))
	for i, d := range der {
		cert, err := x509.ParseCertificate(d)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the chain: %w", i, err)
		}
		if k, ok := cert.PublicKey.(*rsa.PublicKey); ok && k.N.BitLen() > maxRSABits {
			return nil, fmt.Errorf("certificate %d of the chain: its key has more than %d bits", i, maxRSABits)
		}
		chain[i] = cert
	}
	return chain, nil
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

func checkDates(chain []*x509.Certificate, now time.Time) error {
	for i, cert := range chain {
		switch {
		case !cert.NotAfter.After(cert.NotBefore):
			return fmt.Errorf("certificate %d of the chain ends before it begins", i)
		case cert.NotBefore.After(now.Add(maxSkew)):
			return fmt.Errorf("certificate %d of the chain begins only at %s", i, cert.NotBefore.UTC().Format(time.RFC3339))
		case !cert.NotAfter.After(now):
			return fmt.Errorf("certificate %d of the chain ended at %s", i, cert.NotAfter.UTC().Format(time.RFC3339))
		}
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
