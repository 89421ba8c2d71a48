package crl_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/crl"
)

// authority signs lists.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t testing.TB, name string) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte(name), NotAfter: time.Now().AddDate(1, 0, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &authority{cert, key}
}

func (a *authority) list(t testing.TB, edit func(*x509.RevocationList)) []byte {
	t.Helper()
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{
			{SerialNumber: big.NewInt(0x80), RevocationTime: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), ReasonCode: 1},
			{SerialNumber: big.NewInt(5), RevocationTime: time.Date(2055, 5, 1, 0, 0, 0, 0, time.UTC)},
		}}
	if edit != nil {
		edit(l)
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.cert, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func serials(numbers ...int64) map[string]bool {
	out := map[string]bool{}
	for _, n := range numbers {
		out[string(big.NewInt(n).Bytes())] = true
	}
	return out
}

func TestFind(t *testing.T) {
	ca := newAuthority(t, "ca")
	der := ca.list(t, nil)
	for name, text := range map[string][]byte{"DER": der, "PEM": pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})} {
		l, err := crl.Parse(text, ca.cert)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		found, err := l.Find(serials(0x80, 5, 6))
		want := map[string]crl.Entry{
			"\x80": {At: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), Reason: "keyCompromise"},
			"\x05": {At: time.Date(2055, 5, 1, 0, 0, 0, 0, time.UTC)},
		}
		if err != nil || fmt.Sprint(found) != fmt.Sprint(want) {
			t.Errorf("%s: found %v, %v; want %v", name, found, err, want)
		}
		if l.NextUpdate.IsZero() || l.ThisUpdate.IsZero() {
			t.Errorf("%s: it is good from %v to %v", name, l.ThisUpdate, l.NextUpdate)
		}
	}
	empty, err := crl.Parse(ca.list(t, func(l *x509.RevocationList) { l.RevokedCertificateEntries = nil }), ca.cert)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := empty.Find(serials(5)); err != nil || len(found) > 0 {
		t.Errorf("in an empty list: %v, %v", found, err)
	}
}

// scope makes the extension that says what a list is for (RFC 5280 §5.2.5).
func scope(t testing.TB, v any) pkix.Extension {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 28}, Critical: true, Value: der}
}

type (
	pointName struct {
		Full     []asn1.RawValue `asn1:"optional,tag:0"`
		Relative asn1.RawValue   `asn1:"optional,tag:1"`
	}
	issuingPoint struct {
		Point     pointName      `asn1:"optional,tag:0"`
		User      bool           `asn1:"optional,tag:1"`
		CA        bool           `asn1:"optional,tag:2"`
		Some      asn1.BitString `asn1:"optional,tag:3"`
		Indirect  bool           `asn1:"optional,tag:4"`
		Attribute bool           `asn1:"optional,tag:5"`
	}
)

func at(url string) pointName {
	return pointName{Full: []asn1.RawValue{{Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(url)}}}
}

func TestOnlyAListThatCoversTheCertificateCounts(t *testing.T) {
	ca := newAuthority(t, "ca")
	for name, c := range map[string]struct {
		scope  any // nil: none
		covers bool
	}{
		"all":            {nil, true},
		"its part":       {issuingPoint{Point: at("http://ca.test/7.crl"), User: true}, true},
		"another part":   {issuingPoint{Point: at("http://ca.test/8.crl"), User: true}, false},
		"a part unnamed": {issuingPoint{User: true}, true},
	} {
		l, err := crl.Parse(ca.list(t, func(l *x509.RevocationList) {
			if c.scope != nil {
				l.ExtraExtensions = []pkix.Extension{scope(t, c.scope)}
			}
		}), ca.cert)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := l.Covers([]string{"ldap://ca.test", "http://ca.test/7.crl"}); got != c.covers {
			t.Errorf("%s: covers %v", name, got)
		}
	}
}

func TestListsThatAreRefused(t *testing.T) {
	ca, namesake, other := newAuthority(t, "ca"), newAuthority(t, "ca"), newAuthority(t, "other")
	with := func(extensions ...pkix.Extension) []byte {
		return ca.list(t, func(l *x509.RevocationList) { l.ExtraExtensions = extensions })
	}
	changed := ca.list(t, nil)
	changed[len(changed)/2] ^= 1
	for problem, der := range map[string][]byte{
		"it is a list of":                         other.list(t, nil),
		"its signature is not that of":            namesake.list(t, nil),
		"it is not a list of server certificates": with(scope(t, issuingPoint{CA: true})),
		"it is a list by reason":                  with(scope(t, issuingPoint{Some: asn1.BitString{Bytes: []byte{0x40}, BitLength: 2}})),
		"or of several issuers":                   with(scope(t, issuingPoint{Indirect: true})),
		"its distribution point is relative":      with(scope(t, issuingPoint{Point: pointName{Relative: asn1.RawValue{FullBytes: []byte{0xa1, 0}}}})),
		"its scope cannot be read":                with(scope(t, 7)),
		"it has the critical extension 2.5.29.27": with(pkix.Extension{Id: asn1.ObjectIdentifier{2, 5, 29, 27}, Critical: true, Value: []byte{2, 1, 1}}),
		"it is not the DER of a revocation list":  []byte("<html>"),
		"reading the list: it is not the DER":     ca.cert.RawTBSCertificate,
		"":                                        changed,
	} {
		if _, err := crl.Parse(der, ca.cert); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("got %v, want %q", err, problem)
		}
	}
	attribute := with(scope(t, issuingPoint{Attribute: true}))
	if _, err := crl.Parse(attribute, ca.cert); err == nil {
		t.Error("a list of attribute certificates is believed")
	}
}

func TestAnEntryOfAnotherIssuerIsRefused(t *testing.T) {
	ca := newAuthority(t, "ca")
	l, err := crl.Parse(ca.list(t, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries[1].ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{2, 5, 29, 29}, Critical: true, Value: []byte{0x30, 0}}}
	}), ca.cert)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Find(serials(5)); err == nil || !strings.Contains(err.Error(), "2.5.29.29") {
		t.Errorf("got %v", err)
	}
	if found, err := l.Find(serials(0x80)); err != nil || len(found) != 1 {
		t.Errorf("got %v, %v", found, err)
	}
}

func TestPoints(t *testing.T) {
	got := crl.Points(&x509.Certificate{CRLDistributionPoints: []string{
		"ldap://ca.test/cn=ca", "http://ca.test/ca.crl", "https://ca.test/ca.crl", "file:///etc/passwd", "http://user:secret@ca.test/", "http://", "::"}})
	if want := []string{"http://ca.test/ca.crl", "https://ca.test/ca.crl"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// FuzzParse wants what Go's own parser finds in a list to be found.
func FuzzParse(f *testing.F) {
	ca := newAuthority(f, "ca")
	f.Add(ca.list(f, nil))
	f.Add(ca.list(f, func(l *x509.RevocationList) {
		l.ExtraExtensions = []pkix.Extension{scope(f, issuingPoint{Point: at("http://ca.test/7.crl")})}
	}))
	f.Add([]byte{0x30, 0})
	f.Fuzz(func(t *testing.T, der []byte) {
		l, err := crl.ParseUnsigned(der)
		if err != nil {
			return
		}
		whole, err := x509.ParseRevocationList(der)
		if err != nil {
			_, _ = l.Find(serials(5)) // must end
			return
		}
		for _, e := range whole.RevokedCertificateEntries {
			if e.SerialNumber.Sign() <= 0 {
				continue
			}
			found, err := l.Find(map[string]bool{string(e.SerialNumber.Bytes()): true})
			if err == nil && len(found) != 1 {
				t.Errorf("serial number %x is not found", e.SerialNumber)
			}
		}
	})
}

// BenchmarkFind looks for a thousand certificates in the list of a CA that has revoked half a million.
func BenchmarkFind(b *testing.B) {
	ca := newAuthority(b, "ca")
	der := ca.list(b, func(l *x509.RevocationList) {
		l.RevokedCertificateEntries = l.RevokedCertificateEntries[:0]
		for i := range int64(500_000) {
			serial := new(big.Int).Lsh(big.NewInt(1+i), 100)
			l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Now(), ReasonCode: 4})
		}
	})
	wanted := map[string]bool{}
	for i := range int64(1000) {
		wanted[string(new(big.Int).Lsh(big.NewInt(1+i*500), 100).Bytes())] = true
	}
	b.SetBytes(int64(len(der)))
	b.ReportAllocs()
	for b.Loop() {
		l, err := crl.Parse(der, ca.cert)
		if err != nil {
			b.Fatal(err)
		}
		found, err := l.Find(wanted)
		if err != nil || len(found) != len(wanted) {
			b.Fatal(len(found), err)
		}
	}
}
