package reconcile_test

import (
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// retry returns how long the next attempt of www is away.
func (w *world) retry() time.Duration {
	w.t.Helper()
	return time.Until(w.record("www").Failures["ca"].RetryAt).Round(time.Minute)
}

// TestAttemptsByHandDoNotLengthenTheBackoff is about all who look for the cause of a failure by trial.
func TestAttemptsByHandDoNotLengthenTheBackoff(t *testing.T) {
	try := func(w *world) { w.reconciler.Renew("www", false); time.Sleep(time.Second) }
	for sentence, c := range map[string]struct {
		issued  bool // a certificate before the failures
		prepare func(w *world)
		least   time.Duration // that the next attempt is away, and most
		most    time.Duration
	}{
		"without an attempt by hand, the third failure waits 100 minutes": {true, func(w *world) { time.Sleep(12 * time.Minute) }, 87 * time.Minute, 122 * time.Minute},
		"one attempt by hand after the first failure":                     {true, func(w *world) { try(w) }, time.Minute, time.Minute},
		"five attempts by hand after the second failure": {true, func(w *world) {
			time.Sleep(2 * time.Minute)
			for range 5 {
				try(w)
			}
		}, time.Minute, 10 * time.Minute},
		"a day of attempts by hand": {false, func(w *world) {
			for range 12 {
				time.Sleep(2 * time.Hour)
				try(w)
			}
		}, time.Minute, time.Hour},
		"a restart between attempts by hand":              {false, func(w *world) { try(w); w.stop(); w.run(); try(w); time.Sleep(3 * time.Hour) }, time.Minute, time.Hour},
		"no certificate, and nobody asked for half a day": {false, func(w *world) { time.Sleep(12 * time.Hour) }, 0, time.Hour},
		"no certificate, and a CA that does not say why": {false, func(w *world) {
			w.stop()
			w.meddle = edit(func(o map[string]any) {
				if _, ready := o["finalize"]; ready {
					delete(o, "error")
					o["status"], o["authorizations"] = "invalid", []string{}
				}
			})
			w.run()
			time.Sleep(12 * time.Hour)
		}, 0, time.Hour},
		"no certificate, and nobody asked for two days": {false, func(w *world) { time.Sleep(49 * time.Hour) }, 2 * time.Hour, 29 * time.Hour},
		"no certificate, asked for on the third day":    {false, func(w *world) { time.Sleep(60 * time.Hour); try(w) }, time.Minute, time.Hour},
		"no certificate, and another key edited on day two": {false, func(w *world) {
			time.Sleep(30 * time.Hour)
			c := cert("www")
			c.Renew.Fraction = 0.3
			w.want(c)
			try(w)
			time.Sleep(12 * time.Hour)
		}, 0, time.Hour},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				if c.issued {
					w.want(cert("www"))
					w.run()
					time.Sleep(time.Hour)
					w.ca().AllowRepeat("www.example.com")
					w.ca().FailValidation("www.example.com", "dns", "no A record")
					more := cert("www")
					more.Profile = ""
					more.DNSNames = append(more.DNSNames, "more.example.com")
					w.want(more)
				} else {
					w.ca().FailValidation("www.example.com", "dns", "no A record")
					w.want(cert("www"))
					w.run()
				}
				time.Sleep(time.Second)
				c.prepare(w)
				if got := w.retry(); got < c.least || got > c.most {
					t.Errorf("the next attempt is in %v, want %v to %v: %+v", got, c.least, c.most, w.record("www").Failures["ca"])
				}
			})
		})
	}
}

func TestTheLimitOnFailuresBindsAttemptsByHand(t *testing.T) {
	for sentence, force := range map[string]bool{"a request": false, "a request that passes the other limits": true} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				w.ca().FailValidation("www.example.com", "dns", "no A record")
				w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.issuer("ca", spec.Limits{FailuresPerNamePerHour: 4, OrdersInFlight: 1})}))
				w.run()
				for range 20 {
					time.Sleep(time.Minute)
					w.reconciler.Renew("www", force)
				}
				time.Sleep(time.Minute)
				if n := w.orders(); n < 4 || n > 5 { // one comes back in a quarter of an hour
					t.Errorf("ordered %d times in 20 minutes", n)
				}
				w.expect("www", reconcile.PhaseMissing, reconcile.OverBudget)
			})
		})
	}
}
