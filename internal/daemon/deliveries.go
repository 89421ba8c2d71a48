package daemon

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// maxHold is how far ahead a hold may end: what is held for longer has been forgotten.
const maxHold = 90 * 24 * time.Hour

// Deploy implements control.Deliveries.
func (a api) Deploy(ctx context.Context, req control.DeployRequest, report func(control.Event)) error {
	set := a.d.specs.set()
	for _, name := range req.Names {
		if set.Certificate(name) == nil {
			return a.unknown(name)
		}
	}
	names := slices.Compact(slices.Sorted(slices.Values(req.Names)))
	return followAll(ctx, names, report, func(ctx context.Context, name string, report func(control.Event)) error {
		asked := time.Now().Round(0)
		if err := a.d.reconciler.Deploy(ctx, name, req.Now); err != nil && !errors.Is(err, reconcile.ErrBusy) {
			return err
		}
		return a.follow(ctx, name, req.Wait, report, func() control.Event { return a.delivery(name, asked, req.Wait) })
	})
}

const notDelivered = "not delivered"

// delivery is the news of a delivery that was asked for.
func (a api) delivery(name string, asked time.Time, wait bool) control.Event {
	s, err := a.status(name)
	if err != nil {
		return control.Event{Phase: control.Phase(a.view(name).Phase), Message: notDelivered, Error: err.Error(), Done: true}
	}
	e := control.Event{Phase: control.Phase(s.Phase)}
	live := s.Record.Serving()
	switch {
	case s.Spec == nil:
		e.Message, e.Error, e.Done = notDelivered, "its spec is gone", true
	case live == nil:
		e.Message, e.Error, e.Hint, e.Done = notDelivered, "there is no certificate yet", "acmed status "+name+" tells what it waits for", true
	case len(s.Spec.Deploy.Targets(live.SHA256)) == 0:
		e.Message, e.Done, e.OK = fmt.Sprintf("revision %d is live; its spec names nobody to deliver it to", live.Number), true, true
	case failedSince(s, asked) != nil:
		f := failedSince(s, asked)
		e.Message, e.Error, e.Hint, e.Done = notDelivered+", next try at "+clock(f.RetryAt), s.Stuck, f.Hint, true
	case s.Behind == 0 && (s.Why == reconcile.Window || s.Why == reconcile.Held):
		e.Message, e.Done, e.OK = fmt.Sprintf("revision %d is delivered; the next goes live at %s: %s", live.Number, clock(s.Until), reasonText(s.View)), true, true
	case s.Behind == 0 && s.Phase != reconcile.PhaseDeploying && s.Phase != reconcile.PhaseDeployFailed:
		e.Message, e.Done, e.OK = fmt.Sprintf("revision %d is delivered to all", live.Number), true, true
	case wait:
		e.Message = fmt.Sprintf("revision %d: %s left", live.Number, plural(s.Behind, "target"))
	default:
		e.Message, e.Done, e.OK = "noted; acmed status "+name+" tells how it goes", true, true
	}
	return e
}

// failedSince is a failure of a delivery since that time; nil: there was none.
func failedSince(s reconcile.Status, since time.Time) *store.Setback {
	if f := s.Record.Refused; f != nil && f.At.After(since) {
		return f
	}
	for _, is := range []*store.Revision{s.Record.Issued, s.Record.Serving()} {
		for _, t := range s.Spec.Deploy.Targets(is.SHA256) {
			if f := s.Record.Targets[t.Key].Failed; f != nil && f.Fingerprint == t.Fingerprint && f.At.After(since) {
				return f
			}
		}
	}
	return nil
}

// Hold implements control.Deliveries.
func (a api) Hold(ctx context.Context, req control.HoldRequest) error {
	if err := a.holdable(req.Name, req.Until); err != nil {
		return err
	}
	return asConflict(a.d.reconciler.Hold(ctx, req.Name, req.Until))
}

// Rollback implements control.Deliveries.
func (a api) Rollback(ctx context.Context, req control.RollbackRequest) (control.RollbackResult, error) {
	if err := a.holdable(req.Name, req.Until); err != nil {
		return control.RollbackResult{}, err
	}
	n, err := a.d.reconciler.Rollback(ctx, req.Name, req.Until)
	if errors.Is(err, reconcile.ErrNoOlder) {
		return control.RollbackResult{}, &control.Error{Code: control.Conflict, Message: err.Error(),
			Hint: fmt.Sprintf("acmed renew %[1]s replaces the certificate; acmed hold %[1]s --until TIME keeps it", req.Name)}
	}
	return control.RollbackResult{Revision: n}, asConflict(err)
}

// holdable refuses what nobody knows and what makes no sense.
func (a api) holdable(name string, until time.Time) error {
	if a.d.specs.set().Certificate(name) == nil {
		return a.unknown(name)
	}
	if !until.IsZero() && (!until.After(time.Now()) || time.Until(until) > maxHold) {
		return &control.Error{Code: control.Invalid, Message: "cannot hold it until " + clock(until),
			Hint: "name a time from now on and within 90 days"}
	}
	return nil
}

// asConflict words why a certificate is not changed at once.
func asConflict(err error) error {
	if errors.Is(err, reconcile.ErrBusy) {
		return &control.Error{Code: control.Conflict, Message: err.Error(), Hint: "it is noted and follows; acmed status shows when it has"}
	}
	return err
}

// wireTargets are the consumers of a certificate, as the command line sees them.
func wireTargets(want *spec.Certificate, r store.Record) (out []control.Target) {
	live := r.Serving()
	if live == nil {
		return nil
	}
	newest := want.Deploy.Targets(r.Issued.SHA256)
	for i, t := range want.Deploy.Targets(live.SHA256) {
		k := r.Targets[t.Key]
		w := control.Target{Key: t.Key, Accepted: k.Accepted == t.Fingerprint, Revision: k.Revision, At: k.At, Note: k.Note, Served: k.Served}
		if f := k.Failed; f != nil && (f.Fingerprint == t.Fingerprint || f.Fingerprint == newest[i].Fingerprint) {
			w.Failed = wireSetback(f)
		}
		out = append(out, w)
	}
	return out
}

func wireSetback(f *store.Setback) *control.Setback {
	if f == nil {
		return nil
	}
	return &control.Setback{Count: f.Count, At: f.At, RetryAt: f.RetryAt, Problem: f.Problem, Hint: f.Hint, Output: f.Output}
}
