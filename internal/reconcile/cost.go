package reconcile

import (
	"slices"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// costs are all that an order spends from.
func costs(o store.Order, l spec.Limits) []bucket {
	buckets := failureBuckets(namesOf(o), l)
	if o.Charged {
		buckets = append(buckets, countedBuckets(namesOf(o), l, o.Renewal)...)
	}
	return buckets
}

// countedBuckets are those that the CA counts an order among, which may be a renewal that it exempts from some.
func countedBuckets(names []string, l spec.Limits, renewal bool) []bucket {
	if renewal {
		l.OrdersPer3h, l.PerDomainPerWeek = 0, 0
	}
	return orderBuckets(names, l)
}

func namesOf(o store.Order) []string { return slices.Concat(o.DNSNames, o.IPAddresses) }

// exempt tells whether CAs let an order pass their limits, those for failures apart, because it replaces a
// certificate within the window that they advised (Boulder: wfe2.validateReplacementOrder). One that is replaced in its
// first tenth is counted nevertheless, for advice can be wrong. After an incident or a revocation the window is wholly
// past: such a renewal counts.
func exempt(in *Input, s *spec.Issuer, now time.Time) bool {
	is, a := in.Have.Issued, in.Have.ARI
	if is == nil || !in.Want.Renew.ARI || a.CertID != is.CertID || a.Chosen.IsZero() || a.Chosen.After(now) {
		return false
	}
	return now.Add(untilOrdered).Before(a.End) && now.Sub(is.Committed) >= lifetime(is)/tooEarly && sameNames(in, s)
}

// untilOrdered is the most that passes from a decision to the CA's look at its clock.
const untilOrdered = time.Minute

// sameNames tells whether the names are those of the present certificate, and its issuer is s.
func sameNames(in *Input, s *spec.Issuer) bool {
	is := in.Have.Issued
	return is != nil && is.Issuer == s.Name && is.Directory == s.Directory &&
		sameSet(in.Want.DNSNames, is.DNSNames) && sameSet(addresses(in.Want), is.IPAddresses)
}

// renewalSpan is how long Let's Encrypt calls an order for the names of a certificate a renewal, which is 120 days, and a
// day less: clocks differ.
const renewalSpan = 119 * 24 * time.Hour

// renewal tells whether the CA takes an order for a renewal that it exempts from the limits of new orders.
func renewal(in *Input, s *spec.Issuer, now time.Time) bool {
	return s.Limits.RenewalsExempt && sameNames(in, s) && now.Sub(in.Have.Issued.Committed) < renewalSpan
}

// budget are the limits that decide when an order may be made.
func budget(in *Input, s *spec.Issuer, now time.Time) []bucket {
	names := identifiers(in.Want)
	buckets := failureBuckets(names, s.Limits)
	if !in.Have.Forced && !exempt(in, s, now) { // the operator cannot pass the limit on failures: the CA has one, too
		buckets = append(buckets, countedBuckets(names, s.Limits, renewal(in, s, now))...)
	}
	return buckets
}

// charge spends what an order costs, on disk before the CA is asked. It reports until when to wait if others were
// faster and spent what was left; nothing is spent then.
func (v *visit) charge(i *issuer, o store.Order) (until time.Time, err error) {
	buckets, limits := costs(o, i.spec.Limits), budget(&v.in, i.spec, v.now)
	if len(buckets) == 0 {
		return time.Time{}, nil
	}
	spent := false
	err = i.ledger.Update(func(s *store.IssuerState) {
		until, spent = spend(s, buckets, limits, v.now)
	})
	if err != nil && spent {
		_ = i.refund(buckets) // it is the disk that fails: in memory it counts
	}
	return until, err
}

// chargeLate spends what an order costs after all that was exempt because it replaces a certificate: the CA took it for one
// that does not.
func (v *visit) chargeLate(i *issuer, o *store.Order) {
	if o.Charged {
		return
	}
	o.Charged = true
	buckets := countedBuckets(namesOf(*o), i.spec.Limits, o.Renewal)
	i.ledger.Note(func(s *store.IssuerState) { charge(s, buckets, v.now) })
}

// spend spends from buckets, if limits let it; else it tells when they will.
func spend(s *store.IssuerState, buckets, limits []bucket, now time.Time) (until time.Time, spent bool) {
	if until, _ = firstFree(s, limits, now); until.After(now) {
		return until, false
	}
	charge(s, buckets, now)
	return time.Time{}, true
}

// refund gives units of buckets back.
func (i *issuer) refund(buckets []bucket) error {
	if len(buckets) == 0 {
		return nil
	}
	return i.ledger.Update(func(s *store.IssuerState) { refund(s, buckets) })
}

// giveBack gives back what an order that brought no certificate did not cost after all: what counts certificates, and
// what counts failures of all names but those spent, whose validation failed or may have.
func (i *issuer) giveBack(o store.Order, spent []string) error {
	var buckets []bucket
	if !o.Validated {
		kept := slices.DeleteFunc(namesOf(o), func(name string) bool { return slices.Contains(spent, name) })
		buckets = failureBuckets(kept, i.spec.Limits)
	}
	if o.Charged {
		certificates := countedBuckets(namesOf(o), i.spec.Limits, o.Renewal)
		buckets = append(buckets, slices.DeleteFunc(certificates, func(b bucket) bool { return b.shared })...)
	}
	return i.refund(buckets)
}
