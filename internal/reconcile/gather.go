package reconcile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/store"
)

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
		have.Issued = nil // what is found below takes its place
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
