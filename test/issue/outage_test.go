package issue_test

import (
	"net/http"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/site"
)

// TestStartWhileTheCAIsDead makes the daemon ready at once, and issues when the CA is back.
func TestStartWhileTheCAIsDead(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{Admin: ca.TLSAddr}) // a port that nobody else takes
	for _, name := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		s.Spec(t, name, "")
	}
	ca.Stop()

	launched := time.Now()
	d := s.Launch(t)
	d.AwaitReady(t)
	t.Logf("READY=1 came %s after the start", time.Since(launched).Round(time.Millisecond))
	resp, err := http.Get("http://" + ca.TLSAddr + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/readyz says %s", resp.Status)
	}
	site.Eventually(t, "all wait for the CA", func() bool { return waiting(t, s) == 3 })

	if err := ca.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Run(t, "reload") // spares this test the minute until the next probe
	site.Eventually(t, "all certificates are there", func() bool { return served(t, s) == 3 })
	if did := deedsOf(t, ca); did.accounts != 1 || did.orders != 3 {
		t.Errorf("the CA made %d accounts and %d orders, want 1 and 3", did.accounts, did.orders)
	}
	d.Stop(t)
}

// waiting counts the certificates with an error.
func waiting(t testing.TB, s *site.Site) (n int) {
	t.Helper()
	list, err := s.Control.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if !c.Next.Before(time.Now().Add(30 * time.Second)) {
			n++
		}
	}
	return n
}

// TestAccountThatTheCAForgot is replaced once, for all certificates.
func TestAccountThatTheCAForgot(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{})
	names := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
	for _, name := range names {
		s.Spec(t, name, "")
	}
	d := s.Start(t)
	site.Eventually(t, "the first certificates are there", func() bool { return served(t, s) == len(names) })
	if err := ca.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.Run(t, append([]string{"renew", "--wait"}, names...)...)
	}
	for _, name := range names {
		if got := s.Live(t, name); got != 3 {
			t.Errorf("revision %d of %s is live, want 3", got, name)
		}
	}
	if did := deedsOf(t, ca); did.accounts != 2 || did.orders != 3*len(names) {
		t.Errorf("the CA made %d accounts and %d orders, want 2 and %d", did.accounts, did.orders, 3*len(names))
	}
	d.Stop(t)
	for _, err := range store.Check(s.State) {
		t.Error(err)
	}
	old, err := filepath.Glob(filepath.Join(s.State, "archive/*"))
	if err != nil || len(old) != 1 {
		t.Errorf("the archive holds %v, %v; want the account that was forgotten", old, err)
	}
}
