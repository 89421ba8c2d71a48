package reconcile

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"acmed/internal/store"
)

// Metrics counts what visits do.
type Metrics struct {
	issuances *prometheus.CounterVec
	failures  *prometheus.CounterVec
	duration  *prometheus.HistogramVec
	lists     *prometheus.CounterVec
}

// NewMetrics makes collectors of their own.
func NewMetrics() *Metrics {
	return &Metrics{
		issuances: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_issuances_total", Help: "Certificates issued, by issuer and by why they were ordered.",
		}, []string{"issuer", "reason"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_issuance_failures_total", Help: "Attempts to issue that did not work, by issuer and kind of failure.",
		}, []string{"issuer", "kind"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "acmed_issuance_duration_seconds", Help: "Time from an order to its certificate on disk, waits for the CA included.",
			Buckets: []float64{0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 3600},
		}, []string{"issuer"}),
		lists: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "acmed_revocation_list_reads_total", Help: "Revocation lists that were read, found unchanged, or could not be used.",
		}, []string{"result"}),
	}
}

// Collectors are to be registered once.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.issuances, m.failures, m.duration, m.lists}
}

func (m *Metrics) issued(o store.Order, took time.Duration) {
	m.issuances.WithLabelValues(o.Issuer, o.Reason).Inc()
	m.duration.WithLabelValues(o.Issuer).Observe(took.Seconds())
}

func (m *Metrics) failed(issuer string, f store.Failure) {
	m.failures.WithLabelValues(issuer, f.Kind).Inc()
}

func (m *Metrics) readList(result string) { m.lists.WithLabelValues(result).Inc() }

const (
	// mostRevoked is how many revoked certificates have a series that says so, however many certificates there are.
	mostRevoked = 1000
	// mostSeries is how many certificates have series of their own; beyond, only the most urgent do.
	mostSeries   = 10_000
	urgentSeries = 100
)

// collector describes the certificates of a Reconciler at the time of a scrape, so that none that is gone leaves
// series behind.
type collector struct {
	views   func() []View               // in any order
	labels  func(name string) []string  // values of the labels of info, behind name and issuer
	holds   func() map[string]time.Time // until when issuers are left alone
	each    string                      // "auto", "on" or "off"
	count   *prometheus.Desc
	expiry  *prometheus.Desc
	issued  *prometheus.Desc
	info    *prometheus.Desc
	hold    *prometheus.Desc
	next    *prometheus.Desc
	phase   *prometheus.Desc
	failed  *prometheus.Desc
	left    *prometheus.Desc
	behind  *prometheus.Desc
	served  *prometheus.Desc
	revoke  *prometheus.Desc
	instead *prometheus.Desc

	retired   func() []View                   // in any order, for the collector to keep
	sighted   func(View) (served, known bool) // of a retired one
	ofRetired retiredMetrics
}

// CertificateCollector gives the state of all certificates, counted by phase, and of each certificate as far as
// each allows it: "on", "off", or "auto" for up to 10,000 and beyond that the 100 that expire first. labelNames are those of
// the specs' labels that acmed_certificate_info carries. Issuers are told of while they are left alone.
func (r *Reconciler) CertificateCollector(each string, labelNames []string) prometheus.Collector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("acmed_"+name, help, labels, nil)
	}
	return &collector{
		views: r.board.all, each: each, holds: r.holds, retired: r.Retired, sighted: r.board.sighted, ofRetired: newRetiredMetrics(),
		labels:  func(name string) []string { return r.labels(name, labelNames) },
		count:   desc("certificates", "Certificates by phase.", "phase"),
		expiry:  desc("certificate_expiry_timestamp_seconds", "When the certificate on disk expires.", "cert"),
		issued:  desc("certificate_issued_timestamp_seconds", "When the certificate on disk was issued.", "cert"),
		info:    desc("certificate_info", "1, labelled with the issuer and with the labels of the spec that labelNames allows.", append([]string{"cert", "issuer"}, labelNames...)...),
		hold:    desc("issuer_hold_timestamp_seconds", "Until when an issuer is left alone; absent while it may be asked.", "issuer"),
		next:    desc("certificate_next_action_timestamp_seconds", "When acmed looks at the certificate next.", "cert"),
		phase:   desc("certificate_phase", "1 for the phase that the certificate is in.", "cert", "phase"),
		failed:  desc("certificate_last_failure_timestamp_seconds", "When the last attempt failed; absent while all is well.", "cert"),
		behind:  desc("certificate_targets_behind", "Consumers that have not accepted the live certificate.", "cert"),
		served:  desc("certificate_served_expiry_timestamp_seconds", "When the certificate that a probe saw last expires, the first of several.", "cert"),
		revoke:  desc("certificate_revoked", "1 for a certificate in use that its CA has revoked; absent for all others.", "cert"),
		instead: desc("standby_certificates", "Certificates in use that a standby issued, since the first issuer of their specs was of no use.", "issuer"),
		left:    desc("certificate_remaining_seconds", "Certificates by the time left until they expire."),
	}
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{c.count, c.expiry, c.issued, c.info, c.hold, c.next, c.phase, c.failed, c.left, c.behind, c.served, c.revoke, c.instead} {
		out <- d
	}
	for _, d := range c.ofRetired.all() {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	views, now := c.views(), time.Now()
	counts, standbys := map[Phase]int{}, map[string]int{}
	for _, v := range views {
		counts[v.Phase]++
		if v.Standby != "" {
			standbys[v.Standby]++
		}
	}
	for issuer, n := range standbys {
		out <- prometheus.MustNewConstMetric(c.instead, prometheus.GaugeValue, float64(n), issuer)
	}
	for _, p := range Phases() {
		if p != PhaseRetired {
			out <- prometheus.MustNewConstMetric(c.count, prometheus.GaugeValue, float64(counts[p]), string(p))
		}
	}
	out <- c.remaining(views, now)
	for issuer, until := range c.holds() {
		if until.After(now) {
			out <- prometheus.MustNewConstMetric(c.hold, prometheus.GaugeValue, unix(until), issuer)
		}
	}
	for _, v := range c.chosen(views) {
		c.one(out, v)
	}
	c.revoked(out, views)
	c.ofRetired.collect(out, c.retired(), c.sighted, now)
}

// revoked are told of even where certificates have no series of their own.
func (c *collector) revoked(out chan<- prometheus.Metric, views []View) {
	told := 0
	for _, v := range views {
		if v.Revoked && told < mostRevoked {
			told++
			out <- prometheus.MustNewConstMetric(c.revoke, prometheus.GaugeValue, 1, v.Name)
		}
	}
}

// chosen are the certificates that get series of their own.
func (c *collector) chosen(views []View) []View {
	switch {
	case c.each == "off":
		return nil
	case c.each == "on", len(views) <= mostSeries:
		return views
	}
	return urgentOf(views)
}

// urgentOf are those that expire first. What is not there yet expires last: the counts tell of it.
func urgentOf(views []View) []View {
	var first []View
	for _, v := range views {
		at, _ := slices.BinarySearchFunc(first, v, func(a, b View) int { return a.NotAfter.Compare(b.NotAfter) })
		if at < urgentSeries && !v.NotAfter.IsZero() {
			first = slices.Insert(first[:min(len(first), urgentSeries-1)], at, v)
		}
	}
	return first
}

// labels are the values of a spec's labels; "" for one that it does not have.
func (r *Reconciler) labels(name string, labelNames []string) []string {
	values := make([]string, len(labelNames))
	if want := r.specs.Load().Certificate(name); want != nil {
		for i, label := range labelNames {
			values[i] = want.Labels[label]
		}
	}
	return values
}

// holds is until when each issuer that was asked for is left alone.
func (r *Reconciler) holds() map[string]time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	holds := map[string]time.Time{}
	for name, i := range r.issuers {
		i.ledger.View(func(s *store.IssuerState) { holds[name] = s.Hold })
	}
	return holds
}

func (c *collector) one(out chan<- prometheus.Metric, v View) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, append([]string{v.Name}, labels...)...)
	}
	if !v.NotAfter.IsZero() {
		gauge(c.expiry, unix(v.NotAfter))
		gauge(c.issued, unix(v.Committed))
	}
	gauge(c.info, 1, append([]string{v.Issuer}, c.labels(v.Name)...)...)
	if !v.Next.IsZero() {
		gauge(c.next, unix(v.Next))
	}
	if !v.ErrorAt.IsZero() {
		gauge(c.failed, unix(v.ErrorAt))
	}
	if !v.Served.IsZero() {
		gauge(c.served, unix(v.Served))
	}
	gauge(c.behind, float64(v.Behind))
	gauge(c.phase, 1, string(v.Phase))
}

// remaining is a histogram over the time left, in days up to 90.
func (c *collector) remaining(views []View, now time.Time) prometheus.Metric {
	const day = 24 * time.Hour
	buckets := map[float64]uint64{}
	var count uint64
	var sum float64
	for _, edge := range []time.Duration{0, day, 3 * day, 7 * day, 14 * day, 30 * day, 60 * day, 90 * day} {
		buckets[edge.Seconds()] = 0
	}
	for _, v := range views {
		if v.NotAfter.IsZero() {
			continue
		}
		left := v.NotAfter.Sub(now).Seconds()
		count++
		sum += left
		for edge := range buckets {
			if left <= edge {
				buckets[edge]++
			}
		}
	}
	return prometheus.MustNewConstHistogram(c.left, count, sum, buckets)
}

func unix(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// retiredMetrics describe the certificates whose specs are gone, so that an alert can tell of them.
type retiredMetrics struct {
	count, at, expiry, served *prometheus.Desc
}

func newRetiredMetrics() retiredMetrics {
	return retiredMetrics{
		count:  prometheus.NewDesc("acmed_retired_certificates", "Certificates without a spec that have not expired, or that a server still serves, by state.", []string{"state"}, nil),
		at:     prometheus.NewDesc("acmed_certificate_retired_timestamp_seconds", "Unix timestamp of the removal of the spec, while the certificate has not expired or is still served.", []string{"cert"}, nil),
		expiry: prometheus.NewDesc("acmed_certificate_retired_expiry_timestamp_seconds", "Unix timestamp of the expiry of a certificate whose spec was removed.", []string{"cert"}, nil),
		served: prometheus.NewDesc("acmed_certificate_retired_served", "1 if a probe sees that a server still serves a certificate whose spec was removed, else 0; absent without a probe.", []string{"cert"}, nil),
	}
}

func (m *retiredMetrics) all() []*prometheus.Desc {
	return []*prometheus.Desc{m.count, m.at, m.expiry, m.served}
}

// mostRetired is how many retired certificates have series of their own: those that are served, then those that expire first.
const mostRetired = 1000

// collect reports the retired certificates that matter to somebody.
func (m *retiredMetrics) collect(out chan<- prometheus.Metric, retired []View, sighted func(View) (served, known bool), now time.Time) {
	gauge := func(d *prometheus.Desc, value float64, label string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, label)
	}
	served := map[string]bool{}
	retired = slices.DeleteFunc(retired, func(v View) bool {
		if v.Retirement == nil {
			return true
		}
		served[v.Name], _ = sighted(v)
		return !served[v.Name] && !now.Before(v.NotAfter)
	})
	slices.SortFunc(retired, func(a, b View) int {
		return cmp.Or(rank(served[a.Name])-rank(served[b.Name]), a.NotAfter.Compare(b.NotAfter), strings.Compare(a.Name, b.Name))
	})
	unexpired, seen := 0, 0
	for i, v := range retired {
		if now.Before(v.NotAfter) {
			unexpired++
		}
		if served[v.Name] {
			seen++
		}
		if i >= mostRetired {
			continue
		}
		gauge(m.at, unix(v.Retirement.At), v.Name)
		gauge(m.expiry, unix(v.NotAfter), v.Name)
		if s, known := sighted(v); known {
			gauge(m.served, float64(1-rank(s)), v.Name)
		}
	}
	gauge(m.count, float64(unexpired), "unexpired")
	gauge(m.count, float64(seen), "served")
}

// rank puts what is so before what is not.
func rank(so bool) int {
	if so {
		return 0
	}
	return 1
}
