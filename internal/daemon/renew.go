package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/reconcile"
)

// followers is how many renewals are watched at a time. The others go on meanwhile: what came of them is seen later.
const followers = 256

// Renew implements control.Certificates. Who asks may have mended what an issuer is left alone for.
func (a api) Renew(ctx context.Context, req control.RenewRequest, report func(control.Event)) error {
	names, err := a.chosen(req)
	if req.Revoked {
		names, err = a.revoked(ctx)
	}
	if err != nil {
		return err
	}
	if req.Staging {
		return followAll(ctx, names, report, a.rehearse)
	}
	if err := a.d.reconciler.Release(); err != nil {
		return err
	}
	asked := time.Now().Round(0)
	for _, name := range names {
		a.d.reconciler.Renew(name, req.Force)
	}
	return followAll(ctx, names, report, func(ctx context.Context, name string, report func(control.Event)) error {
		return a.follow(ctx, name, req.Wait, report, func() control.Event { return a.news(name, asked, req.Wait) })
	})
}

// rehearse orders a certificate from a staging CA, and reports how that goes.
func (a api) rehearse(ctx context.Context, name string, report func(control.Event)) error {
	event := func(message string) control.Event {
		return control.Event{Time: time.Now(), Cert: name, Phase: control.Phase(a.view(name).Phase), Message: message}
	}
	err := a.d.reconciler.Rehearse(ctx, name, func(message string) { report(event(message)) })
	e := event("the rehearsal worked: the staging CA issued, and nothing of it is kept")
	e.Done, e.OK = true, err == nil
	if err != nil {
		e.Message, e.Error = "the rehearsal did not work", err.Error()
		if ca, ok := errors.AsType[*acme.Error](err); ok {
			e.Hint = ca.Hint
		}
	}
	report(e)
	return ctx.Err()
}

// followAll follows many certificates at once. report is for one caller at a time.
func followAll(ctx context.Context, names []string, report func(control.Event),
	follow func(context.Context, string, func(control.Event)) error) error {
	var one sync.Mutex
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(followers)
	for _, name := range names {
		group.Go(func() error {
			return follow(ctx, name, func(e control.Event) {
				one.Lock()
				defer one.Unlock()
				report(e)
			})
		})
	}
	return group.Wait()
}

// chosen are the certificates that a request names.
func (a api) chosen(req control.RenewRequest) ([]string, error) {
	set := a.d.specs.set()
	if len(req.Names) > 0 {
		for _, n := range req.Names {
			if set.Certificate(n) == nil {
				return nil, a.unknown(n)
			}
		}
		return slices.Compact(slices.Sorted(slices.Values(req.Names))), nil
	}
	var names []string
	for name, want := range set.Certificates() {
		if req.All || req.Issuer == cmp.Or(a.view(name).Issuer, want.Issuers[0]) {
			names = append(names, name)
		}
	}
	if len(names) == 0 && req.Issuer != "" {
		return nil, a.unknownIssuer(req.Issuer)
	}
	return names, nil
}

// revoked are the certificates that their CAs have revoked, by what the lists say now and by what was known.
func (a api) revoked(ctx context.Context) ([]string, error) {
	names, err := a.d.reconciler.CheckRevocations(ctx, true)
	if err != nil {
		return nil, err
	}
	for _, v := range a.d.reconciler.Views() {
		if v.Revoked && a.d.specs.set().Certificate(v.Name) != nil {
			names = append(names, v.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (a api) unknownIssuer(name string) error {
	e := control.Errorf(control.NotFound, "no certificate is of issuer %q", name)
	e.Hint = "acmed list --output json shows the issuer of each"
	return e
}

// follow reports news of what was asked for of a certificate, until it is decided; without wait, until the request is
// on disk. It looks at what is, not at what happens: nothing can be missed.
func (a api) follow(ctx context.Context, name string, wait bool, report func(control.Event), news func() control.Event) error {
	views, stop := a.d.reconciler.Watch(name)
	defer stop()
	var late <-chan time.Time // never
	if !wait {
		late = time.After(noting)
	}
	last := ""
	for e := news(); ; e = news() {
		if e.Done || e.Message != last {
			last, e.Time, e.Cert = e.Message, time.Now(), name
			report(e)
		}
		if e.Done {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-views:
		case <-late:
			report(control.Event{Time: time.Now(), Cert: name, Phase: e.Phase, Message: "asked for; what is under way comes first", Done: true, OK: true})
			return nil
		}
	}
}

// noting is how long a request may take to be on disk before nobody waits for that: a visit is under way.
const noting = 2 * time.Second

func (a api) news(name string, asked time.Time, wait bool) control.Event {
	s, err := a.status(name)
	if err != nil {
		return control.Event{Phase: control.Phase(a.view(name).Phase), Message: notRenewed, Error: err.Error(), Done: true}
	}
	e := progress(s, asked, wait)
	if wait && e.OK {
		return a.served(e, s, asked)
	}
	return e
}

// served is the news of a certificate that is renewed: that is over when its consumers have it, or when it has to wait
// for them.
func (a api) served(e control.Event, s reconcile.Status, asked time.Time) control.Event {
	d := a.delivery(s.Name, asked, true)
	live := s.Record.Issued.Number == s.Revision
	switch {
	case d.Done && !d.OK:
		d.Message = e.Message + ", " + d.Message
		return d
	case !live && (s.Why == reconcile.Window || s.Why == reconcile.Held):
		e.Message += fmt.Sprintf("; it goes live at %s: %s", clock(s.Until), reasonText(s.View))
	case !live:
		e.Done, e.OK = false, false
	case !d.Done:
		return d
	case len(s.Spec.Deploy.Targets("")) > 0:
		e.Message += ", delivered to all"
	}
	return e
}

const notRenewed = "not renewed"

// progress says how far a renewal is that was asked for at a time. The message is empty while no visit has seen the
// request: what is known then is old.
func progress(s reconcile.Status, asked time.Time, wait bool) control.Event {
	e, is := control.Event{Phase: control.Phase(s.Phase)}, s.Record.Issued
	switch noted := !s.Record.Requested.Before(asked); {
	case is != nil && is.Committed.After(asked):
		e.Message, e.Done, e.OK = fmt.Sprintf("revision %d, valid until %s", is.Number, clock(is.NotAfter)), true, true
	case s.Spec == nil:
		e.Message, e.Error, e.Done = notRenewed, "its spec is gone", true
	case s.Why == reconcile.Disconnected && s.ErrorAt.After(asked), noted && stuck(s.Why):
		e = setback(s, asked)
	case !noted:
	case wait:
		e.Message = reasonText(s.View)
	default:
		e.Message, e.Done, e.OK = "noted; acmed status "+s.Name+" tells how it goes", true, true
	}
	return e
}

// stuck tells the reasons for which a renewal that was asked for does not happen now.
func stuck(why reconcile.Reason) bool {
	switch why {
	case reconcile.BackingOff, reconcile.Parked, reconcile.IssuerHold, reconcile.OverBudget, reconcile.ClockBehind:
		return true
	}
	return false
}

// setback says why a renewal does not happen now, and when the next attempt is.
func setback(s reconcile.Status, asked time.Time) control.Event {
	e := control.Event{Phase: control.Phase(s.Phase), Message: notRenewed, Error: reasonText(s.View), Hint: s.Hint, Done: true}
	if !s.Next.IsZero() {
		e.Message += ", next attempt at " + clock(s.Next)
	}
	switch {
	case s.ErrorAt.After(asked):
		e.Error = s.Error
	case s.Why == reconcile.OverBudget && strings.HasPrefix(s.Detail, reconcile.FailureLimit):
		e.Hint = "wait: the CA has such a limit, too, and --force does not pass it"
	case s.Why == reconcile.OverBudget:
		e.Hint = "wait, or pass acmed's own limit with --force"
	}
	return e
}

// clock is a time as people read it.
func clock(t time.Time) string { return t.Local().Format(time.DateTime) }
