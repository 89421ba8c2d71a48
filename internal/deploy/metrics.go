package deploy

import (
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what came of deliveries, wherever they were made.
type Metrics struct {
	targets  *prometheus.CounterVec
	duration *prometheus.HistogramVec
	refused  prometheus.Counter
}

// NewMetrics makes collectors of their own.
func NewMetrics() *Metrics {
	m := &Metrics{
		targets: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_deploy_targets_total", Help: "Consumers that were given a certificate, by kind and by what came of it.",
		}, []string{"kind", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "acmed_deploy_duration_seconds", Help: "Time that giving a certificate to one consumer took, by kind.",
			Buckets: []float64{0.01, 0.1, 0.5, 1, 5, 10, 30, 60, 300},
		}, []string{"kind"}),
		refused: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "acmed_deploys_refused_total", Help: "Deliveries of a certificate that could not begin.",
		}),
	}
	for _, kind := range kinds() {
		for _, result := range []string{accepted, refused} {
			m.targets.WithLabelValues(kind, result)
		}
		m.duration.WithLabelValues(kind)
	}
	m.targets.WithLabelValues("file", withdrawn)
	return m
}

// Collectors are to be registered once.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.targets, m.duration, m.refused}
}

// Observe counts what came of one certificate.
func (m *Metrics) Observe(a Answer) {
	if a.Problem != "" {
		m.refused.Inc()
	}
	for _, r := range a.Results {
		m.targets.WithLabelValues(r.kind(), r.outcome()).Inc()
		m.duration.WithLabelValues(r.kind()).Observe(r.Took.Seconds())
	}
}

// kind is the first word of a target's key, if it is one that there is.
func (r Result) kind() string {
	kind, _, _ := strings.Cut(r.Key, " ")
	if slices.Contains(kinds(), kind) {
		return kind
	}
	return "other"
}

func kinds() []string { return []string{"file", "check", "reload", "restart", "run", "probe"} }

// The values of the label result.
const (
	accepted  = "accepted"
	withdrawn = "withdrawn"
	refused   = "failed"
)

func (r Result) outcome() string {
	switch {
	case r.OK:
		return accepted
	case r.Withdrawn:
		return withdrawn
	}
	return refused
}
