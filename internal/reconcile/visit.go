package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// visit is one look at one certificate.
type visit struct {
	r    *Reconciler
	name string
	log  *zap.Logger

	account string    // on whose behalf the CA is asked; "": it was not asked yet
	now     time.Time // of the current step
	in      Input
	known   bool           // in tells what the files say: they are not to be read again
	pending *store.Pending // of in.Order; nil: none
	change  change         // of in.Have, to be saved
	checked time.Time      // when the files were last found sound
}

// change says how much of a record has changed.
type change uint8

const (
	unchanged change = iota
	lazily           // worth keeping, not worth waiting for the disk
	durably
)

func (v *visit) changed(c change) { v.change = max(v.change, c) }

// gather collects the facts. The files are the truth: the record follows them.
func (v *visit) gather() (err error) {
	if !v.known {
		if err := v.gatherFiles(); err != nil {
			return err
		}
	}
	v.in.Issuers, err = v.r.issuerStates(&v.in, v.now)
	return err
}

func (v *visit) gatherFiles() (err error) {
	if err := v.gatherRecord(); err != nil {
		return err
	}
	if v.pending, err = v.r.store.Pending(v.name); err != nil {
		if damaged, ok := errors.AsType[*store.DamagedError](err); !ok || damaged.Archived == "" {
			return err
		}
		v.log.Error("starting a damaged order anew", zap.Error(err))
	}
	if v.pending != nil {
		v.in.Order = &v.pending.Order
		v.in.PollAt = v.r.flight(v.name).pollAt
	}
	return v.gatherRevisions()
}

// gatherRecord begins with what is wanted and what is remembered, as far as it still matters.
func (v *visit) gatherRecord() (err error) {
	v.in = Input{Want: v.r.specs.Load().Certificate(v.name), Floor: v.r.floor, Host: v.r.host}
	if v.in.Have, err = v.r.store.Record(v.name); err != nil {
		if _, damaged := errors.AsType[*store.DamagedError](err); !damaged {
			return err
		}
		v.log.Error("starting a damaged ledger anew", zap.Error(err))
	}
	if v.in.Want != nil && !v.in.Have.Retired.IsZero() {
		v.in.Have.Retired = time.Time{}
		v.changed(durably)
	}
	v.forgetFailures(func(issuer string, f store.Failure) bool {
		return v.in.Want == nil || f.Request != attempt(v.in.Want) || !slices.Contains(v.in.Want.Issuers, issuer)
	})
	return nil
}

// checkEvery is how often the files of a certificate are read again to see that they are sound: a little less than
// the time that passes between two visits when nothing happens.
const checkEvery = 17 * time.Hour

// gatherRevisions finds the newest revision whose files are sound. While an order is open they are not looked at:
// nothing could be done about them.
func (v *visit) gatherRevisions() error {
	live, err := v.r.store.Live(v.name)
	if err != nil {
		return err
	}
	have := &v.in.Have
	if have.Issued != nil && have.Issued.Number != live {
		have.Issued = nil
	}
	v.checked = v.r.board.get(v.name).Checked
	if have.Issued != nil && (v.pending != nil || v.now.Sub(v.checked).Abs() < checkEvery) {
		v.in.Newest = live
		return nil
	}
	good, err := v.r.store.Good(v.name)
	if _, damaged := errors.AsType[*store.DamagedError](err); damaged {
		v.in.Damaged = true
		v.log.Error("found damaged files", zap.Error(err))
	} else if err != nil {
		return err
	} else {
		v.checked = v.now
	}
	switch {
	case good.Number == 0:
		v.in.Newest, have.Issued = 0, nil
	case good.Number == live:
		v.in.Newest = live
		if have.Issued == nil || have.Issued.SHA256 != good.SHA256 {
			v.follow(good)
		}
	case good.NotAfter.After(v.now):
		v.in.Newest = good.Number
	}
	return nil
}

// follow makes the record that of the revision that live points at. What was tried before it is over, and so is what
// the operator asked for before.
func (v *visit) follow(rev store.Revision) {
	have := &v.in.Have
	have.Issued, have.ARI = &rev, store.ARI{CertID: rev.CertID}
	if !have.Requested.After(rev.Committed) {
		have.Requested, have.Forced = time.Time{}, false
	}
	v.forgetFailures(func(string, store.Failure) bool { return true })
	v.changed(durably)
}

// forgetFailures drops the failures that are over, but for what the CA asked for: that only time clears.
func (v *visit) forgetFailures(over func(issuer string, f store.Failure) bool) {
	n := len(v.in.Have.Failures)
	maps.DeleteFunc(v.in.Have.Failures, func(issuer string, f store.Failure) bool {
		return over(issuer, f) && !believable(f.Promised, v.now).After(v.now)
	})
	if len(v.in.Have.Failures) < n {
		v.changed(durably)
	}
}

// takeRequest writes a renewal that the operator asked for into the record, durably, for what follows may be cut
// short. The attempt that it asks for begins only now.
func (v *visit) takeRequest() error {
	q, ok := v.r.request(v.name)
	if !ok {
		return nil
	}
	if v.in.Want != nil {
		v.now = time.Now().Round(0)
		v.in.Have.Requested, v.in.Have.Forced = q.at, q.force
		v.changed(durably)
		if err := v.save(); err != nil {
			return err
		}
	}
	v.r.taken(v.name, q)
	return nil
}

// issuerStates are the wanted issuers with their holds and budgets; those that specs no longer define are left out.
func (r *Reconciler) issuerStates(in *Input, now time.Time) ([]IssuerState, error) {
	if in.Want == nil {
		return nil, nil
	}
	out := make([]IssuerState, 0, len(in.Want.Issuers))
	for _, name := range in.Want.Issuers {
		i, err := r.issuer(name)
		if err != nil {
			return nil, err
		}
		if i == nil {
			continue
		}
		s := IssuerState{Name: name, Directory: i.spec.Directory}
		buckets := budget(in, i.spec, now)
		i.ledger.View(func(l *store.IssuerState) {
			var last bucket
			s.Hold, s.HoldWhy = l.Hold, l.HoldWhy
			if s.Budget, last = firstFree(l, buckets, now); s.Budget.After(now) {
				s.BudgetWhy = fmt.Sprintf("%s: %d in %s", last.words, last.limit, last.per)
				s.Shared = last.shared
			}
		})
		out = append(out, s)
	}
	return out, nil
}

// admit lets an order through the gate of its issuer, or queues it there, the most urgent first. Whoever waits for
// something that all certificates of the issuer wait for keeps a place: so the others sleep until it is their turn.
func (v *visit) admit(d Decision) Decision {
	if d.Do != Issue && d.Do != Resume && (d.Do != Wait || !d.Shared && d.Why != AwaitingCA) {
		v.r.leaveGates(v.name, "")
		return d
	}
	v.r.leaveGates(v.name, d.Issuer)
	i, err := v.r.issuer(d.Issuer)
	if err != nil || i == nil {
		return d
	}
	if !i.gate.enter(v.name, turn(v.in.Have, v.now)) && d.Do != Resume && d.Why != AwaitingCA {
		return Decision{Do: Wait, Why: Queued, Issuer: d.Issuer, At: v.now.Add(time.Hour),
			Detail: fmt.Sprintf("up to %d others are ahead at %s", i.gate.ahead(), d.Issuer)}
	}
	return d
}

// turn orders the queue of a gate by expiry. A certificate that is new comes before those with more than half a month
// left, and after those with less: however many are new, they must not let others expire.
func turn(have store.Record, now time.Time) time.Time {
	if have.Issued == nil {
		return now.Add(15 * 24 * time.Hour)
	}
	return have.Issued.NotAfter
}

// leaveGates gives up name's places at all issuers but one; "": at all.
func (r *Reconciler) leaveGates(name, but string) {
	r.mu.Lock()
	var leave []*gate
	for n, i := range r.issuers {
		if n != but {
			leave = append(leave, i.gate)
		}
	}
	r.mu.Unlock()
	for _, g := range leave {
		g.leave(name)
	}
}

func (v *visit) perform(ctx context.Context, d Decision) error {
	switch d.Do {
	case Retire:
		return v.retire(ctx)
	case Activate:
		return v.activate()
	case PollARI:
		return v.poll(ctx)
	case Abandon:
		return v.abandon(ctx)
	case Issue:
		return v.issue(ctx, d)
	case Resume:
		return v.resume(ctx)
	default:
		return fmt.Errorf("performing %q: no such action", d.Do)
	}
}

// activate switches live to the newest sound revision.
func (v *visit) activate() error {
	if err := v.r.store.Activate(v.name, v.in.Newest); err != nil {
		return err
	}
	rev, err := v.r.store.Revision(v.name, v.in.Newest)
	if err != nil {
		return err
	}
	v.follow(rev)
	v.log.Info("activated revision", fieldIssuer(rev.Issuer), zap.Int("revision", rev.Number), zap.Time("notAfter", rev.NotAfter))
	if err := v.r.store.Prune(v.name, v.r.keep); err != nil {
		v.log.Warn("leaving old revisions in place", zap.Error(err))
	}
	return nil
}

// retire stops renewing and keeps everything. An order that the CA is processing is left to be picked up, should
// the spec come back.
func (v *visit) retire(ctx context.Context) error {
	if v.in.Order != nil && !underway(v.in.Order.Status) {
		if err := v.abandon(ctx); err != nil {
			return err
		}
	}
	v.in.Have.Retired = v.now
	v.in.Have.Requested, v.in.Have.Forced = time.Time{}, false
	v.changed(durably)
	v.log.Info("stopped renewing: its spec is gone, its files stay")
	return nil
}

// fail records what went wrong, so that the next decision backs off. It happened to the attempt that began with this
// step: what the operator asks for meanwhile is another one. That he forced it does not count for the next.
func (v *visit) fail(d Decision, err error) {
	have := &v.in.Have
	var life time.Duration
	if have.Issued != nil {
		life = lifetime(have.Issued)
	}
	f := newFailure(err, v.name, attempt(v.in.Want), have.Failures[d.Issuer], life, time.Now().Round(0))
	f.At = v.now
	if have.Failures == nil {
		have.Failures = map[string]store.Failure{}
	}
	have.Failures[d.Issuer], have.Forced = f, false
	v.changed(durably)
	v.r.metrics.failed(d.Issuer, f)
	v.log.Warn("attempt did not work", fieldIssuer(d.Issuer), zap.String("reason", string(d.Why)),
		zap.String("kind", f.Kind), zap.String("problem", f.Problem), zap.String("domain", f.Name),
		zap.Int("attempt", f.Count), zap.Time("next", v.after(d.Issuer, f)), zap.Error(err), zap.String("hint", f.Hint))
}

// after is when the issuer may be asked again: it may be on hold for all of its certificates.
func (v *visit) after(issuer string, f store.Failure) time.Time {
	at := f.RetryAt
	if i, err := v.r.issuer(issuer); err == nil && i != nil {
		i.ledger.View(func(s *store.IssuerState) {
			if s.Hold.After(at) {
				at = s.Hold
			}
		})
	}
	return at
}

// save persists the record as far as it has changed.
func (v *visit) save() error {
	d := store.Lazy
	switch {
	case v.change == unchanged:
		return nil
	case v.change == durably, len(v.in.Have.Failures) > 0, !v.in.Have.Requested.IsZero(): // what a power cut must not take
		d = store.Durable
	}
	if err := v.r.store.SaveRecord(v.name, v.in.Have, d); err != nil {
		return err
	}
	v.change = unchanged
	return nil
}

// rest ends the visit.
func (v *visit) rest(d Decision) (at, deadline time.Time) {
	if err := v.save(); err != nil {
		return v.broken(err)
	}
	view := newView(v.name, v.in, d, v.now)
	view.Checked = v.checked
	v.r.board.set(view)
	return d.At, expiry(v.in.Have)
}

// setBack takes note that a step did not work. What it cannot take note of, it returns.
func (v *visit) setBack(d Decision, err error) error {
	switch d.Do {
	case Issue, Resume:
		v.fail(d, err)
	case PollARI:
		v.pollFailed(err)
	default:
		return err
	}
	return nil
}

// interrupted ends a visit whose context has ended. What is on disk is resumed; a visit that was not stopped but took
// too long may have met with something that always does.
func (v *visit) interrupted(ctx context.Context, err error) (at, deadline time.Time) {
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return v.broken(fmt.Errorf("the visit took too long: %w", cmp.Or(err, ctx.Err())))
	}
	return time.Now().Add(firstRetry), expiry(v.in.Have)
}

// broken ends a visit that this machine does not let happen: there may be no disk to record it on. The next ones
// follow in ever longer intervals.
func (v *visit) broken(err error) (at, deadline time.Time) {
	v.log.Error("visit ended by a local fault", zap.Error(err))
	wait := firstRetry
	if last := v.r.board.get(v.name); last.Why == Disconnected {
		wait = min(2*last.Next.Sub(last.ErrorAt), secondRetry)
	}
	return v.r.fault(v.name, err.Error(), wait)
}

func identifiers(c *spec.Certificate) []string { return slices.Concat(c.DNSNames, addresses(c)) }

func fieldIssuer(name string) zap.Field { return zap.String("issuer", name) }
func fieldAccount(url string) zap.Field { return zap.String("account", url) }
