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
		buckets = append(buckets, orderBuckets(namesOf(o), l)...)
	}
	return buckets
}

func namesOf(o store.Order) []string { return slices.Concat(o.DNSNames, o.IPAddresses) }

// exempt tells whether CAs let an order pass their limits, those for failures apart, because it replaces a
// certificate when they advised to. One that is replaced in its first tenth is counted nevertheless, for advice can
// be wrong.
func exempt(in *Input, s *spec.Issuer, now time.Time) bool {
	is, a := in.Have.Issued, in.Have.ARI
	if is == nil || !in.Want.Renew.ARI || a.CertID != is.CertID || a.Chosen.IsZero() || a.Chosen.After(now) {
		return false
	}
	return is.Issuer == s.Name && is.Directory == s.Directory && now.Sub(is.Committed) >= lifetime(is)/tooEarly &&
		sameSet(in.Want.DNSNames, is.DNSNames) && sameSet(addresses(in.Want), is.IPAddresses)
}

// budget are the limits that decide when an order may be made.
func budget(in *Input, s *spec.Issuer, now time.Time) []bucket {
	names := identifiers(in.Want)
	buckets := failureBuckets(names, s.Limits)
	if !exempt(in, s, now) {
		buckets = append(buckets, orderBuckets(names, s.Limits)...)
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
		until, spent = spend(s, buckets, limits, v.in.Have.Forced, v.now)
	})
	if err != nil && spent {
		_ = i.refund(buckets) // it is the disk that fails: in memory it counts
	}
	return until, err
}

// spend spends from buckets, if limits let it or the operator forces it; else it tells when they will.
func spend(s *store.IssuerState, buckets, limits []bucket, forced bool, now time.Time) (until time.Time, spent bool) {
	if until, _ = firstFree(s, limits, now); until.After(now) && !forced {
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
		certificates := orderBuckets(namesOf(o), i.spec.Limits)
		buckets = append(buckets, slices.DeleteFunc(certificates, func(b bucket) bool { return b.shared })...)
	}
	return i.refund(buckets)
}
