package evilca_test

import (
	"context"
	"crypto/ecdsa"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"acmed/internal/reconcile"
	"acmed/test/evilca"
)

// TestStories are what takes more than one fault, or tells more than whether a renewal works.
func TestStories(t *testing.T) {
	w := newWorld(t)
	t.Parallel() // not before: a process that is being started holds on to the locks of all machines
	for sentence, tell := range map[string]func(*testing.T, *world){
		"an order whose answer was lost does not bar the next":              lostOrder,
		"what was finalized is fetched, not ordered again":                  lostFinalize,
		"an order that is processed for a time is waited for":               processing,
		"a Retry-After that is over is no reason to hurry":                  hurry,
		"an order that is never past ready is not finalized without end":    neverPastReady,
		"names that cannot be validated are left alone as the CA asks":      failingNames,
		"a set of names that had its certificates waits as the CA asks":     exactSet,
		"an account that had its orders waits as the CA asks":               ordersOfTheAccount,
		"a certificate whose life is nearly over is not renewed at once":    nearlyOver,
		"an old certificate that is sent for ever is not ordered for ever":  replayed,
		"a directory that was evil once is not believed for a day":          evilDirectory,
		"a CA that advises nothing tells of a revocation by its list":       listed,
		"a CA that forgets the account and then lies makes no second storm": forgottenAccount,
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			tell(t, w)
		})
	}
}

// quiet gives what may still happen the time to do so.
func (m *machine) quiet(d time.Duration) {
	m.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-m.t.Context().Done():
	}
}

// listed has the CA revoke what it issued, and tell nobody but in its list.
func listed(t *testing.T, w *world) {
	var list atomic.Pointer[[]byte]
	publish := func(revoked ...*big.Int) {
		der, err := w.forger.List(revoked...)
		if err != nil {
			t.Fatal(err)
		}
		list.Store(&der)
	}
	publish()
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = rw.Write(*list.Load()) // who asked may be gone
	}))
	defer server.Close()
	m := newMachine(t, w, nil, func(m *machine) {
		m.proxy.Spoil(evilca.Directory, evilca.Field(map[string]any{"renewalInfo": nil}))
		m.proxy.Spoil(evilca.Certificate, w.forger.Listed(server.URL+"/1.crl"))
		m.cert.PrivateKey.RotationPolicy = "Never"
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- m.reconciler.WatchRevocations(ctx, time.Second) }()
	m.quiet(3 * time.Second)
	if read, ok := m.reconciler.RevocationList(m.name); !ok || read.Problem != "" || read.Checked.IsZero() {
		t.Errorf("the list is %+v, %v", read, ok)
	}
	first, err := m.store.Leaf(m.name, 1)
	if err != nil {
		t.Fatal(err)
	}
	publish(first.SerialNumber)
	m.await("what was revoked is replaced", func(v reconcile.View) bool { return v.Revision == 2 })
	second, err := m.store.Leaf(m.name, 2)
	if err != nil {
		t.Fatal(err)
	}
	if second.PublicKey.(*ecdsa.PublicKey).Equal(first.PublicKey) {
		t.Error("the successor has the key that was compromised")
	}
	if n := m.proxy.Count(evilca.NewOrder); n != 2 {
		t.Errorf("%d orders, want 2", n)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	m.check()
}

func lostOrder(t *testing.T, w *world) {
	rules := evilca.LetsEncrypt()
	m := newMachine(t, w, rules, nil)
	m.proxy.Spoil(evilca.NewOrder, evilca.Lose)
	if v := m.renew(); v.Revision != 1 {
		t.Fatalf("got %+v", v)
	}
	m.recover(1)
	if n := rules.Refused("alreadyReplaced"); n != 1 {
		t.Errorf("the CA refused %d orders for the certificate that they replace, want 1", n)
	}
	m.check()
}

func lostFinalize(t *testing.T, w *world) {
	m := newMachine(t, w, nil, nil)
	m.proxy.Spoil(evilca.Finalize, evilca.Lose)
	if v := m.renew(); v.Revision != 1 {
		t.Fatalf("got %+v", v)
	}
	m.recover(1)
	if orders, finals := m.proxy.Count(evilca.NewOrder), m.proxy.Count(evilca.Finalize); orders != 2 || finals != 2 {
		t.Errorf("%d orders, %d finalized; want 2 with the first certificate's", orders, finals)
	}
	m.check()
}

func processing(t *testing.T, w *world) {
	m := newMachine(t, w, nil, nil)
	late := evilca.Some(func(n int) bool { return n > 1 && n < 8 }, evilca.Alter(func(_ *evilca.Exchange, a *evilca.Answer) {
		a.Body = []byte(strings.NewReplacer(`"status": "valid"`, `"status": "processing"`, `"status":"valid"`, `"status":"processing"`).Replace(string(a.Body)))
		a.Header.Set("Retry-After", "1")
	}))
	m.proxy.Spoil(evilca.Order, late)
	start := time.Now()
	m.reconciler.Renew(m.name, false)
	m.await("the order is done", func(v reconcile.View) bool { return v.Revision == 2 })
	if took := time.Since(start); took < 4*time.Second {
		t.Errorf("it took %v although the CA asked for seconds", took)
	}
	if orders, finals := m.proxy.Count(evilca.NewOrder), m.proxy.Count(evilca.Finalize); orders != 2 || finals != 2 {
		t.Errorf("%d orders, %d finalized; want 2 with the first certificate's", orders, finals)
	}
	m.check()
}

func hurry(t *testing.T, w *world) {
	for _, value := range []string{"-1", "0", time.Now().Add(-time.Hour).UTC().Format(time.RFC1123)} {
		m := newMachine(t, w, nil, nil)
		m.proxy.Spoil(evilca.Order, evilca.Say(200, `{"status":"processing"}`, "Retry-After", value))
		before := m.proxy.Count(evilca.Order)
		m.reconciler.Renew(m.name, false)
		m.await("it waits for the CA", func(v reconcile.View) bool { return v.Why == reconcile.AwaitingCA })
		m.quiet(4 * time.Second)
		if n := m.proxy.Count(evilca.Order) - before; n > 8 {
			t.Errorf("Retry-After %q: the order was read %d times in four seconds", value, n)
		}
		m.recover(1)
		m.check()
	}
}

func neverPastReady(t *testing.T, w *world) {
	m := newMachine(t, w, nil, nil)
	m.proxy.Spoil(evilca.Order, evilca.Field(map[string]any{"status": "ready"}))
	m.proxy.Spoil(evilca.Finalize, evilca.Say(200, `{"status":"processing"}`))
	before := m.proxy.Count(evilca.Finalize)
	m.reconciler.Renew(m.name, false)
	m.await("it waits for the CA", func(v reconcile.View) bool { return v.Why == reconcile.AwaitingCA })
	m.quiet(8 * time.Second)
	if n := m.proxy.Count(evilca.Finalize) - before; n > 10 {
		t.Errorf("the order was finalized %d times in eight seconds", n)
	}
	m.recover(1)
	m.check()
}

func failingNames(t *testing.T, w *world) {
	rules := &evilca.Rules{FailuresPerHour: 5}
	m := newMachine(t, w, rules, nil)
	m.deaf.Store(true)
	for range 5 {
		if v := m.renew(); v.Error == "" || v.Hint == "" {
			t.Fatalf("got %+v", v)
		}
	}
	if n := rules.Refused("rateLimited"); n != 0 {
		t.Errorf("%d orders were refused before the limit", n)
	}
	m.expectPatience(rules, 55*time.Minute, 75*time.Minute) // its own ladder may ask for a little more
	m.check()
}

func exactSet(t *testing.T, w *world) {
	rules := &evilca.Rules{CertsPerSetPerWeek: 2}
	m := newMachine(t, w, rules, nil)
	m.renew()
	m.expectPatience(rules, 167*time.Hour, 169*time.Hour) // the limit is by the week
	m.check()
}

func ordersOfTheAccount(t *testing.T, w *world) {
	rules := &evilca.Rules{OrdersPer3h: 2}
	m := newMachine(t, w, rules, nil)
	m.renew()
	m.expectPatience(rules, 2*time.Hour+50*time.Minute, 3*time.Hour+time.Minute)
	m.check()
}

// expectPatience renews, which the CA refuses for a time, and renews again, which acmed refuses for that time.
func (m *machine) expectPatience(rules *evilca.Rules, least, most time.Duration) {
	m.t.Helper()
	v := m.renew()
	if wait := time.Until(v.Next); rules.Refused("rateLimited") != 1 || wait < least || wait > most {
		m.t.Errorf("%d orders were refused, and acmed waits for %v: %+v", rules.Refused("rateLimited"), wait, v)
	}
	before := m.proxy.Total()
	m.reconciler.Renew(m.name, true)
	m.quiet(time.Second)
	if asked := m.proxy.Total() - before; asked > 0 {
		m.t.Errorf("%d requests although the CA asked for patience", asked)
	}
}

func nearlyOver(t *testing.T, w *world) {
	m := newMachine(t, w, nil, nil)
	m.proxy.Spoil(evilca.Certificate, w.forger.Leaf(func(l *evilca.Forgery) {
		l.NotBefore, l.NotAfter = time.Now().AddDate(0, 0, -80), time.Now().AddDate(0, 0, 10)
	}))
	m.noStorm()
}

func replayed(t *testing.T, w *world) {
	m := newMachine(t, w, nil, func(m *machine) {
		m.cert.PrivateKey.RotationPolicy = "Never"
		var first [][]byte // one request at a time asks for it
		m.proxy.Spoil(evilca.Certificate, w.forger.Chain(func(chain [][]byte) ([][]byte, error) {
			if first == nil {
				first = chain
			}
			return first, nil
		}))
	})
	m.noStorm()
}

// noStorm renews and looks for some seconds at what follows.
func (m *machine) noStorm() {
	m.t.Helper()
	before := m.proxy.Count(evilca.NewOrder)
	m.renew()
	m.quiet(5 * time.Second)
	if n := m.proxy.Count(evilca.NewOrder) - before; n > 1 {
		m.t.Errorf("%d orders in a few seconds", n)
	}
	m.check()
}

func evilDirectory(t *testing.T, w *world) {
	m := newMachine(t, w, nil, nil)
	m.prepare(evilca.Directory)
	m.proxy.Spoil(evilca.Directory, evilca.Move("https://other.invalid"))
	if v := m.renew(); v.Revision != 1 {
		t.Fatalf("got %+v", v)
	}
	m.recover(1)
	m.check()
}

func forgottenAccount(t *testing.T, w *world) {
	m := newMachine(t, w, nil, nil)
	m.proxy.Spoil(evilca.NewOrder, evilca.Problem(403, "accountDoesNotExist", "who are you?"))
	before := m.proxy.Count(evilca.NewAccount)
	for range 4 {
		if err := m.reconciler.Release(); err != nil { // as acmed reload does
			t.Fatal(err)
		}
		m.renew()
	}
	if n := m.proxy.Count(evilca.NewAccount) - before; n > 4 {
		t.Errorf("asked for an account %d times", n)
	}
	m.recover(1)
	m.check()
}
