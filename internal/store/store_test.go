package store_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/store"
)

const name = "www.example.com"

var _ = pkix.Name{}

// newKey returns a fresh P-256 key.
func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// chainFor returns a leaf for key and its issuer, DER.
func chainFor(t testing.TB, key crypto.Signer) [][]byte {
	t.Helper()
	ca := newKey(t)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(0xabc), DNSNames: []string{name},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)}
	rootDER, err := x509.CreateCertificate(rand.Reader, root, root, ca.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, root, key.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	return [][]byte{leafDER, rootDER}
}

func TestSmoke(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := store.Open(store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	key := newKey(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		must(s.Begin(name, key, store.Order{Issuer: "ca"}))
		must(s.SaveOrder(name, store.Order{Issuer: "ca", URL: string(rune('a' + i))}, store.Durable))
		p, err := s.Pending(name)
		must(err)
		if p == nil || p.Order.URL == "" {
			t.Fatal(p)
		}
		k, err := p.Key()
		must(err)
		rev, err := s.Commit(name, chainFor(t, k), store.Revision{})
		must(err)
		must(s.Activate(name, rev.Number))
		must(s.SaveRecord(name, store.Record{Issued: &rev}, store.Durable))
		must(s.Prune(name, 2))
		t.Logf("%+v", rev)
	}
	p, err := s.Pending(name)
	must(err)
	if p != nil {
		t.Fatal(p)
	}
	must(s.CreateAccount("ca", store.Account{}, key))
	must(s.SaveAccount("ca", store.Account{URL: "x"}))
	l, err := s.Issuer("ca")
	must(err)
	must(l.Update(func(s *store.IssuerState) { s.Budgets["a"] = time.Now().Add(time.Hour) }))
	must(s.Remember([]store.Spec{{"certs/a.yaml", []byte("x"), time.Unix(5, 0)}}))
	for _, err := range store.Check(dir) {
		t.Error(err)
	}
	if errs := s.Check(name); errs != nil {
		t.Error(errs)
	}
	t.Log(s.Known())
	t.Log(s.Numbers(name))
	t.Log(s.Live(name))
	must(s.Close())
}
