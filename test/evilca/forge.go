package evilca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"slices"
	"time"

	"acmed/test/pebble"
)

// Forger makes certificates that the good CA would not, with the key of its intermediate: Pebble hands that out when
// its KeyAlgorithm is "rsa".
type Forger struct {
	issuer *x509.Certificate
	key    crypto.Signer
	lister *x509.Certificate // the intermediate as it would be if it might sign revocation lists
}

// NewForger fetches the intermediate and its key.
func NewForger(ctx context.Context, ca *pebble.Server) (*Forger, error) {
	roots, err := readRoots(ca.RootsFile)
	if err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	client := &http.Client{Transport: newTransport(roots)}
	defer client.CloseIdleConnections()
	cert, err := fetchPEM(ctx, client, ca.ManagementURL+"/intermediates/0")
	if err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	key, err := fetchPEM(ctx, client, ca.ManagementURL+"/intermediate-keys/0")
	if err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	root, err := fetchPEM(ctx, client, ca.ManagementURL+"/roots/0")
	if err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	rootKey, err := fetchPEM(ctx, client, ca.ManagementURL+"/root-keys/0")
	if err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	f := &Forger{}
	if f.issuer, err = x509.ParseCertificate(cert); err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	if f.key, err = x509.ParsePKCS1PrivateKey(key); err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	if f.lister, err = certifyLister(f.issuer, root, rootKey); err != nil {
		return nil, fmt.Errorf("making a forger: %w", err)
	}
	return f, nil
}

// certifyLister certifies the intermediate anew, for signing lists as well.
func certifyLister(issuer *x509.Certificate, rootDER, rootKeyDER []byte) (*x509.Certificate, error) {
	root, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS1PrivateKey(rootKeyDER)
	if err != nil {
		return nil, err
	}
	lister := *issuer
	lister.KeyUsage |= x509.KeyUsageCRLSign
	der, err := x509.CreateCertificate(rand.Reader, &lister, root, issuer.PublicKey, key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// Listed is a fault of the certificate endpoint that hurts nobody: the good CA's certificate, with the address of a
// revocation list in it.
func (f *Forger) Listed(url string) Fault {
	return f.Leaf(func(l *Forgery) {
		l.CRLDistributionPoints = []string{url}
		l.Issuer, l.Rest = f.lister, [][]byte{f.lister.Raw}
	})
}

// List signs a revocation list for certificates of Listed.
func (f *Forger) List(revoked ...*big.Int) ([]byte, error) {
	now := time.Now()
	list := &x509.RevocationList{Number: big.NewInt(now.UnixNano()), ThisUpdate: now, NextUpdate: now.Add(time.Hour)}
	for _, serial := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries,
			x509.RevocationListEntry{SerialNumber: serial, RevocationTime: now, ReasonCode: 1})
	}
	return x509.CreateRevocationList(rand.Reader, list, f.lister, f.key)
}

// Issuer is the good CA's intermediate.
func (f *Forger) Issuer() *x509.Certificate { return f.issuer }

func fetchPEM(ctx context.Context, client *http.Client, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s: no PEM block; Pebble's KeyAlgorithm must be rsa", url)
	}
	return block.Bytes, nil
}

// Forgery is a certificate before it is signed.
type Forgery struct {
	x509.Certificate
	Key    any // public; the client's own, unless changed
	Issuer *x509.Certificate
	Signer crypto.Signer
	Rest   [][]byte // of the chain, behind the leaf
}

// Leaf is a fault of the certificate endpoint: a certificate like the good CA's, changed and signed.
func (f *Forger) Leaf(change func(*Forgery)) Fault {
	return f.Chain(func(chain [][]byte) ([][]byte, error) {
		real, err := x509.ParseCertificate(chain[0])
		if err != nil {
			return nil, err
		}
		leaf := &Forgery{Key: real.PublicKey, Issuer: f.issuer, Signer: f.key, Rest: chain[1:], Certificate: x509.Certificate{
			SerialNumber: new(big.Int).Add(real.SerialNumber, big.NewInt(1)), Subject: real.Subject,
			NotBefore: real.NotBefore, NotAfter: real.NotAfter, DNSNames: slices.Clone(real.DNSNames),
			KeyUsage: real.KeyUsage, ExtKeyUsage: slices.Clone(real.ExtKeyUsage), BasicConstraintsValid: true,
		}}
		change(leaf)
		der, err := x509.CreateCertificate(rand.Reader, &leaf.Certificate, leaf.Issuer, leaf.Key, leaf.Signer)
		return append([][]byte{der}, leaf.Rest...), err
	})
}

// Chain is a fault of the certificate endpoint: another chain, leaf first, in DER.
func (f *Forger) Chain(change func([][]byte) ([][]byte, error)) Fault {
	return Alter(func(_ *Exchange, a *Answer) {
		chain, err := decodeChain(a.Body)
		if err == nil {
			chain, err = change(chain)
		}
		if err != nil {
			a.Status, a.Body = http.StatusTeapot, []byte("forging: "+err.Error()) // which no test expects
			return
		}
		a.Body = encodeChain(chain)
	})
}

func decodeChain(text []byte) (chain [][]byte, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	if len(chain) == 0 {
		return nil, errors.New("the good CA sent no chain")
	}
	return chain, nil
}

func encodeChain(chain [][]byte) []byte {
	var text bytes.Buffer
	for _, der := range chain {
		_ = pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a buffer takes everything
	}
	return text.Bytes()
}

// NewKey makes a key that nobody else has.
func NewKey() (*ecdsa.PrivateKey, error) { return ecdsa.GenerateKey(elliptic.P256(), rand.Reader) }

// Root makes a CA that nobody knows, of the given name.
func Root(like *x509.Certificate) (*x509.Certificate, crypto.Signer, error) {
	key, err := NewKey()
	if err != nil {
		return nil, nil, err
	}
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: like.Subject, NotBefore: like.NotBefore, NotAfter: like.NotAfter,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign, SubjectKeyId: like.SubjectKeyId,
	}
	der, err := x509.CreateCertificate(rand.Reader, root, root, key.Public(), key)
	if err != nil {
		return nil, nil, err
	}
	root, err = x509.ParseCertificate(der)
	return root, key, err
}
