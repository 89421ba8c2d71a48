package reconcile

import (
	"maps"
	"slices"
	"strings"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// Allowances are what is left of the limits at an issuer: of the account's orders, and of each of the others that is
// used up.
func Allowances(s *spec.Issuer, state *store.IssuerState, now time.Time) []Cost {
	var out []Cost
	add := func(b bucket) {
		left := b.left(state.Budgets[b.key], now)
		out = append(out, Cost{Issuer: s.Name, Limit: b.words, Max: b.limit, Per: b.per, Left: left, key: b.key})
	}
	for _, b := range orderBuckets(nil, spec.Limits{OrdersPer3h: s.Limits.OrdersPer3h}) {
		add(b)
	}
	for _, key := range slices.Sorted(maps.Keys(state.Budgets)) {
		kind, name, _ := strings.Cut(key, ":")
		for _, b := range namedBuckets(kind, name, s.Limits) {
			if b.left(state.Budgets[key], now) == 0 {
				add(b)
			}
		}
	}
	return out
}

// namedBuckets is the bucket of one domain, or of the failures of one name. That of a set of names says nothing to
// people: it is known by a hash.
func namedBuckets(kind, name string, l spec.Limits) []bucket {
	switch kind {
	case "domain":
		return slices.DeleteFunc(orderBuckets([]string{name}, l), func(b bucket) bool { return b.key != "domain:"+name })
	case "failures":
		return failureBuckets([]string{name}, l)
	}
	return nil
}

// Left tells until when and why an issuer is left alone; zero: it is not.
func Left(state *store.IssuerState, now time.Time) (until time.Time, why string) {
	if until = believable(state.Hold, now); until.After(now) {
		return until, state.HoldWhy
	}
	return time.Time{}, ""
}
