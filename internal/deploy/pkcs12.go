package deploy

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// keyStore makes a PKCS #12 file (RFC 7292) with the algorithms that current Java and OpenSSL read. It has a random
// salt, so that one that says the same is not the same.
func keyStore(f spec.File, files store.Files) (data []byte, same func([]byte) bool, err error) {
	text, err := os.ReadFile(f.PasswordFile)
	if err != nil {
		return nil, nil, &blocked{"the password cannot be read: " + err.Error(), "write it to " + f.PasswordFile}
	}
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	key, chain, err := parse(files)
	if err != nil {
		return nil, nil, err
	}
	data, err = pkcs12.Modern2023.Encode(key, chain[0], chain[1:], password)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding PKCS #12: %w", err)
	}
	return data, func(old []byte) bool { return holds(old, password, key, chain) }, nil
}

// holds tells whether a PKCS #12 file has the key and the chain.
func holds(old []byte, password string, key crypto.Signer, chain []*x509.Certificate) bool {
	oldKey, leaf, issuers, err := pkcs12.DecodeChain(old, password)
	k, ok := oldKey.(interface{ Public() crypto.PublicKey })
	if err != nil || !ok || len(issuers) != len(chain)-1 || !leaf.Equal(chain[0]) {
		return false
	}
	for i, c := range issuers {
		if !c.Equal(chain[i+1]) {
			return false
		}
	}
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(k.Public())
}

// maxPEM bounds what is parsed.
const maxPEM = 256 << 10

// parse reads the key and the chain, the leaf first: strictly, for they may come from who has fewer rights.
func parse(files store.Files) (crypto.Signer, []*x509.Certificate, error) {
	blocks, err := decode(files.Privkey, "PRIVATE KEY")
	if err != nil || len(blocks) != 1 {
		return nil, nil, errors.Join(errors.New("reading the key: it is not one PKCS #8 key in PEM"), err)
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[0])
	signer, ok := key.(crypto.Signer)
	if err != nil || !ok {
		return nil, nil, errors.Join(errors.New("reading the key: it is none for TLS"), err)
	}
	ders, err := decode(files.Fullchain, "CERTIFICATE")
	if err != nil || len(ders) == 0 {
		return nil, nil, errors.Join(errors.New("reading the chain: it is not certificates in PEM"), err)
	}
	var chain []*x509.Certificate
	for _, der := range ders {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, nil, fmt.Errorf("reading the chain: %w", err)
		}
		chain = append(chain, c)
	}
	return signer, chain, nil
}

// decode gives the blocks of a text that holds nothing but PEM of one type.
func decode(text []byte, kind string) (ders [][]byte, err error) {
	if len(text) > maxPEM {
		return nil, fmt.Errorf("it has %d bytes", len(text))
	}
	for rest := text; len(bytes.TrimSpace(rest)) > 0; {
		block, more := pem.Decode(rest)
		if block == nil || block.Type != kind || len(block.Headers) > 0 || !bytes.HasPrefix(bytes.TrimSpace(rest), []byte("-----BEGIN "+kind+"-----")) {
			return nil, errors.New("something else is in it")
		}
		ders, rest = append(ders, block.Bytes), more
	}
	return ders, nil
}
