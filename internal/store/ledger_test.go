package store_test

import (
	"errors"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"acmed/internal/store"
)

func TestLedgerForgetsBudgetsThatAreOver(t *testing.T) {
	s, dir := newStore(t)
	later := time.Now().Add(time.Hour).UTC().Truncate(time.Second)
	l, err := s.Issuer("ca")
	must(t, err)
	must(t, l.Update(func(st *store.IssuerState) {
		st.Hold, st.HoldWhy = later, "busy"
		st.Budgets["orders"], st.Budgets["set:1"] = later, time.Now().Add(-time.Second)
	}))
	if again, err := s.Issuer("ca"); again != l || err != nil {
		t.Errorf("another ledger for the same issuer: %v", err)
	}
	must(t, s.Close())
	s = openAt(t, dir)
	if state, err := s.IssuerState("ca"); err != nil || !state.Hold.Equal(later) || state.HoldWhy != "busy" {
		t.Errorf("a reader sees %+v, %v", state, err)
	}

	l, err = s.Issuer("ca")
	must(t, err)
	l.View(func(st *store.IssuerState) {
		if len(st.Budgets) != 1 || !st.Budgets["orders"].Equal(later) || !st.Hold.Equal(later) || st.HoldWhy != "busy" {
			t.Errorf("got %+v", st)
		}
	})
	healthy(t, dir)
}

func TestANoteIsWrittenWithTheNextUpdate(t *testing.T) {
	s, dir := newStore(t)
	l, err := s.Issuer("ca")
	must(t, err)
	must(t, l.Update(func(*store.IssuerState) {}))
	onDisk := func() string {
		t.Helper()
		data, err := os.ReadFile(dir + "/issuers/ca.json")
		must(t, err)
		return string(data)
	}
	l.Note(func(st *store.IssuerState) { st.HoldWhy = "busy" })
	l.View(func(st *store.IssuerState) {
		if st.HoldWhy != "busy" {
			t.Errorf("got %+v", st)
		}
	})
	if strings.Contains(onDisk(), "busy") {
		t.Errorf("a note waited for the disk: %s", onDisk())
	}
	must(t, l.Update(func(*store.IssuerState) {}))
	if !strings.Contains(onDisk(), "busy") {
		t.Errorf("the note is lost: %s", onDisk())
	}

	l.Note(func(st *store.IssuerState) { st.HoldWhy = "calm" })
	must(t, s.Close())
	if !strings.Contains(onDisk(), "calm") {
		t.Errorf("an end in order lost the note: %s", onDisk())
	}
}

func TestDamagedLedgerIsSetAside(t *testing.T) {
	s, dir := newStore(t)
	l, err := s.Issuer("ca")
	must(t, err)
	must(t, l.Update(func(st *store.IssuerState) { st.Outage = 3 }))
	must(t, s.Close())
	flip(t, dir+"/issuers/ca.json", 90)
	if errs := store.Check(dir); len(errs) != 1 {
		t.Errorf("Check: %v", errs)
	}
	s = openAt(t, dir)
	_, err = s.Issuer("ca")
	wantDamaged(t, err, dir+"/issuers/ca.json")
	l, err = s.Issuer("ca")
	must(t, err)
	l.View(func(st *store.IssuerState) {
		if st.Outage != 0 || st.Budgets == nil {
			t.Errorf("got %+v", st)
		}
	})
}

// slowLedger returns a ledger whose writes wait for a value from the channel, which is their error.
func slowLedger(t *testing.T) (l *store.Ledger, dir string, write chan error, began chan struct{}) {
	t.Helper()
	write, began = make(chan error), make(chan struct{}, 100)
	dir = newDir(t)
	s, err := store.OpenWith(store.Config{Dir: dir}, func(op, path string, do func() error) error {
		if op == "create" && strings.HasPrefix(path, "issuers/") {
			began <- struct{}{}
			if err := <-write; err != nil {
				return err
			}
		}
		return unsynced(op, path, do)
	})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	l, err = s.Issuer("ca")
	must(t, err)
	return l, dir, write, began
}

// update starts n updates and returns when all have been applied; their errors come one by one.
func update(t *testing.T, l *store.Ledger, n int) chan error {
	t.Helper()
	errs := make(chan error, n)
	var applied sync.WaitGroup
	applied.Add(n)
	for range n {
		go func() {
			errs <- l.Update(func(st *store.IssuerState) {
				st.Outage++
				applied.Done()
			})
		}()
	}
	applied.Wait()
	return errs
}

func TestUpdatesShareAWrite(t *testing.T) {
	l, dir, write, began := slowLedger(t)
	first := update(t, l, 1)
	<-began // it is on its way to the disk, so the others need another write
	others := update(t, l, 20)
	l.View(func(st *store.IssuerState) {
		if st.Outage != 21 {
			t.Errorf("%d updates are seen before they are durable", st.Outage)
		}
	})
	write <- nil
	must(t, <-first)
	write <- nil
	for range 20 {
		must(t, <-others)
	}
	if len(began) != 1 { // beside the first, taken above
		t.Errorf("%d writes for 20 updates", len(began))
	}
	healthy(t, dir)
}

func TestUpdatesShareAnErrorAndTheNextWritesAgain(t *testing.T) {
	l, dir, write, began := slowLedger(t)
	first := update(t, l, 1)
	<-began
	others := update(t, l, 5)
	write <- nil
	must(t, <-first)
	write <- syscall.ENOSPC
	for range 5 {
		err := <-others
		wantError(t, err, "saving the ledger of issuer ca", "free space")
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v", err)
		}
	}
	l.View(func(st *store.IssuerState) {
		if st.Outage != 6 {
			t.Errorf("got %d: memory must stay the stricter one", st.Outage)
		}
	})
	next := update(t, l, 1)
	write <- nil
	must(t, <-next)
	r, err := store.OpenReader(dir)
	must(t, err)
	defer r.Close()
	healthy(t, dir)
}
