package daemon

import (
	"context"
	"fmt"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/scheduler"
	"acmed/internal/spec"
)

// longestSimulation is how far ahead a simulation looks.
const longestSimulation = 2 * 366 * 24 * time.Hour

// simulated lives through so many seconds to come with the specs of set.
func (a api) simulated(ctx context.Context, set *spec.Set, asked []string, seconds int64) (control.Plan, error) {
	if seconds > int64(longestSimulation/time.Second) {
		return control.Plan{}, &control.Error{Code: control.Invalid,
			Message: fmt.Sprintf("simulating %d days: limits and lifetimes cannot be known so far ahead", seconds/86400),
			Hint:    "ask for two years at most"}
	}
	d := time.Duration(seconds) * time.Second
	now := time.Now().Round(0)
	f, err := a.forecast(ctx, set, now, now.Add(d))
	if err != nil {
		return control.Plan{}, err
	}
	sim := wireForecast(f)
	sim.From, sim.Until = now, now.Add(d)
	return control.Plan{Steps: []control.Step{}, Problems: wireProblems(planProblems(set, asked)), Held: wireHeld(set.Held), Simulation: &sim}, nil
}

// forecast drives a simulation with the choices that the scheduler makes.
func (a api) forecast(ctx context.Context, set *spec.Set, now, until time.Time) (reconcile.Forecast, error) {
	clock, err := scheduler.NewVirtual(a.d.specs.settings().Workers, now)
	if err != nil {
		return reconcile.Forecast{}, err
	}
	sim, err := a.d.reconciler.Simulate(set, now, clock.Wake)
	if err != nil {
		return reconcile.Forecast{}, err
	}
	clock.AddAll(func(yield func(string, scheduler.Next) bool) {
		for name := range set.Certificates() {
			if !yield(name, scheduler.Next{At: now}) {
				return
			}
		}
	})
	err = clock.Run(ctx, until, func(name string, now time.Time) (next scheduler.Next) {
		next.At, next.Deadline = sim.Visit(name, now)
		return next
	})
	return sim.Forecast(until), err
}

func wireForecast(f reconcile.Forecast) control.Simulation {
	s := control.Simulation{Certificates: f.Certificates, Issuers: []control.SimulatedIssuer{}, Delayed: f.Delayed, Ended: f.Ended}
	for _, i := range f.Issuers {
		issuer := control.SimulatedIssuer{Issuer: i.Issuer, Total: control.SimulatedLoad(i.Total), Limits: wireLimits(i.Limits)}
		for _, d := range i.Days {
			issuer.Days = append(issuer.Days, control.SimulatedDay{
				Day: d.Day.Format(time.DateOnly), Load: control.SimulatedLoad(d.Load), Limits: wireLimits(d.Limits),
			})
		}
		s.Issuers = append(s.Issuers, issuer)
	}
	for _, d := range f.Delays {
		s.Delays = append(s.Delays, control.SimulatedDelay(d))
	}
	for _, g := range f.Gaps {
		s.Gaps = append(s.Gaps, control.SimulatedGap(g))
	}
	for _, h := range f.Habits {
		s.Assumptions = append(s.Assumptions, control.SimulatedGrant{
			Issuer: h.Issuer, Profile: h.Profile, Life: int64(h.Life / time.Second), Seen: h.Seen, Advises: h.Advises,
		})
	}
	return s
}

func wireLimits(limits []reconcile.Tightest) (out []control.SimulatedLimit) {
	for _, l := range limits {
		out = append(out, control.SimulatedLimit{Limit: l.Limit, Left: l.Left, Max: l.Max, Per: int64(l.Per / time.Second), At: l.At})
	}
	return out
}
