package issue_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/site"
)

var (
	seed  = flag.Int("kill.seed", 0, "seed of the moments at which the daemon is killed; 0: another one each time")
	kills = flag.Int("kill.times", 200, "how often the daemon is killed")
)

// TestKillAtAnyMoment kills the daemon at random moments of issuances and renewals, six at a time: key and
// certificate always belong together, no account is made twice, no certificate is lost at the CA, and a kill loses at
// most one order.
//
// Half of the kills meet a daemon that answers http-01 itself, so that the CA finds nobody there and refuses orders;
// for the other half somebody else answers.
func TestKillAtAnyMoment(t *testing.T) {
	t.Parallel()
	for name, responder := range map[string]bool{"the proofs go with the daemon": false, "the proofs stay": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := newKiller(t, responder)
			for range *kills / 2 {
				k.round(t)
			}
			k.finish(t)
		})
	}
}

// TestKillWhileTheAccountIsMade kills daemons that have never run before.
func TestKillWhileTheAccountIsMade(t *testing.T) {
	t.Parallel()
	const sites = 15
	random := newRandom(t)
	ca, binding := startBound(t)
	for range sites {
		s := site.New(t, ca, site.Options{Responder: true, Issuer: binding})
		d := s.Start(t)
		s.Spec(t, "www.example.com", "")
		site.Eventually(t, "a key for the account is on disk", func() bool { return exists(filepath.Join(s.State, "accounts/pebble")) })
		d.KillAfter(time.Duration(random.IntN(15)) * time.Millisecond)
		s.Start(t)
		site.Eventually(t, "the account is on disk", func() bool {
			account, err := os.ReadFile(filepath.Join(s.State, "accounts/pebble/account.json"))
			return err == nil && bytes.Contains(account, []byte(`"url":"https:`))
		})
	}
	asked, did := ca.Count(t), deedsOf(t, ca)
	t.Logf("%d daemons asked for an account %d times and made %d", sites, asked["newAccount"], did.accounts)
	if did.accounts != sites || did.bindings != sites {
		t.Errorf("%d daemons made %d accounts and bound %d", sites, did.accounts, did.bindings)
	}
}

// killer ends daemons.
type killer struct {
	ca      *pebble.Server
	site    *site.Site
	alone   bool // nobody answers http-01 while there is no daemon
	names   []string
	random  *rand.Rand
	kills   int
	resumed int // orders that kills left open
	begun   int // orders that kills left before the CA's answer was on disk
}

// newRandom draws the same every time for the same seed.
func newRandom(t *testing.T) *rand.Rand {
	t.Helper()
	n := uint64(*seed)
	if n == 0 {
		n = rand.Uint64N(1 << 32)
	}
	t.Logf("-kill.seed=%d", n)
	return rand.New(rand.NewPCG(n, 0))
}

func newKiller(t *testing.T, responder bool) *killer {
	t.Helper()
	k := &killer{random: newRandom(t), alone: !responder}
	k.ca = pebble.Start(t, pebble.Options{NonceReject: 5, AuthzReuse: 50, MaxValidationDelay: 2 * time.Second})
	k.site = site.New(t, k.ca, site.Options{Responder: responder})
	if responder {
		k.site.ServeTokens(t, k.ca.HTTPAddr, nil)
	}
	for i := range 6 {
		name := fmt.Sprintf("host%d.example.com", i)
		k.names = append(k.names, name)
		k.site.Spec(t, name, "{}")
	}
	k.site.Rest(t)
	return k
}

// round starts a daemon, has it renew whatever it has no order for, and kills it within half a second.
func (k *killer) round(t *testing.T) {
	t.Helper()
	d := k.site.Launch(t)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		select {
		case <-d.Ready():
			// The daemon dies in the middle of it: what comes of it does not matter.
			_ = k.site.Control.Renew(t.Context(), control.RenewRequest{All: true}, func(control.Event) {})
		case <-d.Ended():
		}
	}()
	d.KillAfter(time.Duration(k.random.IntN(500)) * time.Millisecond)
	<-asked
	k.kills++
	k.examine(t)
}

// examine looks at what a kill left behind, as consumers and the next daemon will.
func (k *killer) examine(t *testing.T) {
	t.Helper()
	for _, name := range k.names {
		_, err := k.site.Served(name)
		none := errors.Is(err, fs.ErrNotExist) && !exists(filepath.Join(k.site.State, "live", name))
		if err != nil && !none {
			t.Fatalf("after kill %d, live/%s: %v", k.kills, name, err)
		}
	}
	resumable, begun := openOrders(t, k.site)
	k.resumed, k.begun = k.resumed+resumable, k.begun+begun
	if !exists(filepath.Join(k.site.State, "FORMAT")) {
		return // killed before it was a state folder
	}
	for _, err := range store.Check(k.site.State) {
		t.Errorf("after kill %d: %v", k.kills, err)
	}
}

// exists tells of links too that lead nowhere.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// finish lets the daemon come to rest and compares what it has with what the CA did.
func (k *killer) finish(t *testing.T) {
	t.Helper()
	d := k.site.Start(t)
	site.Eventually(t, "no order is open", func() bool { return k.resting(t) })
	d.Stop(t)
	k.site.Run(t, "check")
	if resumable, begun := openOrders(t, k.site); resumable+begun > 0 {
		t.Errorf("%d orders are still open", resumable+begun)
	}
	have := 0
	for _, name := range k.names {
		have += k.site.Live(t, name)
	}
	did := deedsOf(t, k.ca)
	t.Logf("%d kills: the CA made %d accounts, %d orders and %d certificates (%d of them twice), of which %d are there, and refused %d orders for want of a proof; "+
		"kills met %d orders whose URL was on disk and %d whose was not",
		k.kills, did.accounts, did.orders, did.certificates, did.doubles, have, did.invalid, k.resumed, k.begun)
	if did.accounts != 1 {
		t.Errorf("the CA made %d accounts", did.accounts)
	}
	if have < len(k.names) || did.certificates != have {
		t.Errorf("the CA made %d certificates, and %d are there", did.certificates, have)
	}
	if did.invalid > 0 && !k.alone {
		t.Errorf("the CA did not find the proofs of %d orders", did.invalid)
	}
	if lost := did.orders - did.certificates - did.invalid; lost > min(k.begun, k.kills) {
		t.Errorf("%d orders were lost, by %d kills that met %d orders before their URL was on disk", lost, k.kills, k.begun)
	}
}

// resting asks again for what a kill made fail, until every certificate is there and none is on order.
func (k *killer) resting(t *testing.T) bool {
	t.Helper()
	list, err := k.site.Control.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var failed []string
	rest := true
	for _, c := range list {
		rest = rest && c.Phase == control.Valid
		if c.Phase == control.BackingOff {
			failed = append(failed, c.Name)
		}
	}
	if len(failed) > 0 {
		request := control.RenewRequest{Names: failed, Wait: true}
		if err := k.site.Control.Renew(t.Context(), request, func(control.Event) {}); err != nil {
			t.Fatal(err)
		}
	}
	return rest
}
