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
func Oneshots(ctx context.Context, certs []*spec.Certificate, ask func(context.Context, string) (Unit, error)) (problems []*spec.Problem) {
	known := map[string]bool{}
	oneshot := func(unit string) bool {
		if _, asked := known[unit]; !asked {
			u, err := ask(ctx, unit)
			known[unit] = err == nil && u.Oneshot
		}
		return known[unit]
	}
	for _, c := range certs {
		for i, unit := range slices.Concat(c.Deploy.Reload, c.Deploy.Restart) {
			field := fmt.Sprintf("deploy.reload[%d]", i)
			if n := i - len(c.Deploy.Reload); n >= 0 {
				field = fmt.Sprintf("deploy.restart[%d]", n)
			}
			if oneshot(unit) {
				problems = append(problems, &spec.Problem{File: c.File, Field: field, Problem: unit + ": " + oneshotProblem, Hint: oneshotHint(unit)})
			}
		}
	}
	return problems
}
