package reconcile_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func TestStatusTellsWhatIsKnown(t *testing.T) {
	bubble(t, slow(), func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		s, err := w.reconciler.Status("www")
		if err != nil {
			t.Fatal(err)
		}
		if s.Phase != reconcile.PhaseIssuing || s.Order == nil || s.Order.URL == "" || s.Record.Issued != nil || s.DueWhy != reconcile.Missing ||
			s.Decision.Why != reconcile.AwaitingCA || s.Spec.Name != "www" {
			t.Errorf("while it is ordered: %+v", s)
		}
		time.Sleep(3 * time.Hour)
		s, err = w.reconciler.Status("www")
		if err != nil {
			t.Fatal(err)
		}
		if s.Phase != reconcile.PhaseValid || s.Order != nil || s.Record.Issued.Number != 1 || s.DueWhy != reconcile.Lifetime ||
			!s.Renewal.After(time.Now()) || !s.NotAfter.Equal(s.Record.Issued.NotAfter) {
			t.Errorf("when it is there: %+v", s)
		}
		w.want()
		synctest.Wait()
		if s, err = w.reconciler.Status("www"); err != nil || s.Phase != reconcile.PhaseRetired || s.Spec != nil || s.Revision != 1 {
			t.Errorf("when its spec is gone: %+v, %v", s, err)
		}
		if s, err = w.reconciler.Status("nobody"); err != nil || s.Phase != reconcile.PhaseRetired || s.Revision != 0 {
			t.Errorf("of nobody: %+v, %v", s, err)
		}
	})
}

func TestStatusTellsOfTheQueue(t *testing.T) {
	bubble(t, slow(), func(w *world) {
		w.narrow(cert("a"), cert("b"))
		w.run()
		time.Sleep(50 * time.Second)
		why := map[reconcile.Reason]int{}
		for _, name := range []string{"a", "b"} {
			s, err := w.reconciler.Status(name)
			if err != nil {
				t.Fatal(err)
			}
			if v := w.view(name); s.Do != v.Do || s.Why != v.Why || s.Detail != v.Detail {
				t.Errorf("got %+v, and in the list %+v", s.View, v)
			}
			why[s.Why]++
		}
		if want := map[reconcile.Reason]int{reconcile.AwaitingCA: 1, reconcile.Queued: 1}; !maps.Equal(why, want) {
			t.Errorf("got %v", why)
		}
		w.want()
		time.Sleep(day)
	})
}

func TestStatusWritesNothing(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.open()
		w.settle("www")
		w.link("www", "")
		for range 2 {
			if s, err := w.reconciler.Status("www"); err != nil || s.Do != reconcile.Activate || s.Phase != reconcile.PhaseDeploying {
				t.Errorf("got %+v, %v", s, err)
			}
		}
		if n, err := w.store.Live("www"); n != 0 || err != nil {
			t.Errorf("revision %d is live, %v", n, err)
		}
		if v := w.view("www"); v.Phase != reconcile.PhaseValid {
			t.Errorf("the list shows %+v", v)
		}
		w.settle("www")
	})
}

func TestViewsAndCountsFollow(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.ca().FailValidation("b.example.com", "dns", "no A record")
		w.want(cert("c"), cert("a"), cert("b"))
		w.run()
		time.Sleep(time.Second)
		var names []string
		for _, v := range w.reconciler.Views() {
			names = append(names, v.Name)
		}
		if !slices.Equal(names, []string{"a", "b", "c"}) {
			t.Errorf("got views of %v", names)
		}
		counted := func(want map[reconcile.Phase]int, failing int) {
			t.Helper()
			synctest.Wait()
			phases, n := w.reconciler.Counts()
			maps.DeleteFunc(phases, func(_ reconcile.Phase, n int) bool { return n == 0 })
			if !maps.Equal(phases, want) || n != failing {
				t.Errorf("got %v and %d failing, want %v and %d", phases, n, want, failing)
			}
		}
		counted(map[reconcile.Phase]int{reconcile.PhaseValid: 2, reconcile.PhaseBackoff: 1}, 1)
		w.want(cert("a"), cert("b"))
		counted(map[reconcile.Phase]int{reconcile.PhaseValid: 1, reconcile.PhaseBackoff: 1}, 1)
		w.ca().FailValidation("b.example.com", "", "")
		time.Sleep(time.Hour)
		counted(map[reconcile.Phase]int{reconcile.PhaseValid: 2}, 0)
		if v := w.view("c"); v.Name != "" {
			t.Errorf("c is still there: %+v", v)
		}
	})
}

// TestTheListIsTheSameAfterARestart looks before any visit.
func TestTheListIsTheSameAfterARestart(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.ca().FailValidation("bad.example.com", "dns", "no A record")
		moved := cert("moved")
		moved.Challenge.Type = "dns-01"
		w.want(cert("good"), cert("bad"), moved)
		w.run()
		time.Sleep(150 * time.Minute)
		w.stop()
		w.want(cert("good"), cert("bad"), cert("moved"))
		before := w.reconciler.Views()
		w.open()
		for _, v := range before {
			at, deadline := w.reconciler.Adopt(v.Name)
			now := w.view(v.Name)
			if v.Name == "moved" { // its failure was of another challenge
				if now.Error != "" || now.Do != reconcile.Issue || at.After(time.Now()) {
					t.Errorf("got %+v", now)
				}
				continue
			}
			if now.Phase != v.Phase || now.Why != v.Why || now.Error != v.Error || now.Revision != v.Revision || !at.Equal(now.Next) || !deadline.Equal(now.NotAfter) {
				t.Errorf("got %+v, was %+v", now, v)
			}
		}
	})
}

// many shows n certificates, the first of which expires first, but for some that are missing.
func many(t *testing.T, n, missing int) *reconcile.Reconciler {
	t.Helper()
	w := newWorld(t, acmetest.Config{})
	w.open()
	t.Cleanup(w.stop)
	now := time.Now()
	for i := range n {
		v := reconcile.View{
			Name: fmt.Sprintf("c%05d", i), Phase: reconcile.PhaseValid, Do: reconcile.Wait, Why: reconcile.NotDue,
			NotAfter: now.Add(time.Duration(i+1) * time.Hour), Next: now.Add(time.Hour),
		}
		if i >= n-missing {
			v.Phase, v.NotAfter, v.Error, v.ErrorAt = reconcile.PhaseMissing, time.Time{}, "no", now
		}
		w.reconciler.Show(v)
	}
	return w.reconciler
}

func TestCertificateMetrics(t *testing.T) {
	const expiry = "acmed_certificate_expiry_timestamp_seconds"
	for sentence, c := range map[string]struct {
		each                     string
		certificates, missing    int
		expiries, phases, errors int
	}{
		"all have series as long as they are few":          {"auto", 10_000, 10, 9990, 10_000, 10},
		"beyond that, the hundred that expire first do":    {"auto", 10_001, 200, 100, 100, 0},
		"all have series where the operator wants it":      {"on", 10_001, 10, 9991, 10_001, 10},
		"none has where he does not":                       {"off", 3, 1, 0, 0, 0},
		"nothing is there at first":                        {"auto", 0, 0, 0, 0, 0},
		"those that are missing have no time of expiry":    {"auto", 2, 2, 0, 2, 2},
		"with few that exist, those beyond have no series": {"auto", 10_001, 9_999, 2, 2, 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := many(t, c.certificates, c.missing)
			collector := r.CertificateCollector(c.each, nil)
			for name, want := range map[string]int{
				expiry: c.expiries, "acmed_certificate_phase": c.phases,
				"acmed_certificate_last_failure_timestamp_seconds": c.errors,
				"acmed_certificates":                  len(reconcile.Phases()) - 1,
				"acmed_certificate_remaining_seconds": 1,
			} {
				if got := testutil.CollectAndCount(collector, name); got != want {
					t.Errorf("%s: got %d series, want %d", name, got, want)
				}
			}
			if c.certificates > 10 {
				return // the linter is slow
			}
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(collector)
			if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
				t.Errorf("got %v, %v", problems, err)
			}
		})
	}
	t.Run("the hundred are those that expire first", func(t *testing.T) {
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(many(t, 10_001, 5).CertificateCollector("auto", nil))
		families, err := registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if f.GetName() != expiry {
				continue
			}
			for i, m := range f.GetMetric() {
				if got, want := m.GetLabel()[0].GetValue(), fmt.Sprintf("c%05d", i); got != want {
					t.Fatalf("series %d is of %s", i, got)
				}
			}
		}
	})
}

func TestCountsInMetricsAreTrue(t *testing.T) {
	r := many(t, 5, 2)
	var lines []string
	for _, p := range reconcile.Phases() {
		n := map[reconcile.Phase]int{reconcile.PhaseValid: 3, reconcile.PhaseMissing: 2}[p]
		if p != reconcile.PhaseRetired {
			lines = append(lines, fmt.Sprintf("acmed_certificates{phase=%q} %d", p, n))
		}
	}
	slices.Sort(lines)
	want := "# HELP acmed_certificates Certificates by phase.\n# TYPE acmed_certificates gauge\n" + strings.Join(lines, "\n") + "\n"
	if err := testutil.CollectAndCompare(r.CertificateCollector("off", nil), strings.NewReader(want), "acmed_certificates"); err != nil {
		t.Error(err)
	}
}

func TestIssuancesAreCounted(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.ca().FailValidation("bad.example.com", "dns", "no A record")
		w.put(spec.NewSet([]*spec.Certificate{cert("good"), cert("bad")}, []*spec.Issuer{w.issuer("ca", letsencrypt())}))
		w.run()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		for _, c := range w.metrics.Collectors() {
			if problems, err := testutil.CollectAndLint(c); err != nil || len(problems) > 0 {
				t.Errorf("got %v, %v", problems, err)
			}
		}
		want := `
# HELP acmed_issuance_failures_total Attempts to issue that did not work, by issuer and kind of failure.
# TYPE acmed_issuance_failures_total counter
acmed_issuance_failures_total{issuer="ca",kind="validation"} 1
# HELP acmed_issuances_total Certificates issued, by issuer and by why they were ordered.
# TYPE acmed_issuances_total counter
acmed_issuances_total{issuer="ca",reason="missing"} 1
`
		registry := prometheus.NewPedanticRegistry()
		registry.MustRegister(w.metrics.Collectors()...)
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "acmed_issuances_total", "acmed_issuance_failures_total"); err != nil {
			t.Error(err)
		}
	})
}

// TestStatusTellsTheTruthDuringARequest looks at a certificate whenever the CA is asked something: during its first order,
// its delivery, a poll for advice, and while a renewed one waits for its window.
func TestStatusTellsTheTruthDuringARequest(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		c := newConsumers(w)
		w.deliver = func(d reconcile.Delivery) { time.AfterFunc(time.Second, func() { c.deliver(d) }) }
		phases := map[reconcile.Phase]int{}
		w.cut = func(r *request) error {
			s, err := w.reconciler.Status("www")
			if err != nil {
				t.Error(err)
			}
			phases[s.Phase]++
			if s.Do == reconcile.Abandon {
				t.Errorf("%s: the order that is being made is called unwanted: %s", r.URL.Path, s.Detail)
			}
			if s.Phase == reconcile.PhaseValid && (s.Behind > 0 || s.Revision < s.Newest) {
				t.Errorf("%s: called valid, and %d targets do not have revision %d of %d", r.URL.Path, s.Behind, s.Revision, s.Newest)
			}
			return nil
		}
		want := consumedCert()
		want.Deploy.Window = &spec.Window{Start: "02:00", Duration: time.Hour, Timezone: "UTC", UnlessExpiresWithin: day}
		w.want(want)
		w.run()
		time.Sleep(4 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		w.renew()
		time.Sleep(12 * time.Hour)
		w.expect("www", reconcile.PhaseDeploying, reconcile.Window)
		if phases[reconcile.PhaseIssuing] == 0 || phases[reconcile.PhaseRenewing] == 0 || phases[reconcile.PhaseDeploying] < 2 || phases[reconcile.PhaseMissing] > 0 {
			t.Errorf("seen: %v", phases)
		}
	})
}
