package deploy

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Verify says whether files are what want asks for: key, leaf, names, dates and chain belong together. It returns the
// SHA-256 checksum of the leaf, in hex. What the files hold is not believed: whoever wrote them may have fewer rights
// than who delivers them.
func Verify(want *spec.Certificate, files store.Files, now time.Time) (leaf string, err error) {
	key, err := publicKey(want, files)
	if err != nil {
		return "", err
	}
	chain, err := readChain(files)
	if err != nil {
		return "", err
	}
	if err := checkParts(files); err != nil {
		return "", err
	}
	var ders [][]byte
	for _, c := range chain {
		ders = append(ders, c.Raw)
	}
	issued, err := acme.Verify(ders, key, identifiers(want), now)
	if err != nil {
		if e, ok := errors.AsType[*acme.Error](err); ok {
			err = errors.New(e.Detail)
		}
		return "", fmt.Errorf("judging the certificate: %w", err)
	}
	sum := sha256.Sum256(issued.DER[0])
	return hex.EncodeToString(sum[:]), nil
}

// publicKey is the one that the leaf is to be for: of the key that lies beside it, or of the operator's CSR.
func publicKey(want *spec.Certificate, files store.Files) (crypto.PublicKey, error) {
	if want.CSR == nil {
		if files.Privkey == nil {
			return nil, errors.New("it is for a CSR, and has no private key here")
		}
		key, err := readKey(files)
		if err != nil {
			return nil, err
		}
		return key.Public(), nil
	}
	if files.Privkey != nil {
		return nil, errors.New("it has a private key here, and is not for the CSR")
	}
	req, err := x509.ParseCertificateRequest(want.CSR.DER)
	if err != nil {
		return nil, fmt.Errorf("reading the CSR: %w", err)
	}
	return req.PublicKey, nil
}

// checkParts sees that the full chain, which is what is judged, is made of the other two, and where it is cut.
func checkParts(files store.Files) error {
	leaf, err := decode(files.Cert, "CERTIFICATE", maxPEM)
	if err != nil || len(leaf) != 1 {
		return errors.New("reading the certificate: it is not one certificate in PEM")
	}
	if !slices.Equal(slices.Concat(files.Cert, files.Chain), files.Fullchain) {
		return errors.New("reading the chain: the full chain is not the certificate and its chain")
	}
	return nil
}

func identifiers(want *spec.Certificate) []acme.Identifier {
	ids := make([]acme.Identifier, 0, len(want.DNSNames)+len(want.IPAddresses))
	for _, name := range want.DNSNames {
		ids = append(ids, acme.Identifier{Type: "dns", Value: name})
	}
	for _, a := range want.IPAddresses {
		ids = append(ids, acme.Identifier{Type: "ip", Value: a.String()})
	}
	return ids
}
