package reconcile_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// ofCSR is a certificate www for a CSR of a new key.
func ofCSR(t *testing.T) *spec.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"www.example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	c, err := spec.ParseCertificate(spec.DefaultConfig(""), "/certs.d/www.yaml", []byte("csrFile: /hsm/www.csr\nissuers: [ca]\n"),
		func(string) ([]byte, error) { return text, nil })
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (w *world) spki(number int) string {
	w.t.Helper()
	leaf, err := w.store.Leaf("www", number)
	if err != nil {
		w.t.Fatal(err)
	}
	return string(leaf.RawSubjectPublicKeyInfo)
}

func TestACSRIsSentAgainWithEachRenewal(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		first := ofCSR(t)
		w.want(first)
		w.run()
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if is := w.record("www").Issued; is.CSR != first.CSR.SHA256 || is.SPKI != first.CSR.SPKI {
			t.Errorf("%+v", is)
		}
		w.ca().AllowRepeat("www.example.com")
		w.reconciler.Renew("www", false)
		time.Sleep(time.Minute)
		if v := w.view("www"); v.Revision != 2 || w.spki(1) != w.spki(2) {
			t.Errorf("not renewed with its CSR: %+v", v)
		}
		w.ca().AllowRepeat("www.example.com")
		w.want(ofCSR(t)) // another CSR for the same names
		time.Sleep(time.Minute)
		if v := w.view("www"); v.Revision != 3 || w.spki(3) == w.spki(2) {
			t.Errorf("not ordered anew for another CSR: %+v", v)
		}
		never := cert("www")
		never.PrivateKey.RotationPolicy = "Never"
		w.ca().AllowRepeat("www.example.com")
		w.want(never)
		time.Sleep(time.Minute)
		if _, err := w.store.Key("www", 4); err != nil || w.spki(4) == w.spki(3) {
			t.Errorf("without the CSR it has no key of its own: %v", err)
		}
	})
}

func TestACompromisedCSRIsNotSentAgain(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		w.want(ofCSR(t))
		w.run()
		time.Sleep(time.Minute)
		w.ca().AllowRepeat("www.example.com")
		ask := reconcile.Revocation{Name: "www", Reason: 1, ByKey: true}
		if _, err := w.reconciler.Revoke(w.t.Context(), ask); !errors.Is(err, store.ErrNoKey) || !strings.Contains(err.Error(), "without --by-key") {
			t.Errorf("by its key: %v", err)
		}
		ask.ByKey = false
		if _, err := w.reconciler.Revoke(w.t.Context(), ask); err != nil {
			t.Fatal(err)
		}
		orders := w.orders()
		time.Sleep(72 * time.Hour)
		w.expect("www", reconcile.PhaseParked, reconcile.Parked)
		if v := w.view("www"); v.Revision != 1 || w.orders() != orders || !strings.Contains(v.Detail, "bring a CSR with a new key") {
			t.Errorf("ordered again: %+v", v)
		}
		w.want(ofCSR(t))
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.Revision != 2 {
			t.Errorf("a CSR with a new key does not help: %+v", v)
		}
	})
}

func TestASupersededCSRMayBeSentAgain(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		w.want(ofCSR(t))
		w.run()
		time.Sleep(time.Minute)
		w.ca().AllowRepeat("www.example.com")
		if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www", Reason: 4}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if v := w.view("www"); v.Revision != 2 || w.spki(1) != w.spki(2) {
			t.Errorf("%+v", v)
		}
	})
}
