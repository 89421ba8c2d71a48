package reconcile_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// numbered are n certificates of one registered domain.
func numbered(n int) (certs []*spec.Certificate) {
	for i := range n {
		certs = append(certs, cert(fmt.Sprintf("c%d", i)))
	}
	return certs
}

// under is want with the limits of "ca".
func (w *world) under(l spec.Limits, certs ...*spec.Certificate) {
	w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", l)}))
}

// revised counts those with at least that revision.
func (w *world) revised(certs []*spec.Certificate, revision int) (n int) {
	synctest.Wait()
	for _, c := range certs {
		if w.view(c.Name).Revision >= revision {
			n++
		}
	}
	return n
}

func TestTheCAsTimeForOneCertificateIsKept(t *testing.T) {
	exact := "too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s"
	for sentence, tt := range map[string]struct {
		detail, retryAfter string
		before, after      time.Duration // between which it is asked once more
	}{
		"five days for the set of names":               {exact, "432000", 5*day - time.Hour, 5*day + time.Minute},
		"a week for the set of names":                  {exact, "604800", 7*day - time.Hour, 7*day + time.Minute},
		"a month is a mistake, and a day":              {exact, "2592000", day - time.Hour, day + time.Minute},
		"a hundred seconds":                            {exact, "100", 99 * time.Second, 2 * time.Minute},
		"five days for the whole account are one":      {"too many new orders (300) from this account in the last 3h0m0s", "432000", day - time.Hour, day + time.Minute},
		"five days of a CA that is overloaded are one": {"", "432000", day - time.Hour, day + time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				status := http.StatusTooManyRequests
				if tt.detail == "" {
					status = http.StatusServiceUnavailable
				}
				refuse, tries := counted(problem("new-order", status, "rateLimited", tt.detail, tt.retryAfter))
				w.ca().Intercept(refuse)
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Second)
				w.reconciler.Renew("www", true) // not even so
				time.Sleep(tt.before / 2)
				w.stop()
				w.run() // not even a restart
				time.Sleep(tt.before/2 - time.Second)
				if n := tries(); n != 1 {
					t.Errorf("asked %d times within %v", n, tt.before)
				}
				time.Sleep(tt.after - tt.before)
				if n := tries(); n != 2 {
					t.Errorf("asked %d times within %v", n, tt.after)
				}
				w.stop()
			})
		})
	}
}

// TestRenewalsGoOnWhileNewOrdersWait has more new certificates than may be ordered at once, so that they fill the gate.
func TestRenewalsGoOnWhileNewOrdersWait(t *testing.T) {
	limits := spec.Limits{OrdersInFlight: 2, RenewalsExempt: true}
	for sentence, tt := range map[string]struct {
		refused string // is in the names of orders that the CA refuses
		limits  spec.Limits
		during  int // renewals while the hold lasts
		tries   int // orders that are refused
	}{
		"at a CA that exempts renewals":                   {"new", limits, 6, 1},
		"the first that is refused ends that":             {"", limits, 0, 2},
		"they are held where the CA is not said to do so": {"new", spec.Limits{OrdersInFlight: 2}, 0, 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				old := numbered(6)
				w.under(tt.limits, old...)
				w.workers = 1
				w.run()
				time.Sleep(58 * day) // due at 60, less some jitter
				until := time.Now().Add(20 * time.Hour)
				refuse, tries := counted(newOrdersUntil(until, tt.refused))
				w.ca().Intercept(refuse)
				all := append([]*spec.Certificate{cert("new1"), cert("new2"), cert("new3"), cert("new4")}, old...)
				w.under(tt.limits, all...)
				time.Sleep(time.Minute)
				w.expect("new1", reconcile.PhaseBackoff, reconcile.IssuerHold)
				for _, c := range old {
					w.ca().AllowRepeat(c.DNSNames...)
					w.reconciler.Renew(c.Name, false)
				}
				time.Sleep(10 * time.Hour)
				w.stop()
				w.run() // it is known after a restart too
				time.Sleep(9 * time.Hour)
				if n := w.revised(old, 2); n != tt.during {
					t.Errorf("%d are renewed while the CA wants no new orders", n)
				}
				if n := tries(); n != tt.tries || w.revised(all[:4], 1) != 0 {
					t.Errorf("the CA refuses %d orders", n)
				}
				time.Sleep(3 * time.Hour)
				if n, m := w.revised(all, 1), w.revised(old, 2); n != 10 || m != 6 {
					t.Errorf("%d are issued and %d renewed when it is over", n, m)
				}
			})
		})
	}
}

// newOrdersUntil refuses orders for these names, for the limit of the account's orders, as Boulder does.
func newOrdersUntil(until time.Time, names string) func(*request) *response {
	return func(r *request) *response {
		left := time.Until(until)
		if left <= 0 || !strings.Contains(payload(r), names) {
			return nil
		}
		res := refusing("new-order", http.StatusTooManyRequests, "rateLimited",
			"too many new orders (300) from this account in the last 3h0m0s, retry after "+until.UTC().Format(time.DateTime)+" UTC")(r)
		if res != nil {
			res.Header.Set("Retry-After", fmt.Sprint(int(left.Seconds())))
		}
		return res
	}
}

// TestOrdersCountAsTheCACountsThem has a CA that fails the test for each order beyond its limits.
func TestOrdersCountAsTheCACountsThem(t *testing.T) {
	perDomain := acmetest.Limits{CertificatesPerDomainWeek: 8}
	own := spec.Limits{PerDomainPerWeek: 8, OrdersInFlight: 8}
	exempt := own
	exempt.RenewalsExempt = true
	revoke := func(w *world, certs []*spec.Certificate) {
		for _, c := range certs {
			w.ca().Revoke(w.record(c.Name).Issued.CertID)
		}
	}
	for sentence, tt := range map[string]struct {
		cfg    acmetest.Config
		limits spec.Limits
		meet   func(w *world, certs []*spec.Certificate)
		within time.Duration
		want   int // are replaced by then
	}{
		"renewals after an incident count":                         {acmetest.Config{RenewalInfo: true, Limits: perDomain}, own, revoke, 12 * time.Hour, 3},
		"but not where the CA exempts renewals of unchanged names": {acmetest.Config{RenewalInfo: true, ExemptRenewals: true, Limits: perDomain}, exempt, revoke, 12 * time.Hour, 7},
		"renewals within their window do not count": {acmetest.Config{RenewalInfo: true, Limits: perDomain}, own, func(w *world, certs []*spec.Certificate) {
			for _, c := range certs {
				w.ca().SetRenewalWindow(w.record(c.Name).Issued.CertID, time.Now().Add(8*time.Hour), time.Now().Add(9*time.Hour))
			}
		}, 12 * time.Hour, 7},
		"renewals after their window count: the machine was off": {acmetest.Config{RenewalInfo: true, Limits: perDomain}, own, func(w *world, certs []*spec.Certificate) {
			for _, c := range certs {
				w.ca().SetRenewalWindow(w.record(c.Name).Issued.CertID, time.Now().Add(8*time.Hour), time.Now().Add(9*time.Hour))
			}
			time.Sleep(7 * time.Hour)
			w.stop()
			time.Sleep(3 * time.Hour)
			w.run()
		}, 9 * time.Hour, 3},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, tt.cfg, func(w *world) {
				certs := numbered(7)
				w.under(tt.limits, certs...)
				w.run()
				time.Sleep(12 * day)
				spend(w, "domain:example.com", 5*7*day/8) // others have taken five of eight
				w.ca().SpendDomain("example.com", 5)
				tt.meet(w, certs)
				time.Sleep(tt.within)
				if n := w.revised(certs, 2); n != tt.want {
					t.Errorf("%d are replaced within %v, want %d", n, tt.within, tt.want)
				}
				time.Sleep(7 * day)
				if n := w.revised(certs, 2); n != 7 {
					t.Errorf("%d are replaced in the end", n)
				}
			})
		})
	}
}

// spend takes from a budget of "ca" what comes back in that time.
func spend(w *world, key string, ahead time.Duration) {
	w.t.Helper()
	ledger, err := w.store.Issuer("ca")
	if err == nil {
		err = ledger.Update(func(s *store.IssuerState) { s.Budgets[key] = time.Now().Add(ahead) })
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// TestAnOrderWhoseReplacementIsRefusedCounts since the certificate was replaced by an order that brought nothing.
func TestAnOrderWhoseReplacementIsRefusedCounts(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		limits := spec.Limits{PerDomainPerWeek: 8, OrdersInFlight: 8}
		w.under(limits, cert("www"))
		w.run()
		time.Sleep(54 * day)
		w.ca().Intercept(func(r *request) *response {
			if !strings.Contains(payload(r), "replaces") {
				return nil
			}
			return refusing("new-order", http.StatusConflict, "alreadyReplaced", "already replaced")(r)
		})
		time.Sleep(20 * day)
		if v := w.view("www"); v.Revision != 2 {
			t.Fatalf("it is not renewed: %+v", v)
		}
		var arrival time.Time
		ledger, err := w.store.Issuer("ca")
		if err != nil {
			t.Fatal(err)
		}
		ledger.View(func(s *store.IssuerState) { arrival = s.Budgets["domain:example.com"] })
		if issued := w.record("www").Issued.Committed; arrival.Before(issued) {
			t.Errorf("the order of %v counts until %v", issued, arrival)
		}
	})
}
