package reconcile

import (
	"slices"
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
	shown    time.Time    // when the challenge responses became visible; zero: they are not, or not all
	lacking  string       // who does not see them yet; "": nobody is known
	accepted time.Time    // when the CA was told of every challenge; zero: it was not
	all      []validation // the authorizations of the order; nil: not read yet
	next     int          // the index in all of the one that is read next
	since    time.Time    // when the order began to wait for others in its present stage; zero: it does not
	polls    int          // since the CA last made progress
	pollAt   time.Time    // the next

	over   time.Time   // since when the order can no longer become valid; zero: it can
	reason *acme.Error // why not
	told   bool        // the CA was told of challenges before, and may be validating
}

// validation is an authorization as the CA showed it last.
type validation struct {
	acme.Authorization
	last  *acme.Error // why the CA could not validate last; nil: it could, or has not tried
	tries int         // how often its challenge was accepted again
	again time.Time   // when it is to be accepted again; zero: never
}

// failing reports whether the CA tried to validate, could not, and does not try again by itself.
func (x validation) failing() bool {
	return x.State == acme.Open && x.Error != nil && !x.Challenge.Accepted
}

// validating reports whether the CA may be validating: then the challenge response must stay.
func (x validation) validating() bool { return x.State == acme.Open && !x.failing() }

// resting reports whether the CA was told of every challenge and validates none of them.
func (f flight) resting() bool {
	return !f.accepted.IsZero() && len(f.all) > 0 && !slices.ContainsFunc(f.all, validation.validating)
}

// validations is what is known of authorizations just read.
func validations(all []acme.Authorization) []validation {
	out := make([]validation, len(all))
	for i, a := range all {
		out[i].Authorization = a
	}
	return out
}

// troubles are the authorizations of all that are open and failed last, even if the CA tries again just now.
func troubles(all []validation) (out []acme.Authorization) {
	for _, x := range all {
		if x.State == acme.Open && x.last != nil {
			x.Error = x.last
			out = append(out, x.Authorization)
		}
	}
	return out
}

// authorizations are those of all.
func authorizations(all []validation) []acme.Authorization {
	out := make([]acme.Authorization, len(all))
	for i, x := range all {
		out[i] = x.Authorization
	}
	return out
}

// flight is a copy, whose slices nobody changes; the zero flight when there is none.
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

// firstLook and lastLook are from one look at challenge responses that others have to spread to the next.
const (
	firstLook = time.Second
	lastLook  = 10 * time.Second
)

// look makes the next visit see whether the challenge responses have spread, less and less often.
func (v *visit) look(lacking string) {
	f := v.r.flight(v.name)
	f.lacking = lacking
	f.pause(min(firstLook<<min(f.polls, 10), lastLook))
	v.r.setFlight(v.name, f)
}

// wait makes the next visit ask for the order when the CA wishes, or soon, and less and less often.
func (v *visit) wait(state *acme.Order) {
	f := v.r.flight(v.name)
	f.pause(pollAfter(f.polls, v.granted(state.RetryAfter)))
	v.r.setFlight(v.name, f)
}

// granted is how much of a CA's wish for the next poll is granted: a twelfth of the lifetime of short-lived certificates, as
// after a failure, or they would expire meanwhile.
func (v *visit) granted(wish time.Duration) time.Duration {
	if is := v.in.Have.Issued; is != nil && lifetime(is) < shortLived {
		return min(wish, max(lifetime(is)/12, firstRetry))
	}
	return wish
}

// pause counts a poll that found no progress; the next is after d.
func (f *flight) pause(d time.Duration) {
	now := time.Now().Round(0)
	if f.since.IsZero() {
		f.since = now
	}
	f.pollAt = now.Add(d)
	f.polls++
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
