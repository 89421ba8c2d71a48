package daemon

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
)

// api answers the control socket.
type api struct{ d *daemon }

var (
	_ control.Certificates = api{}
	_ control.Daemon       = api{}
)

// List implements control.Certificates.
func (a api) List(context.Context) ([]control.Summary, error) {
	set := a.d.specs.set()
	views := a.d.reconciler.Views()
	out := make([]control.Summary, 0, len(views))
	for _, v := range views {
		out = append(out, summary(v, set.Certificate(v.Name)))
	}
	return out, nil
}

// Status implements control.Certificates. A certificate whose spec is gone is known as long as it has files.
func (a api) Status(_ context.Context, name string) (control.Certificate, error) {
	set := a.d.specs.set()
	if set.Certificate(name) == nil {
		known, err := a.d.store.Names()
		if err != nil {
			return control.Certificate{}, err
		}
		if !slices.Contains(known, name) {
			return control.Certificate{}, a.unknown(name)
		}
	}
	s, err := a.d.reconciler.Status(name)
	if err != nil {
		return control.Certificate{}, err
	}
	return certificate(s, a.d.specs.settings().StateDir, a.d.specs.problem(name)), nil
}

// unknown is the error for a name that no certificate has: either there is no file, or it has never been good.
func (a api) unknown(name string) error {
	set := a.d.specs.set()
	if p := a.d.specs.problem(name); p != nil {
		return &control.Error{Code: control.NotFound, Message: p.Error(), Hint: "mend the file; acmed reads it at once"}
	}
	return control.Unknown(name, func(yield func(string) bool) {
		for n := range set.Certificates() {
			if !yield(n) {
				return
			}
		}
	})
}

// Renew implements control.Certificates.
func (a api) Renew(ctx context.Context, req control.RenewRequest, report func(control.Event)) error {
	names, err := a.chosen(req)
	if err != nil {
		return err
	}
	events := make(chan control.Event)
	var group sync.WaitGroup
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for _, name := range names {
		group.Go(func() { a.renew(ctx, name, req, events) })
	}
	go func() { group.Wait(); close(events) }()
	for e := range events {
		report(e)
	}
	return ctx.Err()
}

// chosen are the certificates that a request names.
func (a api) chosen(req control.RenewRequest) ([]string, error) {
	set := a.d.specs.set()
	var names []string
	switch {
	case req.All, req.Issuer != "":
		for _, v := range a.d.reconciler.Views() {
			if req.All || v.Issuer == req.Issuer {
				names = append(names, v.Name)
			}
		}
		if len(names) == 0 && req.Issuer != "" {
			return nil, control.Errorf(control.NotFound, "no certificate is of issuer %s", req.Issuer)
		}
	default:
		for _, n := range req.Names {
			if set.Certificate(n) == nil {
				return nil, a.unknown(n)
			}
		}
		names = slices.Compact(slices.Sorted(slices.Values(req.Names)))
	}
	return names, nil
}

// taken is how long a renewal that nobody waits for gets to be seen by a visit.
const taken = 2 * time.Second

// renew asks for one renewal and reports until it is decided; without Wait until a visit has taken it up.
func (a api) renew(ctx context.Context, name string, req control.RenewRequest, events chan<- control.Event) {
	views, stop := a.d.reconciler.Watch(name)
	defer stop()
	asked := time.Now()
	a.d.reconciler.Renew(name, req.Force)
	timeout := make(<-chan time.Time)
	if !req.Wait {
		timeout = time.After(taken)
	}
	last := ""
	for {
		var e control.Event
		select {
		case <-ctx.Done():
			return
		case <-timeout:
			e = control.Event{Phase: control.Phase(a.d.reconciler.View(name).Phase), Message: "noted", Done: true, OK: true}
		case v := <-views:
			e = event(v, asked, req.Wait)
		}
		if e.Time, e.Cert = time.Now(), name; e.Done || e.Message != last {
			last = e.Message
			select {
			case events <- e:
			case <-ctx.Done():
				return
			}
		}
		if e.Done {
			return
		}
	}
}

// event says how far a renewal is that was asked for at a time.
func event(v reconcile.View, asked time.Time, wait bool) control.Event {
	e := control.Event{Phase: control.Phase(v.Phase), Message: reasonText(v)}
	switch {
	case v.Committed.After(asked):
		e.Message, e.Done, e.OK = fmt.Sprintf("revision %d, valid until %s", v.Revision, v.NotAfter.Local().Format(time.DateTime)), true, true
	case v.ErrorAt.After(asked):
		e.Error, e.Hint, e.Done = v.Error, v.Hint, true
	case v.Why == reconcile.OverBudget && wait:
		e.Error, e.Hint, e.Done = reasonText(v), "it happens at "+v.Next.Local().Format(time.DateTime)+"; --force passes acmed's own limit", true
	case v.Why == reconcile.IssuerHold, v.Why == reconcile.BackingOff, v.Why == reconcile.ClockBehind, v.Why == reconcile.Disconnected:
		e.Error, e.Hint, e.Done = reasonText(v), "the next try is at "+v.Next.Local().Format(time.DateTime), true
	case !wait:
		e.Done, e.OK = true, true
	}
	return e
}

// Info implements control.Daemon.
func (a api) Info(context.Context) (control.Info, error) {
	d := a.d
	set, settings := d.specs.set(), d.specs.settings()
	counts, _ := d.reconciler.Counts()
	info := control.Info{
		Version: d.version, PID: os.Getpid(), Started: d.started, Config: settings.File, StateDir: settings.StateDir,
		Certificates: set.Len(), Phases: map[control.Phase]int{}, LastReload: d.specs.lastLoad(), HTTP01: d.answers,
		Problems: wireProblems(d.specs.problems()), Held: wireHeld(set.Held),
	}
	for p := range maps.Keys(counts) {
		if counts[p] > 0 {
			info.Phases[control.Phase(p)] = counts[p]
		}
	}
	return info, nil
}

// Reload implements control.Daemon.
func (a api) Reload(ctx context.Context, req control.ReloadRequest) (control.ReloadResult, error) {
	q := reloading{req.AcceptRemovals, make(chan control.ReloadResult, 1)}
	select {
	case a.d.specs.asked <- q:
	case <-ctx.Done():
		return control.ReloadResult{}, ctx.Err()
	}
	select {
	case r := <-q.done:
		return r, nil
	case <-ctx.Done():
		return control.ReloadResult{}, ctx.Err()
	}
}
