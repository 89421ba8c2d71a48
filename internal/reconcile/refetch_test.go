package reconcile_test

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

// TestACertificateThatComesAlone is of a CA whose root issues and that sends no chain.
func TestACertificateThatComesAlone(t *testing.T) {
	for sentence, c := range map[string]struct{ bundle, other bool }{
		"is completed with the root of caBundle":                            {bundle: true},
		"is refused without it, and fetched again once the bundle is there": {},
		"is refused with another root":                                      {other: true},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{LeafAlone: true}, func(w *world) {
				root := filepath.Join(filepath.Dir(w.dir), "root.pem")
				text := w.ca().RootPEM()
				if c.other {
					text = w.addCA("other", acmetest.Config{}).RootPEM()
				}
				if err := os.WriteFile(root, text, 0o600); err != nil {
					t.Fatal(err)
				}
				trusting := w.issuer("ca", spec.Limits{OrdersInFlight: 8})
				trusting.CABundle = root
				if c.bundle || c.other {
					w.set = spec.NewSet(nil, []*spec.Issuer{trusting})
				}
				w.want(cert("www"))
				w.run()
				time.Sleep(day)
				if !c.bundle {
					w.expect("www", reconcile.PhaseBackoff, reconcile.BackingOff)
					if s, err := w.reconciler.Status("www"); err != nil || !strings.Contains(s.Record.Failures["ca"].Hint, "caBundle") {
						t.Errorf("its status: %+v, %v", s.Record.Failures, err)
					}
					if err := os.WriteFile(root, w.ca().RootPEM(), 0o600); err != nil {
						t.Fatal(err)
					}
					mended := *trusting
					w.put(spec.NewSet([]*spec.Certificate{cert("www")}, []*spec.Issuer{&mended}))
					w.reconciler.Renew("www", false)
					time.Sleep(time.Minute)
				}
				w.expect("www", reconcile.PhaseValid, reconcile.NotDue)
				if n := w.orders(); n != 1 {
					t.Errorf("ordered %d times", n)
				}
				if chain, err := w.store.Chain("www", 1); err != nil || len(chain) != 2 || chain[1].Subject.CommonName != "acmetest root" {
					t.Errorf("got %d certificates, %v", len(chain), err)
				}
			})
		})
	}
}

// TestARefusedCertificateIsFetchedAgain spoils what the CA sends, and counts what that costs.
func TestARefusedCertificateIsFetchedAgain(t *testing.T) {
	alone := func(text string) string { return text[:strings.Index(text, "-----END CERTIFICATE-----\n")+26] }
	root := func(text string) string { return text[strings.Index(text, "-----END CERTIFICATE-----\n")+26:] }
	for sentence, c := range map[string]struct {
		spoil  func(string) string
		status int
		lasts  time.Duration
		edit   bool // of the names, meanwhile
		backup bool
		orders int
		issuer string
	}{
		"a chain that is cut for an hour costs no new order":      {spoil: alone, lasts: time.Hour, orders: 1},
		"nor does one that is cut for three days":                 {spoil: alone, lasts: 3 * day, orders: 1},
		"one that is cut for weeks is ordered once a week":        {spoil: alone, lasts: 13 * day, orders: 2},
		"a wrong leaf for an hour costs no new order":             {spoil: root, lasts: time.Hour, orders: 1},
		"a wrong leaf that stays is ordered once more":            {spoil: root, lasts: 12 * time.Hour, orders: 2},
		"a certificate that is not found for a minute costs none": {status: http.StatusNotFound, lasts: 30 * time.Second, orders: 1},
		"an edit of the names is ordered at once":                 {spoil: alone, lasts: 2 * time.Minute, edit: true, orders: 2},
		"a missing certificate is ordered from the next issuer":   {spoil: alone, lasts: day, backup: true, orders: 1, issuer: "backup"},
	} {
		t.Run(sentence, func(t *testing.T) {
			bubble(t, acmetest.Config{}, func(w *world) {
				w.quiet = true
				for range c.orders {
					w.ca().AllowRepeat("www.example.com")
				}
				over := time.Now().Add(c.lasts)
				w.meddle = func(r *request, res *response) {
					if r.URL.Host != "ca.test" || !strings.HasPrefix(r.URL.Path, "/certificate/") || time.Now().After(over) {
						return
					}
					text, err := io.ReadAll(res.Body)
					if err != nil {
						t.Error(err)
					}
					if c.status != 0 {
						res.StatusCode, text = c.status, nil
					} else {
						text = []byte(c.spoil(string(text)))
					}
					res.Body = io.NopCloser(strings.NewReader(string(text)))
				}
				www := cert("www")
				if c.backup {
					w.addCA("backup", acmetest.Config{})
					w.put(spec.NewSet(nil, []*spec.Issuer{w.issuer("ca", letsencrypt()), w.issuer("backup", letsencrypt())}))
					www = cert("www", "ca", "backup")
				}
				w.want(www)
				w.run()
				if c.edit {
					time.Sleep(30 * time.Second)
					edited := cert("www")
					edited.DNSNames = append(edited.DNSNames, "two.example.com")
					w.want(edited)
				}
				time.Sleep(c.lasts + 25*time.Hour)
				synctest.Wait()
				if v := w.view("www"); v.Phase != reconcile.PhaseValid || c.issuer != "" && v.Issuer != c.issuer {
					t.Errorf("got %+v", v)
				}
				if n := w.orders(); n != c.orders {
					t.Errorf("ordered %d times, want %d", n, c.orders)
				}
			})
		})
	}
}
