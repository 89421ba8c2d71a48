package daemon

import (
	"context"
	"slices"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// Plan implements control.Planner. Certificates whose specs would not change are only counted, unless they were asked
// for.
func (a api) Plan(ctx context.Context, req control.PlanRequest) (control.Plan, error) {
	set, asked, err := a.planned(req)
	if err != nil {
		return control.Plan{}, err
	}
	if req.Simulate > 0 {
		return a.simulated(ctx, set, asked, req.Simulate)
	}
	plan := control.Plan{Steps: []control.Step{}, Problems: wireProblems(planProblems(set, asked)), Held: wireHeld(set.Held)}
	var costs []reconcile.Cost
	for _, name := range asked {
		if ctx.Err() != nil {
			return control.Plan{}, ctx.Err()
		}
		p, err := a.d.reconciler.Plan(name, set)
		if err != nil {
			return control.Plan{}, err
		}
		plan.Steps = append(plan.Steps, step(p))
		costs = append(costs, p.Costs...)
	}
	plan.Unchanged = max(0, set.Len()-len(asked))
	plan.Costs = wireCosts(costs)
	return plan, nil
}

// wireCosts adds costs up.
func wireCosts(costs []reconcile.Cost) (sums []control.Cost) {
	for _, c := range reconcile.Sum(costs) {
		sums = append(sums, control.Cost{
			Issuer: c.Issuer, Limit: c.Limit, Needs: c.Needs, Left: c.Left, Max: c.Max, Per: int64(c.Per / time.Second),
		})
	}
	return sums
}

// planned returns the set that would come in force, and the certificates to be planned for.
func (a api) planned(req control.PlanRequest) (set *spec.Set, names []string, err error) {
	config, current := a.d.specs.settings(), a.d.specs.set()
	if len(req.Drafts) > 0 {
		return spec.Draft(config, current, draftTexts(req), draftsBeside(req))
	}
	if config, err = spec.LoadConfig(config.File); err != nil {
		return nil, nil, err
	}
	known, err := a.d.store.Known()
	if err != nil {
		return nil, nil, err
	}
	if set, err = spec.Preview(spec.LoaderConfig{Config: config, Recall: a.d.store.Recall, Known: known}); err != nil {
		return nil, nil, err
	}
	_, names = compare(current, set)
	return set, names, nil
}

// draftTexts returns the texts of drafts by their paths.
func draftTexts(req control.PlanRequest) map[string][]byte {
	texts := map[string][]byte{}
	for _, d := range req.Drafts {
		texts[d.Path] = []byte(d.Text)
	}
	return texts
}

// draftsBeside are the files that drafts name, as the client read them: the daemon reads none.
func draftsBeside(req control.PlanRequest) map[string]spec.Beside {
	beside := map[string]spec.Beside{}
	for _, f := range req.Beside {
		beside[f.Path] = spec.Beside{Text: f.Data, Problem: f.Problem, Hint: f.Hint}
	}
	return beside
}

// planProblems are those of the files, and what built-in issuers are known to refuse of the certificates asked for.
func planProblems(set *spec.Set, asked []string) []*spec.Problem {
	if len(asked) == 0 {
		return set.Problems
	}
	return slices.Concat(set.Problems, set.Refusals(asked...))
}

func step(p reconcile.Plan) control.Step {
	s := control.Step{Name: p.Name, Do: "nothing", At: p.At, Issuer: p.Issuer, Differs: p.Differs, Targets: p.Targets,
		Reason: reasonText(reconcile.View{Why: p.Why})}
	switch {
	case p.Do == reconcile.Issue && p.Why == reconcile.Missing:
		s.Do = "issue"
	case p.Do == reconcile.Issue:
		s.Do = "reissue"
	case p.Do == reconcile.Deploy:
		s.Do, s.Reason = "redeploy", "consumers have not accepted it as the spec wants it"
	case p.Do == reconcile.Retire:
		s.Do = "retire"
	default:
		s.Reason = "what was issued is what the spec asks for"
	}
	return s
}
