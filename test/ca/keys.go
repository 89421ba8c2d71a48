package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// Signer is a certificate that signs others, with its key.
type Signer struct {
	Certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// NewRoot creates a self-signed certificate.
func NewRoot(name string) (*Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	draft := authority(1, name)
	return newSigner(draft, draft, key, key)
}

// Intermediate creates a certificate that s signs and that signs others.
func (s *Signer) Intermediate(name string) (*Signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return newSigner(authority(2, name), s.Certificate, key, s.key)
}

func newSigner(draft, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*Signer, error) {
	der, err := x509.CreateCertificate(rand.Reader, draft, parent, key.Public(), parentKey)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(der)
	return &Signer{Certificate: certificate, key: key}, err
}

func authority(serial int64, name string) *x509.Certificate {
	return &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		SerialNumber:          big.NewInt(serial),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(30 * 24 * time.Hour),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
}

// Write writes the certificate to NAME.pem in dir, and its key to NAME.key.
func (s *Signer) Write(dir, name string) error {
	return writePair(dir, name, s.Certificate.Raw, s.key)
}

// WriteCertificate writes the certificate alone.
func (s *Signer) WriteCertificate(file string) error {
	return writePEM(file, "CERTIFICATE", s.Certificate.Raw)
}

// WriteListener creates a certificate for a server at 127.0.0.1 and writes it to NAME.pem in dir, and its key to NAME.key.
func (s *Signer) WriteListener(dir, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2),
		NotBefore:    s.Certificate.NotBefore,
		NotAfter:     s.Certificate.NotAfter,
		DNSNames:     []string{"localhost"},
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf, s.Certificate, key.Public(), s.key)
	if err != nil {
		return err
	}
	return writePair(dir, name, der, key)
}

func writePair(dir, name string, certificate []byte, key *ecdsa.PrivateKey) error {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	return errors.Join(
		writePEM(filepath.Join(dir, name+".pem"), "CERTIFICATE", certificate),
		writePEM(filepath.Join(dir, name+".key"), "PRIVATE KEY", der))
}

func writePEM(path, kind string, der []byte) error {
	return os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600)
}

// Parse returns the first certificate of PEM text.
func Parse(text []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, errors.New("parsing a certificate: no PEM block")
	}
	return x509.ParseCertificate(block.Bytes)
}
