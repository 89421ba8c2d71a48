package reconcile_test

import (
	"flag"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

var simulated = flag.Int("sim.certificates", 6, "certificates in the simulated year")

// TestSimulation lives through a year with a CA that refuses 5 % of the nonces, answers 2 % of the requests with a
// 5xx (half of those after doing what was asked), is gone for a day, and once holds the account for six hours. Acmed
// is restarted twice. No certificate may expire, no limit of the CA be reached, no order be made in vain.
func TestSimulation(t *testing.T) {
	t.Parallel()
	cfg := acmetest.Config{
		Profiles:    map[string]time.Duration{"short": 6 * day, "medium": 45 * day, "long": 90 * day},
		RenewalInfo: true, ValidateDelay: 300 * time.Millisecond, FinalizeDelay: 2 * time.Second, AuthzReuse: 7 * time.Hour,
		Limits: acmetest.LetsEncrypt(), BadNonces: 0.05, Errors: 0.02, Seed: 1,
		ProofGrace: 3 * time.Hour, // an answer that got lost is asked for again by the ladder
	}
	bubble(t, cfg, func(w *world) {
		var certs []*spec.Certificate
		for i := range *simulated {
			c := cert(fmt.Sprintf("c%d", i))
			c.DNSNames = []string{fmt.Sprintf("www.site%d.example", i), fmt.Sprintf("site%d.example", i)}
			c.Profile = []string{"short", "medium", "long"}[i%3]
			c.Renew.ARI = i%2 == 0
			certs = append(certs, c)
		}
		w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", letsencrypt())}))
		w.quiet = true
		w.run()
		for d := range 365 {
			switch d {
			case 50:
				w.ca().Down(true)
			case 51:
				w.ca().Down(false)
			case 100:
				w.ca().HoldAccount(time.Now().Add(6 * time.Hour))
			case 150, 250:
				w.stop()
				w.run()
			}
			time.Sleep(day)
			w.allServed(d)
		}
		t.Logf("%d certificates, a year: %d issued, requests %v", len(certs), len(w.ca().Certificates()), w.ca().Counts())
	})
}

// allServed fails for every certificate that is missing or past its end on the d-th day, the first two apart: the
// budget lets so many through in three hours.
func (w *world) allServed(d int) {
	w.t.Helper()
	synctest.Wait()
	now := time.Now()
	for _, v := range w.reconciler.Views() {
		if d > 1 && (v.Phase == reconcile.PhaseExpired || !v.NotAfter.After(now)) {
			w.t.Fatalf("day %d: %s is %s, its end is %v: %s", d, v.Name, v.Phase, v.NotAfter, v.Error)
		}
	}
}
