package notify

import "github.com/prometheus/client_golang/prometheus"

// Metrics counts messages.
type Metrics struct{ sent *prometheus.CounterVec }

// NewMetrics makes collectors of their own.
func NewMetrics() *Metrics {
	m := &Metrics{sent: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "acmed_notifications_total", Help: "Messages of notify:, by what came of them.",
	}, []string{"result"})}
	for _, result := range []string{"sent", "failed"} {
		m.sent.WithLabelValues(result)
	}
	return m
}

// Collectors are to be registered once.
func (m *Metrics) Collectors() []prometheus.Collector { return []prometheus.Collector{m.sent} }
