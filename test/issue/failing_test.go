package issue_test

import (
	"flag"
	"regexp"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/site"
)

var failingKills = flag.Int("failing.kills", 60, "how often a daemon is killed whose validations fail; 300 is every two seconds for ten minutes")

// TestKillsWhileValidationFails kills daemons whose proofs nobody serves, each soon after somebody asked it to try once
// more. Let's Encrypt allows five failed authorizations of a name in an hour; acmed's own limit is four, written down
// before each try. The moments are what matters, not the hour: so the kills follow each other faster than every two
// seconds.
func TestKillsWhileValidationFails(t *testing.T) {
	t.Parallel()
	const name = "www.example.com"
	ca := pebble.Start(t, pebble.Options{NonceReject: 5})
	s := site.New(t, ca, site.Options{Responder: true, Limits: "failuresPerNamePerHour: 4"})
	s.Spec(t, name, "{}")
	s.Rest(t)
	random := newRandom(t)
	for range *failingKills {
		d := s.Launch(t)
		asked := make(chan struct{})
		go func() {
			defer close(asked)
			select {
			case <-d.Ready():
				// The daemon dies in the middle of it: what comes of it does not matter.
				_ = s.Control.Renew(t.Context(), control.RenewRequest{Names: []string{name}}, func(control.Event) {})
			case <-d.Ended():
			}
		}()
		d.KillAfter(time.Duration(random.IntN(700)) * time.Millisecond)
		<-asked
	}
	log, err := ca.Log()
	if err != nil {
		t.Fatal(err)
	}
	failed := len(regexp.MustCompile(`authz \S+ set INVALID`).FindAllIndex(log, -1))
	did := deedsOf(t, ca)
	t.Logf("%d kills: %d failed authorizations, %d orders", *failingKills, failed, did.orders)
	if failed < 1 || failed > 5 {
		t.Errorf("%d authorizations failed, want 1 to 5", failed)
	}
	if did.accounts != 1 || did.certificates != 0 {
		t.Errorf("the CA did %+v", did)
	}
	for _, err := range store.Check(s.State) {
		t.Error(err)
	}
	s.Start(t)
	c, err := s.Control.Status(t.Context(), name)
	if err != nil || c.Next.At.Before(time.Now()) {
		t.Errorf("the next try is at %v: %s (%v)", c.Next.At, c.Next.Reason, err)
	}
}
