package reconcile_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

var (
	simulated = flag.Int("sim.certificates", 20, "certificates in the simulated year")
	days      = flag.Int("sim.days", 365, "days in the simulated year")
)

// TestSimulation lives through a year with a CA that refuses 5 % of the nonces, answers 2 % of the requests with a
// 5xx (half of those after doing what was asked), is gone for a day, and once holds the account for 20 hours. Acmed is
// restarted, stands still for 40 hours, and finds what it wrote with a clock that was wrong. No certificate may expire,
// no limit of the CA be reached, no order be made in vain or lost sight of, no certificate be visited twice at once, and
// nothing be left behind.
//
// At any instant of such a year there is little to do at once, so that as many years as there are processors pass
// beside each other, each with its share of the certificates and a CA of its own.
func TestSimulation(t *testing.T) {
	t.Parallel()
	percent := debug.SetGCPercent(400) // little lives long here
	t.Cleanup(func() { debug.SetGCPercent(percent) })
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
		RenewalInfo: true, RenewalPoll: day, ValidateDelay: 80 * time.Millisecond, FinalizeDelay: 2 * time.Second, RetryAfter: 3 * time.Second,
		AuthzReuse: 7 * time.Hour, Limits: acmetest.LetsEncrypt(), BadNonces: 0.05, Errors: 0.02, Seed: seed,
		ProofGrace: 3 * time.Hour, // an answer that got lost is asked for again by the ladder
	}
	bubble(t, cfg, func(w *world) {
		certs := simulatedFleet(certificates)
		w.put(spec.NewSet(nil, []*spec.Issuer{w.issuer("ca", letsencrypt())}))
		w.quiet, w.before = true, w.inTime
		w.run()
		all := 10 + 1 + certificates/(90*24) // days until all are there: the budget lets 90 through in an hour
		for d := range *days {
			if d < 10 { // so that not all are renewed on the same days
				w.want(slices.DeleteFunc(slices.Clone(certs), func(c *spec.Certificate) bool { return arrival(c) > d })...)
			}
			w.event(d)
			time.Sleep(day)
			synctest.Wait()
			if d >= all {
				w.allServed()
			}
			w.noOrderLost()
		}
		t.Logf("%d certificates, %d days: %d issued, requests %v", len(certs), *days, w.ca().Issued(), w.ca().Counts())
		w.leaveNothing()
	})
}

// simulatedFleet has one certificate in twenty that lives for six days; of the others, half live for 45 days and half
// for 90. Half of each kind follow the CA's advice, and a quarter are for two names.
func simulatedFleet(n int) (certs []*spec.Certificate) {
	for i := range n {
		c := cert(fmt.Sprintf("c%d", i))
		c.DNSNames = []string{fmt.Sprintf("site%d.example", i), fmt.Sprintf("www.site%d.example", i)}[:1+i/4%4/3]
		c.Profile = []string{"medium", "medium", "long", "long"}[i%4]
		if i%40 == 0 || i%40 == 21 {
			c.Profile = "short"
		}
		c.Renew.ARI = i%2 == 0
		certs = append(certs, c)
	}
	return certs
}

// arrival is the day on which a certificate is wanted first.
func arrival(c *spec.Certificate) int { return number(c.Name, "c%d") / 40 % 10 }

func number(s, format string) (n int) {
	if _, err := fmt.Sscanf(s, format, &n); err != nil {
		panic(err) // only our own names come here
	}
	return n
}

// event lets happen what is planned for a day.
func (w *world) event(d int) {
	switch d {
	case 50:
		w.ca().Down(true)
		w.requests.Store(0)
	case 51:
		w.ca().Down(false)
		if n := w.requests.Load(); n > 100 {
			w.t.Errorf("a CA that was away for a day was asked %d times; want one certificate to probe for all", n)
		}
	case 100:
		w.ca().HoldAccount(time.Now().Add(20 * time.Hour))
		w.renewSome()
	case 150:
		w.stop()
		w.run()
	case 200: // the machine is suspended, or off
		w.stop()
		time.Sleep(40 * time.Hour)
		w.allServed()
		w.run()
	case 250:
		w.clockWas(10 * 365 * day)
	case 300:
		w.clockWas(-2 * day)
	}
}

// renewSome asks for renewals as an operator would.
func (w *world) renewSome() {
	for i := range 10 {
		c := w.set.Certificate(fmt.Sprintf("c%d", i))
		if c == nil {
			return
		}
		for range 5 { // answers get lost, and the CA counts those orders
			w.ca().AllowRepeat(c.DNSNames...)
		}
		w.reconciler.Renew(c.Name, false)
	}
}

// clockWas stops acmed and starts it again on what it would have written if its clock had been ahead by that much
// until now, and nothing had worked there. So much of a step can be had in a bubble, whose own clock makes none: what
// was written must not keep acmed from renewing in time. What a running acmed makes of a step is among the scheduler's
// tests, and what it makes of a single instant among those of Decide.
func (w *world) clockWas(ahead time.Duration) {
	w.t.Helper()
	w.stop()
	s, err := store.Open(store.Config{Dir: w.dir})
	if err != nil {
		w.t.Fatal(err)
	}
	then := time.Now().Add(ahead)
	soon := then.Add(time.Hour)
	for name, c := range w.set.Certificates() {
		rec, err := s.Record(name)
		if err != nil {
			w.t.Fatal(err)
		}
		if !rec.ARI.NextPoll.IsZero() {
			rec.ARI.NextPoll = rec.ARI.NextPoll.Add(ahead)
		}
		rec.Failures = map[string]store.Failure{"ca": {
			Kind: "validation", Count: 5, Request: reconcile.Attempt(c), At: then, RetryAt: soon, Promised: soon,
		}}
		if err := s.SaveRecord(name, rec, store.Lazy); err != nil {
			w.t.Fatal(err)
		}
	}
	ledger, err := s.Issuer("ca")
	if err != nil {
		w.t.Fatal(err)
	}
	err = ledger.Update(func(i *store.IssuerState) {
		i.Hold, i.Promised = soon, true
		for key, arrival := range i.Budgets {
			i.Budgets[key] = arrival.Add(ahead)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		w.t.Fatal(err)
	}
	w.ca().Amnesty() // acmed cannot know what it spent, and when the CA wants to be asked again
	w.run()
}

// inTime fails for a certificate that was left alone until it expired.
func (w *world) inTime(name string) {
	if v := w.view(name); !v.NotAfter.IsZero() && !time.Now().Before(v.NotAfter) {
		w.t.Errorf("%s is visited at %v and expired at %v", name, time.Now(), v.NotAfter)
	}
}

// allServed fails for every certificate that is missing or past its end.
func (w *world) allServed() {
	w.t.Helper()
	now := time.Now()
	for _, v := range w.reconciler.Views() {
		if v.Phase == reconcile.PhaseExpired || !v.NotAfter.After(now) {
			w.t.Fatalf("%v: %s is %s, its end is %v: %s", now, v.Name, v.Phase, v.NotAfter, v.Error)
		}
	}
}

// noOrderLost fails for every order that the CA told of, that is not over, and that acmed does not know of any more.
func (w *world) noOrderLost() {
	w.t.Helper()
	for url, names := range w.ca().Unfinished() {
		p, err := w.store.Pending(fmt.Sprintf("c%d", number(names[0], "site%d.example")))
		if err != nil || p == nil || p.Order.URL != url {
			w.t.Errorf("%v: nobody follows %s, for %v, any more: %v", time.Now(), url, names, err)
		}
	}
}

// leaveNothing has the world come to rest, takes all specs away, and looks for what is left behind.
func (w *world) leaveNothing() {
	w.t.Helper()
	certs := w.set
	for range 360 {
		if w.reconciler.Leftovers() == nil {
			break
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
	}
	w.want()
	time.Sleep(time.Hour)
	synctest.Wait()
	if left := w.reconciler.Leftovers(); left != nil {
		w.t.Errorf("left behind: %v", left)
	}
	if n := w.proofs.count(); n > 0 {
		w.t.Errorf("%d proofs are left behind", n)
	}
	if s := w.scheduler.Stats(); s.Waiting+s.Due+s.InFlight > 0 {
		w.t.Errorf("the scheduler still knows keys: %+v", s)
	}
	for name := range certs.Certificates() {
		if all, err := w.store.Revisions(name); err != nil || len(all) > 6 {
			w.t.Errorf("%s has %d revisions: %v", name, len(all), err)
		}
	}
	if archived, err := os.ReadDir(filepath.Join(w.dir, "archive")); err != nil || len(archived) > 0 {
		w.t.Errorf("archived: %v, %v", archived, err)
	}
}
