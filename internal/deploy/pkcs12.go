package deploy

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"strings"

	"software.sslmate.com/src/go-pkcs12"

	"acmed/internal/store"
)

// keyStore makes a PKCS #12 file (RFC 7292) with the algorithms that current Java and OpenSSL read.
//
// Its salts are drawn from key, chain and password, so that it is the same file for the same content, and another one
// for any other. To see whether a file is up to date, it is compared and not decoded: who could write to it before
// could have it ask for years of hashing.
func keyStore(passwordFile string, files store.Files) ([]byte, error) {
	password, err := readPassword(passwordFile)
	if err != nil {
		return nil, err
	}
	key, err := readKey(files)
	if err != nil {
		return nil, err
	}
	chain, err := readChain(files)
	if err != nil {
		return nil, err
	}
	salts, err := hkdf.Key(sha256.New, files.Privkey, []byte(password), "acmed PKCS #12\x00"+string(files.Fullchain), 1024)
	if err != nil {
		return nil, fmt.Errorf("encoding PKCS #12: %w", err)
	}
	data, err := pkcs12.Modern2023.WithRand(bytes.NewReader(salts)).Encode(key, chain[0], chain[1:], password)
	if err != nil {
		return nil, fmt.Errorf("encoding PKCS #12: %w", err)
	}
	return data, nil
}

// maxPassword is the most bytes of a password file.
const maxPassword = 4096

// readPassword reads what is on the first and only line of a file. As root it opens only files that root alone can have
// put there: a password file that another user could exchange for a link would turn any file into a password.
func readPassword(path string) (string, error) {
	text, _, err := trust{uint32(os.Geteuid())}.readFile(path)
	password := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case err != nil:
	case len(text) > maxPassword:
		err = &os.PathError{Op: "read", Path: path, Err: fmt.Errorf("it has over %d bytes", maxPassword)}
	case password == "":
		err = &os.PathError{Op: "read", Path: path, Err: errors.New("it is empty")}
	}
	if err != nil {
		problem, hint := parts(err)
		return "", &blocked{"reading the password file: " + problem, cmp.Or(hint, "write the password to "+path)}
	}
	return password, nil
}

const (
	maxPEM = 256 << 10 // of a chain; the store takes no more
	maxKey = 16 << 10  // of a key; one of RSA with 8192 bits has 7 KiB
)

// readKey reads the key: strictly, for it may come from who has fewer rights.
func readKey(files store.Files) (crypto.Signer, error) {
	key, err := parseKey(files.Privkey)
	if err != nil {
		return nil, fmt.Errorf("reading the key: %w", err)
	}
	return key, nil
}

// readChain reads the chain, the leaf first: likewise.
func readChain(files store.Files) ([]*x509.Certificate, error) {
	chain, err := parseChain(files.Fullchain)
	if err != nil {
		return nil, fmt.Errorf("reading the chain: %w", err)
	}
	return chain, nil
}

func parseKey(text []byte) (crypto.Signer, error) {
	blocks, err := decode(text, "PRIVATE KEY", maxKey)
	if err != nil {
		return nil, err
	}
	if len(blocks) != 1 {
		return nil, fmt.Errorf("it holds %d keys", len(blocks))
	}
	key, err := x509.ParsePKCS8PrivateKey(blocks[0])
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("it is none that signs")
	}
	return signer, nil
}

func parseChain(text []byte) (chain []*x509.Certificate, err error) {
	blocks, err := decode(text, "CERTIFICATE", maxPEM)
	if err != nil {
		return nil, err
	}
	for _, der := range blocks {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, err
		}
		chain = append(chain, c)
	}
	if len(chain) == 0 {
		return nil, errors.New("it is empty")
	}
	return chain, nil
}

// decode gives the blocks of a text that holds nothing but PEM of one type, as acmed itself writes it: consumers are
// given the text and not what was understood of it.
func decode(text []byte, kind string, most int) (ders [][]byte, err error) {
	if len(text) > most {
		return nil, fmt.Errorf("it has %d bytes", len(text))
	}
	for rest := text; len(rest) > 0; {
		block, more := pem.Decode(rest)
		if block == nil {
			return nil, errors.New("something else is in it")
		}
		plain := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: block.Bytes})
		if !bytes.Equal(plain, rest[:len(rest)-len(more)]) {
			return nil, errors.New("something else is in it")
		}
		ders, rest = append(ders, block.Bytes), more
	}
	return ders, nil
}
