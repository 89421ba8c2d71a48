package reconcile_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/common/expfmt"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// TestAStandbyIssuesWhileTheFirstIsDownForADay sees it in the status, the metrics and the log, and home again.
func TestAStandbyIssuesWhileTheFirstIsDownForADay(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		var log *observer.ObservedLogs
		w.core, log = observer.New(zap.InfoLevel)
		w.addCA("backup", acmetest.Config{})
		w.put(spec.NewSet([]*spec.Certificate{cert("www", "ca", "backup")},
			[]*spec.Issuer{w.issuer("ca", letsencrypt()), w.issuer("backup", letsencrypt())}))
		w.run()
		time.Sleep(time.Minute)
		due := w.view("www").Renewal
		time.Sleep(time.Until(due) - time.Minute)
		w.ca().Down(true)
		time.Sleep(day)
		if v := w.view("www"); v.Phase != reconcile.PhaseValid || v.Revision != 2 || v.Issuer != "backup" || v.Standby != "backup" {
			t.Errorf("after a day: %+v", v)
		}
		s, err := w.reconciler.Status("www")
		if err != nil || !strings.Contains(s.Record.Issued.Instead, "ca is not asked before ") || !strings.Contains(s.Record.Issued.Instead, "cannot be reached") {
			t.Errorf("its status: %+v, %v", s.Record.Issued, err)
		}
		w.metric("acmed_standby_certificates", `acmed_standby_certificates{issuer="backup"} 1`)
		told := log.FilterMessage("ordering from a standby").All()
		if len(told) != 1 || told[0].ContextMap()["issuer"] != "backup" || !strings.Contains(fmt.Sprint(told[0].ContextMap()["reason"]), "cannot be reached") {
			t.Errorf("the log tells %v", told)
		}
		if took := told[0].Time.Sub(due); took > 4*time.Hour {
			t.Errorf("the standby was asked after %v", took)
		}
		w.ca().Down(false)
		time.Sleep(75 * day)
		if v := w.view("www"); v.Revision != 3 || v.Issuer != "ca" || v.Standby != "" {
			t.Errorf("the next renewal did not go home: %+v", v)
		}
		w.metric("acmed_standby_certificates", "")
		if n := w.cas["backup"].Count("newOrder"); n != 1 {
			t.Errorf("%d orders at the standby", n)
		}
	})
}

// metric wants the samples of a metric of certificates to be these.
func (w *world) metric(name, want string) {
	w.t.Helper()
	var got []string
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(w.reconciler.CertificateCollector("auto", nil))
	text, err := testutil.CollectAndFormat(registry, expfmt.TypeTextPlain, name)
	if err != nil {
		w.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "#") {
			got = append(got, strings.TrimSpace(line))
		}
	}
	if strings.Join(got, "\n") != want {
		w.t.Errorf("%s is %q, want %q", name, got, want)
	}
}

// TestAStandbyIsNotAskedWhileTheFirstIsMerelySlow: hours pass between steps, and answers are lost now and then.
func TestAStandbyIsNotAskedWhileTheFirstIsMerelySlow(t *testing.T) {
	for sentence, c := range map[string]acmetest.Config{
		"to validate":               {ValidateDelay: 20 * time.Hour, RetryAfter: time.Hour},
		"to issue":                  {FinalizeDelay: 20 * time.Hour, RetryAfter: time.Hour},
		"and says nothing about it": {ValidateDelay: 3 * time.Hour, FinalizeDelay: 3 * time.Hour},
		"and busy":                  {ValidateDelay: time.Hour, FinalizeDelay: time.Hour, Errors: 0.2},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, c, func(w *world) {
				w.quiet = true
				w.addCA("backup", acmetest.Config{})
				w.put(spec.NewSet([]*spec.Certificate{cert("www", "ca", "backup")},
					[]*spec.Issuer{w.issuer("ca", letsencrypt()), w.issuer("backup", letsencrypt())}))
				w.run()
				time.Sleep(4 * day)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if v := w.view("www"); v.Issuer != "ca" || v.Standby != "" || w.cas["backup"].Count("newOrder") != 0 {
					t.Errorf("got %+v, %d orders at the standby", v, w.cas["backup"].Count("newOrder"))
				}
			})
		})
	}
}
