package acme_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/acme"
)

func TestVerify(t *testing.T) {
	ca, other := newAuthority(t, "CA"), newAuthority(t, "CA")
	noCA := newAuthority(t, "no CA", func(c *x509.Certificate) { c.IsCA, c.KeyUsage = false, 0 })
	expired := newAuthority(t, "old CA", func(c *x509.Certificate) { c.NotAfter = epoch.Add(-time.Second) })
	key := newKey(t)
	leaf := func(change func(*x509.Certificate)) [][]byte { return ders(ca.leaf(key.Public(), change), ca.cert) }
	many := func(n int) [][]byte {
		chain := ders(ca.leaf(key.Public()))
		for range n - 1 {
			chain = append(chain, ca.cert.Raw)
		}
		return chain
	}
	tests := map[string]struct {
		der  [][]byte
		want string // "" passes
	}{
		"a good chain":                    {leaf(func(*x509.Certificate) {}), ""},
		"the root twice":                  {many(3), ""},
		"no EKU at all":                   {leaf(func(c *x509.Certificate) { c.ExtKeyUsage = nil }), ""},
		"names in another case and order": {leaf(func(c *x509.Certificate) { c.DNSNames = []string{"A.TEST"} }), ""},
		"a clock that is a little behind": {leaf(func(c *x509.Certificate) { c.NotBefore = epoch.Add(30 * time.Minute) }), ""},
		"a year 9999 end":                 {leaf(func(c *x509.Certificate) { c.NotAfter = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC) }), ""},
		"nothing":                         {nil, "holds 0 certificates"},
		"a chain without an issuer":       {ders(ca.leaf(key.Public())), "holds 1 certificates"},
		"eleven certificates":             {many(11), "holds 11 certificates"},
		"64 KiB of junk":                  {[][]byte{make([]byte, 40<<10), make([]byte, 40<<10)}, "larger than"},
		"junk":                            {[][]byte{[]byte("x"), []byte("y")}, "certificate 0 of the chain"},
		"another key":                     {ders(ca.leaf(newKey(t).Public()), ca.cert), "another key"},
		"another name":                    {leaf(func(c *x509.Certificate) { c.DNSNames = []string{"b.test"} }), "other names"},
		"a missing name":                  {leaf(func(c *x509.Certificate) { c.DNSNames = nil }), "other names"},
		"an extra name":                   {leaf(func(c *x509.Certificate) { c.DNSNames = []string{"a.test", "b.test"} }), "other names"},
		"an extra address":                {leaf(func(c *x509.Certificate) { c.IPAddresses = []net.IP{{192, 0, 2, 1}} }), "other names"},
		"an extra URI":                    {leaf(func(c *x509.Certificate) { c.URIs = []*url.URL{{Scheme: "spiffe", Host: "x"}} }), "other names"},
		"ten thousand names":              {leaf(bomb), "other names"},
		"a CA as a leaf":                  {leaf(func(c *x509.Certificate) { c.IsCA = true }), "that of a CA"},
		"client authentication only":      {leaf(func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }), "not for TLS servers"},
		"an unknown critical extension": {leaf(func(c *x509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}}
		}), "critical extension"},
		"not yet valid":                    {leaf(func(c *x509.Certificate) { c.NotBefore = epoch.Add(2 * time.Hour) }), "begins only at"},
		"already expired":                  {leaf(func(c *x509.Certificate) { c.NotAfter = epoch }), "ended at"},
		"an end before the beginning":      {leaf(func(c *x509.Certificate) { c.NotAfter = c.NotBefore.Add(-time.Hour) }), "ends before it begins"},
		"an expired issuer":                {ders(expired.leaf(key.Public()), expired.cert), "ended at"},
		"the wrong order":                  {ders(ca.cert, ca.leaf(key.Public())), "another key"},
		"another issuer of the same name":  {ders(ca.leaf(key.Public()), other.cert), "chain is broken"},
		"another issuer of another name":   {ders(ca.leaf(key.Public()), noCA.cert), "does not follow"},
		"an issuer that is no CA":          {ders(noCA.leaf(key.Public()), noCA.cert), "an issuer is no CA"},
		"a forged signature":               {forge(leaf(func(*x509.Certificate) {})), "chain is broken"},
		"a gap between issuer and its own": {append(leaf(func(*x509.Certificate) {}), noCA.cert.Raw), "does not follow"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			issued, err := acme.Verify(tt.der, key.Public(), dns("a.test"), epoch)
			if tt.want == "" {
				if err != nil || len(issued.Chain) != len(tt.der) || !bytes.Equal(issued.Chain[0].Raw, issued.DER[0]) {
					t.Fatalf("got %v", err)
				}
				return
			}
			e := errorOf(t, err)
			if rest := slices.Contains([]string{"holds 1 certificates", "chain is broken", "does not follow", "an issuer is no CA"}, tt.want) || name == "an expired issuer"; acme.ChainRefused(err) != rest {
				t.Errorf("it is the chain that is refused: %t", !rest)
			}
			if !strings.Contains(e.Detail, tt.want) || e.Kind != acme.Validation || e.Problem != "badCertificate" {
				t.Errorf("got %v (%v), want %q", e, e.Kind, tt.want)
			}
		})
	}
}

func TestVerifyTakesOnlyKeysThatCanBeCompared(t *testing.T) {
	ca := newAuthority(t, "CA")
	key := newKey(t)
	_, err := acme.Verify(ders(ca.leaf(key.Public()), ca.cert), struct{}{}, dns("a.test"), epoch)
	if err == nil || !strings.Contains(err.Error(), "another key") {
		t.Errorf("got %v", err)
	}
}

func TestCSRAndVerifyAgreeOnNamesAndAddresses(t *testing.T) {
	ids := append(dns("a.test", "*.b.test"), acme.Identifier{Type: "ip", Value: "192.0.2.1"}, acme.Identifier{Type: "ip", Value: "2001:db8::1"})
	key := newKey(t)
	der, err := acme.CSR(key, ids)
	if err != nil {
		t.Fatal(err)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil || csr.CheckSignature() != nil || csr.Subject.String() != "" {
		t.Fatalf("got %v, subject %q", err, csr.Subject)
	}
	ca := newAuthority(t, "CA")
	leaf := ca.leaf(csr.PublicKey.(*ecdsa.PublicKey), func(c *x509.Certificate) { c.DNSNames, c.IPAddresses = csr.DNSNames, csr.IPAddresses })
	if _, err := acme.Verify(ders(leaf, ca.cert), key.Public(), ids, epoch); err != nil {
		t.Error(err)
	}
	for _, bad := range []acme.Identifier{{Type: "ip", Value: "a.test"}, {Type: "mail", Value: "x"}, {Type: "dns", Value: "ü"}} {
		if _, err := acme.CSR(key, []acme.Identifier{bad}); errorOf(t, err).Kind != acme.Permanent {
			t.Errorf("%v: got %v", bad, err)
		}
	}
}

func TestCertID(t *testing.T) {
	tests := map[string]struct {
		leaf *x509.Certificate
		want string
	}{
		"the example of RFC 9773 §4.1": {&x509.Certificate{SerialNumber: big.NewInt(0x8765432100),
			AuthorityKeyId: []byte{0x69, 0x88, 0x5B, 0x6B, 0x87, 0x46, 0x40, 0x41, 0xE1, 0xB3, 0x7B, 0x84, 0x7B, 0xA0, 0xAE, 0x2C, 0xDE, 0x01, 0xC8, 0xD4}},
			"aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyEA"},
		"a small serial":    {&x509.Certificate{SerialNumber: big.NewInt(1), AuthorityKeyId: []byte{1}}, "AQ.AQ"},
		"no key identifier": {&x509.Certificate{SerialNumber: big.NewInt(1)}, ""},
		"no serial":         {&x509.Certificate{AuthorityKeyId: []byte{1}}, ""},
		"a negative serial": {&x509.Certificate{SerialNumber: big.NewInt(-1), AuthorityKeyId: []byte{1}}, ""},
		"no certificate":    {nil, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := acme.CertID(tt.leaf); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func bomb(c *x509.Certificate) {
	for i := range 2000 {
		c.DNSNames = append(c.DNSNames, fmt.Sprintf("%d.a.test", i))
	}
}

// forge flips the last bit of the leaf's signature.
func forge(der [][]byte) [][]byte {
	leaf := bytes.Clone(der[0])
	leaf[len(leaf)-1] ^= 1
	return append([][]byte{leaf}, der[1:]...)
}
