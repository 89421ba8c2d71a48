package issue_test

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestACertificateForACSRMadeByOpenSSL has a key that acmed never sees, and then another.
func TestACertificateForACSRMadeByOpenSSL(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{NonceReject: 5})
	s := site.New(t, ca, site.Options{})
	hsm, csr := t.TempDir(), s.Path("www.csr")
	first := makeCSR(t, filepath.Join(hsm, "1.key"), csr)
	s.Spec(t, "www.example.com", "csrFile: "+csr+"\n")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	if !bytes.Equal(leafOf(t, s).RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
		t.Error("it is not for the key of the CSR")
	}
	if _, err := os.Stat(filepath.Join(s.State, "live/www.example.com/privkey.pem")); !os.IsNotExist(err) {
		t.Errorf("there is a private key: %v", err)
	}
	renew(t, s, "www.example.com")
	if !bytes.Equal(leafOf(t, s).RawSubjectPublicKeyInfo, first.RawSubjectPublicKeyInfo) {
		t.Error("its successor is not for the key of the CSR")
	}
	if status := s.Run(t, "status", "www.example.com"); !strings.Contains(status, "ECDSA-256, kept elsewhere: "+csr) {
		t.Errorf("status says\n%s", status)
	}
	second := makeCSR(t, filepath.Join(hsm, "2.key"), csr)
	site.Eventually(t, "a new CSR is noticed", func() bool { return s.Live(t, "www.example.com") == 3 })
	if !bytes.Equal(leafOf(t, s).RawSubjectPublicKeyInfo, second.RawSubjectPublicKeyInfo) {
		t.Error("it is not for the key of the new CSR")
	}
	d.Stop(t)
}

// makeCSR makes a key and a CSR for it, as docs/spec.md says.
func makeCSR(t *testing.T, key, csr string) *x509.CertificateRequest {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc",
		"-keyout", key, "-subj", "/", "-addext", "subjectAltName=DNS:www.example.com,DNS:example.com", "-out", csr).CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	text, err := os.ReadFile(csr)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	req, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

// leafOf is what consumers read.
func leafOf(t *testing.T, s *site.Site) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(s.State, "live/www.example.com/cert.pem"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}
