package reconcile_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// hang lets requests wait until the client gives up.
func hang(r *request) error {
	<-r.Context().Done()
	return r.Context().Err()
}

func TestARequestOutlivesAVisitThatIsCutShort(t *testing.T) {
	for sentence, restart := range map[string]bool{"by its time limit": false, "by a stop": true} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
				w.want(cert("www"))
				w.open()
				w.settle("www")
				time.Sleep(time.Hour)
				w.cut = hang
				w.reconciler.Renew("www", true)
				ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
				defer cancel()
				w.reconciler.Visit(ctx, "www")
				w.cut = nil
				w.ca().AllowRepeat("www.example.com")
				if restart {
					w.stop()
					w.open()
				}
				if r := w.record("www"); r.Requested.IsZero() || !r.Forced {
					t.Errorf("it is forgotten: %+v", r)
				}
				w.settle("www")
				if v := w.view("www"); v.Revision != 2 {
					t.Errorf("it never happened: %+v", v)
				}
			})
		})
	}
}

func TestForceIsForOneAttempt(t *testing.T) {
	bubble(t, acmetest.Config{OrderGap: -1}, func(w *world) {
		w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.issuer("ca", spec.Limits{PerNameSetPerWeek: 1, FailuresPerNamePerHour: 1, OrdersInFlight: 1})}))
		w.run()
		time.Sleep(time.Minute)
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		w.ca().AllowRepeat("www.example.com")
		w.ca().AllowRepeat("www.example.com")
		w.reconciler.Renew("www", true)
		time.Sleep(time.Second)
		w.reconciler.Renew("www", true)
		time.Sleep(time.Second)
		if n := w.orders(); n != 2 {
			t.Errorf("ordered %d times: the budget of failures did not hold", n)
		}
		w.expect("www", reconcile.PhaseRenewing, reconcile.OverBudget)
		time.Sleep(time.Hour)
		if n := w.orders(); n != 3 {
			t.Errorf("ordered %d times: the second request was forgotten", n)
		}
		time.Sleep(3 * time.Hour)
		if n := w.orders(); n != 3 {
			t.Errorf("ordered %d times: force outlived its attempt", n)
		}
	})
}

func TestARequestForNobodyIsForgotten(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		w.want()
		w.reconciler.Renew("www", true)
		time.Sleep(time.Minute)
		w.want(cert("www"))
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != 1 {
			t.Errorf("ordered %d times", n)
		}
	})
}

func TestARenewalIsWatched(t *testing.T) {
	bubble(t, acmetest.Config{ValidateDelay: time.Minute}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Hour)
		views, stop := w.reconciler.Watch("www")
		others, stopOthers := w.reconciler.Watch("other")
		defer stopOthers()
		w.ca().AllowRepeat("www.example.com")
		w.reconciler.Renew("www", false)
		synctest.Wait()
		if v := <-views; v.Why != reconcile.AwaitingCA || v.Phase != reconcile.PhaseRenewing {
			t.Errorf("got %+v", v)
		}
		time.Sleep(5 * time.Minute) // nobody listens
		if v := <-views; v.Why != reconcile.NotDue || v.Revision != 2 {
			t.Errorf("got %+v, not the newest", v)
		}
		stop()
		stop()
		w.ca().AllowRepeat("www.example.com")
		w.reconciler.Renew("www", false)
		time.Sleep(5 * time.Minute)
		select {
		case v := <-views:
			t.Errorf("got %+v after the end", v)
		case v := <-others:
			t.Errorf("got %+v for another name", v)
		default:
		}
	})
}

func TestThePromiseToTheFirstIssuerOutlivesTheSecond(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.addCA("backup", acmetest.Config{})
		w.put(spec.NewSet([]*spec.Certificate{cert("www", "ca", "backup")},
			[]*spec.Issuer{w.issuer("ca", letsencrypt()), w.issuer("backup", letsencrypt())}))
		w.ca().Intercept(problem("new-order", http.StatusTooManyRequests, "rateLimited", "too many certificates for www.example.com", "7200"))
		w.run()
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.Error != "" {
			t.Errorf("the failure is shown still: %+v", v)
		}
		w.ca().Intercept(nil)
		w.cas["backup"].AllowRepeat("www.example.com")
		w.reconciler.Renew("www", true)
		time.Sleep(time.Minute)
		if n := w.orders(); n != 0 {
			t.Error("the first issuer was asked before its time")
		}
		w.cas["backup"].AllowRepeat("www.example.com")
		w.reconciler.Renew("www", true)
		time.Sleep(2 * time.Hour)
		w.reconciler.Renew("www", true)
		time.Sleep(time.Minute)
		if n := w.orders(); n != 1 {
			t.Errorf("asked the first issuer %d times after that", n)
		}
	})
}

func TestARequestThatACertificateOvertakesIsFulfilled(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.open()
		w.meddle = func(r *request, _ *response) {
			if strings.Contains(r.URL.Path, "cert") {
				w.reconciler.Renew("www", false)
				time.Sleep(time.Millisecond) // the certificate comes after it
				w.meddle = nil
			}
		}
		w.settle("www")
		if n := w.orders(); n != 1 || w.meddle != nil || !w.record("www").Requested.IsZero() {
			t.Errorf("%d orders, want 1; the record is %+v", n, w.record("www"))
		}
	})
}
