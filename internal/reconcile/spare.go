package reconcile

import (
	"strconv"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// An operator who looks for the cause of a failure tries again and again, and wants to see soon that it is gone.
const (
	attention     = 24 * time.Hour // since the spec was edited or a renewal asked for: somebody is at it
	attentiveWait = time.Hour      // at most, while there is no certificate at all
)

// spare shortens the wait of f, which follows last, for an operator who is at it. Attempts that were asked for by hand do not
// lengthen the backoff. While there is no certificate, the wait after a failed validation is an hour at most during the day
// after the spec was edited or a renewal was asked for. What the CA asked for remains.
func (v *visit) spare(f *store.Failure, last store.Failure) {
	have, asked := &v.in.Have, v.in.Have.Requested
	if last.Request != f.Request {
		last = store.Failure{Attended: v.now}
	}
	f.ByHand, f.Attended = last.ByHand, later(last.Attended, v.r.edited(v.name))
	retry := f.RetryAt
	if !asked.IsZero() && !asked.Before(last.At) {
		f.ByHand, f.Attended = f.ByHand+1, later(f.Attended, asked)
	}
	if f.ByHand > 0 && f.Kind != acme.RateLimited.String() && f.RetryAt.After(f.At) {
		retry = f.At.Add(retryAfter(f.Kind, f.Count-f.ByHand, lifetimeOf(have), share(v.name, strconv.Itoa(f.Count))))
		if f.ByHand > last.ByHand && last.RetryAt.After(f.At) {
			retry = later(earlier(retry, last.RetryAt), f.At.Add(firstRetry))
		}
	}
	unproved := f.Kind == acme.Validation.String() && (f.Op == acme.OpAuthorization || f.Op == acme.OpOrder && f.Problem == "other")
	if have.Issued == nil && unproved && f.At.Sub(f.Attended) < attention {
		retry = earlier(retry, f.At.Add(attentiveWait))
	}
	f.RetryAt = later(earlier(retry, f.RetryAt), f.Promised)
}

// lifetimeOf is the lifetime of the newest certificate; zero: there is none.
func lifetimeOf(have *store.Record) time.Duration {
	if have.Issued == nil {
		return 0
	}
	return lifetime(have.Issued)
}

// noteEdits remembers which specs were edited, until the next start.
func (r *Reconciler) noteEdits(old, set *spec.Set) {
	if old == set {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now().Round(0)
	for name, change := range spec.Diff(old, set) {
		if change == spec.Edited {
			r.edits[name] = now
		}
	}
}

// edited returns when the spec of a certificate was edited since the start; zero: it was not.
func (r *Reconciler) edited(name string) time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.edits[name]
}
