package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// doUnknown is for a step of a certificate of which the state is hidden from the caller.
const doUnknown = "unknown"

// PlanFiles plans as the control socket does, but from the files and the state directory as they are, for when no daemon
// answers. The Unknown of the plan says what could not be known.
func PlanFiles(ctx context.Context, config *spec.Config, req control.PlanRequest) (control.Plan, error) {
	p := &filePlanner{config: config}
	if err := p.open(); err != nil {
		return control.Plan{}, err
	}
	plan, err := p.plan(ctx, req)
	if p.state != nil {
		err = errors.Join(err, p.state.Close())
	}
	return plan, err
}

// filePlanner plans without a daemon.
type filePlanner struct {
	config *spec.Config
	state  *store.Reader // nil: there is none yet, or it is hidden
	known  map[string]time.Time
	hidden error // why the state cannot be read; nil: it can, or there is none yet
}

// open reads the state directory as far as the caller may.
func (p *filePlanner) open() (err error) {
	p.state, err = store.OpenReader(p.config.StateDir)
	if err == nil {
		p.known, err = p.state.Known()
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		p.hidden = err
		if p.state != nil {
			err = p.state.Close()
			p.state = nil
			return err
		}
		return nil
	case errors.Is(err, fs.ErrNotExist) && p.state == nil:
		return nil // nothing was issued yet
	}
	return err
}

// set returns what a reload would put in force.
func (p *filePlanner) set() (*spec.Set, error) {
	c := spec.LoaderConfig{Config: p.config}
	if p.state != nil {
		c.Recall, c.Known = p.state.Recall, p.known
	}
	return spec.Preview(c)
}

func (p *filePlanner) plan(ctx context.Context, req control.PlanRequest) (control.Plan, error) {
	set, err := p.set()
	if err != nil {
		return control.Plan{}, err
	}
	all := len(req.Drafts) == 0
	var names []string
	if all {
		names, err = p.names(set)
	} else {
		set, names, err = spec.Draft(p.config, set, draftTexts(req), draftsBeside(req))
	}
	plan := control.Plan{Steps: []control.Step{}}
	if err == nil && p.hidden == nil {
		err = p.steps(ctx, &plan, set, names, all)
	}
	if errors.Is(err, fs.ErrPermission) {
		p.hidden, err = err, nil
	}
	plan.Problems, plan.Held = wireProblems(planProblems(set, names)), wireHeld(set.Held)
	if p.hidden != nil {
		plan = p.blind(plan, names, all)
	}
	return plan, err
}

// names are those of all specs, and of certificates that have none any more.
func (p *filePlanner) names(set *spec.Set) (names []string, err error) {
	for name := range set.Certificates() {
		names = append(names, name)
	}
	if p.state != nil {
		recorded, err := p.state.Names()
		if err != nil {
			return names, err
		}
		names = append(names, recorded...)
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// steps adds what would be done about each of names. Of all, certificates that would stay as they are are counted only.
func (p *filePlanner) steps(ctx context.Context, plan *control.Plan, set *spec.Set, names []string, all bool) error {
	host, _ := os.Hostname() // as the daemon spreads renewals
	var costs []reconcile.Cost
	for _, name := range names {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		one, err := reconcile.PlanFrom(p.state, name, set, host, buildTime())
		if err != nil {
			return err
		}
		switch s := step(one); {
		case s.Do != "nothing" || !all:
			plan.Steps = append(plan.Steps, s)
		case set.Certificate(name) != nil:
			plan.Unchanged++
		}
		costs = append(costs, one.Costs...)
	}
	if !all {
		plan.Unchanged = max(0, set.Len()-len(names))
	}
	plan.Costs = wireCosts(costs)
	return nil
}

// blind completes a plan that was made without the state: the files were judged, and no more can be known.
func (p *filePlanner) blind(plan control.Plan, names []string, all bool) control.Plan {
	plan.Steps, plan.Costs, plan.Unchanged = []control.Step{}, nil, 0
	plan.Unknown = append(plan.Unknown, fmt.Sprintf("you may not read %s: which of %d valid certificates were issued, and what is left of limits; run acmed plan as root", p.config.StateDir, len(names)))
	if all {
		return plan
	}
	for _, name := range names {
		plan.Steps = append(plan.Steps, control.Step{Name: name, Do: doUnknown, Reason: "the spec is valid; what was issued is not known"})
	}
	return plan
}
