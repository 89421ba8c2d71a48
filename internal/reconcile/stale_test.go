package reconcile_test

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/store"
)

// TestAnOrderThatExpiredWhileAcmedDidNotRunIsNobodysFault stops acmed in the middle of an order, and starts it when the order,
// its certificate or what the CA knows of it is gone: the error says so, and acmed orders again.
func TestAnOrderThatExpiredWhileAcmedDidNotRunIsNobodysFault(t *testing.T) {
	for sentence, tt := range map[string]struct {
		config acmetest.Config
		pause  time.Duration
		before func(w *world) // when acmed starts again
	}{
		"an order that the CA calls invalid":      {acmetest.Config{ValidateDelay: 30 * day}, 30 * time.Hour, nil},
		"a certificate that nobody fetched":       {acmetest.Config{FinalizeDelay: 10 * time.Minute, Lifetime: 6 * day}, 20 * day, nil},
		"a certificate whose end the order fixed": {acmetest.Config{Dated: true, Lifetime: 6 * time.Hour, ValidateDelay: 30 * day}, 5 * time.Hour, nil},
		"an order that the CA has forgotten": {acmetest.Config{ValidateDelay: 30 * day}, 30 * time.Hour, func(w *world) {
			w.ca().Intercept(refusing("/order/", http.StatusNotFound, "malformed", "No order for ID 1"))
		}},
		"an order that is invalid for no reason at all": {acmetest.Config{ValidateDelay: 30 * day}, 30 * time.Hour, func(w *world) { w.meddle = edit(func(o map[string]any) { delete(o, "error") }) }},
		"an order that is pending past its end": {acmetest.Config{ValidateDelay: 30 * day}, 30 * time.Hour, func(w *world) {
			w.meddle = edit(func(o map[string]any) { delete(o, "error"); o["status"] = "pending" })
		}},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, tt.config, func(w *world) {
				w.quiet = true
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Minute)
				w.stop()
				time.Sleep(tt.pause)
				if tt.before != nil {
					tt.before(w)
				}
				w.run()
				started := time.Now().UTC().Format(time.RFC3339)
				f := w.failed("www")
				if f.Problem != "expired" || !strings.Contains(f.Detail, "while acmed did not run (it started at "+started) {
					t.Errorf("got %+v", f)
				}
				if f.Hint != "no action is needed: acmed orders again by itself" {
					t.Errorf("got the hint %q", f.Hint)
				}
				w.stop()
				w.ca().Intercept(nil)
				w.meddle = nil
				w.run()
				time.Sleep(2 * time.Minute)
				if n := w.orders(); n != 2 {
					t.Errorf("ordered %d times", n)
				}
				w.stop()
			})
		})
	}
}

// TestACertificateThatEndedBeforeItWasFetchedIsNotFetchedAgain is about a CA that takes longer than its certificates last, while
// acmed runs.
func TestACertificateThatEndedBeforeItWasFetchedIsNotFetchedAgain(t *testing.T) {
	bubble(t, acmetest.Config{Lifetime: time.Hour, FinalizeDelay: 10 * time.Minute}, func(w *world) {
		w.quiet = true
		w.cutOffAMinuteAfterTheOrder(3 * time.Hour)
		f := w.failed("www")
		if f.Problem != "badCertificate" || strings.Contains(f.Hint, "report") || !strings.Contains(f.Hint, "clock") {
			t.Errorf("got %+v", f)
		}
		time.Sleep(20 * time.Minute)
		if n := w.ca().Count("certificate"); n != 1 {
			t.Errorf("fetched %d times", n)
		}
		time.Sleep(25*time.Hour + 20*time.Minute)
		if n := w.orders(); n < 2 {
			t.Errorf("ordered %d times", n)
		}
		if v := w.view("www"); v.Revision == 0 {
			t.Errorf("there is no certificate: %+v", v)
		}
	})
}

// TestAnOrderThatExpiredWhileTheCACouldNotBeAsked says no more than that the order is over: acmed orders again, as after any failure of
// the CA's.
func TestAnOrderThatExpiredWhileTheCACouldNotBeAsked(t *testing.T) {
	for sentence, change := range map[string]func(o map[string]any){
		"with a reason":    func(map[string]any) {},
		"without a reason": func(o map[string]any) { delete(o, "error") },
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{ValidateDelay: 30 * day}, func(w *world) {
				w.quiet, w.meddle = true, edit(change)
				w.cutOffAMinuteAfterTheOrder(30 * time.Hour)
				f := w.failed("www")
				if f.Problem != "expired" || f.Kind != "transient" || !strings.Contains(f.Detail, "before acmed could finish it") {
					t.Errorf("got %+v", f)
				}
				time.Sleep(90 * time.Minute)
				if n := w.orders(); n != 2 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}

// cutOffAMinuteAfterTheOrder orders www, and lets nobody reach the CA from a minute later on, for so long.
func (w *world) cutOffAMinuteAfterTheOrder(outage time.Duration) {
	var down atomic.Bool
	w.cut = func(*request) error {
		if down.Load() {
			return errors.New("no way there")
		}
		return nil
	}
	w.want(cert("www"))
	w.run()
	time.Sleep(time.Minute)
	down.Store(true)
	time.Sleep(outage)
	down.Store(false)
}

// failed waits for the next failure of name.
func (w *world) failed(name string) store.Failure {
	w.t.Helper()
	for range 7200 {
		time.Sleep(time.Second)
		s, err := w.reconciler.Status(name)
		if err != nil {
			w.t.Fatal(err)
		}
		if f := s.Record.Failures["ca"]; f.Count > 0 && f.Problem != "network" {
			return f
		}
	}
	w.t.Fatalf("%s does not fail: %+v", name, w.view(name))
	return store.Failure{}
}
