package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// bucket is one limit of an issuer for one key, kept as the theoretical arrival time of the generic cell rate
// algorithm (ITU-T I.371): a single instant says how much is left, and it is what Let's Encrypt counts with.
type bucket struct {
	key    string
	words  string // for people
	limit  int
	per    time.Duration
	shared bool // the account's, not these names' own
}

// interval is the time in which one unit comes back.
func (b bucket) interval() time.Duration { return b.per / time.Duration(b.limit) }

// arrival is what a stored arrival time says at now. One in the past says that all is left; one far ahead of a whole
// period was written by a clock that was wrong, and says the same.
func (b bucket) arrival(tat, now time.Time) time.Time {
	if tat.Before(now) || tat.After(now.Add(2*b.per)) {
		return now
	}
	return tat
}

// free is when the bucket lets one more through, given its arrival time.
func (b bucket) free(tat, now time.Time) time.Time {
	return b.arrival(tat, now).Add(-b.per + b.interval())
}

// left is how many more it lets through at once.
func (b bucket) left(tat, now time.Time) int {
	return int((b.per - b.arrival(tat, now).Sub(now)) / b.interval())
}

// spend is the arrival time after one more at now.
func (b bucket) spend(tat, now time.Time) time.Time {
	return b.arrival(tat, now).Add(b.interval())
}

// orderBuckets are those that a new order for names spends from.
func orderBuckets(names []string, l spec.Limits) []bucket {
	var out []bucket
	add := func(key, words string, limit int, per time.Duration, shared bool) {
		if limit > 0 {
			out = append(out, bucket{key, words, limit, per, shared})
		}
	}
	add("orders", "orders of the account", l.OrdersPer3h, 3*time.Hour, true)
	add("set:"+setHash(names), "certificates of these very names", l.PerNameSetPerWeek, 7*24*time.Hour, false)
	for _, d := range registeredDomains(names) {
		add("domain:"+d, "certificates of "+d, l.PerDomainPerWeek, 7*24*time.Hour, false)
	}
	return out
}

// FailureLimit begins the detail of a wait for the limit on failures, which also binds what the operator forces.
const FailureLimit = "failed authorizations of "

// failureBuckets are those that an order spends from in case its names cannot be validated, and gets back when they
// can: charged first, so that a crash in between is not free.
func failureBuckets(names []string, l spec.Limits) []bucket {
	if l.FailuresPerNamePerHour <= 0 {
		return nil
	}
	var out []bucket
	for _, n := range names {
		out = append(out, bucket{"failures:" + n, FailureLimit + n, l.FailuresPerNamePerHour, time.Hour, false})
	}
	return out
}

// accountBucket keeps a CA that denies its accounts from being given a new one at every turn.
func accountBucket() bucket {
	return bucket{"accounts", "accounts of this issuer", 2, 24 * time.Hour, true}
}

// firstFree is when all of the buckets let one more through, and the bucket that is the last to.
func firstFree(state *store.IssuerState, buckets []bucket, now time.Time) (at time.Time, last bucket) {
	for _, b := range buckets {
		if free := b.free(state.Budgets[b.key], now); free.After(at) {
			at, last = free, b
		}
	}
	return at, last
}

// charge spends one unit of each bucket.
func charge(state *store.IssuerState, buckets []bucket, now time.Time) {
	if state.Budgets == nil {
		state.Budgets = map[string]time.Time{}
	}
	for _, b := range buckets {
		state.Budgets[b.key] = b.spend(state.Budgets[b.key], now)
	}
}

// refund gives one unit of each bucket back.
func refund(state *store.IssuerState, buckets []bucket) {
	for _, b := range buckets {
		if tat, ok := state.Budgets[b.key]; ok {
			state.Budgets[b.key] = tat.Add(-b.interval())
		}
	}
}

// setHash names the exact set of identifiers.
func setHash(names []string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Sorted(slices.Values(names)), "\n")))
	return hex.EncodeToString(sum[:8])
}

// registeredDomains are the domains under which CAs count: one label below the public suffix. Addresses, and names
// that are public suffixes themselves, count as they are.
func registeredDomains(names []string) []string {
	var out []string
	for _, n := range names {
		n = strings.TrimPrefix(n, "*.")
		if _, err := netip.ParseAddr(n); err != nil {
			if d, err := publicsuffix.EffectiveTLDPlusOne(n); err == nil {
				n = d
			}
		}
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}
