package acmetest

import (
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"net/http"
	"time"
)

// listLife is how long a revocation list is good for.
const listLife = 7 * 24 * time.Hour

// crlURL is where the revocation list is; "": there is none.
func (ca *CA) crlURL() string {
	if !ca.cfg.CRL {
		return ""
	}
	return ca.cfg.BaseURL + "/crl"
}

// RevokeFor revokes the certificate with that CertID for a reason of RFC 5280 §5.3.1.
func (ca *CA) RevokeFor(certID string, reason int) {
	ca.change(certID, func(c *certificate) { c.revoke(time.Now(), reason) })
}

// serveCRL serves the revocation list (RFC 5280 §5), unless the client has it.
func (ca *CA) serveCRL(r *request) (*reply, *problem) {
	if !ca.cfg.CRL {
		return nil, refuse(http.StatusNotFound, "malformed", "there is no such list")
	}
	list := &x509.RevocationList{ThisUpdate: r.now, NextUpdate: r.now.Add(listLife)}
	for _, c := range ca.issued {
		if c.revoked && r.now.Before(c.notAfter) {
			list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
				x509.RevocationListEntry{SerialNumber: c.serial, RevocationTime: c.revokedAt, ReasonCode: c.reason})
		}
	}
	n := len(list.RevokedCertificateEntries)
	rep := &reply{status: http.StatusOK, etag: fmt.Sprintf("%q", fmt.Sprint(n))}
	if r.Header.Get("If-None-Match") == rep.etag {
		rep.status = http.StatusNotModified
		return rep, nil
	}
	list.Number = big.NewInt(int64(n + 1))
	der, err := x509.CreateRevocationList(rand.Reader, list, ca.authority.intermediate, ca.authority.key)
	if err != nil {
		return nil, refuse(http.StatusInternalServerError, "serverInternal", "signing the list: %v", err)
	}
	rep.body = der
	return rep, nil
}
