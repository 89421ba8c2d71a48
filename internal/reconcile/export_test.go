package reconcile

import (
	"fmt"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// What the tests of package reconcile_test see of the inside.

// Gate is a gate.
type Gate = gate

// NewGate makes a Gate.
func NewGate(limit int, call func(string)) *Gate { return newGate(limit, call) }

// Enter, Leave and Resize are the gate's.
func (g *gate) Enter(name string, deadline time.Time) bool { return g.enter(name, deadline) }
func (g *gate) Leave(name string)                          { g.leave(name) }
func (g *gate) Resize(limit int)                           { g.resize(limit) }

// RetryAfter is retryAfter.
func RetryAfter(kind string, count int, life time.Duration, spread float64) time.Duration {
	return retryAfter(kind, count, life, spread)
}

// Attempt is attempt.
func Attempt(c *spec.Certificate) string { return attempt(c) }

// OutageRetry is outageRetry.
func OutageRetry(count int, spread float64) time.Duration { return outageRetry(count, spread) }

// Turn is turn.
func Turn(have store.Record, now time.Time) time.Time { return turn(have, now) }

// Show puts a view on the board, as a visit does.
func (r *Reconciler) Show(v View) { r.board.set(v) }

// PollAfter is pollAfter.
func PollAfter(polls int, wish time.Duration) time.Duration { return pollAfter(polls, wish) }

// NewFailure is newFailure.
func NewFailure(err error, name, request string, last store.Failure, life time.Duration, now time.Time) store.Failure {
	return newFailure(err, name, request, last, life, now)
}

// Spend spends one order for names from state, or one failure of each name, and tells from when it may.
func Spend(state *store.IssuerState, names []string, l spec.Limits, failure bool, now time.Time) (free time.Time, why string) {
	buckets := orderBuckets(names, l)
	if failure {
		buckets = failureBuckets(names, l)
	}
	free, last := firstFree(state, buckets, now)
	if !free.After(now) {
		charge(state, buckets, now)
	}
	return free, last.words
}

// Refund gives back what Spend spent.
func Refund(state *store.IssuerState, names []string, l spec.Limits) {
	refund(state, orderBuckets(names, l))
}

// RegisteredDomains is registeredDomains.
func RegisteredDomains(names []string) []string { return registeredDomains(names) }

// Leftovers are what is remembered of work that is under way; nil: nothing is.
func (r *Reconciler) Leftovers() (left []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for name := range r.flights {
		left = append(left, "flight of "+name)
	}
	for _, n := range []int{len(r.requests), len(r.deliveries), len(r.wishes)} {
		if n > 0 {
			left = append(left, fmt.Sprintf("%d requests, %d deliveries, %d wishes", len(r.requests), len(r.deliveries), len(r.wishes)))
			break
		}
	}
	for name, i := range r.issuers {
		i.gate.mu.Lock()
		if len(i.gate.inside)+len(i.gate.index) > 0 {
			left = append(left, fmt.Sprintf("gate of %s: %d inside, %d waiting", name, len(i.gate.inside), len(i.gate.index)))
		}
		i.gate.mu.Unlock()
	}
	return left
}
