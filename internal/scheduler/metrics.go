package scheduler

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what one Scheduler does.
type Metrics struct {
	visits    *prometheus.CounterVec
	durations prometheus.Histogram
	panics    prometheus.Counter
	gauges    *gauges
}

// NewMetrics returns the metrics for one Scheduler.
func NewMetrics() *Metrics {
	return &Metrics{
		visits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_scheduler_visits_total",
			Help: "Visits that ended, by result: done, timeout or panic.",
		}, []string{"result"}),
		durations: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "acmed_scheduler_visit_duration_seconds",
			Help:    "How long visits took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 4, 10),
		}),
		panics: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "acmed_panics_total",
			Help: "Visits that panicked; each is a bug in acmed.",
		}),
		gauges: &gauges{
			keys: prometheus.NewDesc("acmed_scheduler_keys",
				"Keys by state: waiting, due or inflight.", []string{"state"}, nil),
			lag: prometheus.NewDesc("acmed_scheduler_lag_seconds",
				"By how much the most overdue key is late.", nil, nil),
		},
	}
}

// Collectors returns what to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.visits, m.durations, m.panics, m.gauges}
}

// visited counts one visit, whose context ended with err if it did.
func (m *Metrics) visited(took time.Duration, err error, panicked bool) {
	result := "done"
	switch {
	case panicked:
		result = "panic"
		m.panics.Inc()
	case errors.Is(err, context.DeadlineExceeded):
		result = "timeout"
	}
	m.visits.WithLabelValues(result).Inc()
	m.durations.Observe(took.Seconds())
}

// observe lets the gauges show s.
func (m *Metrics) observe(s *Scheduler) { m.gauges.scheduler.Store(s) }

// gauges show a Scheduler as it is when it is asked.
type gauges struct {
	scheduler atomic.Pointer[Scheduler]
	keys, lag *prometheus.Desc
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.keys
	ch <- g.lag
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	s := g.scheduler.Load()
	if s == nil {
		return // New was not called yet
	}
	stats := s.Stats()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(g.keys, float64(stats.Waiting), "waiting")
	gauge(g.keys, float64(stats.Due), "due")
	gauge(g.keys, float64(stats.InFlight), "inflight")
	gauge(g.lag, stats.Lag.Seconds())
}
