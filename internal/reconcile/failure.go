package reconcile

import (
	"errors"
	"strconv"
	"strings"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// The ladder of Let's Encrypt's integration guide: after the third failure in a row a day passes, or an hour where
// nothing but the network or the CA was at fault.
const (
	firstRetry  = time.Minute
	secondRetry = 10 * time.Minute
	thirdRetry  = 100 * time.Minute
	dailyRetry  = 24 * time.Hour
	hourlyRetry = time.Hour
)

// kindLocal is the kind of a failure of this machine, beside the kinds of acme.
const kindLocal = "local"

// retryAfter is how long to wait after the count-th failure in a row of a certificate with the given lifetime (zero:
// unknown), never less than a minute. spread in [0, 1) moves it by up to a fifth either way once it is long.
func retryAfter(kind string, count int, lifetime time.Duration, spread float64) time.Duration {
	wait := step(kind, count)
	if wait >= hourlyRetry {
		wait += time.Duration((spread - 0.5) * 0.4 * float64(wait))
	}
	if lifetime > 0 && lifetime < shortLived {
		wait = min(wait, lifetime/12)
	}
	return max(wait, firstRetry)
}

func step(kind string, count int) time.Duration {
	last := dailyRetry
	switch kind {
	case acme.Transient.String(), acme.RateLimited.String(), kindLocal:
		last = hourlyRetry
	case acme.Permanent.String():
		return dailyRetry
	}
	switch {
	case count <= 1:
		return firstRetry
	case count == 2:
		return secondRetry
	case count == 3:
		return min(thirdRetry, last)
	default:
		return last
	}
}

// outageRetry is how long an issuer that cannot be reached is left alone after the count-th probe.
func outageRetry(count int, spread float64) time.Duration {
	wait := min(firstRetry<<min(max(count-1, 0), 10), hourlyRetry)
	return wait + time.Duration(spread*0.2*float64(wait))
}

// limitedRetry is how long to wait after the rate limit f: as long as the CA says, whatever failed before. A CA that
// refuses once more when that time is over is asked half as often each time, down to once an hour.
func limitedRetry(f, last store.Failure, now time.Time) time.Duration {
	wait := max(f.Promised.Sub(now), firstRetry)
	if gap := now.Sub(last.At); f.Count > 1 && last.Kind == f.Kind && gap <= 2*hourlyRetry {
		wait = max(wait, min(2*gap, hourlyRetry))
	}
	return wait
}

// longestPromise is the longest time for which a CA may keep one certificate waiting, and a little more.
const longestPromise = 7*24*time.Hour + time.Hour

// believed is believable for a time of f, which may be further ahead if it is a wish of the CA: f was written before now,
// and no CA is granted more than longestPromise.
func believed(f store.Failure, t, now time.Time) time.Time {
	if !f.At.After(now) && !t.After(f.At.Add(longestPromise)) {
		return t
	}
	return believable(t, now)
}

// attempt names what is tried: the request, and how control is proved. A failure of another attempt does not count.
func attempt(c *spec.Certificate) string {
	return strings.Join([]string{c.Request(), c.Challenge.Type, c.Challenge.Webroot, c.Challenge.Provider}, " ")
}

// newFailure records err as the next failure after last (the zero Failure: the first).
func newFailure(err error, name, request string, last store.Failure, life time.Duration, now time.Time) store.Failure {
	f := store.Failure{Kind: kindLocal, At: now, Request: request, Count: 1, Detail: err.Error()}
	if last.Request == request {
		f.Count = last.Count + 1
	}
	e, _ := errors.AsType[*acme.Error](err)
	if e != nil {
		f.Kind, f.Op, f.Problem, f.Detail, f.Name = e.Kind.String(), e.Op, e.Problem, e.Detail, e.Identifier
		f.Hint = strings.ReplaceAll(e.Hint, "acmed renew "+acme.HintName, "acmed renew "+name)
		for _, s := range e.Subproblems {
			f.Subs = append(f.Subs, store.Sub{Identifier: s.Identifier, Problem: s.Problem, Detail: s.Detail})
		}
		f.Promised = e.RetryAt
	}
	f.RetryAt = now.Add(retryAfter(f.Kind, f.Count, life, share(name, strconv.Itoa(f.Count))))
	switch {
	case e == nil:
	case e.Whole && e.Kind == acme.Transient && e.Status != 0:
		f.RetryAt = now.Add(firstRetry) // it was heard: a minute passes, even if another certificate ends the hold
	case e.Whole && e.Kind == acme.RateLimited:
		f.Promised = time.Time{} // the issuer is held for as long
	case e.Whole && e.Kind != acme.Validation:
		f.Promised, f.RetryAt = time.Time{}, now // the issuer is held: that says when to go on
	case e.Kind == acme.RateLimited:
		f.RetryAt = now.Add(limitedRetry(f, last, now))
	default: // a CA can ask for more patience than the ladder has, never for less
		f.RetryAt = later(f.RetryAt, f.Promised)
	}
	return f
}
