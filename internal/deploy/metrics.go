package deploy

import (
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
	return &Metrics{
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
		kind, _, _ := strings.Cut(r.Key, " ") // file, check, reload, run or probe
		m.targets.WithLabelValues(kind, r.outcome()).Inc()
		m.duration.WithLabelValues(kind).Observe(r.Took.Seconds())
	}
}

func (r Result) outcome() string {
	switch {
	case r.OK:
		return "accepted"
	case r.Withdrawn:
		return "withdrawn"
	default:
		return "failed"
	}
}
