package reconcile_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// has gives name a live certificate of some CA for key, before name is visited.
func (w *world) has(name string, key crypto.Signer) {
	w.t.Helper()
	root, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	ca := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "some CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now(), NotAfter: time.Now().Add(365 * day)}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), DNSNames: []string{name + ".example.com"}, NotBefore: time.Now(), NotAfter: time.Now().Add(90 * day)}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, root.Public(), root)
	if err != nil {
		w.t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), root)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := w.store.Begin(name, key, store.Order{Issuer: "ca", Directory: w.ca().DirectoryURL(), Key: "ECDSA-256"}); err != nil {
		w.t.Fatal(err)
	}
	rev, err := w.store.Commit(name, [][]byte{leafDER, caDER}, store.Revision{})
	if err == nil {
		err = w.store.Activate(name, rev.Number)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// csrOf is a certificate of that name for a CSR of key.
func csrOf(t *testing.T, name string, key crypto.Signer) *spec.Certificate {
	t.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{name + ".example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	c, err := spec.ParseCertificate(spec.DefaultConfig(""), "/certs.d/"+name+".yaml", []byte("csrFile: /hsm/"+name+".csr\nissuers: [ca]\n"),
		func(string) ([]byte, error) { return text, nil })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// named puts what has the same key into words.
func named(found []reconcile.SameKey) string {
	var out []string
	for _, s := range found {
		text := s.Name
		for _, rev := range s.Revisions {
			text += fmt.Sprintf(" %d", rev.Number)
		}
		if s.Replaced {
			text += " replaced"
		}
		out = append(out, text+strings.TrimPrefix(" "+s.CSRFile, " "))
	}
	return strings.Join(out, ", ")
}

// TestWhateverHasACompromisedKeyIsReplaced is of other certificates and revisions with the key of one that is revoked.
func TestWhateverHasACompromisedKeyIsReplaced(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		www, two := cert("www"), cert("two")
		www.PrivateKey.RotationPolicy, two.PrivateKey.RotationPolicy = "Never", "Never"
		w.want(www)
		w.run()
		time.Sleep(time.Minute)
		w.ca().AllowRepeat("www.example.com")
		w.reconciler.Renew("www", false)
		time.Sleep(time.Minute)
		key, err := w.store.Key("www", 2)
		if err != nil || w.spki(1) != w.spki(2) {
			t.Fatal("the key was not kept", err)
		}
		w.has("two", key)
		w.has("gone", key) // has no spec
		w.want(www, two, cert("other"), csrOf(t, "csr", key))
		for _, name := range []string{"two", "other", "csr", "gone"} {
			w.scheduler.Wake(name)
		}
		time.Sleep(time.Minute)
		w.expect("csr", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("two", reconcile.PhaseValid, reconcile.NotDue)

		ask := reconcile.Revocation{Name: "www", Reason: 1}
		const want = "csr 1/hsm/csr.csr, gone 1, two 1 replaced, www 1"
		if found, err := w.reconciler.SameKey(ask); err != nil || named(found) != want {
			t.Fatalf("named before: %s, %v, want %s", named(found), err, want)
		}
		if n := w.orders(); n != 4 {
			t.Fatalf("%d orders, and nothing was revoked", n)
		}
		w.ca().AllowRepeat("www.example.com")
		done, err := w.reconciler.Revoke(w.t.Context(), ask)
		if err != nil || named(done.SameKey) != want || !done.ByKey {
			t.Fatalf("got %s, %v", named(done.SameKey), err)
		}
		time.Sleep(time.Minute)
		for name, revision := range map[string]int{"www": 3, "two": 2} {
			if v := w.view(name); v.Revision != revision || v.Phase != reconcile.PhaseValid {
				t.Errorf("%s is not replaced: %+v", name, v)
			}
			if now, err := w.store.Key(name, revision); err != nil || now.Public().(*ecdsa.PublicKey).Equal(key.Public()) {
				t.Errorf("%s has the compromised key again: %v", name, err)
			}
		}
		w.expect("other", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("csr", reconcile.PhaseParked, reconcile.Parked)
		if v := w.view("other"); v.Revision != 1 {
			t.Errorf("another key was replaced: %+v", v)
		}
		if found, err := w.reconciler.SameKey(reconcile.Revocation{Name: "www"}); err != nil || len(found) != 0 {
			t.Errorf("the new key is that of %s, %v", named(found), err)
		}
	})
}

// TestAnOrderWithACompromisedKeyIsGivenUp revokes while the next certificate is on order with the same key.
func TestAnOrderWithACompromisedKeyIsGivenUp(t *testing.T) {
	for sentence, c := range map[string]acmetest.Config{
		"while names are validated":  {OrderGap: -1, ValidateDelay: time.Hour},
		"while the CA is processing": {OrderGap: -1, FinalizeDelay: time.Hour, AuthzReuse: day},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, c, func(w *world) {
				w.quiet = true
				www := cert("www")
				www.PrivateKey.RotationPolicy = "Never"
				w.want(www)
				w.run()
				time.Sleep(4 * time.Hour)
				for range 2 {
					w.ca().AllowRepeat("www.example.com")
				}
				w.reconciler.Renew("www", false)
				time.Sleep(10 * time.Second)
				if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www", Reason: 1}); err != nil {
					t.Fatal(err)
				}
				time.Sleep(4 * time.Hour)
				if v := w.view("www"); v.Revision != 2 || w.spki(1) == w.spki(2) {
					t.Errorf("got %+v", v)
				}
			})
		})
	}
}
