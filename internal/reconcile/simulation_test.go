package reconcile_test

import (
	"flag"
	"fmt"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

var (
	simulated = flag.Int("sim.certificates", 6, "certificates in the simulated year")
	days      = flag.Int("sim.days", 365, "days in the simulated year")
)

// TestSimulation lives through a year with a CA that refuses 5 % of the nonces, answers 2 % of the requests with a
// 5xx (half of those after doing what was asked), is gone for a day, and once holds the account for six hours. Acmed
// is restarted twice, and once sleeps for three days. No certificate may expire, no limit of the CA be reached, no
// order be made in vain, no certificate be visited twice at once, and nothing be left behind.
//
// Steps of the clock are not among it, for a bubble's clock makes none: they are in the scheduler's tests, and in those
// of Decide, which is given the time.
//
// At any instant of such a year there is little to do at once, so that as many years as there are processors pass
// beside each other, each with its share of the certificates and a CA of its own.
func TestSimulation(t *testing.T) {
	t.Parallel()
	shards := min(runtime.GOMAXPROCS(0), *simulated)
	for i := range shards {
		t.Run(fmt.Sprint("shard ", i), func(t *testing.T) {
			t.Parallel()
			year(t, *simulated/shards, uint64(i+1))
		})
	}
}

func year(t *testing.T, certificates int, seed uint64) {
	cfg := acmetest.Config{
		Profiles:    map[string]time.Duration{"short": 6 * day, "medium": 45 * day, "long": 90 * day},
		RenewalInfo: true, RenewalPoll: day, ValidateDelay: 300 * time.Millisecond, FinalizeDelay: 2 * time.Second, RetryAfter: 3 * time.Second,
		AuthzReuse: 7 * time.Hour, Limits: acmetest.LetsEncrypt(), BadNonces: 0.05, Errors: 0.02, Seed: seed,
		ProofGrace: 3 * time.Hour, // an answer that got lost is asked for again by the ladder
	}
	bubble(t, cfg, func(w *world) {
		certs := simulatedFleet(certificates)
		w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", letsencrypt())}))
		w.quiet = true
		w.run()
		for d := range *days {
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
			case 200, 201:
				w.stop()
			case 202:
				w.run()
			}
			time.Sleep(day)
			if d < 200 || d > 202 {
				w.allServed(d)
			}
		}
		t.Logf("%d certificates, %d days: %d issued, requests %v", len(certs), *days, len(w.ca().Certificates()), w.ca().Counts())
		w.want()
		time.Sleep(time.Hour)
		if n := w.proofs.count(); n > 0 {
			t.Errorf("%d proofs are left behind", n)
		}
	})
}

// simulatedFleet has a short-lived certificate in six, or 100 of them, whichever is less; of the others, half live for
// 45 days and half for 90. Half of each kind follow the CA's advice.
func simulatedFleet(n int) (certs []*spec.Certificate) {
	short := max(6, n/100)
	for i := range n {
		c := cert(fmt.Sprintf("c%d", i))
		c.DNSNames = []string{fmt.Sprintf("www.site%d.example", i), fmt.Sprintf("site%d.example", i)}
		c.Profile = []string{"medium", "medium", "long", "long"}[i%4]
		if i%short == 0 {
			c.Profile = "short"
		}
		c.Renew.ARI = i%2 == 0
		certs = append(certs, c)
	}
	return certs
}

// allServed fails for every certificate that is missing or past its end on the d-th day, but for the first days: the
// budget lets 90 certificates through in an hour.
func (w *world) allServed(d int) {
	w.t.Helper()
	synctest.Wait()
	now := time.Now()
	for _, v := range w.reconciler.Views() {
		if d > 1+*simulated/2000 && (v.Phase == reconcile.PhaseExpired || !v.NotAfter.After(now)) {
			w.t.Fatalf("day %d: %s is %s, its end is %v: %s", d, v.Name, v.Phase, v.NotAfter, v.Error)
		}
	}
}
