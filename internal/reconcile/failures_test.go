package reconcile_test

import (
	"net/http"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func TestAnotherChallengeIsTriedAtOnce(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		dns := cert("www")
		dns.Challenge.Type = "dns-01"
		w.want(dns)
		w.run()
		time.Sleep(time.Hour)
		w.expect("www", reconcile.PhaseParked, reconcile.Parked)
		w.want(cert("www"))
		time.Sleep(time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

func TestAFailureThatNoLongerMattersIsNotShown(t *testing.T) {
	more := func() *spec.Certificate {
		c := cert("www")
		c.DNSNames = append(c.DNSNames, "more.example.com")
		return c
	}
	for sentence, change := range map[string]func(*world){
		"the edit is taken back":               func(w *world) { w.want(cert("www")) },
		"the edit is taken back by a restart":  func(w *world) { w.stop(); w.want(cert("www")); w.run() },
		"the spec goes and comes back":         func(w *world) { w.want(); time.Sleep(time.Minute); w.want(cert("www")) },
		"the edit is taken back, another made": func(w *world) { c := cert("www"); c.Renew.Fraction = 0.3; w.want(c) },
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Hour)
				w.ca().FailValidation("more.example.com", "dns", "no A record")
				w.want(more())
				time.Sleep(time.Second)
				if w.view("www").Error == "" {
					t.Fatal("no failure is shown")
				}
				change(w)
				time.Sleep(25 * time.Hour)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if v := w.view("www"); v.Error != "" || v.Hint != "" {
					t.Errorf("still shown: %q", v.Error)
				}
				if _, failing := w.reconciler.Counts(); failing != 0 {
					t.Errorf("%d certificates are failing", failing)
				}
			})
		})
	}
}

func TestARefusalOfAccountsWithoutEndIsNoStorm(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		refuse, asked := counted(problem("new-account", http.StatusBadRequest, "accountDoesNotExist", "no", ""))
		w.ca().Intercept(refuse)
		w.want(cert("a"), cert("b"), cert("c"))
		w.run()
		time.Sleep(time.Hour)
		w.expect("a", reconcile.PhaseBackoff, reconcile.IssuerHold)
		if n := asked(); n > 12 {
			t.Errorf("asked for an account %d times in an hour", n)
		}
	})
}
