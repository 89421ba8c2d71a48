package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// statusEvery is how often STATUS= may change by itself.
const statusEvery = 5 * time.Second

// reportStatus keeps the line that systemctl status shows true.
func (d *daemon) reportStatus(ctx context.Context) error {
	tick := time.NewTicker(statusEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			d.notifier.Status(d.statusLine())
		}
	}
}

func (d *daemon) statusLine() string {
	set := d.specs.set()
	counts, all := d.counted()
	line := statusLine(all, counts, d.specs.problems(), set.Held, d.answers.Load().trouble)
	if d.admin.trouble() != "" {
		line = "metrics and status page not served; " + line
	}
	if next := d.nextLine(time.Now()); next != "" {
		line += "; " + next
	}
	return line
}

// fewEnough is up to how many certificates all are looked at for the status line, which changes every few seconds.
const fewEnough = 1000

// nextLine tells what acmed does next, and when.
func (d *daemon) nextLine(now time.Time) string {
	counts, _ := d.reconciler.Counts()
	total := 0
	for _, n := range counts {
		total += n
	}
	if total == 0 || total > fewEnough {
		return ""
	}
	var first control.Action
	name := ""
	for _, v := range d.reconciler.Views() {
		if a := nextAction(v, now); a.Do != "" && !a.At.IsZero() && (name == "" || a.At.Before(first.At)) {
			first, name = a, v.Name
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf("next: %s %s at %s", first.Do, name, later(first.At, now).Local().Format("2006-01-02 15:04"))
}

// statusLine is the state of everything in one line. What somebody should look at comes first: systemd shows the
// beginning of a long line.
func statusLine(total int, counts map[control.Phase]int, problems []*spec.Problem, held *spec.Held, http01 string) string {
	var parts []string
	if len(problems) > 0 {
		parts = append(parts, problemsLine(problems))
	}
	if held != nil {
		parts = append(parts, plural(len(held.Certificates)+len(held.Issuers)+len(held.Providers), "removal")+" held")
	}
	if http01 != "" {
		parts = append(parts, "http-01: "+http01)
	}
	var phases []string
	for _, p := range reconcile.Phases() {
		if n := counts[control.Phase(p)]; n > 0 {
			phases = append(phases, fmt.Sprintf("%d %s", n, p))
		}
	}
	certificates := plural(total, "certificate")
	if len(phases) > 0 {
		certificates += ": " + strings.Join(phases, ", ")
	}
	return strings.Join(append(parts, certificates), "; ")
}

// problemsLine counts problems and shows where the first one is.
func problemsLine(problems []*spec.Problem) string {
	first := problems[0]
	at := filepath.Base(first.File)
	if first.Line > 0 {
		at = fmt.Sprintf("%s:%d", at, first.Line)
	}
	if len(problems) == 1 {
		return "problem in " + at
	}
	return fmt.Sprintf("%d problems, first in %s", len(problems), at)
}
