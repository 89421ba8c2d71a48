package reconcile

import (
	"strings"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// undelivered makes the newest revision live and hands it to its consumers, as far as that is possible now.
func undelivered(in *Input, now time.Time) (Decision, bool) {
	d, ok := delivery(in, now)
	return d, ok && d.Do != Wait
}

// mindDelivery lets a wait for something else end in time for the next step of a delivery, which it is all about when
// nothing else is to be done.
func mindDelivery(in *Input, now time.Time, d Decision) Decision {
	if d.Do != Wait || in.Want == nil || d.Why == ClockBehind {
		return d
	}
	wait, ok := delivery(in, now)
	if !ok {
		return d
	}
	if d.Why == NotDue || d.Why == Held {
		d.Why, d.Detail, d.Issuer, d.Until = wait.Why, wait.Detail, "", wait.At
	}
	if !wait.At.IsZero() && (d.At.IsZero() || wait.At.Before(d.At)) {
		d.At = wait.At
	}
	return d
}

// delivery is the next step from a revision on disk to its consumers, or the wait for it; ok is false when every
// consumer has what is newest.
func delivery(in *Input, now time.Time) (d Decision, ok bool) {
	is := in.Have.Issued
	switch {
	case is == nil:
		return Decision{}, false
	case in.Live != is.Number:
		if d, ok = activation(in, now); ok && d.Do == Activate || in.Live == 0 {
			return d, ok
		}
		if behind, more := handover(in, now); more { // of the revision that stays meanwhile
			return soonest(d, ok, behind), true
		}
		return d, ok
	}
	return handover(in, now)
}

// soonest is b, or the wait a that ends before it. Consumers that are being served are what there is to tell.
func soonest(a Decision, ok bool, b Decision) Decision {
	if b.Why == Delivering {
		b.At = a.At
		return b
	}
	if ok && b.Do == Wait && !a.At.IsZero() && (b.At.IsZero() || a.At.Before(b.At)) {
		return a
	}
	return b
}

// activation makes the newest revision live: at once when nothing usable is, else when its window, the operator and
// its check let it.
func activation(in *Input, now time.Time) (Decision, bool) {
	serving := in.Have.Live
	switch {
	case in.Live > 0 && in.Damaged && !now.Before(in.Have.Issued.NotAfter):
		return Decision{}, false // what is damaged has an end to come, this has not
	case serving == nil, !now.Before(serving.NotAfter):
		return Decision{Do: Activate, Why: Committed}, true
	}
	wait := Decision{Do: Wait}
	until := func(at time.Time, why Reason, detail string) {
		if at.After(now) && at.After(wait.At) {
			wait.At, wait.Why, wait.Detail = at, why, detail
		}
	}
	if f := checkFailure(in); f != nil {
		until(believable(f.RetryAt, now), Refused, f.Problem)
	}
	if w := in.Want.Deploy.Window; w != nil && in.Have.Hurried.IsZero() && serving.NotAfter.Sub(now) > w.UnlessExpiresWithin {
		until(earlier(w.Next(now), serving.NotAfter.Add(-w.UnlessExpiresWithin)), Window, "")
	}
	until(holdEnd(in), Held, "")
	if wait.Why == "" {
		return Decision{Do: Activate, Why: Committed}, true
	}
	return wait, true
}

// held leaves a certificate alone that the operator wants left as it is.
func held(in *Input, now time.Time) (Decision, bool) {
	end := holdEnd(in)
	if !end.After(now) || in.Order != nil && underway(in.Order.Status) {
		return Decision{}, false
	}
	return Decision{Do: Wait, Why: Held, At: end}, true
}

// holdEnd is when the operator's hold ends: before the certificate would expire by it, and at once when it is revoked.
func holdEnd(in *Input) time.Time {
	serving := in.Have.Serving()
	if in.Have.Held.IsZero() || serving == nil {
		return in.Have.Held
	}
	if _, dead := in.Have.Revocation(serving); dead {
		return time.Time{}
	}
	return earlier(in.Have.Held, serving.NotAfter.Add(-lifetime(serving)/lastResort))
}

// checkFailure is why the check of the spec failed last, be it with the newest revision or with the one that stays live
// meanwhile: what it complains of is the configuration of a server, with either. nil: it did not fail.
func checkFailure(in *Input) *store.Setback {
	for _, is := range []*store.Revision{in.Have.Issued, in.Have.Live} {
		if is == nil {
			continue
		}
		for _, t := range in.targets(is) {
			if f := in.Have.Targets[t.Key].Failed; t.Stage == spec.StageCheck && f != nil && f.Fingerprint == t.Fingerprint {
				return f
			}
		}
	}
	return nil
}

// targets are who has to accept a revision.
func (in *Input) targets(is *store.Revision) []spec.Target {
	if in.listed != is.SHA256 {
		in.listed, in.list = is.SHA256, in.Want.Deploy.Targets(is.SHA256)
	}
	return in.list
}

// handover serves the consumers of the revision that is live.
func handover(in *Input, now time.Time) (Decision, bool) {
	is := in.Have.Serving()
	if !in.Deploys || is == nil || in.Live != is.Number || !named(in.Want, is) || !now.Before(is.NotAfter) {
		return Decision{}, false // nobody serves it, or nobody is to
	}
	p := progressOf(in, is, now)
	switch {
	case p.behind == 0:
		return Decision{}, false
	case in.Delivering:
		return Decision{Do: Wait, Why: Delivering}, true
	case in.Before != nil && refusedYet(in, now):
		return Decision{Do: Withdraw, Why: Refused}, true
	case p.due:
		return Decision{Do: Deploy, Why: Behind}, true
	}
	return Decision{Do: Wait, Why: Undelivered, At: p.retry, Detail: p.detail}, true
}

// noteEnd takes note of a unit that ended.
func (p *progress) noteEnd(t spec.Target, f *store.Setback) {
	if f == nil || !f.Ended {
		return
	}
	p.ended = append(p.ended, t.Fingerprint)
	if f.Fingerprint == t.Fingerprint {
		p.again = append(p.again, t.Fingerprint)
	}
}

// known is what is known of a target. Of a unit that ended with its reload that is known, too, when the spec has it
// restarted from now on, as it should, and the other way round.
func (in *Input) known(t spec.Target) store.Target {
	known, ok := in.Have.Targets[t.Key]
	if ok || t.Stage != spec.StageReload {
		return known
	}
	verb, unit, _ := strings.Cut(t.Key, " ")
	other := map[string]string{"reload": "restart ", "restart": "reload "}[verb] + unit
	if f := in.Have.Targets[other].Failed; f != nil && f.Ended {
		return store.Target{Failed: f}
	}
	return store.Target{}
}

// refusedYet tells whether the check has failed and is not to be asked again yet.
func refusedYet(in *Input, now time.Time) bool {
	f := checkFailure(in)
	return f != nil && believable(f.RetryAt, now).After(now)
}

// named tells whether a revision has the names of the spec: with others it is about to be replaced.
func named(want *spec.Certificate, is *store.Revision) bool {
	return sameSet(want.DNSNames, is.DNSNames) && sameSet(addresses(want), is.IPAddresses)
}

// progress is how far a revision has come with its consumers.
type progress struct {
	done, wait []string  // fingerprints: accepted; not to be tried yet
	ended      []string  // of those whose unit ended with an earlier delivery
	again      []string  // of those of them whose unit ended with this certificate
	behind     int       // consumers that have not accepted it
	due        bool      // one of them can be tried now
	retry      time.Time // else the first of them
	detail     string    // and why it is not there yet
}

// progressOf looks at every target. One is due when nothing speaks against a try and none of an earlier stage waits.
func progressOf(in *Input, is *store.Revision, now time.Time) (p progress) {
	waits := func(f *store.Setback) bool { return f != nil && believable(f.RetryAt, now).After(now) }
	blocked := spec.StageProbe + 1 // the stages beyond cannot be reached
	for _, t := range in.targets(is) {
		known := in.known(t)
		if known.Accepted == t.Fingerprint {
			p.done = append(p.done, t.Fingerprint)
			continue
		}
		p.behind++
		f := known.Failed
		p.noteEnd(t, f)
		if f == nil || f.Fingerprint != t.Fingerprint || !waits(f) {
			p.due = p.due || t.Stage <= blocked
			continue
		}
		p.wait = append(p.wait, t.Fingerprint)
		blocked = min(blocked, t.Stage)
		if p.retry.IsZero() || f.RetryAt.Before(p.retry) {
			p.retry, p.detail = f.RetryAt, t.Key+": "+f.Problem
		}
	}
	if blocked == spec.StageFiles {
		p.due = false // files are accepted together: the others would be taken back once more
	}
	// While a check waits, nothing else is tried: the files that it looks at were taken back with it.
	for _, f := range []*store.Setback{checkFailure(in), in.Have.Refused} {
		if waits(f) {
			p.due, p.retry, p.detail = false, f.RetryAt, f.Problem
		}
	}
	return p
}
