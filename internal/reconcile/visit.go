package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
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

	within  *turnstile // that was entered; nil: none
	account string     // on whose behalf the CA is asked; "": it was not asked yet
	now     time.Time  // of the current step
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

// admit lets an order through the gate of its issuer, or queues it there, the most urgent first. Whoever waits for
// something that all certificates of the issuer wait for keeps a place: so the others sleep until it is their turn.
func (v *visit) admit(d Decision) Decision {
	if !d.queues() {
		v.r.leaveGates(v.name, "")
		return d
	}
	v.r.leaveGates(v.name, d.Issuer)
	i, err := v.r.issuer(d.Issuer)
	if err != nil || i == nil {
		return d
	}
	enter, leave := i.gate, i.spared
	if v.in.spared(d.Issuer) {
		enter, leave = i.spared, i.gate
	}
	leave.leave(v.name)
	return enter.admit(v.name, &v.in, d, v.now)
}

// queues tells a decision that needs a place at its issuer.
func (d Decision) queues() bool {
	return d.Do == Issue || d.Do == Resume || d.Do == Wait && (d.Shared || d.Why == AwaitingCA)
}

// admit is d, which queues, or the wait for its turn. An order that is open is not kept out.
func (g *gate) admit(name string, in *Input, d Decision, now time.Time) Decision {
	if d.Why == AwaitingCA && hangs(in, now) && g.park(name) {
		return d
	}
	if g.enter(name, turn(in.Have, now)) || in.Order != nil && in.Order.URL != "" {
		return d
	}
	return Decision{Do: Wait, Why: Queued, Issuer: d.Issuer, At: now.Add(time.Hour),
		Detail: fmt.Sprintf("up to %d others are ahead at %s", g.ahead(), d.Issuer)}
}

// turn orders the queue of a gate by expiry; what is revoked comes first. A certificate that is new comes before those with more than half a month
// left, and after those with less: however many are new, they must not let others expire.
func turn(have store.Record, now time.Time) time.Time {
	if have.Issued == nil {
		return now.Add(15 * 24 * time.Hour)
	}
	if _, dead := have.Revocation(have.Issued); dead {
		return time.Time{}
	}
	return have.Issued.NotAfter
}

// leaveGates gives up name's places at all issuers but one; "": at all.
func (r *Reconciler) leaveGates(name, but string) {
	r.mu.Lock()
	var leave []*gate
	for n, i := range r.issuers {
		if n != but {
			leave = append(leave, i.gate, i.spared)
		}
	}
	r.mu.Unlock()
	for _, g := range leave {
		g.leave(name)
	}
}

func (v *visit) perform(ctx context.Context, d Decision) error {
	defer v.leave()
	switch d.Do {
	case Retire:
		return v.retire(ctx)
	case StandIn:
		return v.standIn()
	case Activate:
		return v.activate()
	case Withdraw:
		return v.withdraw()
	case Deploy:
		return v.deliver()
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

// retire stops renewing and keeps everything. An order that the CA is processing is left to be picked up, should
// the spec come back.
func (v *visit) retire(ctx context.Context) error {
	if v.in.Order != nil && !underway(v.in.Order.Status) {
		if err := v.abandon(ctx); err != nil || !v.r.flight(v.name).over.IsZero() {
			return err // the CA may still be validating
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
	v.spare(&f, have.Failures[d.Issuer])
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
			at = later(at, believable(s.Hold, v.now))
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
	return v.next(d), expiry(v.in.Have)
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
