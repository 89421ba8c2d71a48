package reconcile_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acmed/internal/acme"
	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/scheduler"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// simulate lives through d of the time to come.
func simulate(t testing.TB, r *reconcile.Reconciler, set *spec.Set, now time.Time, d time.Duration) reconcile.Forecast {
	t.Helper()
	v, err := scheduler.NewVirtual(8, now)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Simulate(set, now, v.Wake)
	if err != nil {
		t.Fatal(err)
	}
	v.AddAll(func(yield func(string, scheduler.Next) bool) {
		for name := range set.Certificates() {
			if !yield(name, scheduler.Next{At: now}) {
				return
			}
		}
	})
	err = v.Run(t.Context(), now.Add(d), func(name string, now time.Time) scheduler.Next {
		at, deadline := s.Visit(name, now)
		return scheduler.Next{At: at, Deadline: deadline}
	})
	if err != nil {
		t.Fatal(err)
	}
	return s.Forecast(now.Add(d))
}

// TestSimulationForetells has acmed tell what the next hundred days hold, and then lives through them with a CA that
// does what it did before: the orders of every day have to be those that were foretold.
func TestSimulationForetells(t *testing.T) {
	t.Parallel()
	cfg := acmetest.Config{
		Profiles:      map[string]time.Duration{"short": 6 * day, "medium": 45 * day, "long": 90 * day},
		ValidateDelay: 80 * time.Millisecond, FinalizeDelay: 2 * time.Second, RetryAfter: 3 * time.Second, Limits: acmetest.LetsEncrypt(),
	}
	for sentence, tt := range map[string]struct {
		advice     bool
		limits     spec.Limits
		renew, new int // certificates that are there, and that come with the set
	}{
		"by lifetime":        {false, letsencrypt(), 24, 8},
		"by the CA's advice": {true, letsencrypt(), 24, 8},
		"with limits that hold certificates back": {false, spec.Limits{OrdersPer3h: 2, OrdersInFlight: 3, FailuresPerNamePerHour: 4}, 12, 40},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			cfg := cfg
			cfg.RenewalInfo, cfg.RenewalPoll = tt.advice, day
			bubble(t, cfg, func(w *world) {
				certs := simulatedFleet(tt.renew + tt.new)
				for _, c := range certs {
					c.Renew.ARI = tt.advice
				}
				issuer := []*spec.Issuer{w.issuer("ca", tt.limits)}
				w.put(spec.NewSet(certs[:tt.renew], issuer))
				w.run()
				time.Sleep(40 * day)
				w.ca().Amnesty()
				all := spec.NewSet(certs, issuer)
				got := simulate(t, w.reconciler, all, time.Now(), 100*day)
				lived, before := map[time.Time]int{}, w.orders()
				w.put(all)
				for range 100 {
					today := time.Now().UTC().Truncate(day)
					time.Sleep(day)
					made := w.orders()
					lived[today], before = made-before, made
				}
				w.compare(got, lived, tt.advice, tt.limits.OrdersPer3h == 2)
				if held := len(got.Delays) > 0; held != (tt.limits.OrdersPer3h == 2) || got.Ended > 0 {
					t.Errorf("held back: %+v; ended: %+v", got.Delays, got.Gaps)
				}
			})
		})
	}
}

// drawn is how far two instants may lie apart that are drawn from the same window of advice, which has 5.4 days, with a day
// for the polls of advice and one for midnight.
const drawn = 8

// compare fails where the orders of a day are not those that were foretold. With advice each order may come so many days
// earlier or later as the window is long; where seconds decide who is let through, some orders around midnight may differ.
func (w *world) compare(f reconcile.Forecast, lived map[time.Time]int, advice, chance bool) {
	w.t.Helper()
	if len(f.Issuers) != 1 || f.Issuers[0].Issuer != "ca" {
		w.t.Fatalf("got %+v; want one issuer", f)
	}
	told := map[time.Time]int{}
	for _, d := range f.Issuers[0].Days {
		told[d.Day] = d.Load.Orders
	}
	days := slices.SortedFunc(maps.Keys(lived), time.Time.Compare)
	foretold, made := make([]int, len(days)), make([]int, len(days)) // until the end of each day
	for i, d := range days {
		foretold[i], made[i] = told[d], lived[d]
		if i > 0 {
			foretold[i], made[i] = foretold[i]+foretold[i-1], made[i]+made[i-1]
		}
	}
	shift, slack := 0, 0
	if advice {
		shift = drawn
	} else if chance {
		slack = 6
	}
	for i, d := range days {
		late := i >= shift && foretold[i-shift] > made[i]+slack
		early := i+shift < len(days) && foretold[i+shift] < made[i]-slack
		if late || early {
			w.t.Fatalf("until %s %d orders were foretold and %d made", d.Format(time.DateOnly), foretold[i], made[i])
		}
	}
	total := f.Issuers[0].Total
	if got := total.Exempt > total.Orders/2; made[len(made)-1] == 0 || got != advice {
		w.t.Errorf("%d of %d orders are exempt", total.Exempt, total.Orders)
	}
}

func TestSimulationChangesNothing(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.want(simulatedFleet(4)[0], cert("open"), cert("damaged"))
		w.run()
		time.Sleep(day)
		w.stop()
		w.open()
		ledger := filepath.Join(w.dir, "ledger", "damaged.json")
		if err := os.WriteFile(ledger, []byte("{"), 0o600); err != nil {
			w.t.Fatal(err)
		}
		before, asked := w.files(), w.requests.Load()
		set := spec.NewSet([]*spec.Certificate{simulatedFleet(4)[0], cert("open"), cert("damaged"), cert("new")},
			[]*spec.Issuer{w.issuer("ca", letsencrypt())})
		if f := simulate(t, w.reconciler, set, time.Now(), 200*day); f.Certificates != 4 || f.Issuers[0].Total.Orders < 4 {
			t.Errorf("got %+v", f)
		}
		if after := w.files(); !maps.Equal(before, after) {
			t.Errorf("the state folder has changed:\n%v\n%v", before, after)
		}
		if n := w.requests.Load() - asked; n > 0 {
			t.Errorf("the CA was asked %d times", n)
		}
		if left := w.reconciler.Leftovers(); left != nil {
			t.Errorf("left behind: %v", left)
		}
		if err := os.Remove(ledger); err != nil {
			w.t.Fatal(err)
		}
	})
}

// files are the contents of the state folder.
func (w *world) files() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(w.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		data, err := os.ReadFile(path)
		all[path] = string(data)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestSimulationTellsOfWhatEndsMeanwhile(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.open()
		now := time.Now().Round(0)
		soon, gone := cert("soon"), cert("gone")
		for _, c := range []*spec.Certificate{soon, gone} {
			c.Renew.ARI = false
			w.save(c, now.Add(-80*day), now.Add(-time.Hour))
		}
		w.save(soon, now.Add(-89*day), now.Add(time.Hour))
		set := spec.NewSet([]*spec.Certificate{soon, gone}, []*spec.Issuer{w.issuer("ca", spec.Limits{PerDomainPerWeek: 1, OrdersInFlight: 8})})
		f := simulate(t, w.reconciler, set, now, 30*day)
		if f.Ended != 2 || len(f.Gaps) != 2 || f.Gaps[0].Name != "soon" || f.Delayed != 1 {
			w.t.Fatalf("got %+v", f)
		}
		if d := f.Delays[0]; d.Name != "soon" || d.Limit != "certificates of example.com: 1 in 168h0m0s" || d.Until.Sub(d.Since) < 6*day {
			t.Errorf("got %+v", d)
		}
		limits := f.Issuers[0].Limits
		if len(limits) != 1 || limits[0].Left != 0 || limits[0].Max != 1 {
			t.Errorf("limits: %+v", limits)
		}
	})
}

// TestSimulationCountsAsTheCADoes has a certificate that is due at the beginning.
func TestSimulationCountsAsTheCADoes(t *testing.T) {
	limits := spec.Limits{OrdersPer3h: 5, PerDomainPerWeek: 5, PerNameSetPerWeek: 5, OrdersInFlight: 8}
	exempts := limits
	exempts.RenewalsExempt = true
	for sentence, tt := range map[string]struct {
		limits spec.Limits
		window time.Duration // from now to the end of the CA's advice
		edit   bool          // a name comes
		exempt int
		spent  int // limits that the order takes from
	}{
		"within the window, which is two days of 90, it is exempt": {limits, time.Hour, false, 1, 0},
		"after the window it counts: the machine was off":          {limits, -time.Hour, false, 0, 3},
		"after an incident it counts: its window is past":          {limits, -80 * day, false, 0, 3},
		"as a renewal, where the CA exempts those of same names":   {exempts, -time.Hour, false, 0, 1},
		"but not one for other names":                              {exempts, time.Hour, true, 0, 3},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.open()
				now := time.Now().Round(0)
				c := cert("www")
				rec := issuedRecord(c, w.ca().DirectoryURL(), now.Add(-62*day), now.Add(28*day))
				rec.Issued.Account = "to be made" // that of the simulation
				rec.ARI.Start, rec.ARI.Chosen, rec.ARI.End = now.Add(tt.window-2*day), now.Add(tt.window-2*day), now.Add(tt.window)
				if err := w.store.SaveRecord("www", rec, store.Lazy); err != nil {
					t.Fatal(err)
				}
				if tt.edit {
					edited := *c
					edited.DNSNames = append(slices.Clone(c.DNSNames), "more.example.com")
					c = &edited
				}
				set := spec.NewSet([]*spec.Certificate{c}, []*spec.Issuer{w.issuer("ca", tt.limits)})
				f := simulate(t, w.reconciler, set, now, day)
				if total := f.Issuers[0].Total; total.Orders != 1 || total.Exempt != tt.exempt || len(f.Issuers[0].Limits) != tt.spent {
					t.Errorf("got %+v, limits %+v", total, f.Issuers[0].Limits)
				}
				plan, err := w.reconciler.Plan("www", set)
				if err != nil || plan.Do != reconcile.Issue || len(plan.Costs) != tt.spent {
					t.Errorf("the plan costs %+v, %v", plan.Costs, err)
				}
			})
		})
	}
}

// save writes what is known of a certificate of ca that was issued then.
func (w *world) save(c *spec.Certificate, from, until time.Time) {
	w.t.Helper()
	if err := w.store.SaveRecord(c.Name, issuedRecord(c, w.ca().DirectoryURL(), from, until), store.Lazy); err != nil {
		w.t.Fatal(err)
	}
}

func issuedRecord(c *spec.Certificate, directory string, from, until time.Time) store.Record {
	life := until.Sub(from)
	return store.Record{
		Issued: &store.Revision{
			Number: 1, Issuer: "ca", Directory: directory, Account: "a", DNSNames: c.DNSNames, Key: c.PrivateKey.String(),
			Profile: c.Profile, CertID: c.Name, SHA256: c.Name, NotBefore: from, NotAfter: until, Committed: from,
		},
		ARI: store.ARI{CertID: c.Name, Start: from.Add(life * 2 / 3), End: from.Add(life * 2 / 3).Add(2 * day), Chosen: from.Add(life * 2 / 3).Add(day)},
	}
}

// BenchmarkSimulation lives through 90 days of 10,000 certificates.
func BenchmarkSimulation(b *testing.B) {
	const certificates = 10_000
	s, err := store.Open(store.Config{Dir: filepath.Join(b.TempDir(), "state")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	now := time.Now().Round(0)
	var certs []*spec.Certificate
	for i := range certificates {
		c := cert(fmt.Sprintf("c%d", i))
		c.DNSNames = []string{fmt.Sprintf("site%d.example", i)}
		c.Renew.ARI = i%2 == 0
		from := now.Add(-time.Duration(i) * 60 * day / certificates)
		if err := s.SaveRecord(c.Name, issuedRecord(c, "https://ca.test/dir", from, from.Add(90*day)), store.Lazy); err != nil {
			b.Fatal(err)
		}
		certs = append(certs, c)
	}
	r, err := reconcile.New(reconcile.Config{Store: s, Solver: func(string, spec.Challenge) (acme.Solver, error) { return nil, nil }, Wake: func(string) {}})
	if err != nil {
		b.Fatal(err)
	}
	set := spec.NewSet(certs, []*spec.Issuer{{Name: "ca", Directory: "https://ca.test/dir", Limits: letsencrypt()}})
	for b.Loop() {
		f := simulate(b, r, set, now, 90*day)
		b.ReportMetric(float64(f.Issuers[0].Total.Orders), "orders")
	}
}
