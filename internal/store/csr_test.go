package store_test

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/store"
)

// csrOf makes a CSR for the key of a pair.
func csrOf(t testing.TB, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name}}, key)
	must(t, err)
	return der
}

func TestARevisionForACSRHasNoKey(t *testing.T) {
	s, dir := newStore(t)
	p := newPair(t)
	csr := csrOf(t, p.key)
	must(t, s.Begin(name, nil, store.Order{URL: "u", CSR: csr}))
	pending, err := s.Pending(name)
	must(t, err)
	if public, err := pending.Public(); err != nil || !p.key.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(public) {
		t.Errorf("public key: %v", err)
	}
	if _, err := pending.Key(); !errors.Is(err, store.ErrNoKey) {
		t.Errorf("key of the order: %v", err)
	}
	if _, err := s.Commit(name, newPair(t).chain, store.Revision{}); err == nil {
		t.Error("a certificate of another key was committed")
	}
	rev, err := s.Commit(name, p.chain, store.Revision{})
	must(t, err)
	sum := sha256.Sum256(csr)
	if rev.CSR != hex.EncodeToString(sum[:]) || rev.SPKI == "" || len(rev.Sums) != 3 {
		t.Errorf("%+v", rev)
	}
	must(t, s.Activate(name, 1))
	files, err := s.Files(name, 1)
	if err != nil || files.Privkey != nil || files.Fullchain == nil {
		t.Errorf("files %v, %v", files.Privkey, err)
	}
	if good, err := s.Good(name); err != nil || good.SHA256 != p.sum {
		t.Errorf("%+v, %v", good, err)
	}
	if _, err := s.Key(name, 1); !errors.Is(err, store.ErrNoKey) {
		t.Errorf("key: %v", err)
	}
	if errs := store.Check(dir); errs != nil {
		t.Errorf("check finds %v", errs)
	}
	must(t, os.WriteFile(filepath.Join(dir, "live", name, "privkey.pem"), nil, 0o600))
	if errs := store.Check(dir); len(errs) != 1 || !strings.Contains(errs[0].Error(), "where its CSR was made") {
		t.Errorf("check of a stray key finds %v", errs)
	}
}

func TestAnOrderHasAKeyOrACSR(t *testing.T) {
	s, _ := newStore(t)
	key := newKey(t)
	for sentence, err := range map[string]error{
		"neither": s.Begin(name, nil, store.Order{}),
		"both":    s.Begin(name, key, store.Order{CSR: csrOf(t, key)}),
	} {
		if err == nil {
			t.Error(sentence)
		}
	}
}

// renewal is an order with the same CSR as before, from its beginning to the new revision.
type renewal struct {
	csr      []byte
	old, new pair
	began    bool
}

func (c *renewal) order(url string) store.Order { return store.Order{URL: url, CSR: c.csr} }

func (c *renewal) prepare(t *testing.T, s *store.Store) {
	must(t, s.Begin(name, nil, c.order("u1")))
	_, err := s.Commit(name, c.old.chain, store.Revision{})
	must(t, err)
	must(t, s.Activate(name, 1))
}

func (c *renewal) run(s *store.Store) error {
	if good, err := s.Good(name); err != nil {
		return err
	} else if good.SHA256 != c.new.sum {
		p, err := s.Pending(name)
		if err != nil {
			return err
		}
		if p == nil {
			if err := s.Begin(name, nil, c.order("u2")); err != nil {
				return err
			}
		}
		c.began = true
		if _, err := s.Commit(name, c.new.chain, store.Revision{}); err != nil {
			return err
		}
	}
	return s.Activate(name, 2)
}

func (c *renewal) verify(t *testing.T, s *store.Store) {
	t.Helper()
	good, err := s.Good(name)
	must(t, err)
	pending, err := s.Pending(name)
	must(t, err)
	switch {
	case good.SHA256 != c.old.sum && good.SHA256 != c.new.sum:
		t.Errorf("the newest revision is %+v", good)
	case pending != nil && good.SHA256 == c.new.sum:
		t.Error("the order of the newest revision is pending")
	case c.began && pending == nil && good.SHA256 != c.new.sum:
		t.Error("the order is lost")
	}
}

func (c *renewal) finished(t *testing.T, s *store.Store) {
	t.Helper()
	if live, err := s.Live(name); live != 2 || err != nil {
		t.Errorf("revision %d is live, %v", live, err)
	}
}

func TestRenewalWithACSRStoppedAnywhere(t *testing.T) {
	key := newKey(t)
	c := renewal{csr: csrOf(t, key), old: newPairFor(t, key), new: newPairFor(t, key)}
	everywhere(t, func() scenario { again := c; return &again })
}
