package reconcile

import (
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// placeholderLife is how long a placeholder lasts: too short to be taken for a certificate, and long enough that it is
// not made anew with every visit. It is renewed when a third of that is left.
const placeholderLife = 7 * 24 * time.Hour

// standIn has a placeholder made where the spec wants one until the first certificate. The clock need not be right.
func standIn(in *Input, now time.Time) (Decision, bool) {
	if !in.Want.Placeholder || in.Have.Issued != nil || in.Live > 0 || in.Placeholder != nil && suits(in.Placeholder, in.Want, now) {
		return Decision{}, false
	}
	return Decision{Do: StandIn, Why: Missing}, true
}

// suits tells whether a placeholder is for the names of the spec and is to stay for now.
func suits(p *x509.Certificate, want *spec.Certificate, now time.Time) bool {
	var had []string
	for _, ip := range p.IPAddresses {
		had = append(had, ip.String())
	}
	return sameSet(p.DNSNames, want.DNSNames) && sameSet(had, addresses(want)) &&
		!now.Before(p.NotBefore) && now.Before(placeholderDue(p))
}

func placeholderDue(p *x509.Certificate) time.Time { return p.NotAfter.Add(-placeholderLife / 3) }

// gatherPlaceholder finds what stands in for the first certificate. A damaged one is as good as none.
func (v *visit) gatherPlaceholder() (err error) {
	if v.in.Placeholder = nil; v.in.Live > 0 {
		return nil
	}
	v.in.Placeholder, err = v.r.store.Placeholder(v.name)
	if _, damaged := errors.AsType[*store.DamagedError](err); damaged {
		return nil
	}
	return err
}

// standIn makes a placeholder and points live at it.
func (v *visit) standIn() error {
	key, err := newKey(v.in.Want.PrivateKey)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	p := placeholder(v.in.Want, v.now)
	p.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, p, p, key.Public(), key)
	if err != nil {
		return err
	}
	if err := v.r.store.SetPlaceholder(v.name, key, der); err != nil {
		return err
	}
	v.changed(lazily) // whose record is there is visited, should the spec go while acmed is stopped
	v.log.Info("made a placeholder until the first certificate", zap.Time("notAfter", p.NotAfter))
	return nil
}

// placeholder is the certificate to be signed with its own key. An hour of the past allows for clients' clocks.
func placeholder(want *spec.Certificate, now time.Time) *x509.Certificate {
	p := &x509.Certificate{
		Subject: pkix.Name{Organization: []string{"acmed placeholder"},
			CommonName: "placeholder by acmed until the first certificate"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(placeholderLife),
		DNSNames: want.DNSNames, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, a := range want.IPAddresses {
		p.IPAddresses = append(p.IPAddresses, net.IP(a.AsSlice()))
	}
	return p
}

// next is the time of the next visit: that of a decision, or before that when a placeholder is to be made anew.
func (v *visit) next(d Decision) time.Time {
	p := v.in.Placeholder
	if p == nil || v.in.Want == nil || !v.in.Want.Placeholder {
		return d.At
	}
	if due := placeholderDue(p); d.At.IsZero() || due.Before(d.At) {
		return due
	}
	return d.At
}
