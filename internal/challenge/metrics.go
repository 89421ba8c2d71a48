package challenge

import "github.com/prometheus/client_golang/prometheus"

// How a request ended: the values of the label result.
const (
	resultAnswered = "answered" // with a key authorization
	resultUnknown  = "unknown"  // token: malformed, or not to be shown now
	resultFallback = "fallback" // not for a token
	resultRefused  = "refused"  // method or body
)

// Why a connection was closed unserved: the values of the label reason.
const (
	reasonNetwork = "network" // its network had MaxConnsPerNetwork open
	reasonEvicted = "evicted" // it made room for a newer one
)

// Metrics counts what happens on port 80. One instance serves a handler and its server.
type Metrics struct {
	requests    *prometheus.CounterVec
	connections prometheus.Gauge
	rejected    *prometheus.CounterVec
}

// NewMetrics returns metrics that are registered nowhere yet.
func NewMetrics() *Metrics {
	m := &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_http01_requests_total",
			Help: "Requests to the http-01 responder by result.",
		}, []string{"result"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "acmed_http01_connections",
			Help: "Open connections of the http-01 responder.",
		}),
		rejected: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_http01_rejected_connections_total",
			Help: "Connections that the http-01 responder closed to stay within its limits, by reason.",
		}, []string{"reason"}),
	}
	for _, result := range []string{resultAnswered, resultUnknown, resultFallback, resultRefused} {
		m.requests.WithLabelValues(result)
	}
	for _, reason := range []string{reasonNetwork, reasonEvicted} {
		m.rejected.WithLabelValues(reason)
	}
	return m
}

// Collectors returns what is to be registered.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.connections, m.rejected}
}
