package reconcile_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

// account is the URL of the account at "ca".
func (w *world) account() string {
	w.t.Helper()
	a, _, err := w.store.Account("ca")
	if err != nil || a == nil {
		w.t.Fatalf("got %+v, %v", a, err)
	}
	return a.URL
}

// expectAccount fails unless the account at "ca" is still that one, works, and has left nothing behind.
func (w *world) expectAccount(url string) {
	w.t.Helper()
	told, have, err := w.reconciler.Account(w.t.Context(), "ca")
	if err != nil || told.URL != url || have.URL != url || told.Thumbprint != w.ca().KeyOf(url) || told.Status != "valid" {
		w.t.Errorf("got %+v, %+v, %v, want %s with %s", told, have, err, url, w.ca().KeyOf(url))
	}
	if _, err := os.Stat(filepath.Join(w.dir, "accounts/ca/next.pem")); err == nil {
		w.t.Error("next.pem is left")
	}
	if kept, _ := filepath.Glob(filepath.Join(w.dir, "archive/*-accounts-ca")); kept != nil {
		w.t.Errorf("the account was put aside: %q", kept)
	}
}

// another obtains another certificate.
func (w *world) another() {
	w.t.Helper()
	w.want(cert("www"), cert("two"))
	w.scheduler.Wake("two")
	time.Sleep(4 * time.Hour)
	w.expect("two", reconcile.PhaseValid, reconcile.NotDue)
	if got := w.record("two").Issued; got != nil && got.Account != w.account() {
		w.t.Errorf("issued to %s", got.Account)
	}
}

func TestRollover(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		if _, _, err := w.tryRollover(); err == nil {
			t.Error("the key of no account is changed")
		}
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		url := w.account()
		before := w.ca().KeyOf(url)
		told, have, err := w.reconciler.Rollover(w.t.Context(), "ca")
		if err != nil || told.URL != url || have.URL != url || told.Thumbprint == before || told.Thumbprint != w.ca().KeyOf(url) {
			t.Errorf("got %+v, %+v, %v", told, have, err)
		}
		w.expectAccount(url)
		w.stop()
		w.run()
		w.another()
		w.expectAccount(url)
	})
}

// tryRollover is for a world that does not run yet.
func (w *world) tryRollover() (acme.Account, string, error) {
	w.open()
	defer w.stop()
	told, have, err := w.reconciler.Rollover(w.t.Context(), "ca")
	return told, have.URL, err
}

// TestRolloverInterruptedAtEveryRequest cuts the connection at each request of a rollover, before it reaches the CA or
// before its answer comes back, once or for good, and stops acmed or lets it go on.
func TestRolloverInterruptedAtEveryRequest(t *testing.T) {
	for sentence, c := range map[string]struct{ arrives, lasting, stops bool }{
		"before":                   {},
		"after":                    {arrives: true},
		"before, for good":         {lasting: true},
		"after, for good":          {arrives: true, lasting: true},
		"stopped before":           {stops: true},
		"stopped after":            {arrives: true, stops: true},
		"stopped before, for good": {lasting: true, stops: true},
		"stopped after, for good":  {arrives: true, lasting: true, stops: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			for n, more := 1, true; more && !t.Failed(); n++ {
				bubble(t, acmetest.Config{}, func(w *world) {
					w.quiet = true
					w.want(cert("www"))
					w.run()
					time.Sleep(time.Minute)
					url := w.account()
					ctx, cancel := context.WithCancel(w.t.Context())
					defer cancel()
					seen := 0
					synctest.Wait()
					w.cut = func(r *request) error {
						if seen++; seen < n || seen > n && !c.lasting {
							return nil
						}
						if c.arrives && seen == n {
							if res, err := w.ca().RoundTrip(r); err == nil {
								res.Body.Close()
							}
						}
						if c.stops {
							cancel()
							return context.Canceled
						}
						return errors.New("connection reset by peer")
					}
					_, _, err := w.reconciler.Rollover(ctx, "ca")
					synctest.Wait()
					more = seen >= n
					w.cut = nil
					if !more && err != nil {
						t.Errorf("nothing was cut: %v", err)
					}
					if c.stops {
						w.stop()
						w.run()
					}
					w.another()
					w.expectAccount(url)
				})
			}
		})
	}
}

func TestRolloverThatTheCARefuses(t *testing.T) {
	for sentence, c := range map[string]struct {
		answer  func(*http.Request) *http.Response
		problem string
	}{
		"501, as step-ca answers":       {problem("/key-change", http.StatusNotImplemented, "notImplemented", "no", ""), "noKeyChange"},
		"404, as OpenBao answers":       {problem("/key-change", http.StatusNotFound, "malformed", "no", ""), "noKeyChange"},
		"409, the key has another one":  {problem("/key-change", http.StatusConflict, "malformed", "in use", ""), "malformed"},
		"200 and nothing changes":       {problem("/key-change", http.StatusOK, "none", "", ""), "protocol"},
		"500 and nothing changes":       {problem("/key-change", http.StatusInternalServerError, "serverInternal", "oh", ""), "serverInternal"},
		"an answer that says nothing":   {problem("/key-change", http.StatusNoContent, "none", "", ""), "protocol"},
		"a key that it does not accept": {problem("/key-change", http.StatusBadRequest, "badPublicKey", "weak", ""), "badPublicKey"},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Minute)
				url := w.account()
				before := w.ca().KeyOf(url)
				w.ca().Intercept(c.answer)
				_, _, err := w.reconciler.Rollover(w.t.Context(), "ca")
				w.ca().Intercept(nil)
				if e, ok := errors.AsType[*acme.Error](err); !ok || e.Problem != c.problem || e.Op != acme.OpKeyChange {
					t.Errorf("got %v", err)
				}
				if w.ca().KeyOf(url) != before {
					t.Error("the CA has another key")
				}
				w.expectAccount(url)
				w.another()
			})
		})
	}
}

// TestAFailureThatWasNone has the CA change the key and say that it could not.
func TestAFailureThatWasNone(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		url := w.account()
		synctest.Wait()
		w.meddle = func(r *request, res *response) {
			if strings.Contains(r.URL.Path, "/key-change") {
				res.StatusCode = http.StatusInternalServerError
			}
		}
		if _, _, err := w.reconciler.Rollover(w.t.Context(), "ca"); err != nil {
			t.Error(err)
		}
		w.expectAccount(url)
	})
}

// TestRolloverWaitsForProofs changes the key while names are being validated, whose proofs are made from it.
func TestRolloverWaitsForProofs(t *testing.T) {
	for sentence, c := range map[string]struct {
		takes time.Duration
		works bool
	}{
		"not for long": {time.Minute, true},
		"for ever":     {time.Hour, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{ValidateDelay: c.takes}, func(w *world) {
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Second)
				url := w.account()
				began := time.Now()
				go func() {
					time.Sleep(time.Second)
					w.also("late")
					if _, _, err := w.reconciler.Rollover(w.t.Context(), "ca"); !errors.Is(err, reconcile.ErrChanging) {
						t.Errorf("a second change at once: %v", err)
					}
				}()
				_, _, err := w.reconciler.Rollover(w.t.Context(), "ca")
				if waited := time.Since(began); (err == nil) != c.works || waited < 50*time.Second || waited > 3*time.Minute {
					t.Errorf("got %v after %v", err, waited)
				}
				if err != nil && !strings.Contains(err.Error(), "www") {
					t.Errorf("got %v", err)
				}
				time.Sleep(5 * time.Hour)
				for _, name := range []string{"www", "late"} {
					w.expect(name, reconcile.PhaseValid, reconcile.NotDue)
					if n := w.record(name).Failures; len(n) > 0 {
						t.Errorf("%s: %+v", name, n)
					}
				}
				w.expectAccount(url)
				if n := w.orders(); n != 2 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}

// also wants another certificate beside www.
func (w *world) also(name string) {
	w.want(cert("www"), cert(name))
	w.scheduler.Wake(name)
}

// TestTheKeyStaysWhileARevocationIsUnderWay, which is signed with it.
func TestTheKeyStaysWhileARevocationIsUnderWay(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(5 * time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		var rollover sync.WaitGroup
		var mu sync.Mutex
		var answered, changed time.Time
		w.cut = func(r *request) error {
			mu.Lock()
			defer mu.Unlock()
			switch {
			case strings.Contains(r.URL.Path, "key-change"):
				changed = time.Now()
			case strings.Contains(r.URL.Path, "revoke") && answered.IsZero():
				answered = time.Now().Add(10 * time.Second)
				rollover.Go(func() {
					if _, _, err := w.reconciler.Rollover(w.t.Context(), "ca"); err != nil {
						t.Errorf("changing the key: %v", err)
					}
				})
				mu.Unlock()
				time.Sleep(time.Until(answered))
				mu.Lock()
			}
			return nil
		}
		if _, err := w.reconciler.Revoke(w.t.Context(), reconcile.Revocation{Name: "www"}); err != nil {
			t.Errorf("revoking: %v", err)
		}
		rollover.Wait()
		if answered.IsZero() || changed.Before(answered) {
			t.Errorf("the key changed %v before the CA had answered", answered.Sub(changed))
		}
	})
}
