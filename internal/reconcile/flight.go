package reconcile

import (
	"time"

	"acmed/internal/acme"
)

const (
	// firstPoll is when the CA is first asked how it got on, unless it said. Validating takes most CAs some
	// hundred milliseconds; x/crypto/acme's own loop waits a second each time.
	firstPoll = 100 * time.Millisecond
	lastPoll  = 5 * time.Minute
)

// flight is what is known of an order in flight beside the disk; losing it costs a few requests.
type flight struct {
	shown   time.Time // when the proofs were made visible; zero: they are not, or not all
	lacking string    // who does not see them yet; "": nobody is known
	proved  bool      // the CA was told of every challenge
	polls   int       // since the CA last made progress
	pollAt  time.Time // the next
}

// flight is a copy; the zero flight when there is none.
func (r *Reconciler) flight(name string) flight {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.flights[name]
}

func (r *Reconciler) setFlight(name string, f flight) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.flights[name] = f
}

// land forgets the flight of name: its order has ended or reached another stage.
func (r *Reconciler) land(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.flights, name)
}

// firstLook and lastLook are from one look at proofs that others have to spread to the next.
const (
	firstLook = time.Second
	lastLook  = 10 * time.Second
)

// look makes the next visit see whether the proofs have spread, less and less often.
func (v *visit) look(lacking string) {
	f := v.r.flight(v.name)
	f.lacking = lacking
	f.pollAt = time.Now().Round(0).Add(min(firstLook<<min(f.polls, 10), lastLook))
	f.polls++
	v.r.setFlight(v.name, f)
}

// wait makes the next visit ask for the order when the CA wishes, or soon, and less and less often.
func (v *visit) wait(state *acme.Order) {
	f := v.r.flight(v.name)
	f.pollAt = time.Now().Round(0).Add(pollAfter(f.polls, state.RetryAfter))
	f.polls++
	v.r.setFlight(v.name, f)
}

// pollAfter is how long to wait before the next poll, after polls that found no progress.
func pollAfter(polls int, wish time.Duration) time.Duration {
	if wish > 0 {
		return wish
	}
	d := firstPoll
	for range min(polls, 64) {
		if d = d * 3 / 2; d >= lastPoll {
			return lastPoll
		}
	}
	return d
}
