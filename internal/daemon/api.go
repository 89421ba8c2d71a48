package daemon

import (
	"context"
	"os"
	"slices"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// api answers the control socket.
type api struct{ d *daemon }

var (
	_ control.Certificates  = api{}
	_ control.Deliveries    = api{}
	_ control.Planner       = api{}
	_ control.Disposals     = api{}
	_ control.Accounts      = api{}
	_ control.Registrations = api{}
	_ control.Daemon        = api{}
	_ control.Troubled      = api{}
)

// List implements control.Certificates. A file that has never been good is in it too: somebody waits for it.
func (a api) List(context.Context) ([]control.Summary, error) {
	set, bad := a.d.specs.set(), a.d.specs.bad()
	out := a.listed(set.Len()+len(bad), func(reconcile.View, *spec.Problem) bool { return true })
	for _, v := range a.d.retiredViews() {
		out = append(out, retired(v))
	}
	slices.SortFunc(out, func(a, b control.Summary) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// Troubled implements control.Troubled: of many certificates, it describes those alone that have a problem.
func (a api) Troubled(context.Context) ([]control.Summary, error) {
	out := a.listed(0, func(v reconcile.View, bad *spec.Problem) bool { return troubled(v) || bad != nil })
	slices.SortFunc(out, func(a, b control.Summary) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// listed describes the certificates with specs that are wanted, of which there are about so many, and the files that have
// never been good.
func (a api) listed(about int, wanted func(reconcile.View, *spec.Problem) bool) []control.Summary {
	set, bad := a.d.specs.set(), a.d.specs.bad()
	out := make([]control.Summary, 0, about)
	for name, want := range set.Certificates() {
		if v := a.view(name); wanted(v, bad[name]) {
			out = append(out, summary(v, want, bad[name], time.Now()))
		}
	}
	for name, p := range bad {
		if set.Certificate(name) == nil {
			out = append(out, neverGood(name, p))
		}
	}
	return out
}

// view is that of a certificate with a spec, which may be too new for a visit.
func (a api) view(name string) reconcile.View {
	v := a.d.reconciler.View(name)
	if v.Name == "" {
		return reconcile.View{Name: name, Phase: reconcile.PhaseMissing, Do: reconcile.Issue, Why: reconcile.Missing}
	}
	return v
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
	s, err := a.status(name)
	if err != nil {
		return control.Certificate{}, err
	}
	c := certificate(s, a.d.specs.settings().StateDir, a.d.specs.bad()[name], time.Now())
	if l, ok := a.d.reconciler.RevocationList(name); ok {
		c.RevocationList = &control.RevocationList{URL: l.URL, Checked: l.Checked, Problem: l.Problem}
	}
	return c, nil
}

// status is what the files say, unless the last visit met with a fault of this machine, which no file knows of.
func (a api) status(name string) (reconcile.Status, error) {
	s, err := a.d.reconciler.Status(name)
	if v := a.d.reconciler.View(name); v.ErrorAt.After(s.ErrorAt) {
		s.View, s.Why = v, reconcile.Disconnected
	}
	return s, err
}

// unknown is the error for a name that no certificate has: either there is no file, or it has never been good.
func (a api) unknown(name string) error {
	if p := a.d.specs.bad()[name]; p != nil {
		return &control.Error{Code: control.NotFound, Message: p.Error(), Hint: "mend the file; acmed reads it at once"}
	}
	return control.Unknown(name, keys(a.d.specs.set().Certificates()))
}

// Info implements control.Daemon.
func (a api) Info(context.Context) (control.Info, error) {
	d := a.d
	set, settings := d.specs.set(), d.specs.settings()
	phases, all := d.counted()
	info := control.Info{
		Version: d.version, PID: os.Getpid(), Started: d.started, Config: settings.File, StateDir: settings.StateDir,
		Certificates: all, Phases: phases, LastReload: d.specs.lastLoad(), ConfigRead: d.specs.lastConfig(), HTTP01: d.answers.Load().text,
		Problems: wireProblems(d.specs.problems()), Held: wireHeld(set.Held), AdminProblem: d.admin.trouble(),
	}
	return info, nil
}

// Reload implements control.Daemon. A result without problems and without held removals means that all the files are
// in force as they are written; a key of acmed.yaml that waits for a restart is a problem for that reason.
func (a api) Reload(ctx context.Context, req control.ReloadRequest) (control.ReloadResult, error) {
	q := request{req.AcceptRemovals, make(chan control.ReloadResult, 1)}
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
