package acme

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"net/netip"
)

// CSR asks for a certificate of the key for the identifiers, as Finalize takes it: DER, all names in the SAN
// extension, none in the subject.
func CSR(key crypto.Signer, ids []Identifier) ([]byte, error) {
	der, err := newCSR(key, ids)
	if err != nil {
		return nil, &Error{Kind: Permanent, Op: OpFinalize, Problem: problemBadCSR, Detail: clean(err.Error()), Err: err,
			Hint: "correct the names or privateKey in the spec"}
	}
	return der, nil
}

func newCSR(key crypto.Signer, ids []Identifier) ([]byte, error) {
	var req x509.CertificateRequest
	for _, id := range ids {
		switch id.Type {
		case "dns":
			req.DNSNames = append(req.DNSNames, id.Value)
		case "ip":
			addr, err := netip.ParseAddr(id.Value)
			if err != nil {
				return nil, err
			}
			req.IPAddresses = append(req.IPAddresses, addr.AsSlice())
		default:
			return nil, fmt.Errorf("%q is no type of identifier", id.Type)
		}
	}
	return x509.CreateCertificateRequest(rand.Reader, &req, key)
}
