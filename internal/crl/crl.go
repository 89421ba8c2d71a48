// Package crl reads certificate revocation lists (RFC 5280 §5) and finds certificates in them.
//
// It owns one question: does a list that the certificate's own issuer has signed, and that covers the certificate, name
// it? Lists come from whoever answers at an address that a CA wrote into a certificate, mostly without TLS: they are
// bounded, and believed only for their signature.
//
// It never decides what follows from an answer, never keeps a list, and never tells that a certificate is good: a list
// can be old.
package crl

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"golang.org/x/crypto/cryptobyte"
	casn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Points are the addresses where lists are that cover a certificate: those of its distribution points that HTTP reaches
// (RFC 5280 §4.2.1.13). nil: there are none.
func Points(leaf *x509.Certificate) []string {
	var out []string
	for _, p := range leaf.CRLDistributionPoints {
		if u, err := url.Parse(p); err == nil && checkURL(u) == nil {
			out = append(out, p)
		}
	}
	return out
}

// List is a list whose signature is good.
type List struct {
	ThisUpdate time.Time
	NextUpdate time.Time // zero: the CA does not say
	points     []string  // the only ones that it covers; nil: all
	entries    cryptobyte.String
}

// Entry is one revoked certificate.
type Entry struct {
	At     time.Time // when it was revoked
	Reason string    // of RFC 5280 §5.3.1; "": nobody said
}

// The extensions that matter (RFC 5280 §5.2, §5.3).
var (
	oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}
	oidReason                   = asn1.ObjectIdentifier{2, 5, 29, 21}
)

// Parse reads a list, in DER or PEM, that issuer has signed. One that is for less than all of its issuer's server certificates, or
// for those of another one, is an error; one that has run out is not.
func Parse(der []byte, issuer *x509.Certificate) (*List, error) {
	if block, _ := pem.Decode(der); block != nil {
		der = block.Bytes
	}
	tbs, entries, head, err := split(der)
	if err != nil {
		return nil, fmt.Errorf("reading the list: %w", err)
	}
	if !bytes.Equal(head.RawIssuer, issuer.RawSubject) {
		return nil, fmt.Errorf("it is a list of %q, not of %q, which issued the certificate", head.Issuer, issuer.Subject)
	}
	head.RawTBSRevocationList = tbs
	if err := head.CheckSignatureFrom(issuer); err != nil {
		return nil, fmt.Errorf("its signature is not that of %q: %w", issuer.Subject, err)
	}
	l := &List{ThisUpdate: head.ThisUpdate, NextUpdate: head.NextUpdate, entries: entries}
	for _, e := range head.Extensions {
		switch {
		case e.Id.Equal(oidIssuingDistributionPoint):
			if l.points, err = parseScope(e.Value); err != nil {
				return nil, err
			}
		case e.Critical: // a delta is one of these
			return nil, fmt.Errorf("it has the critical extension %s, which acmed does not know", e.Id)
		}
	}
	return l, nil
}

// split takes a list apart. Its entries, of which there may be a million, are cut out before the rest is parsed: each
// would cost some hundred bytes.
func split(der []byte) (tbs []byte, entries cryptobyte.String, head *x509.RevocationList, err error) {
	input := cryptobyte.String(der)
	var outer, inner, algorithm, signature, element cryptobyte.String
	if !input.ReadASN1(&outer, casn1.SEQUENCE) || !input.Empty() || !outer.ReadASN1Element(&element, casn1.SEQUENCE) ||
		!outer.ReadASN1Element(&algorithm, casn1.SEQUENCE) || !outer.ReadASN1Element(&signature, casn1.BIT_STRING) || !outer.Empty() {
		return nil, nil, nil, errors.New("it is not the DER of a revocation list")
	}
	tbs = element
	if !element.ReadASN1(&inner, casn1.SEQUENCE) {
		return nil, nil, nil, errors.New("it is not the DER of a revocation list")
	}
	var rest cryptobyte.Builder
	rest.AddASN1(casn1.SEQUENCE, func(list *cryptobyte.Builder) {
		list.AddASN1(casn1.SEQUENCE, func(b *cryptobyte.Builder) {
			for times, n := false, 0; !inner.Empty(); n++ {
				var field cryptobyte.String
				var tag casn1.Tag
				if !inner.ReadAnyASN1Element(&field, &tag) {
					b.SetError(errors.New("it is cut short"))
					return
				}
				if tag == casn1.UTCTime || tag == casn1.GeneralizedTime {
					times = true
				}
				if times && tag == casn1.SEQUENCE && entries == nil {
					_ = field.ReadASN1(&entries, casn1.SEQUENCE) // its tag was just read
					continue
				}
				b.AddBytes(field)
			}
		})
		list.AddBytes(algorithm)
		list.AddBytes(signature)
	})
	der, err = rest.Bytes()
	if err == nil {
		head, err = x509.ParseRevocationList(der)
	}
	return tbs, entries, head, err
}

// parseScope reads which certificates a list is for (RFC 5280 §5.2.5), and gives the addresses of the distribution point
// that it is the list of.
func parseScope(value []byte) (points []string, err error) {
	input := cryptobyte.String(value)
	var scope, name cryptobyte.String
	var named bool
	const point, userOnly, caOnly, someReasons, indirect, attributeOnly = 0, 1, 2, 3, 4, 5
	tag := func(n uint8) casn1.Tag { return casn1.Tag(n).ContextSpecific() }
	if !input.ReadASN1(&scope, casn1.SEQUENCE) || !input.Empty() ||
		!scope.ReadOptionalASN1(&name, &named, tag(point).Constructed()) {
		return nil, errors.New("its scope cannot be read")
	}
	for !scope.Empty() {
		var flag cryptobyte.String
		var t casn1.Tag
		if !scope.ReadAnyASN1(&flag, &t) {
			return nil, errors.New("its scope cannot be read")
		}
		switch set := t == tag(someReasons) || !bytes.Equal(flag, []byte{0}); {
		case !set || t == tag(userOnly):
		case t == tag(caOnly), t == tag(attributeOnly):
			return nil, errors.New("it is not a list of server certificates")
		case t == tag(someReasons), t == tag(indirect):
			return nil, errors.New("it is a list by reason, or of several issuers, which acmed does not read")
		default:
			return nil, errors.New("its scope cannot be read")
		}
	}
	if !named {
		return nil, nil
	}
	var full cryptobyte.String
	if !name.ReadASN1(&full, tag(0).Constructed()) {
		return nil, errors.New("its distribution point is relative to its issuer's name, which acmed does not read")
	}
	points = []string{}
	for !full.Empty() {
		var general cryptobyte.String
		var t casn1.Tag
		if !full.ReadAnyASN1(&general, &t) {
			return nil, errors.New("its scope cannot be read")
		}
		if t == tag(6) { // uniformResourceIdentifier
			points = append(points, string(general))
		}
	}
	return points, nil
}

// Covers tells whether a list is for certificates with these distribution points: a CA may have divided its list, and
// whoever answers at an address may hand out another part (RFC 5280 §6.3.3 (b) (2) (i)).
func (l *List) Covers(points []string) bool {
	return l.points == nil || slices.ContainsFunc(points, func(p string) bool { return slices.Contains(l.points, p) })
}

// Find looks for serial numbers, big-endian without leading zeros and each in a string, and gives those that the list
// names.
func (l *List) Find(serials map[string]bool) (map[string]Entry, error) {
	found := map[string]Entry{}
	for rest := l.entries; !rest.Empty(); {
		var entry, serial cryptobyte.String
		if !rest.ReadASN1(&entry, casn1.SEQUENCE) || !entry.ReadASN1(&serial, casn1.INTEGER) {
			return nil, errors.New("reading the list: an entry cannot be read")
		}
		if key := bytes.TrimLeft(serial, "\x00"); serials[string(key)] { // which allocates nothing
			e, err := parseEntry(entry)
			if err != nil {
				return nil, fmt.Errorf("reading the list: the entry of serial number %x: %w", key, err)
			}
			found[string(key)] = e
		}
	}
	return found, nil
}

// parseEntry reads what follows the serial number.
func parseEntry(s cryptobyte.String) (Entry, error) {
	var e Entry
	var ok bool
	if s.PeekASN1Tag(casn1.UTCTime) {
		ok = s.ReadASN1UTCTime(&e.At)
	} else {
		ok = s.ReadASN1GeneralizedTime(&e.At)
	}
	var extensions cryptobyte.String
	var some bool
	if !ok || !s.ReadOptionalASN1(&extensions, &some, casn1.SEQUENCE) {
		return Entry{}, errors.New("its time cannot be read")
	}
	for !extensions.Empty() {
		var extension, value cryptobyte.String
		var id asn1.ObjectIdentifier
		critical := false
		if !extensions.ReadASN1(&extension, casn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&id) ||
			extension.PeekASN1Tag(casn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) || !extension.ReadASN1(&value, casn1.OCTET_STRING) {
			return Entry{}, errors.New("its extensions cannot be read")
		}
		switch code := 0; {
		case id.Equal(oidReason):
			if !value.ReadASN1Enum(&code) {
				return Entry{}, errors.New("its reason cannot be read")
			}
			e.Reason = reasonName(code)
		case critical:
			return Entry{}, fmt.Errorf("it has the critical extension %s, which acmed does not know", id)
		}
	}
	return e, nil
}

// reasonName is how RFC 5280 §5.3.1 calls a reason; "" for one that it does not know.
func reasonName(code int) string {
	names := []string{"unspecified", "keyCompromise", "cACompromise", "affiliationChanged", "superseded", "cessationOfOperation",
		"certificateHold", "", "removeFromCRL", "privilegeWithdrawn", "aACompromise"}
	if code < 0 || code >= len(names) {
		return ""
	}
	return names[code]
}
