package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"
)

var epoch = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// authority signs certificates for tests.
type authority struct {
	t    testing.TB
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newAuthority(t testing.TB, name string, change ...func(*x509.Certificate)) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true, IsCA: true,
		NotBefore: epoch.Add(-time.Hour), NotAfter: epoch.Add(1000 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
		SubjectKeyId: []byte(name),
	}
	for _, c := range change {
		c(tmpl)
	}
	a.cert = a.create(tmpl, tmpl, a.key.Public())
	return a
}

// leaf signs a certificate for a.test, or what the changes make of it.
func (a *authority) leaf(pub crypto.PublicKey, change ...func(*x509.Certificate)) *x509.Certificate {
	a.t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(0x80ff), DNSNames: []string{"a.test"}, BasicConstraintsValid: true,
		NotBefore: epoch.Add(-time.Minute), NotAfter: epoch.Add(100 * time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, AuthorityKeyId: a.cert.SubjectKeyId,
	}
	for _, c := range change {
		c(tmpl)
	}
	return a.create(tmpl, a.cert, pub)
}

func (a *authority) create(tmpl, parent *x509.Certificate, pub crypto.PublicKey) *x509.Certificate {
	a.t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func ders(certs ...*x509.Certificate) [][]byte {
	var out [][]byte
	for _, c := range certs {
		out = append(out, c.Raw)
	}
	return out
}

func pems(certs ...*x509.Certificate) string { return pemsOf(ders(certs...)) }

func pemsOf(chain [][]byte) string {
	var out []byte
	for _, der := range chain {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(out)
}
