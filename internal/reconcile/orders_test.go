package reconcile_test

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// slow is a CA that takes an hour for everything.
func slow() acmetest.Config {
	return acmetest.Config{ValidateDelay: time.Hour, FinalizeDelay: time.Hour, RetryAfter: 10 * time.Minute}
}

// challenged is a certificate whose proofs are shown in webroot.
func challenged(name, webroot string) *spec.Certificate {
	c := cert(name)
	c.Challenge.Webroot = webroot
	return c
}

func TestNoProofIsLeftBehind(t *testing.T) {
	for sentence, change := range map[string]func(*world){
		"when the spec goes away":    func(w *world) { w.want() },
		"when the webroot moves":     func(w *world) { w.want(challenged("www", "/srv/new")) },
		"when the challenge changes": func(w *world) { c := cert("www"); c.Challenge.Type = "dns-01"; w.want(c) },
		"when the issuer goes away": func(w *world) {
			w.put(spec.NewSet([]*spec.Certificate{challenged("www", "/srv/old")}, nil))
		},
		"after a restart without the spec": func(w *world) { w.stop(); w.want(); w.run() },
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, slow(), func(w *world) {
				w.want(challenged("www", "/srv/old"))
				w.run()
				time.Sleep(time.Minute)
				if n := w.proofs.count(); n != 1 {
					t.Fatalf("showing %d proofs", n)
				}
				change(w)
				time.Sleep(150 * time.Minute) // the CA has looked, if it still was to
				for at := range w.proofs.m.Range {
					if at.(place).webroot == "/srv/old" {
						t.Error("the proof is still there")
					}
				}
			})
		})
	}
}

func TestAnEditThatIsTakenBackLeavesNothing(t *testing.T) {
	bubble(t, acmetest.Config{ValidateDelay: time.Hour}, func(w *world) {
		w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{w.issuer("ca", letsencrypt())}))
		w.run()
		time.Sleep(2 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		more := cert("www")
		more.DNSNames = append(more.DNSNames, "more.example.com")
		w.want(more)
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseRenewing, reconcile.AwaitingCA)
		w.want(cert("www"))
		time.Sleep(2 * time.Minute) // the CA had a minute to validate
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if p, err := w.store.Pending("www"); p != nil || err != nil {
			t.Errorf("the order is still open: %+v, %v", p, err)
		}
		if n := w.proofs.count(); n != 0 {
			t.Errorf("%d proofs are still there", n)
		}
	})
}

// edit changes the JSON objects that a CA answers to an order.
func edit(change func(order map[string]any)) func(*request, *response) {
	return func(r *request, res *response) {
		body, _ := io.ReadAll(res.Body)
		var o map[string]any
		if strings.Contains(string(body), `"finalize"`) && json.Unmarshal(body, &o) == nil {
			change(o)
			body, _ = json.Marshal(o)
		}
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	}
}

func TestOrdersThatAreOverAtOnceAreNoStorm(t *testing.T) {
	cfg := acmetest.Config{ValidateDelay: time.Hour, OrderGap: -1}
	bubble(t, cfg, func(w *world) {
		w.meddle = edit(func(o map[string]any) { o["expires"] = "1999-12-31T00:00:00Z" }) // or our clock is ahead
		w.want(cert("www"))
		w.run()
		time.Sleep(day)
		if n := w.orders(); n > 5 {
			t.Errorf("ordered %d times in a day", n)
		}
		if v := w.view("www"); v.Error == "" {
			t.Errorf("nothing tells why: %+v", v)
		}
	})
}

func TestAnOrderInProcessIsNeverGivenUp(t *testing.T) {
	cfg := acmetest.Config{FinalizeDelay: 5 * day, RetryAfter: time.Hour} // orders live for a day
	bubble(t, cfg, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(6 * day)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != 1 {
			t.Errorf("ordered %d times", n)
		}
	})
}

func TestAnOrderThatTheCAForgotIsMadeAgain(t *testing.T) {
	bubble(t, slow(), func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		w.stop()
		time.Sleep(day + 30*time.Minute) // orders live for a day
		w.run()
		time.Sleep(3 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != 2 {
			t.Errorf("ordered %d times", n)
		}
	})
}

func TestAnOrderWhoseKeyIsDamagedIsLost(t *testing.T) {
	bubble(t, slow(), func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		if err := os.WriteFile(filepath.Join(w.dir, "certs/www/pending/key.pem"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		w.ca().AllowRepeat("www.example.com")
		time.Sleep(5 * time.Hour)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != 2 {
			t.Errorf("ordered %d times", n)
		}
	})
}

// TestNoWorkerWaitsForItsTurn: while a solver is busy, no proof is shown, the status says why, and the order goes on as
// soon as it can.
func TestNoWorkerWaitsForItsTurn(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.workers = 1
		free := time.Now().Add(10 * time.Minute)
		w.crowded = func() string {
			if time.Now().Before(free) {
				return "its turn"
			}
			return ""
		}
		w.want(cert("www"), cert("two"))
		w.run()
		time.Sleep(5 * time.Minute)
		for _, name := range []string{"www", "two"} {
			if v := w.reconciler.View(name); v.Why != reconcile.AwaitingCA || v.Detail != "its turn" || w.proofs.count() > 0 {
				t.Errorf("%s waits for %s: %s", name, v.Why, v.Detail)
			}
		}
		time.Sleep(5*time.Minute + 20*time.Second)
		for _, name := range []string{"www", "two"} {
			w.expect(name, reconcile.PhaseValid, reconcile.NotDue)
		}
		if n := w.orders(); n != 2 {
			t.Errorf("ordered %d times", n)
		}
	})
}
