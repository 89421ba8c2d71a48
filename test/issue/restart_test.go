package issue_test

import (
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/test/pebble"
	"acmed/test/site"
)

// startBound starts a CA that makes accounts only for whom it knows, and returns what an issuer's file says then.
func startBound(t *testing.T) (ca *pebble.Server, issuer string) {
	t.Helper()
	key := []byte("0123456789abcdef0123456789abcdef")
	file := filepath.Join(t.TempDir(), "hmac")
	if err := os.WriteFile(file, []byte(base64.RawURLEncoding.EncodeToString(key)), 0o600); err != nil {
		t.Fatal(err)
	}
	ca = pebble.Start(t, pebble.Options{
		EAB:      map[string][]byte{"kid-1": key},
		Profiles: map[string]time.Duration{"short": 30 * time.Second},
	})
	return ca, "externalAccountBinding: {kid: kid-1, hmacKeyFile: " + file + "}"
}

// TestHundredRestartsMakeOneAccount, and send the external account binding once, while fifty certificates are issued
// and renewed.
func TestHundredRestartsMakeOneAccount(t *testing.T) {
	t.Parallel()
	const specs, restarts = 50, 100
	ca, binding := startBound(t)
	s := site.New(t, ca, site.Options{Responder: true, Issuer: binding})
	s.ServeTokens(t, ca.HTTPAddr, nil)
	for i := range specs {
		s.Spec(t, fmt.Sprintf("host%02d.example.com", i), "")
	}

	d := s.Start(t)
	site.Eventually(t, "there is an account", func() bool { return deedsOf(t, ca).orders > 0 })
	began, killed, cut := time.Now(), 0, 0
	for i := range restarts {
		if i%10 == 5 {
			d.Kill()
			_, begun := openOrders(t, s)
			killed, cut = killed+1, cut+begun
		} else {
			d.Stop(t)
			if _, begun := openOrders(t, s); begun > 0 {
				t.Errorf("after a stop in order there are %d orders without a URL", begun)
			}
		}
		d = s.Start(t)
	}
	took := time.Since(began)
	site.Eventually(t, "all certificates are there", func() bool { return served(t, s) == specs })
	d.Stop(t)
	open, _ := openOrders(t, s)

	asked, did := ca.Count(t), deedsOf(t, ca)
	t.Logf("%d restarts, %d of them kills, took %s; the CA saw %d newAccount and made %d orders and %d certificates",
		restarts, killed, took.Round(time.Millisecond), asked["newAccount"], did.orders, did.certificates)
	if asked["newAccount"] != 1 || did.accounts != 1 || did.bindings != 1 {
		t.Errorf("newAccount was asked %d times, made %d accounts and bound %d: want one each", asked["newAccount"], did.accounts, did.bindings)
	}
	if lost := did.orders - did.certificates - open; lost > cut {
		t.Errorf("%d orders were lost, by kills that met %d before their URL was on disk", lost, cut)
	}
}
