package reconcile_test

import (
	"crypto/tls"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// standby is a certificate whose spec wants a placeholder.
func standby(names ...string) *spec.Certificate {
	c := cert("www")
	c.DNSNames, c.Placeholder = names, true
	c.Deploy.Reload = []string{"nginx.service"}
	return c
}

// stands fails unless the placeholder that is live can be served for host now, and returns its serial number.
func (w *world) stands(host string) string {
	w.t.Helper()
	at := filepath.Join(w.dir, "live", "www")
	pair, err := tls.LoadX509KeyPair(filepath.Join(at, "fullchain.pem"), filepath.Join(at, "privkey.pem"))
	if err != nil {
		w.t.Fatal(err)
	}
	leaf := pair.Leaf
	if err := leaf.VerifyHostname(host); err != nil {
		w.t.Error(err)
	}
	if now := time.Now(); now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		w.t.Errorf("valid from %v to %v", leaf.NotBefore, leaf.NotAfter)
	}
	if got := leaf.Subject.Organization; len(got) != 1 || got[0] != "acmed placeholder" || leaf.IsCA {
		w.t.Errorf("subject %v", leaf.Subject)
	}
	if live, err := w.store.Live("www"); live != 0 || err != nil {
		w.t.Errorf("revision %d is live: %v", live, err)
	}
	return leaf.SerialNumber.String()
}

func TestPlaceholderStandsInUntilTheFirstCertificate(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		down, delivered := true, 0
		w.quiet = true
		w.cut = func(*request) error {
			if down {
				return errors.New("the CA is down")
			}
			return nil
		}
		w.deliver = func(reconcile.Delivery) { delivered++ }
		w.want(standby("www.example.com"))
		w.open()
		w.visit("www")
		first := w.stands("www.example.com")
		if v := w.view("www"); !v.Standing || v.Revision != 0 || !v.NotAfter.IsZero() || v.Behind != 0 {
			t.Errorf("the view takes it for a certificate: %+v", v)
		}
		for begun := time.Now(); time.Since(begun) < 30*24*time.Hour; {
			time.Sleep(min(w.visit("www"), 24*time.Hour))
			w.stands("www.example.com")
		}
		if w.stands("www.example.com") == first {
			t.Error("it was not made anew in a month")
		}
		w.want(standby("www.example.com", "www2.example.com"))
		w.visit("www")
		last := w.stands("www2.example.com")
		w.visit("www")
		if w.stands("www2.example.com") != last {
			t.Error("it is made anew with every visit")
		}
		if delivered > 0 {
			t.Error("it was delivered")
		}
		down = false
		for range 50 {
			if w.serial("www") != "" {
				break
			}
			time.Sleep(min(w.visit("www"), time.Hour))
		}
		w.visit("www")
		if v := w.view("www"); v.Standing || v.Revision != 1 || delivered != 1 {
			t.Errorf("%d deliveries, and the view %+v", delivered, v)
		}
	})
}

func TestNoPlaceholder(t *testing.T) {
	for sentence, c := range map[string]*spec.Certificate{
		"where the spec asks for none": cert("www"),
		"over a revision":              standby("www.example.com"),
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.want(cert("www"))
				w.open()
				w.settle("www")
				before := w.serial("www")
				w.want(c)
				w.settle("www")
				if w.serial("www") != before || w.view("www").Standing || before == "" {
					t.Errorf("live is %s, not %s: %+v", w.serial("www"), before, w.view("www"))
				}
			})
		})
	}
}

func TestPlaceholderNeedsNoClock(t *testing.T) {
	bubble(t, acmetest.Config{}, func(w *world) {
		w.floor = time.Now().Add(365 * 24 * time.Hour)
		w.want(standby("www.example.com"))
		w.open()
		w.visit("www")
		w.stands("www.example.com")
		w.expect("www", reconcile.PhaseParked, reconcile.ClockBehind)
	})
}
