package daemon

import (
	"io"
	"net/http"
	"regexp"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

func AdminHandler(lastTurn time.Time, ready bool) http.Handler {
	return adminHandler(http.NotFoundHandler(), func() time.Time { return lastTurn }, func() bool { return ready })
}

func StatusLine(total int, counts map[reconcile.Phase]int, problems []*spec.Problem, held *spec.Held, silent bool) string {
	return statusLine(total, counts, problems, held, silent)
}

func NextAction(v reconcile.View, now time.Time) control.Action { return nextAction(v, now) }

func Progress(s reconcile.Status, asked time.Time, wait bool) control.Event {
	return progress(s, asked, wait)
}

// Due is when a load follows events.
func Due(events ...time.Time) time.Time {
	w := &watch{}
	for _, t := range events {
		w.note(t)
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
