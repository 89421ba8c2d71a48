package reconcile

import (
	"hash/fnv"
	"slices"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	// shortLived is the lifetime under which half of it, not a third, is kept in reserve (Let's Encrypt's
	// integration guide).
	shortLived = 10 * 24 * time.Hour
	// lastResort is the share of the lifetime under which the CA's advice no longer counts.
	lastResort = 20
	// tooEarly is the share of the lifetime before which advice is not believed, unless its window is past.
	tooEarly = 10
	// maxJitter is the largest share of the lifetime by which machines and names are spread.
	maxJitter = 50
	// breather passes from one certificate to the next, however short the lives that a CA gives them.
	breather = 30 * time.Second
)

// Due is when the wanted certificate has to be ordered, and why. The zero time means at once.
func Due(in *Input, now time.Time) (time.Time, Reason) {
	is := in.Have.Issued
	switch {
	case is == nil:
		return time.Time{}, Missing
	case in.Damaged:
		return time.Time{}, Damaged
	case !matches(in.Want, is, in.Issuers):
		return time.Time{}, Edited
	case revoked(in):
		return time.Time{}, Revoked
	case !in.Have.Requested.IsZero():
		return time.Time{}, Requested
	}
	soonest := is.Committed.Add(breather)
	if now.After(is.NotAfter) {
		return soonest, Expired
	}
	at, why := byLifetime(in.Want, is, in.Host), Lifetime
	if in.Want.Renew.ARI && in.Have.ARI.CertID == is.CertID && !in.Have.ARI.Chosen.IsZero() {
		at, why = byAdvice(in.Have.ARI, is, now), Advised
	}
	// Whatever was chosen: with a twentieth left it is due.
	if last := is.NotAfter.Add(-lifetime(is) / lastResort); last.Before(at) {
		at, why = last, Lifetime
	}
	return later(at, soonest), why
}

// byAdvice is the instant drawn from the CA's window, but not in the first tenth of the lifetime: a CA that advises
// that by mistake would be renewed from without end. A window that is wholly past means replace now (RFC 9773 §4.2),
// which is what a revocation looks like; even then an hour passes from one to the next.
func byAdvice(a store.ARI, is *store.Revision, now time.Time) time.Time {
	tenth := lifetime(is) / tooEarly
	floor := is.NotBefore.Add(tenth)
	if !a.End.After(now) {
		floor = is.Committed.Add(min(tenth, time.Hour))
	}
	if a.Chosen.Before(floor) {
		return floor
	}
	return a.Chosen
}

// byLifetime is the instant at which the share of the lifetime that the spec keeps in reserve begins, a little
// earlier for some names and machines than for others.
func byLifetime(want *spec.Certificate, is *store.Revision, host string) time.Time {
	life := lifetime(is)
	before := want.Renew.Before
	switch {
	case before > 0 && before < life:
	case want.Renew.Fraction > 0:
		before = time.Duration(want.Renew.Fraction * float64(life))
	case life < shortLived:
		before = life / 2
	default:
		before = life / 3
	}
	jitter := time.Duration(share(want.Name, host) * float64(life/maxJitter))
	return is.NotAfter.Add(-before - jitter)
}

// lifetime counts from when the certificate came: one that was old by then would be due again at once, and so would
// the next of that CA.
func lifetime(is *store.Revision) time.Duration {
	return is.NotAfter.Sub(later(is.NotBefore, is.Committed))
}

// urgent tells a certificate with less than a twentieth of its lifetime left.
func urgent(is *store.Revision, now time.Time) bool {
	return is.NotAfter.Sub(now) < lifetime(is)/lastResort
}

// matches tells whether what was issued is what is asked for: names, key or CSR, profile, and an issuer of the list.
func matches(want *spec.Certificate, is *store.Revision, issuers []IssuerState) bool {
	return sameSet(want.DNSNames, is.DNSNames) && sameSet(addresses(want), is.IPAddresses) &&
		want.PrivateKey.String() == is.Key && csrSum(want) == is.CSR && want.Profile == is.Profile && matchesIssuer(is, issuers)
}

// csrSum is what Revision.CSR holds once the certificate is there.
func csrSum(want *spec.Certificate) string {
	if want.CSR == nil {
		return ""
	}
	return want.CSR.SHA256
}

func matchesIssuer(is *store.Revision, issuers []IssuerState) bool {
	return slices.ContainsFunc(issuers, func(s IssuerState) bool { return s.Name == is.Issuer && s.Directory == is.Directory })
}

func addresses(c *spec.Certificate) []string {
	var out []string
	for _, a := range c.IPAddresses {
		out = append(out, a.String())
	}
	return out
}

func sameSet(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	return slices.Equal(a, b) || slices.Equal(slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b)))
}

// share is a number in [0, 1) that depends on the words only, so that a restart draws no new one.
func share(words ...string) float64 {
	h := fnv.New64a()
	for _, w := range words {
		h.Write([]byte(w))
		h.Write([]byte{0})
	}
	return float64(mix(h.Sum64())>>11) / (1 << 53)
}

// mix spreads FNV's last byte over all bits (the finalizer of MurmurHash3).
func mix(x uint64) uint64 {
	x = (x ^ x>>33) * 0xff51afd7ed558ccd
	x = (x ^ x>>33) * 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
