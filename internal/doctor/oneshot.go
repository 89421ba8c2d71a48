package doctor

import (
	"context"
	"fmt"
	"slices"

	"acmed/internal/spec"
)

const oneshotProblem = "a oneshot unit is never running, so that a reload or restart does nothing"

func oneshotHint(unit string) string {
	return "write run: [{command: [systemctl, start, " + unit + "]}] in place of it"
}

// Oneshots are the problems of specs that name oneshot units under deploy.reload or deploy.restart. A unit that cannot be
// asked for is none.
func Oneshots(ctx context.Context, certs []*spec.Certificate, ask func(context.Context, string) (Unit, error)) []*spec.Problem {
	return unitProblems(ctx, certs, ask, func(name string, u Unit) (problem, hint string) {
		if u.Oneshot {
			return name + ": " + oneshotProblem, oneshotHint(name)
		}
		return "", ""
	})
}

// MissingUnits returns the problems of specs that name units which systemd does not know.
func MissingUnits(ctx context.Context, certs []*spec.Certificate, ask func(context.Context, string) (Unit, error)) []*spec.Problem {
	return unitProblems(ctx, certs, ask, func(name string, u Unit) (problem, hint string) {
		if !u.Loaded {
			return fmt.Sprintf("unknown systemd unit %q", name), "correct the name (systemctl list-unit-files --type=service lists them), or install the server first"
		}
		return "", ""
	})
}

// unitProblems returns what judge finds wrong with the units that specs name under deploy.reload or deploy.restart.
func unitProblems(ctx context.Context, certs []*spec.Certificate, ask func(context.Context, string) (Unit, error),
	judge func(name string, u Unit) (problem, hint string)) (problems []*spec.Problem) {
	type verdict struct{ problem, hint string }
	known := map[string]verdict{}
	for _, c := range certs {
		for i, name := range slices.Concat(c.Deploy.Reload, c.Deploy.Restart) {
			field := fmt.Sprintf("deploy.reload[%d]", i)
			if n := i - len(c.Deploy.Reload); n >= 0 {
				field = fmt.Sprintf("deploy.restart[%d]", n)
			}
			v, asked := known[name]
			if !asked {
				if u, err := ask(ctx, name); err == nil {
					v.problem, v.hint = judge(name, u)
				}
				known[name] = v
			}
			if v.problem != "" {
				problems = append(problems, &spec.Problem{File: c.File, Field: field, Problem: v.problem, Hint: v.hint})
			}
		}
	}
	return problems
}
