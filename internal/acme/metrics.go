package acme

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what a Client does. A nil *Metrics counts nothing.
type Metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	errors   *prometheus.CounterVec
}

// NewMetrics makes the collectors; all the clients of a process share them.
func NewMetrics() *Metrics {
	return &Metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_acme_requests_total",
			Help: "Requests to a CA, by operation and class of the answer's status; code is none when there was no answer.",
		}, []string{"issuer", "op", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "acmed_acme_request_duration_seconds",
			Help:    "Time from sending a request to a CA until its answer was read.",
			Buckets: []float64{.01, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 120},
		}, []string{"issuer", "op"}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_acme_errors_total",
			Help: "Failed operations at a CA, by kind and by problem; problems that acmed does not know are other.",
		}, []string{"issuer", "op", "kind", "problem"}),
	}
}

// Collectors returns the collectors for registration.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.requests, m.duration, m.errors}
}

// request counts one request; status 0 stands for no answer.
func (m *Metrics) request(issuer, op string, status int, took time.Duration) {
	if m == nil {
		return
	}
	m.requests.WithLabelValues(issuer, op, codeClass(status)).Inc()
	m.duration.WithLabelValues(issuer, op).Observe(took.Seconds())
}

func (m *Metrics) failed(issuer string, e *Error) {
	if m == nil {
		return
	}
	m.errors.WithLabelValues(issuer, e.Op, e.Kind.String(), boundedProblem(e.Problem)).Inc()
}

func codeClass(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return strconv.Itoa(status/100) + "xx"
}
