package reconcile

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"acmed/internal/acme"
	"acmed/internal/store"
)

const (
	problemExpired = "expired"
	hintOrdersNew  = "no action is needed: acmed orders again by itself"
	// overtime is how long an order may be processed after its end at most: it may have been paid for, and people may have to
	// approve it.
	overtime = 7 * 24 * time.Hour
)

// await waits for an order that was finalized, unless it should have been invalid for some time (RFC 8555 §7.1.3).
func (v *visit) await(o store.Order, state *acme.Order) error {
	patience := overtime
	if life := lifetimeOf(&v.in.Have); life > 0 {
		patience = min(patience, max(life/12, hourlyRetry))
	}
	if ends := cmp.Or(state.Expires, o.Expires); !ends.IsZero() && v.now.After(ends.Add(patience)) {
		return v.stale(o, ends, &acme.Error{Kind: acme.Validation, Op: acme.OpOrder, Problem: problemExpired, Final: true,
			Detail: "the order ended at " + ends.UTC().Format(time.RFC3339) + " and the CA still says " + string(state.Status),
			Hint:   "acmed orders again by itself; report this to the CA if it happens again"})
	}
	v.wait(state)
	return nil
}

// stale returns the error of an order that is over: err, unless the order, or its certificate, ended while acmed did not
// run. Neither the CA nor the name is at fault then. A zero ended is not known.
func (v *visit) stale(o store.Order, ended time.Time, err error) error {
	ended = cmp.Or(ended, o.Expires)
	if !v.slept(o, ended) {
		return err
	}
	return expired(o, ended, "while acmed did not run (it started at "+v.r.started.UTC().Format(time.RFC3339)+")", err)
}

// expired returns the error of an order that nobody could finish before it ended.
func expired(o store.Order, ended time.Time, circumstance string, err error) error {
	words := err.Error()
	if e, ok := errors.AsType[*acme.Error](err); ok {
		words = e.Detail
	}
	date := func(t time.Time) string { return t.UTC().Format(time.RFC3339) }
	return &acme.Error{Kind: acme.Transient, Op: acme.OpOrder, Problem: problemExpired, Final: true, Err: err,
		Detail: fmt.Sprintf("the order of %s expired at %s, %s: %s", date(o.Created), date(ended), circumstance, words),
		Hint:   hintOrdersNew}
}

// slept reports whether an order that was made before this start of acmed had ended by then.
func (v *visit) slept(o store.Order, ended time.Time) bool {
	return !ended.IsZero() && !ended.After(v.r.started) && o.Created.Before(v.r.started)
}

// leafEnded returns the error of a certificate that had ended before it was fetched; err if it was refused for another
// reason. The same order brings no other certificate.
func (v *visit) leafEnded(o store.Order, err error) error {
	ended, is := acme.LeafEnded(err)
	if !is {
		return err
	}
	if v.slept(o, ended) {
		return v.stale(o, ended, err)
	}
	e, _ := errors.AsType[*acme.Error](err)
	return &acme.Error{Kind: acme.Validation, Op: acme.OpCertificate, Problem: e.Problem, Final: true, Err: err, Detail: e.Detail,
		Hint: "make sure that the clock of this machine is right; acmed orders again by itself"}
}

// invalid returns why an order is invalid. The CA says of one that has expired no more than that, or nothing.
func (v *visit) invalid(o store.Order, state *acme.Order) error {
	reason := acme.Reason(state, nil)
	if state.Error != nil && v.in.Want != nil {
		reason.Hint = reason.HintFor(v.in.Want.Challenge.Type)
	}
	if state.Error != nil && !strings.Contains(strings.ToLower(state.Error.Detail), "expire") {
		return reason
	}
	// Also while the CA could not be asked: its authorizations may last for minutes.
	if ended := cmp.Or(state.Expires, o.Expires); !v.slept(o, ended) && !ended.IsZero() && !ended.After(v.now) && reason.Identifier == "" {
		return expired(o, ended, "before acmed could finish it", reason)
	}
	return v.stale(o, state.Expires, reason)
}

// gone returns the error of an order that the CA does not know any more. Some CAs forget an order once it has expired.
func (v *visit) gone(o store.Order, e *acme.Error) error {
	switch {
	case e.Status != http.StatusNotFound || e.Problem == "accountDoesNotExist":
		return e
	case v.slept(o, o.Expires):
		return v.stale(o, o.Expires, e)
	}
	forgotten := *e
	forgotten.Hint = cmp.Or(e.Hint, hintOrdersNew)
	return &forgotten
}
