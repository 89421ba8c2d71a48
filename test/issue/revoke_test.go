package issue_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"slices"
	"testing"
	"time"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/site"
)

// TestARevokedCertificateIsReplaced has the operator revoke a certificate.
func TestARevokedCertificateIsReplaced(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{NonceReject: 5})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, "www.example.com", "privateKey: {rotationPolicy: Never}\n")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	first, err := s.Served("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", s.Run(t, "revoke", "www.example.com", "--reason", "keyCompromise", "--yes"))
	site.Eventually(t, "its successor is there", func() bool { return s.Live(t, "www.example.com") == 2 })
	second, err := s.Served("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if second.PrivateKey.(*ecdsa.PrivateKey).Equal(first.PrivateKey) {
		t.Error("the successor has the key that was compromised")
	}
	expectRevoked(t, ca, first.Leaf, true)
	expectRevoked(t, ca, second.Leaf, false)
	t.Logf("%s", s.Run(t, "revoke", "www.example.com", "--revision", "1", "--yes")) // again
	d.Stop(t)
}

// TestACertificateThatTheCARevokesIsReplaced has somebody else revoke it: acmed reads that in the CA's renewal advice.
func TestACertificateThatTheCARevokesIsReplaced(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{Profiles: map[string]time.Duration{"short": 5 * time.Minute}})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, "www.example.com", "profile: short\nrenew: {ari: false}\n")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	pair, err := s.Served("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	revokeByKey(t, ca, pair.Leaf, pair.PrivateKey.(crypto.Signer))
	expectRevoked(t, ca, pair.Leaf, true)
	s.Spec(t, "www.example.com", "profile: short\n") // its advice is read now, and not in six hours
	site.Eventually(t, "its successor is there", func() bool { return s.Live(t, "www.example.com") == 2 })
	d.Stop(t)
}

// revokeByKey is what somebody does who has found a certificate's key.
func revokeByKey(t *testing.T, ca *pebble.Server, leaf *x509.Certificate, key crypto.Signer) {
	t.Helper()
	text, err := os.ReadFile(ca.RootsFile)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(text)
	stranger, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client, err := acme.New(acme.Config{Directory: ca.DirectoryURL, RootCAs: roots, Key: stranger, UserAgent: "stranger"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if err := client.Revoke(t.Context(), acme.RevocationRequest{Leaf: leaf.Raw, Reason: 1, Key: key}); err != nil {
		t.Fatal(err)
	}
}

func expectRevoked(t *testing.T, ca *pebble.Server, leaf *x509.Certificate, want bool) {
	t.Helper()
	got, err := ca.Revoked(t.Context(), leaf)
	if err != nil || got != want {
		t.Errorf("serial %x: revoked %v, %v; want %v", leaf.SerialNumber, got, err, want)
	}
}

// TestTheAccountAtTheCA asks what the CA knows of the account, and corrects its contact.
func TestTheAccountAtTheCA(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{NonceReject: 5})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, "www.example.com", "")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	request := control.AccountRequest{Issuer: "pebble"}
	got, err := s.Control.Account(t.Context(), request)
	if err != nil || got.Status != "valid" || !slices.Equal(got.Contact, []string{"mailto:pki@example.com"}) || got.Created.IsZero() {
		t.Errorf("got %+v, %v", got, err)
	}
	s.Append(t, "issuers.d/pebble.yaml", "contact: [\"mailto:new@example.com\"]\n")
	site.Eventually(t, "the CA has the new contact", func() bool {
		got, err := s.Control.UpdateAccount(t.Context(), request)
		return err == nil && slices.Equal(got.Contact, []string{"mailto:new@example.com"})
	})
	d.Stop(t)
}

// TestAnAccountGetsANewKey changes the key while acmed runs, and obtains certificates with it, also after a restart. Then
// the account is deactivated, and another one made.
func TestAnAccountGetsANewKey(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{NonceReject: 5})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, "www.example.com", "")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	request := control.AccountRequest{Issuer: "pebble"}
	before, err := s.Control.Account(t.Context(), request)
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Control.RolloverAccount(t.Context(), request)
	if err != nil || after.URL != before.URL || after.Thumbprint == before.Thumbprint || after.Status != "valid" {
		t.Fatalf("got %+v, %v after %+v", after, err, before)
	}
	s.Spec(t, "two.example.com", "")
	site.Eventually(t, "another certificate is there", func() bool { return s.Live(t, "two.example.com") == 1 })
	d.Stop(t)
	d = s.Start(t)
	s.Spec(t, "three.example.com", "")
	site.Eventually(t, "one is there after a restart", func() bool { return s.Live(t, "three.example.com") == 1 })
	if got, err := s.Control.Account(t.Context(), request); err != nil || got.URL != before.URL || got.Thumbprint != after.Thumbprint {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := s.Control.DeactivateAccount(t.Context(), request); err != nil || got.Status != "deactivated" {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := s.Control.Account(t.Context(), request); err != nil || got.Status != "deactivated" || got.URL != before.URL {
		t.Errorf("got %+v, %v", got, err)
	}
	if got, err := s.Control.RegisterAccount(t.Context(), request); err != nil || got.Status != "valid" || got.URL == before.URL {
		t.Errorf("got %+v, %v", got, err)
	}
	s.Spec(t, "four.example.com", "")
	site.Eventually(t, "one of another account is there", func() bool { return s.Live(t, "four.example.com") == 1 })
	d.Stop(t)
}
