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
	"acmed/internal/store"
)

// TestAStopInTheMiddle stops while the CA owes an answer. An order that was asked for and not answered is lost.
func TestAStopInTheMiddle(t *testing.T) {
	for path, orders := range map[string]int{
		"/directory": 1, "/new-nonce": 1, "/new-account": 1, "/new-order": 1, "/authz/": 1, "/challenge/": 1, "/order/": 1,
		"/finalize": 1, "/certificate/": 1, "/renewal-info/": 1,
	} {
		t.Run(path, func(t *testing.T) {
			cfg := acmetest.Config{RenewalInfo: true, ValidateDelay: time.Second, FinalizeDelay: time.Second}
			bubble(t, cfg, func(w *world) {
				w.want(cert("www"))
				w.open()
				ctx, cancel := context.WithCancel(w.t.Context())
				defer cancel()
				hung := false
				w.cut = func(r *request) error {
					if !strings.Contains(r.URL.Path, path) {
						return nil
					}
					hung = true
					cancel()
					return hang(r)
				}
				for range 100 {
					at, _ := w.reconciler.Visit(ctx, "www")
					if ctx.Err() != nil {
						break
					}
					time.Sleep(time.Until(at))
				}
				if !hung {
					t.Fatal("it was never asked for")
				}
				if v := w.view("www"); v.Error != "" {
					t.Errorf("a stop is shown as a failure: %+v", v)
				}
				w.stop()
				w.cut = nil
				w.run()
				time.Sleep(time.Minute)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if n := w.orders(); n != orders {
					t.Errorf("the CA made %d orders", n)
				}
				if n := w.proofs.count(); n != 0 {
					t.Errorf("%d proofs are left", n)
				}
			})
		})
	}
}

// TestADiskThatFailsAfterTheCommit takes a folder away when the certificate comes, for an hour.
func TestADiskThatFailsAfterTheCommit(t *testing.T) {
	for _, dir := range []string{"live", "ledger", "certs/www/rev"} {
		t.Run(dir, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.quiet = true
				path, gone := filepath.Join(w.dir, dir), false
				w.meddle = func(r *http.Request, _ *response) {
					if strings.Contains(r.URL.Path, "/certificate/") && !gone {
						gone = true
						if err := os.Rename(path, path+".gone"); err != nil {
							t.Error(err)
						}
					}
				}
				w.want(cert("www"))
				w.run()
				time.Sleep(time.Hour)
				if v := w.view("www"); v.Error == "" {
					t.Errorf("nothing is shown: %+v", v)
				}
				os.Remove(path) // what was made in its place
				if err := os.Rename(path+".gone", path); err != nil {
					t.Fatal(err)
				}
				time.Sleep(70 * time.Minute)
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if v := w.view("www"); v.Error != "" || v.Revision != 1 {
					t.Errorf("got %+v", v)
				}
				if n := w.orders(); n != 1 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}

// TestDamagedStateStartsAnew damages a file of the state folder while acmed is stopped.
func TestDamagedStateStartsAnew(t *testing.T) {
	for file, orders := range map[string]int{"ledger/www.json": 1, "issuers/ca.json": 1, "certs/www/pending/order": 2} {
		for what, damage := range map[string][]byte{"empty": nil, "garbage": []byte("{}\n")} {
			t.Run(file+" "+what, func(t *testing.T) {
				bubble(t, slow(), func(w *world) {
					w.quiet = true
					w.want(cert("www"))
					w.run()
					time.Sleep(time.Minute)
					ledger, err := w.store.Issuer("ca")
					if err != nil {
						t.Fatal(err)
					}
					if err := ledger.Update(func(*store.IssuerState) {}); err != nil { // so that there is one
						t.Fatal(err)
					}
					w.stop()
					if err := os.WriteFile(filepath.Join(w.dir, file), damage, 0o600); err != nil {
						t.Fatal(err)
					}
					w.ca().AllowRepeat("www.example.com")
					w.run()
					time.Sleep(4 * time.Hour)
					w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
					if n := w.orders(); n != orders {
						t.Errorf("ordered %d times", n)
					}
				})
			})
		}
	}
}

func TestAnOrderInProcessWaitsForItsSpec(t *testing.T) {
	bubble(t, acmetest.Config{FinalizeDelay: time.Hour}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		w.want()
		time.Sleep(5 * time.Hour)
		w.want(cert("www"))
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if n := w.orders(); n != 1 {
			t.Errorf("ordered %d times", n)
		}
	})
}
