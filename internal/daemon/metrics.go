package daemon

import (
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/deploy"
	"acmed/internal/notify"
	"acmed/internal/reconcile"
	"acmed/internal/scheduler"
)

// metrics are the parts' own collectors and those of the daemon.
type metrics struct {
	registry  *prometheus.Registry
	acme      *acme.Metrics
	challenge *challenge.Metrics
	deploy    *deploy.Metrics
	notify    *notify.Metrics
	reconcile *reconcile.Metrics
	scheduler *scheduler.Metrics
}

func newMetrics() *metrics {
	return &metrics{prometheus.NewRegistry(), acme.NewMetrics(), challenge.NewMetrics(), deploy.NewMetrics(), notify.NewMetrics(), reconcile.NewMetrics(), scheduler.NewMetrics()}
}

func (d *daemon) register(each string, labelNames []string) error {
	all := []prometheus.Collector{
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		d.reconciler.CertificateCollector(each, labelNames),
		gauge("build_info", "1, labelled with the version.", prometheus.Labels{"version": d.version}, func() float64 { return 1 }),
		gauge("spec_problems", "Problems in the files that the operator wrote.", nil, func() float64 { return float64(len(d.specs.problems())) }),
		gauge("spec_removals_held", "Certificates whose files vanished and that stay in force.", nil, func() float64 {
			if held := d.specs.set().Held; held != nil {
				return float64(len(held.Certificates))
			}
			return 0
		}),
		gauge("spec_last_load_timestamp_seconds", "When the specs were last read.", nil, func() float64 {
			return float64(d.specs.lastLoad().UnixMilli()) / 1000
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "acmed_spec_loads_total", Help: "How often the specs were looked at."},
			func() float64 { return float64(d.specs.countLoads()) }),
	}
	for _, part := range [][]prometheus.Collector{
		d.metrics.acme.Collectors(), d.metrics.challenge.Collectors(), d.metrics.deploy.Collectors(), d.metrics.notify.Collectors(), d.metrics.reconcile.Collectors(), d.metrics.scheduler.Collectors(),
	} {
		all = append(all, part...)
	}
	for _, c := range all {
		if err := d.metrics.registry.Register(c); err != nil {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}

func gauge(name, help string, labels prometheus.Labels, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "acmed_" + name, Help: help, ConstLabels: labels}, f)
}

// handler serves the figures.
func (m *metrics) handler(log *zap.Logger) http.Handler {
	return promhttp.InstrumentMetricHandler(m.registry, promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		Registry: m.registry, ErrorLog: zap.NewStdLog(log), MaxRequestsInFlight: 4, Timeout: 50 * time.Second,
	}))
}
