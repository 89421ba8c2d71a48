package reconcile

import (
	"slices"
	"time"

	"acmed/internal/acme"
	"acmed/internal/store"
)

const (
	// fetches is how often in a row the certificate of an order is fetched: one time less if another issuer can be tried
	// then, see exhausted. After the last time a day passes.
	fetches = 4
	// longestRefetch is how long acmed fetches a certificate of which it refuses only the chain.
	longestRefetch = 7 * 24 * time.Hour
)

// refetch reports whether the next attempt fetches the certificate of the same order again, instead of ordering another
// one. The CA has issued it, and may send it right once its own fault is fixed, or once caBundle names its root.
func (v *visit) refetch(o store.Order, e *acme.Error) bool {
	want := v.in.Want
	if e.Op != acme.OpCertificate || acme.NoSuchAccount(e) || want == nil || o.Request != want.Request() {
		return false
	}
	fallback, most := slices.Index(want.Issuers, o.Issuer) < len(want.Issuers)-1, fetches
	if is := v.in.Have.Issued; fallback && (is == nil || revoked(&v.in) || urgent(is, v.now)) {
		return false // the next issuer is faster
	}
	if fallback {
		most--
	}
	count := 1
	if f := v.in.Have.Failures[o.Issuer]; f.Request == attempt(want) {
		count += f.Count
	}
	return count < most || acme.ChainRefused(e) && !fallback && v.now.Before(o.Created.Add(longestRefetch))
}
