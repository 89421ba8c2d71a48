package daemon

import (
	"context"
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

func AdminHandler(lastTurn time.Time, ready bool) http.Handler {
	return adminHandler(http.NotFoundHandler(), http.NotFoundHandler(), func() time.Time { return lastTurn }, func() bool { return ready })
}

func StatusLine(total int, counts map[control.Phase]int, problems []*spec.Problem, held *spec.Held, http01 string) string {
	return statusLine(total, counts, problems, held, http01)
}

// SelfCheck fetches a proof for name from hosts, and returns what is said of it.
func SelfCheck(ctx context.Context, solver acme.Solver, name string, hosts ...string) (text, trouble string) {
	c := &selfCheck{solver: solver, dir: "DIR", hosts: func() []string { return hosts }, log: zap.NewNop()}
	a := c.check(ctx, name)
	return a.text, a.trouble
}

// SelfCheckUntil checks again and again on a machine without port 80, until ctx ends. wanted is asked each time.
func SelfCheckUntil(ctx context.Context, solver acme.Solver, wanted func() bool, report func(trouble string)) error {
	c := &selfCheck{
		solver: solver, hosts: func() []string { return nil }, log: zap.NewNop(),
		wanted: func() (string, bool) { return "a.example.com", wanted() },
		report: func(a answering) { report(a.trouble) },
	}
	return c.run(ctx)
}

func Port80() []string { return port80() }

func NextAction(v reconcile.View, now time.Time) control.Action { return nextAction(v, now) }

func Progress(s reconcile.Status, asked time.Time, wait bool) control.Event {
	return progress(s, asked, wait)
}

// Due is when a load follows events.
func Due(events ...time.Time) time.Time {
	w := &watch{}
	for _, t := range events {
		w.note(t, "")
	}
	return w.due()
}

// Loses tells whether a load follows an error of inotify.
func Loses(stderr io.Writer, err error) bool {
	log, _, _ := newLogger(spec.Log{Level: "info", Format: "json"}, stderr)
	w := &watch{log: log}
	w.failed(err)
	return !w.due().IsZero()
}

// Log writes one line in a format.
func Log(c spec.Log, stderr io.Writer) error {
	log, _, err := newLogger(c, stderr)
	if err == nil {
		log.Info("words")
		log.Debug("details")
	}
	return err
}

// LogTime writes a line that holds a time.
func LogTime(c spec.Log, stderr io.Writer, at time.Time) error {
	log, _, err := newLogger(c, stderr)
	if err == nil {
		log.Info("words", zap.Time("notAfter", at))
	}
	return err
}

// MetricNames are those that the daemon of an acmed.yaml can show, whether they have a value or not.
func MetricNames(file string) ([]string, error) {
	config, err := spec.LoadConfig(file)
	if err != nil {
		return nil, err
	}
	d, err := build(Config{Stderr: io.Discard}, config, sd.FromEnv(), nil)
	if err != nil {
		return nil, err
	}
	defer d.close()
	descriptions := make(chan *prometheus.Desc)
	go func() {
		defer close(descriptions)
		d.metrics.registry.Describe(descriptions)
	}()
	var names []string
	for desc := range descriptions {
		if m := regexp.MustCompile(`fqName: "(acmed_\w+)"`).FindStringSubmatch(desc.String()); m != nil {
			names = append(names, m[1])
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// Changed is where a load looks after events at these paths and an error of inotify.
func Changed(err error, paths ...string) []string {
	w := &watch{log: zap.NewNop()}
	for _, path := range paths {
		w.note(time.Now(), path)
	}
	if err != nil {
		w.failed(err)
	}
	return w.changed()
}
