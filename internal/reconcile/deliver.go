package reconcile

import (
	"maps"
	"strconv"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// Delivery is a certificate that its consumers are to accept.
type Delivery struct {
	Name       string
	Want       *spec.Certificate
	Revision   int      // that live points at
	Leaf       string   // SHA-256 checksum of its leaf, hex
	Done, Wait []string // fingerprints of targets: those that have accepted it, and those whose next try is later
	Ended      []string // those whose unit ended with an earlier delivery
	Again      []string // those of Ended whose unit ended with this certificate
}

// Outcome is what came of one target of a Delivery. Those that were not tried have none.
type Outcome struct {
	Key, Fingerprint string // spec.Target's
	OK               bool
	Ended            bool   // not OK, of a unit: it ended with its reload or restart
	Withdrawn        bool   // not OK, but no failure: the target has what it had before, because a check failed
	Note             string // with OK: what is worth knowing
	Problem          string // without OK: what happened
	Hint             string // what to do
	Output           string // the end of what a command said
	Took             time.Duration
	Served           time.Time // of a probe: the end of the certificate that is served
}

// Delivered tells what came of a Delivery: of its targets or, as refused, why nobody could be asked (nil: somebody
// was). It wakes the certificate.
func (r *Reconciler) Delivered(d Delivery, outcomes []Outcome, refused *store.Setback) {
	r.mu.Lock()
	r.deliveries[d.Name] = &delivered{d, outcomes, refused}
	r.mu.Unlock()
	r.wake(d.Name)
}

// delivered is what came of a delivery.
type delivered struct {
	Delivery
	outcomes []Outcome
	refused  *store.Setback
}

// delivering tells whether a delivery is under way, or its outcome not yet written down.
func (r *Reconciler) delivering(name string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.deliveries[name]
	return ok
}

// deliver has the consumers of the live revision served.
func (v *visit) deliver() error {
	is := v.in.Have.Serving()
	p := progressOf(&v.in, is, v.now)
	v.r.mu.Lock()
	v.r.deliveries[v.name] = nil // nothing is known yet
	v.r.mu.Unlock()
	v.in.Delivering = true
	v.log.Debug("delivering", zap.Int("revision", is.Number), zap.Int("targets", p.behind))
	v.r.deploy(Delivery{Name: v.name, Want: v.in.Want, Revision: is.Number, Leaf: is.SHA256, Done: p.done, Wait: p.wait, Ended: p.ended, Again: p.again})
	return nil
}

// takeDelivery writes down what came of a delivery. A crash before that has it done once more.
func (v *visit) takeDelivery() error {
	v.r.mu.Lock()
	d := v.r.deliveries[v.name]
	if d != nil {
		delete(v.r.deliveries, v.name)
	}
	v.r.mu.Unlock()
	if d == nil {
		return nil
	}
	v.in.Delivering = false
	if v.in.Want == nil || v.in.Have.Serving() == nil {
		return nil
	}
	v.now = time.Now().Round(0)
	v.noteRefusal(d)
	v.noteOutcomes(d)
	v.changed(durably)
	return v.gatherBefore()
}

// noteRefusal takes note of a delivery that could not begin.
func (v *visit) noteRefusal(d *delivered) {
	have := &v.in.Have
	if d.refused == nil {
		have.Refused = nil
		return
	}
	f := *d.refused
	v.setback(&f, have.Refused, "")
	have.Refused = &f
	v.log.Warn("delivery did not begin", zap.Int("revision", d.Revision), zap.String("problem", f.Problem),
		zap.String("hint", f.Hint), zap.Int("attempt", f.Count), zap.Time("next", f.RetryAt))
}

// noteOutcomes takes note of what each target did, and forgets those that the spec no longer has.
func (v *visit) noteOutcomes(d *delivered) {
	known := map[string]store.Target{}
	revisions := map[string]int{} // by fingerprint: who delivers looks at live himself, and may have found a newer one
	for _, t := range v.in.Want.Deploy.Targets(d.Leaf) {
		revisions[t.Fingerprint] = d.Revision
		if k := v.in.known(t); k != (store.Target{}) {
			known[t.Key] = k
		}
	}
	serving := v.in.Have.Serving()
	for _, t := range v.in.targets(serving) {
		revisions[t.Fingerprint] = serving.Number
	}
	accepted := 0
	for _, o := range d.outcomes {
		switch {
		case o.OK:
			accepted++
			known[o.Key] = store.Target{Accepted: o.Fingerprint, Revision: revisions[o.Fingerprint], At: v.now, Note: o.Note, Served: o.Served}
		case !o.Withdrawn:
			known[o.Key] = v.notAccepted(known[o.Key], o)
		}
	}
	if v.in.Have.Targets = known; len(known) == 0 {
		v.in.Have.Targets = nil
	}
	if p := progressOf(&v.in, serving, v.now); accepted > 0 && p.behind == 0 {
		v.log.Info("delivered", zap.Int("revision", serving.Number), zap.Int("targets", len(p.done)))
	}
}

// notAccepted is what is known of a target once o has come of it.
func (v *visit) notAccepted(t store.Target, o Outcome) store.Target {
	f := store.Setback{Problem: o.Problem, Hint: o.Hint, Output: tail(o.Output, maxOutput), Ended: o.Ended}
	v.setback(&f, t.Failed, o.Fingerprint)
	t.Failed = &f
	if !o.Served.IsZero() {
		t.Served = o.Served
	}
	v.log.Warn("delivery did not work", zap.String("target", o.Key), zap.String("problem", f.Problem), zap.String("hint", f.Hint),
		zap.String("output", o.Output), zap.Int("attempt", f.Count), zap.Time("next", f.RetryAt))
	return t
}

// maxOutput is how much of what a command said is kept on disk; the log has it all.
const maxOutput = 2048

func tail(s string, n int) string { return s[max(0, len(s)-n):] }

// setback makes f the next one after last, which does not count when it was about something else.
func (v *visit) setback(f, last *store.Setback, fingerprint string) {
	f.Fingerprint, f.At, f.Count = fingerprint, v.now, 1
	if last != nil && last.Fingerprint == fingerprint {
		f.Count = last.Count + 1
	}
	var life time.Duration
	if is := v.in.Have.Serving(); is != nil {
		life = lifetime(is)
	}
	f.RetryAt = v.now.Add(deliverAfter(f.Count, life, share(v.name, f.Problem, strconv.Itoa(f.Count))))
}

// deliverAfter is how long to wait after the count-th time in a row that a target did not accept a certificate with the
// given lifetime (zero: unknown). Consumers are on this machine, or near: they are asked more often than a CA.
func deliverAfter(count int, life time.Duration, spread float64) time.Duration {
	ladder := []time.Duration{10 * time.Second, time.Minute, 10 * time.Minute, time.Hour}
	wait := ladder[min(max(count, 1), len(ladder))-1]
	wait += time.Duration((spread - 0.5) * 0.4 * float64(wait))
	if life > 0 && life < shortLived {
		wait = min(wait, max(life/12, ladder[0]))
	}
	return wait
}

// activate switches live to the newest sound revision.
func (v *visit) activate() error {
	rev := v.in.Have.Issued
	if err := v.r.store.Activate(v.name, rev.Number); err != nil {
		return err
	}
	v.in.Live, v.in.Have.Live, v.in.Have.Hurried, v.in.Have.RolledBack = rev.Number, nil, time.Time{}, time.Time{}
	v.changed(durably)
	v.log.Info("activated revision", fieldIssuer(rev.Issuer), zap.Int("revision", rev.Number), zap.Time("notAfter", rev.NotAfter))
	if err := v.r.store.Prune(v.name, v.r.keep); err != nil {
		v.log.Warn("leaving old revisions in place", zap.Error(err))
	}
	return nil
}

// withdraw switches live back to the revision before the one that a check has refused.
func (v *visit) withdraw() error {
	if err := v.goBack(v.in.Before); err != nil {
		return err
	}
	v.log.Warn("took a revision back: the check failed with it", zap.Int("revision", v.in.Have.Issued.Number), zap.Int("live", v.in.Live))
	return nil
}

// goBack switches live to a revision that is not the newest.
func (v *visit) goBack(rev *store.Revision) error {
	if err := v.r.store.Activate(v.name, rev.Number); err != nil {
		return err
	}
	v.in.Live, v.in.Have.Live = rev.Number, rev
	v.changed(durably)
	return nil
}

// forgetAccepted has every consumer served again, and at once. That a unit ended is not forgotten: while it is down, it
// has accepted nothing.
func (v *visit) forgetAccepted() {
	targets := maps.Clone(v.in.Have.Targets)
	for key, t := range targets {
		t.Accepted = ""
		if t.Failed != nil && t.Failed.Ended {
			f := *t.Failed
			f.RetryAt, t.Failed = v.now, &f
		} else {
			t.Failed = nil
		}
		targets[key] = t
	}
	v.in.Have.Targets, v.in.Have.Refused = targets, nil
	v.changed(durably)
}
