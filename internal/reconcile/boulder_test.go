package reconcile_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// TestAServerErrorDelaysOneCertificate as Boulder sends Retry-After: 60 with every 500.
func TestAServerErrorDelaysOneCertificate(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("first"))
		w.run()
		time.Sleep(time.Minute)
		refuse, tries := counted(func(r *request) *response {
			if !strings.Contains(payload(r), "www.example.com") {
				return nil
			}
			res := refusing("new-order", http.StatusInternalServerError, "serverInternal", "Error creating new order")(r)
			res.Header.Set("Retry-After", "60")
			return res
		})
		w.ca().Intercept(refuse)
		w.want(cert("first"), cert("www"), cert("other"))
		time.Sleep(50 * time.Second)
		w.expect("other", reconcile.PhaseValid, reconcile.NotDue)
		w.expect("www", reconcile.PhaseBackoff, reconcile.BackingOff)
		if n := tries(); n != 1 {
			t.Errorf("asked %d times within a minute", n)
		}
		w.ca().Intercept(nil)
		time.Sleep(11 * time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

// TestAnotherProfileIsValidatedAgain since an authorization belongs to the profile of its order. What the order had cost
// in case it failed is given back.
func TestAnotherProfileIsValidatedAgain(t *testing.T) {
	cfg := acmetest.Config{Profiles: map[string]time.Duration{"tlsserver": 45 * day}, AuthzReuse: 30 * day, Limits: acmetest.LetsEncrypt()}
	bubble(t, cfg, func(w *world) {
		limits := letsencrypt()
		w.under(limits, cert("www"))
		w.run()
		time.Sleep(time.Hour)
		edited := cert("www")
		edited.Profile = "tlsserver"
		w.put(spec.NewSet([]*spec.Certificate{edited}, []*spec.Issuer{w.issuer("ca", limits)}))
		time.Sleep(time.Minute)
		if v := w.view("www"); v.Revision != 2 || v.Phase != reconcile.PhaseValid {
			t.Fatalf("got %+v", v)
		}
		if n := w.ca().Count("challenge"); n != 2 {
			t.Errorf("%d challenges were answered, want one for each profile", n)
		}
		ledger, err := w.store.Issuer("ca")
		if err != nil {
			t.Fatal(err)
		}
		ledger.View(func(s *store.IssuerState) {
			if at := s.Budgets["failures:www.example.com"]; at.After(time.Now()) {
				t.Errorf("a success counts as a failure until %v", at)
			}
		})
	})
}

// TestAReplacementThatGotLostIsReplacedByNone: Boulder takes a certificate for replaced as soon as an order says so. When
// its answer is lost, the next order has to do without, and counts.
func TestAReplacementThatGotLostIsReplacedByNone(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true, Limits: acmetest.LetsEncrypt()}, func(w *world) {
		w.under(letsencrypt(), cert("www"))
		w.run()
		time.Sleep(54 * day)
		w.ca().Lose("newOrder", 1)
		w.ca().AllowRepeat("www.example.com")
		time.Sleep(20 * day)
		if v := w.view("www"); v.Revision != 2 || v.Phase != reconcile.PhaseValid {
			t.Fatalf("got %+v", v)
		}
		ledger, err := w.store.Issuer("ca")
		if err != nil {
			t.Fatal(err)
		}
		issued := w.record("www").Issued.Committed
		ledger.View(func(s *store.IssuerState) {
			if at := s.Budgets["domain:example.com"]; at.Before(issued) {
				t.Errorf("the order of %v counts until %v", issued, at)
			}
		})
	})
}
