package daemon

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"acmed/internal/reconcile"
)

// statusEvery is how often STATUS= may change.
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

// statusLine is the state of everything in one line, the worst last so that it is not cut off unseen.
func (d *daemon) statusLine() string {
	counts, _ := d.reconciler.Counts()
	total := 0
	var parts []string
	for _, p := range reconcile.Phases() {
		if total += counts[p]; counts[p] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[p], p))
		}
	}
	line := plural(total, "certificate")
	if len(parts) > 0 {
		line += ": " + strings.Join(parts, ", ")
	}
	set := d.specs.set()
	if problems := d.specs.problems(); len(problems) > 0 {
		first := problems[0]
		line += fmt.Sprintf("; %s, first in %s:%d", plural(len(problems), "problem"), filepath.Base(first.File), first.Line)
	}
	if set.Held != nil {
		line += fmt.Sprintf("; %s held", plural(len(set.Held.Certificates), "removal"))
	}
	if d.http01 == nil && d.specs.settings().HTTP.Solver == "listen" {
		line += "; http-01: nobody answers on port 80"
	}
	return line
}
