package deploy

import (
	"bytes"
	"crypto/sha256"
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
	key, chain, err := parse(files)
	if err != nil {
		return "", err
	}
	if !bytes.Equal(slices.Concat(files.Cert, files.Chain), files.Fullchain) {
		return "", errors.New("the full chain is not the certificate and its chain")
	}
	var ders [][]byte
	for _, c := range chain {
		ders = append(ders, c.Raw)
	}
	ids := make([]acme.Identifier, 0, len(want.DNSNames)+len(want.IPAddresses))
	for _, name := range want.DNSNames {
		ids = append(ids, acme.Identifier{Type: "dns", Value: name})
	}
	for _, a := range want.IPAddresses {
		ids = append(ids, acme.Identifier{Type: "ip", Value: a.String()})
	}
	issued, err := acme.Verify(ders, key.Public(), ids, now)
	if err != nil {
		if e, ok := errors.AsType[*acme.Error](err); ok {
			err = errors.New(e.Detail)
		}
		return "", fmt.Errorf("judging the certificate: %w", err)
	}
	sum := sha256.Sum256(issued.DER[0])
	return hex.EncodeToString(sum[:]), nil
}
