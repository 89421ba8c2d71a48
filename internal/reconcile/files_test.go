package reconcile_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/store"
)

// link points live/NAME at target; "" removes it.
func (w *world) link(name, target string) {
	w.t.Helper()
	path := filepath.Join(w.dir, "live", name)
	if err := os.Remove(path); err != nil {
		w.t.Fatal(err)
	}
	if target == "" {
		return
	}
	if err := os.Symlink(target, path); err != nil {
		w.t.Fatal(err)
	}
}

func TestLiveIsPutRight(t *testing.T) {
	for sentence, change := range map[string]func(*world){
		"when the link is gone":                 func(w *world) { w.link("www", "") },
		"when it points at an older one":        func(w *world) { w.link("www", "../certs/www/rev/0001") },
		"when it points at one that is gone":    func(w *world) { w.link("www", "../certs/www/rev/0003") },
		"when it is removed after a wrong turn": func(w *world) { w.link("www", "nowhere"); w.visit("www"); w.link("www", "") },
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.want(cert("www"))
				w.open()
				for range 2 {
					w.ca().AllowRepeat("www.example.com")
					w.reconciler.Renew("www", false)
					w.settle("www")
				}
				if n, err := w.store.Live("www"); n != 2 || err != nil {
					t.Fatalf("revision %d is live, %v", n, err)
				}
				change(w)
				time.Sleep(time.Minute)
				w.visit("www")
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if n, err := w.store.Live("www"); n != 2 || err != nil {
					t.Errorf("revision %d is live, %v", n, err)
				}
				if n := w.orders(); n != 2 {
					t.Errorf("ordered %d times", n)
				}
			})
		})
	}
}

// TestTheRecordFollowsTheFiles stops between the two steps of an activation.
func TestTheRecordFollowsTheFiles(t *testing.T) {
	bubble(t, acmetest.Config{RenewalInfo: true}, func(w *world) {
		w.want(cert("www"))
		w.run()
		time.Sleep(time.Minute)
		w.ca().FailValidation("www.example.com", "dns", "no A record")
		w.ca().AllowRepeat("www.example.com")
		w.reconciler.Renew("www", true)
		time.Sleep(time.Second)
		old := w.record("www")
		if old.Requested.IsZero() || len(old.Failures) != 1 || old.ARI.Chosen.IsZero() {
			t.Fatalf("got %+v", old)
		}
		w.ca().FailValidation("www.example.com", "", "")
		w.ca().AllowRepeat("www.example.com")
		time.Sleep(2 * time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		w.stop()
		w.open()
		if err := w.store.SaveRecord("www", old, store.Durable); err != nil {
			t.Fatal(err)
		}
		w.stop()

		orders := w.orders()
		time.Sleep(7 * time.Hour) // the CA's advice may be read again
		w.run()
		time.Sleep(time.Minute)
		w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
		if v := w.view("www"); v.Revision != 2 || v.Error != "" {
			t.Errorf("got %+v", v)
		}
		now := w.record("www")
		if !now.Requested.IsZero() || len(now.Failures) != 0 || now.ARI.CertID != now.Issued.CertID || now.ARI.CertID == old.ARI.CertID {
			t.Errorf("got %+v", now)
		}
		if n := w.orders(); n != orders {
			t.Errorf("ordered %d times more", n-orders)
		}
	})
}
