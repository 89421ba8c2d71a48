package reconcile_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// limited puts n certificates of one registered domain in force, with these limits.
func (w *world) limited(n int, l spec.Limits) {
	var certs []*spec.Certificate
	for i := range n {
		certs = append(certs, cert(fmt.Sprintf("c%d", i)))
	}
	w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", l)}))
}

func TestABudgetHoldsForAllAtOnce(t *testing.T) {
	for sentence, l := range map[string]spec.Limits{
		"of the registered domain": {PerDomainPerWeek: 3, OrdersInFlight: 16},
		"of the account":           {OrdersPer3h: 3, OrdersInFlight: 16},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.workers = 16
				w.limited(32, l)
				w.run()
				time.Sleep(time.Minute)
				if n := w.orders(); n != 3 {
					t.Errorf("ordered %d times at once", n)
				}
			})
		})
	}
}

func TestADiskThatFailsCostsNothingAtTheCA(t *testing.T) {
	for _, dir := range []string{"issuers", "certs", "ledger"} {
		t.Run(dir, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.quiet = true
				w.limited(1, spec.Limits{OrdersPer3h: 3, PerNameSetPerWeek: 2, FailuresPerNamePerHour: 2, OrdersInFlight: 8})
				w.open()
				path := filepath.Join(w.dir, dir)
				if err := os.Rename(path, path+".gone"); err != nil {
					t.Fatal(err)
				}
				for range 10 {
					time.Sleep(time.Second)
					w.reconciler.Renew("c0", false)
					w.visit("c0")
				}
				if n := w.orders(); n != 0 {
					t.Errorf("ordered %d times", n)
				}
				if err := os.Rename(path+".gone", path); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
				w.reconciler.Renew("c0", false)
				w.visit("c0")
				time.Sleep(time.Second)
				w.visit("c0")
				w.expect("c0", reconcile.PhaseValid, reconcile.NotDue)
			})
		})
	}
}

func TestWhatAnOrderDidNotUseIsGivenBackOnce(t *testing.T) {
	limits := spec.Limits{PerNameSetPerWeek: 5, PerDomainPerWeek: 10, FailuresPerNamePerHour: 5, OrdersInFlight: 8}
	left := func(w *world, key string) time.Duration {
		var tat time.Time
		ledger, err := w.store.Issuer("ca")
		if err != nil {
			w.t.Fatal(err)
		}
		ledger.View(func(s *store.IssuerState) { tat = s.Budgets[key] })
		return max(0, time.Until(tat))
	}
	bubble(t, acmetest.Config{ValidateDelay: time.Second, FinalizeDelay: time.Second}, func(w *world) {
		w.limited(1, limits)
		w.run()
		time.Sleep(time.Minute)
		w.expect("c0", reconcile.PhaseValid, reconcile.NotDue)
		if d := left(w, "failures:c0.example.com"); d != 0 {
			t.Errorf("a success counts as a failure for %v", d)
		}
		if d := left(w, "domain:example.com"); d != 7*day/10-time.Minute {
			t.Errorf("the domain has one certificate less for %v", d)
		}
		w.ca().FailValidation("c0.example.com", "dns", "no A record")
		w.ca().AllowRepeat("c0.example.com")
		w.reconciler.Renew("c0", false)
		time.Sleep(10 * time.Second)
		w.expect("c0", reconcile.PhaseBackoff, reconcile.BackingOff)
		if d := left(w, "failures:c0.example.com"); d != time.Hour/5-10*time.Second {
			t.Errorf("a failure counts for %v", d)
		}
		if d := left(w, "domain:example.com"); d != 7*day/10-70*time.Second {
			t.Errorf("a failure counts as a certificate: %v", d)
		}
	})
}

// TestRenewalsThatTheCAExemptsWaitForNoBudget has more certificates of a domain than its weekly budget lets through
// when all are due at once.
func TestRenewalsThatTheCAExemptsWaitForNoBudget(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.limited(4, spec.Limits{PerDomainPerWeek: 50, OrdersInFlight: 8})
		w.run()
		time.Sleep(time.Hour)
		w.put(spec.NewSet([]*spec.Certificate{cert("c0"), cert("c1"), cert("c2"), cert("c3"), cert("new")},
			[]*spec.Issuer{w.issuer("ca", spec.Limits{PerDomainPerWeek: 1, OrdersInFlight: 8})}))
		ledger, err := w.store.Issuer("ca")
		if err != nil {
			t.Fatal(err)
		}
		for range 75 { // others take what there is
			err := ledger.Update(func(s *store.IssuerState) { s.Budgets["domain:example.com"] = time.Now().Add(7 * day) })
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(day)
		}
		for _, name := range []string{"c0", "c1", "c2", "c3"} {
			if v := w.view(name); v.Revision != 2 {
				t.Errorf("%s was not renewed: %+v", name, v)
			}
		}
		w.expect("new", reconcile.PhaseMissing, reconcile.OverBudget)
	})
}
