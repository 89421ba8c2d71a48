package acme

import (
	"crypto"
	"crypto/x509"
	"errors"
	"time"
)

// Verify decides whether a chain may be believed.
func Verify(der [][]byte, key crypto.PublicKey, ids []Identifier, now time.Time) (Issued, error) {
	return Issued{}, errors.ErrUnsupported
}

// CertID names a certificate for renewal information; "" without an authority key identifier.
func CertID(leaf *x509.Certificate) string { return "" }

// CSR asks for a certificate of the key for the identifiers.
func CSR(key crypto.Signer, ids []Identifier) ([]byte, error) { return nil, errors.ErrUnsupported }
