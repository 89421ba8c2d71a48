package migrate

import (
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
)

// maxBlocks bounds what a PEM file can cost.
const maxBlocks = 32

// parseKey reads the first private key of a PEM file: PKCS #8, PKCS #1 or SEC 1.
func parseKey(data []byte) (crypto.Signer, error) {
	for range maxBlocks {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		key, err := parseKeyBlock(block)
		if err != nil {
			return nil, err
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, errors.New("no private key in it")
}

func parseKeyBlock(block *pem.Block) (any, error) {
	switch {
	case block.Type == "ENCRYPTED PRIVATE KEY", block.Headers["DEK-Info"] != "":
		return nil, errors.New("the key is encrypted")
	case block.Type == "PRIVATE KEY":
		return x509.ParsePKCS8PrivateKey(block.Bytes)
	case block.Type == "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case block.Type == "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	}
	return nil, nil
}

// parseChain reads the certificates of a PEM file.
func parseChain(data []byte) [][]byte {
	var chain [][]byte
	for range maxBlocks {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	return chain
}

// leafOf is the first certificate of a chain; nil: there is none.
func leafOf(chain [][]byte) *x509.Certificate {
	if len(chain) == 0 {
		return nil
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil
	}
	return leaf
}

// pairOf puts a key and a chain together, if they can be served.
func pairOf(key crypto.Signer, chain [][]byte, now time.Time) (*Pair, error) {
	leaf := leafOf(chain)
	if leaf == nil {
		return nil, errors.New("there is no certificate in it")
	}
	if !leaf.NotAfter.After(now) {
		return nil, fmt.Errorf("it expired on %s", leaf.NotAfter.UTC().Format(time.DateOnly))
	}
	issued, err := acme.Verify(chain, key.Public(), identifiersOf(leaf), now)
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return nil, errors.New(e.Detail)
	}
	if err != nil {
		return nil, err
	}
	return &Pair{key, issued}, nil
}

func identifiersOf(leaf *x509.Certificate) []acme.Identifier {
	var ids []acme.Identifier
	for _, name := range leaf.DNSNames {
		ids = append(ids, acme.Identifier{Type: "dns", Value: name})
	}
	for _, ip := range leaf.IPAddresses {
		ids = append(ids, acme.Identifier{Type: "ip", Value: ip.String()})
	}
	return ids
}

// kindOf describes a key as a spec does; the zero PrivateKey for one that no spec can ask for.
func kindOf(key crypto.PublicKey) spec.PrivateKey {
	var k spec.PrivateKey
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		k = spec.PrivateKey{Algorithm: "ECDSA", Size: key.Curve.Params().BitSize}
	case *rsa.PublicKey:
		k = spec.PrivateKey{Algorithm: "RSA", Size: key.N.BitLen()}
	}
	if !slices.Contains([]string{"ECDSA-256", "ECDSA-384", "RSA-2048", "RSA-3072", "RSA-4096"}, k.String()) {
		return spec.PrivateKey{}
	}
	return k
}

// take makes what is on disk the certificate's first revision, or says why it cannot be served. Its names and its kind
// of key become those that are wanted, for then there is nothing to order.
func (c *Certificate) take(key crypto.Signer, chain [][]byte, now time.Time) {
	pair, err := pairOf(key, chain, now)
	if err != nil {
		c.Unfit = err.Error()
		return
	}
	kind := kindOf(key.Public())
	if kind.Algorithm == "" {
		c.Unfit = "no spec can ask for a key of its kind"
		return
	}
	kind.RotationPolicy = c.Want.PrivateKey.RotationPolicy
	c.Pair, c.Want.PrivateKey = pair, kind
	c.Want.DNSNames, c.Want.IPAddresses = namesOf(pair.Chain.Chain[0], c.Name)
}

// pair reads a key and a chain, of one file or several, for the certificate.
func (t *tree) pair(c *Certificate, keyFile string, now time.Time, chainFiles ...string) {
	key, err := t.key(keyFile)
	var chain [][]byte
	for _, file := range chainFiles {
		data, readErr := t.read(file, maxPEM)
		err = cmp.Or(err, readErr)
		chain = append(chain, parseChain(data)...)
	}
	c.taken(key, chain, err, now)
}

// taken is take for a key and a chain that may not have been read whole.
func (c *Certificate) taken(key crypto.Signer, chain [][]byte, err error, now time.Time) {
	c.leaf = leafOf(chain)
	if err != nil {
		c.Unfit = err.Error()
		return
	}
	c.take(key, chain, now)
}

// fromLeaf has the names and the kind of key of a certificate that cannot be served asked for again, for a client that
// keeps them nowhere else.
func (c *Certificate) fromLeaf() {
	if c.Pair != nil || c.leaf == nil {
		return
	}
	c.Want.DNSNames, c.Want.IPAddresses = namesOf(c.leaf, c.Name)
	if kind := kindOf(c.leaf.PublicKey); kind.Algorithm != "" {
		kind.RotationPolicy = c.Want.PrivateKey.RotationPolicy
		c.Want.PrivateKey = kind
	}
}

// key reads a private key.
func (t *tree) key(file string) (crypto.Signer, error) {
	data, err := t.read(file, maxPEM)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, t.about(file, err)
	}
	return key, nil
}

// accountKey reads the key of an account of which nothing else is known yet.
func (t *tree) accountKey(file, directory string) (*Account, error) {
	key, err := t.key(file)
	if err != nil {
		return nil, err
	}
	a := &Account{From: t.path(file), Directory: directory, Key: key}
	if err := a.usable(); err != nil {
		return nil, t.about(file, err)
	}
	return a, nil
}

// namesOf are the names in a certificate, with the one that it is known by in front.
func namesOf(leaf *x509.Certificate, first string) (dns []string, addresses []netip.Addr) {
	dns = slices.Clone(leaf.DNSNames)
	if i := slices.Index(dns, first); i > 0 {
		dns = slices.Insert(slices.Delete(dns, i, i+1), 0, first)
	}
	for _, ip := range leaf.IPAddresses {
		if a, ok := netip.AddrFromSlice(ip); ok {
			addresses = append(addresses, a.Unmap())
		}
	}
	return dns, addresses
}

// wantNames makes names those that are asked for when there is no certificate to go by.
func (c *Certificate) wantNames(names []string) {
	c.Want.DNSNames, c.Want.IPAddresses = nil, nil
	for _, name := range names {
		if a, err := netip.ParseAddr(name); err == nil {
			c.Want.IPAddresses = append(c.Want.IPAddresses, a)
			continue
		}
		c.Want.DNSNames = append(c.Want.DNSNames, strings.ToLower(name))
	}
}

// jwk is a private key as a JSON Web Key (RFC 7517, RFC 7518 §6).
type jwk struct {
	Type  string `json:"kty"`
	Curve string `json:"crv"` // EC only
	N     number `json:"n"`   // RSA only, as all below but D
	E     number `json:"e"`
	D     number `json:"d"`
	P     number `json:"p"`
	Q     number `json:"q"`
}

// number is an unsigned integer in base64url.
type number []byte

func (n *number) UnmarshalJSON(text []byte) error {
	var s string
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	b, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(s, "="))
	*n = b
	return err
}

func (n number) int() *big.Int { return new(big.Int).SetBytes(n) }

// parseJWK reads the private key that certbot keeps of an account.
func parseJWK(data []byte) (crypto.Signer, error) {
	var k jwk
	if err := json.Unmarshal(data, &k); err != nil {
		return nil, err
	}
	switch k.Type {
	case "RSA":
		return k.rsa()
	case "EC":
		return k.ecdsa()
	}
	return nil, errors.New("kty: a type of key that is not supported")
}

func (k *jwk) rsa() (crypto.Signer, error) {
	e := k.E.int()
	if !e.IsInt64() || e.Int64() > 1<<31-1 {
		return nil, errors.New("its exponent is out of range")
	}
	if len(k.N) > 2048 || len(k.D) > 2048 || len(k.P) > 2048 || len(k.Q) > 2048 {
		return nil, errors.New("its numbers are too large")
	}
	key := &rsa.PrivateKey{
		PublicKey: rsa.PublicKey{N: k.N.int(), E: int(e.Int64())},
		D:         k.D.int(), Primes: []*big.Int{k.P.int(), k.Q.int()},
	}
	if err := key.Validate(); err != nil {
		return nil, fmt.Errorf("its numbers make no RSA key: %w", err)
	}
	key.Precompute()
	return key, nil
}

func (k *jwk) ecdsa() (crypto.Signer, error) {
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384()}[k.Curve]
	if curve == nil {
		return nil, errors.New("crv: a curve that is not supported")
	}
	size := (curve.Params().BitSize + 7) / 8
	if len(k.D) > size {
		return nil, errors.New("its number is too large")
	}
	scalar := make([]byte, size)
	copy(scalar[size-len(k.D):], k.D)
	return ecdsa.ParseRawPrivateKey(curve, scalar)
}

// usable makes sure that the CA can be asked with the account's key at its directory.
func (a *Account) usable() error {
	_, err := acme.New(acme.Config{Directory: a.Directory, Key: a.Key})
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return errors.New(cmp.Or(e.Detail, e.Error()))
	}
	return err
}

// compare notes that a certificate has other names than its client was told last.
func (c *Certificate) compare(names []string) {
	if c.Pair == nil {
		return
	}
	var want Certificate
	want.wantNames(names)
	a, b := sorted(identifiers(&want.Want)), sorted(identifiers(&c.Want))
	if slices.Equal(a, b) {
		return
	}
	if slices.ContainsFunc(want.Want.DNSNames, func(name string) bool { _, err := spec.ParseDNSName(name); return err != nil }) {
		c.note("write the names that are wanted into dnsNames", "not every name that is wanted is a DNS name")
		return
	}
	c.note("write the names that are wanted into dnsNames, and acmed orders a certificate for them",
		"the certificate has the names %s, wanted were %s", abbreviate(strings.Join(b, " ")), abbreviate(strings.Join(a, " ")))
}

func sorted(s []string) []string { return slices.Compact(slices.Sorted(slices.Values(s))) }
