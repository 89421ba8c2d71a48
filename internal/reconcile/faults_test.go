package reconcile_test

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// narrow puts certificates in force whose issuer lets one order be open at a time.
func (w *world) narrow(certs ...*spec.Certificate) {
	w.put(spec.NewSet(certs, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 1})}))
}

// TestAFaultOfOneCertificateHoldsUpNoOther gives the only place at the gate to a certificate that cannot use it.
func TestAFaultOfOneCertificateHoldsUpNoOther(t *testing.T) {
	for sentence, spoil := range map[string]func(*world, string){
		"whose link is wrong": func(w *world, name string) {
			if err := os.Symlink("nowhere", filepath.Join(w.dir, "live", name)); err != nil {
				w.t.Fatal(err)
			}
		},
		"whose visits panic": func(w *world, name string) {
			w.ca().Intercept(func(r *http.Request) *http.Response {
				if strings.Contains(r.URL.Path, "new-order") && w.panics.Add(1) == 1 {
					panic("out of the blue")
				}
				return nil
			})
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{ValidateDelay: time.Minute}, func(w *world) {
				w.quiet = true
				w.workers = 1
				w.narrow(cert("a"), cert("b"), cert("c"), cert("d"))
				w.run()
				time.Sleep(time.Second) // one has the place, the others wait for it
				var spoilt string
				for _, v := range w.reconciler.Views() {
					if v.Why == reconcile.Queued {
						spoilt = v.Name
						break
					}
				}
				spoil(w, spoilt)
				time.Sleep(30 * time.Minute)
				for _, v := range w.reconciler.Views() {
					if (v.Phase == reconcile.PhaseValid) == (v.Error != "") {
						t.Errorf("got %+v", v)
					}
				}
				if phases, failing := w.reconciler.Counts(); phases[reconcile.PhaseValid] != 3 || failing != 1 {
					t.Errorf("got %v, %d failing", phases, failing)
				}
				w.stop()
				if sentence == "whose link is wrong" {
					w.link(spoilt, "")
				}
			})
		})
	}
}

func TestAFaultIsShownWithItsOwnWords(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.quiet = true
		w.want(cert("www"), cert("new"))
		w.open()
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		w.settle("www")
		for _, name := range []string{"www", "new"} {
			if err := os.Symlink("nowhere", filepath.Join(w.dir, "live", name)); err != nil {
				t.Fatal(err)
			}
			if wait := w.visit(name); wait < time.Minute {
				t.Errorf("%s wants to come back in %v", name, wait)
			}
			v := w.view(name)
			if v.Why != reconcile.Disconnected || !strings.Contains(v.Error, "nowhere") || v.Hint != "" || v.Detail != "" || v.Phase == "" {
				t.Errorf("got %+v", v)
			}
		}
		if phases, failing := w.reconciler.Counts(); phases[reconcile.PhaseMissing] != 1 || phases[reconcile.PhaseBackoff] != 1 || failing != 2 {
			t.Errorf("got %v, %d failing", phases, failing)
		}
		var last time.Duration
		for range 10 {
			time.Sleep(last)
			wait := w.visit("new")
			if wait < last || wait > 10*time.Minute {
				t.Errorf("got a wait of %v after %v", wait, last)
			}
			last = wait
		}
		if last != 10*time.Minute {
			t.Errorf("got a wait of %v in the end", last)
		}
		w.link("new", "")
		w.settle("new")
		w.expect("new", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("new"); v.Error != "" || !v.ErrorAt.IsZero() {
			t.Errorf("the fault is shown still: %+v", v)
		}
		w.link("www", "")
	})
}

func TestAPanicIsShown(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.open()
		at, deadline := w.reconciler.Panicked("www")
		v := w.view("www")
		if v.Phase != reconcile.PhaseMissing || v.Error == "" || !v.Next.Equal(at) || !deadline.IsZero() || time.Until(at) < time.Hour {
			t.Errorf("got %+v, %v, %v", v, at, deadline)
		}
		w.settle("www")
		if v := w.view("www"); v.Error != "" {
			t.Errorf("got %+v", v)
		}
	})
}

func TestAVisitThatTakesTooLongSaysSo(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.quiet = true
		w.want(cert("www"))
		w.open()
		w.cut = hang
		ctx, cancel := context.WithTimeout(w.t.Context(), time.Second)
		defer cancel()
		at, _ := w.reconciler.Visit(ctx, "www")
		if v := w.view("www"); v.Error == "" || !v.Next.Equal(at) || time.Until(at) < time.Minute {
			t.Errorf("got %+v, next visit at %v", v, at)
		}
	})
}

func TestAWrongClockIsWaitedFor(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.want(cert("www"))
		w.floor = time.Now().Add(100 * day)
		w.run()
		w.expect("www", reconcile.PhaseParked, reconcile.ClockBehind)
		if v := w.view("www"); !v.Next.Equal(w.floor) {
			t.Errorf("got %+v", v)
		}
		time.Sleep(100*day + time.Second)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
	})
}

// TestEveryIssuerMayFail takes more steps than a visit has.
func TestEveryIssuerMayFail(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.quiet = true
		issuers := []*spec.Issuer{w.issuer("ca", letsencrypt())}
		names := []string{"ca"}
		for _, name := range []string{"b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"} {
			w.addCA(name, acmetest.Config{}).FailValidation("www.example.com", "dns", "no A record")
			issuers, names = append(issuers, w.issuer(name, letsencrypt())), append(names, name)
		}
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		w.put(spec.NewSet([]*spec.Certificate{cert("www", names...)}, issuers))
		w.run()
		time.Sleep(2 * time.Minute)
		for name, ca := range w.cas {
			if n := ca.Count("newOrder"); n < 1 || n > 2 {
				t.Errorf("asked %s %d times", name, n)
			}
		}
		if v := w.view("www"); v.Next.Before(time.Now()) || v.Error != "dns: www.example.com: no A record" {
			t.Errorf("got %+v", v)
		}
	})
}
