package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
	"acmed/internal/store"
)

// gather collects the facts. The files are the truth: the record follows them.
func (v *visit) gather() (err error) {
	if !v.known {
		if err := v.gatherFiles(); err != nil {
			return err
		}
		if v.in.Leaked, err = v.leaked(); err != nil {
			return err
		}
	}
	if serving := v.in.Have.Serving(); serving != nil && v.in.Want != nil {
		v.in.targets(serving) // once for all that look at them
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
		f := v.r.flight(v.name)
		v.in.PollAt, v.in.Lacking, v.in.Since, v.in.Over = f.pollAt, f.lacking, f.since, !f.over.IsZero()
	}
	return v.gatherRevisions()
}

// gatherRecord begins with what is wanted and what is remembered, as far as it still matters.
func (v *visit) gatherRecord() (err error) {
	v.in = Input{Want: v.r.specs.Load().Certificate(v.name), Floor: v.r.floor, Host: v.r.host, Deploys: v.r.deploy != nil}
	v.in.Delivering = v.r.delivering(v.name)
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
	if forgetFailures(&v.in.Have, v.now, func(issuer string, f store.Failure) bool {
		return v.in.Want == nil || f.Request != attempt(v.in.Want) || !slices.Contains(v.in.Want.Issuers, issuer)
	}) {
		v.changed(durably)
	}
	return nil
}

// checkEvery is how often the files of a certificate are read again to see that they are sound: a little less than
// the time that passes between two visits when nothing happens.
const checkEvery = 17 * time.Hour

// gatherRevisions finds the newest revision whose files are sound, and the one that is live. While an order is open
// files are not looked at: nothing could be done about them.
func (v *visit) gatherRevisions() (err error) {
	if v.in.Live, err = v.r.store.Live(v.name); err != nil {
		return err
	}
	if err := v.gatherPlaceholder(); err != nil {
		return err
	}
	v.checked = v.r.board.get(v.name).Checked
	serving := v.in.Have.Serving()
	known := serving != nil && serving.Number == v.in.Live
	if known && (v.pending != nil || v.now.Sub(v.checked).Abs() < checkEvery) {
		return v.gatherBefore()
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
	if err := v.note(good); err != nil {
		return err
	}
	return v.gatherBefore()
}

// note makes the record say what the disk does: which revision is the newest sound one, and which is live.
func (v *visit) note(good store.Revision) error {
	have := &v.in.Have
	if good.Number == 0 {
		have.Issued, have.Live = nil, nil
		return nil
	}
	if have.Issued == nil || have.Issued.SHA256 != good.SHA256 {
		succeed(&v.in, good, v.now)
		v.changed(durably)
	}
	if v.in.Live == good.Number || v.in.Live == 0 {
		have.Live, have.RolledBack = nil, time.Time{}
		return nil
	}
	live, err := v.r.store.Revision(v.name, v.in.Live)
	if _, damaged := errors.AsType[*store.DamagedError](err); damaged {
		have.Live = nil // nothing to go by: the sound one takes its place
		return nil
	}
	have.Live = &live
	return err
}

// succeed makes the record that of a new revision. What was tried before it is over, and so is what the operator
// asked for before.
func succeed(in *Input, rev store.Revision, now time.Time) {
	have := &in.Have
	if revoked(in) {
		have.Hurried = now // what replaces it waits for no window
	}
	maps.DeleteFunc(have.Revoked, func(_ string, r store.Revocation) bool { return !now.Before(r.NotAfter) })
	have.Issued, have.ARI = &rev, store.ARI{CertID: rev.CertID}
	if !have.Requested.After(rev.Committed) {
		have.Requested, have.Forced = time.Time{}, false
	}
	forgetFailures(have, now, func(string, store.Failure) bool { return true })
}

// gatherBefore finds what live can go back to: the newest sound revision before the one that a check has refused.
func (v *visit) gatherBefore() (err error) {
	is := v.in.Have.Issued
	if v.in.Want == nil || is == nil || v.in.Live != is.Number || checkFailure(&v.in) == nil {
		return nil
	}
	v.in.Before, err = v.before(is.Number)
	return err
}

// before is the newest sound revision before number that has not expired and is not revoked; nil: there is none.
func (v *visit) before(number int) (*store.Revision, error) {
	all, err := v.r.store.Revisions(v.name)
	if _, damaged := errors.AsType[*store.DamagedError](err); err != nil && !damaged {
		return nil, err
	}
	for _, rev := range all {
		if rev.Number >= number || !v.now.Before(rev.NotAfter) {
			continue
		}
		if sound, err := v.r.store.Revision(v.name, rev.Number); err == nil {
			if _, dead := v.in.Have.Revocation(&sound); dead {
				continue
			}
			return &sound, nil
		}
	}
	return nil, nil
}

// forgetFailures drops the failures that are over, but for what the CA asked for: that only time clears. It tells
// whether there were any.
func forgetFailures(have *store.Record, now time.Time, over func(issuer string, f store.Failure) bool) bool {
	n := len(have.Failures)
	maps.DeleteFunc(have.Failures, func(issuer string, f store.Failure) bool {
		return over(issuer, f) && !believed(f, f.Promised, now).After(now)
	})
	return len(have.Failures) < n
}

// takeRequest writes a renewal that the operator asked for into the record, durably, for what follows may be cut
// short. The attempt that it asks for begins only now.
func (v *visit) takeRequest() error {
	q, ok := v.r.request(v.name)
	if !ok {
		return nil
	}
	is := v.in.Have.Issued
	if v.in.Want != nil && (is == nil || !q.at.Before(is.Committed)) { // else it was overtaken: that is the one
		v.now = time.Now().Round(0)
		v.in.Have.Requested, v.in.Have.Forced = q.at, q.force
		v.changed(durably)
		if err := v.save(); err != nil {
			return err
		}
		var err error
		if v.in.Issuers, err = v.r.issuerStates(&v.in, v.now); err != nil { // a forced order has other limits
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
		if err := r.pardon(i); err != nil {
			return nil, err
		}
		buckets := budget(in, i.spec, now)
		i.ledger.View(func(l *store.IssuerState) { out = append(out, issuerState(in, i.spec, l, buckets, now)) })
		out[len(out)-1].Binding = in.Have.Forced
	}
	return out, nil
}

// issuerState is what the ledger l of issuer i says about an order that spends from buckets.
func issuerState(in *Input, i *spec.Issuer, l *store.IssuerState, buckets []bucket, now time.Time) IssuerState {
	s := IssuerState{Name: i.Name, Directory: i.Directory, Hold: l.Hold, HoldWhy: l.HoldWhy}
	if l.HoldNew && renewal(in, i, now) && believable(l.Hold, now).After(now) {
		s.Hold, s.HoldWhy, s.Spared = time.Time{}, "", true
	}
	var last bucket
	if s.Budget, last = firstFree(l, buckets, now); s.Budget.After(now) {
		s.BudgetWhy = fmt.Sprintf("%s: %d in %s", last.words, last.limit, last.per)
		s.Shared = last.shared
	}
	return s
}
