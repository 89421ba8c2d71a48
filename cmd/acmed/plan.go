package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/spec"
)

func (a *app) planCommand() *cobra.Command {
	var simulate stretch
	cmd := &cobra.Command{
		Use:   "plan [FILE…]",
		Short: "Tell what an edit would do: issue, reissue, redeploy, or nothing",
		Long: `Tell what acmed would do if the files of certs.d, issuers.d and acmed.yaml came in force as they are now, or the specs
given, wherever they lie: which certificates would be issued, reissued (and what differs), handed out again or retired,
and what that takes from the limits of each issuer. Nothing is changed, and no CA is asked. Without a running daemon, the
plan is made from the files and the state directory, as far as you may read it, and says what is not known. The specs
given, and the CSR that csrFile names in one of them, are read with your rights, not with those of the daemon. The exit
code is 1 when a file is bad, or a built-in issuer is known to refuse a certificate.

With --simulate, which needs the daemon, show the load on each issuer for so long instead, day by day, with all certificates: the daemon's own
scheduler and rules go through that time at once, from what it knows now. Every order works in it, and issuers grant and
advise what they did before.`,
		Example: `  acmed plan
  acmed plan draft/www.example.com.yaml
  acmed plan --simulate 90d`,
		ValidArgsFunction: func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
			return []string{"yaml"}, cobra.ShellCompDirectiveFilterFileExt
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.plan(cmd.Context(), args, time.Duration(simulate))
		},
	}
	cmd.Flags().Var(&simulate, "simulate", "show the load on each issuer for so `LONG`, such as 90d")
	return cmd
}

func (a *app) plan(ctx context.Context, files []string, simulate time.Duration) error {
	req, err := drafts(files)
	if err != nil {
		return err
	}
	req.Simulate = int64(simulate / time.Second)
	plan, err := a.planned(ctx, req)
	if err != nil {
		return err
	}
	if err := a.result(plan, func(now time.Time) string { return planText(plan, now) }); err != nil {
		return err
	}
	if len(plan.Problems) > 0 {
		a.say("%s", problemsText(plan.Problems))
		return errReported
	}
	return nil
}

// planned asks the daemon, and the files where none answers: a simulation takes what it alone knows.
func (a *app) planned(ctx context.Context, req control.PlanRequest) (control.Plan, error) {
	client, err := a.client()
	if err != nil {
		return control.Plan{}, err
	}
	plan, err := client.Plan(ctx, req)
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.Unavailable || req.Simulate > 0 {
		return plan, err
	}
	config, cerr := a.configuration()
	if cerr != nil {
		return plan, cerr
	}
	if plan, cerr = daemon.PlanFiles(ctx, config, req); cerr != nil {
		return plan, cerr
	}
	plan.Unknown = append([]string{err.Error() + ": planned from the files as they are"}, plan.Unknown...)
	return plan, nil
}

// drafts reads files here, and the files that they name: the daemon may not be allowed to, or may be allowed to read more
// than the caller.
func drafts(files []string) (req control.PlanRequest, err error) {
	for _, file := range files {
		path, err := filepath.Abs(file)
		if err != nil {
			return req, fmt.Errorf("finding %s: %w", file, err)
		}
		text, err := spec.ReadFile(path)
		if p, ok := errors.AsType[*spec.Problem](err); ok {
			return req, problemFailure(p)
		}
		req.Drafts = append(req.Drafts, control.Draft{Path: path, Text: string(text)})
		for path, b := range spec.ReadBeside(text) {
			req.Beside = append(req.Beside, control.DraftFile{Path: path, Data: b.Text, Problem: b.Problem, Hint: b.Hint})
		}
	}
	return req, nil
}

// planText is the answer of `acmed plan`.
func planText(p control.Plan, now time.Time) string {
	var blocks []string
	if p.Simulation != nil {
		return simulationText(*p.Simulation)
	}
	if len(p.Steps) > 0 {
		blocks = append(blocks, stepsText(p.Steps, now))
	}
	if len(p.Costs) > 0 {
		blocks = append(blocks, costsText(p.Costs))
	}
	if p.Unchanged > 0 || len(p.Steps)+len(p.Unknown) == 0 {
		blocks = append(blocks, count(p.Unchanged, "certificate")+" would stay as before\n")
	}
	if p.Held != nil {
		blocks = append(blocks, heldText(p.Held))
	}
	if len(p.Unknown) > 0 {
		var b strings.Builder
		for _, what := range p.Unknown {
			b.WriteString("  " + control.OneLine(what) + "\n")
		}
		blocks = append(blocks, "not known:\n"+b.String())
	}
	return strings.Join(blocks, "\n")
}

func stepsText(steps []control.Step, now time.Time) string {
	table := newTable("NAME", "WOULD", "BECAUSE")
	for _, s := range steps {
		why := s.Reason
		if len(s.Differs) > 0 {
			why = strings.Join(s.Differs, "; ")
		}
		if !s.At.IsZero() {
			why += prefixed("; renewal ", relative(s.At, now))
		}
		table.row(s.Name, joined(" by ", s.Do, s.Issuer), why)
		for _, t := range s.Targets {
			table.row("", "", "  then "+t)
		}
	}
	return table.String()
}

func costsText(costs []control.Cost) string {
	table := newTable("ISSUER", "LIMIT", "NEEDS", "LEFT")
	for _, c := range costs {
		left := fmt.Sprintf("%d of %d in %s", c.Left, c.Max, span(time.Duration(c.Per)*time.Second))
		if c.Exceeded() {
			left += ": the rest has to wait"
		}
		table.row(c.Issuer, c.Limit, c.Needs, left)
	}
	return table.String()
}
