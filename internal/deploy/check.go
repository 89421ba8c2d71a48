package deploy

import (
	"context"
	"strings"
	"time"

	"acmed/internal/spec"
)

// check asks each distinct check once, when the files of all jobs are in place.
func (e *Executor) check(ctx context.Context, works []*work) {
	groups := grouped(works, spec.StageCheck, func(w *work, _ spec.Target) string { return strings.Join(w.deploy.Check, "\x00") })
	atOnce(len(groups), func(i int) { e.checkOne(ctx, groups[i]) })
}

// checkOne asks a check for all who have it. Where it fails, and where it comes to no verdict, the files are taken back.
func (e *Executor) checkOne(ctx context.Context, group []member) {
	began := time.Now()
	end := command{argv: group[0].w.deploy.Check, timeout: checkTimeout, grace: e.grace}.run(ctx)
	took := time.Since(began)
	for _, m := range group {
		switch {
		case end.stopped:
			m.w.withdraw(e.disk, Result{})
		case end.problem != "":
			m.w.withdraw(e.disk, Result{Withdrawn: true, Problem: "taken back, for the check failed", Hint: "see what the check says"})
			m.w.took(m.t, took, end.result())
		default:
			m.w.took(m.t, took, end.result())
		}
	}
}
