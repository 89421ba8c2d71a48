package daemon

import (
	"acmed/internal/control"
	"acmed/internal/reconcile"
)

// This file owns what counts as a certificate. `acmed list`, `acmed status`, the status page and the line that
// systemctl status shows agree on it.

// counted returns how many certificates are in each phase, and how many there are: those with a spec, invalid specs that
// have no earlier valid version, which are parked, and retired certificates.
func (d *daemon) counted() (phases map[control.Phase]int, all int) {
	set, bad := d.specs.set(), d.specs.bad()
	phases = map[control.Phase]int{}
	known, _ := d.reconciler.Counts()
	unseen := set.Len() // of those with a spec; no visit has seen them yet
	for p, n := range known {
		phases[control.Phase(p)] += n
		unseen -= n
	}
	phases[control.Missing] += max(0, unseen)
	for name := range bad {
		if set.Certificate(name) == nil {
			phases[control.Parked]++
		}
	}
	phases[control.Retired] += len(d.retiredViews())
	for p, n := range phases {
		if all += n; n == 0 {
			delete(phases, p)
		}
	}
	return phases, all
}

// retiredViews are the certificates without a spec, not even an invalid one, in no order.
func (d *daemon) retiredViews() (views []reconcile.View) {
	set, bad := d.specs.set(), d.specs.bad()
	for _, v := range d.reconciler.Retired() {
		if v.Revision > 0 && set.Certificate(v.Name) == nil && bad[v.Name] == nil {
			views = append(views, v)
		}
	}
	return views
}
