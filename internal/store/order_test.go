package store_test

import (
	"crypto"
	"os"
	"reflect"
	"testing"

	"acmed/internal/store"
)

func TestOrderLivesFromBeginToDrop(t *testing.T) {
	s, dir := newStore(t)
	if p, err := s.Pending(name); p != nil || err != nil {
		t.Fatalf("got %+v, %v before the first", p, err)
	}
	wantError(t, s.SaveOrder(name, store.Order{}, store.Durable), "there is none: begin one first")
	must(t, s.Drop(name))

	first, second := newKey(t), newKey(t)
	must(t, s.Begin(name, first, store.Order{Issuer: "a"}))
	wantPending(t, s, store.Order{Issuer: "a"}, first)
	must(t, s.Begin(name, second, store.Order{Issuer: "b"}))
	wantPending(t, s, store.Order{Issuer: "b"}, second)
	must(t, s.SaveOrder(name, store.Order{Issuer: "b", URL: "u"}, store.Lazy))
	wantPending(t, s, store.Order{Issuer: "b", URL: "u"}, second)
	healthy(t, dir)

	must(t, s.Drop(name))
	if p, err := s.Pending(name); p != nil || err != nil {
		t.Errorf("got %+v, %v after Drop", p, err)
	}
	healthy(t, dir)
}

func wantPending(t *testing.T, s *store.Store, want store.Order, key crypto.Signer) {
	t.Helper()
	p, err := s.Pending(name)
	must(t, err)
	if p == nil || !reflect.DeepEqual(p.Order, want) {
		t.Fatalf("got %+v, want %+v", p, want)
	}
	got, err := p.Key()
	must(t, err)
	if !sameKey(got, key) {
		t.Error("it has another key")
	}
}

func TestDamagedOrderIsSetAsideWithItsKey(t *testing.T) {
	s, dir := newStore(t)
	order := dir + "/certs/" + name + "/pending/order"
	for sentence, spoil := range map[string]func(){
		"flipped":   func() { flip(t, order, 100) },
		"truncated": func() { must(t, os.Truncate(order, 10)) },
		"missing":   func() { must(t, os.Remove(order)) },
	} {
		must(t, s.Begin(name, newKey(t), store.Order{Issuer: "a"}))
		spoil()
		_, err := s.Pending(name)
		damaged := wantDamaged(t, err, order)
		if _, err := os.Stat(damaged.Archived + "/key.pem"); err != nil {
			t.Errorf("%s: the key is lost: %v", sentence, err)
		}
		if p, err := s.Pending(name); p != nil || err != nil {
			t.Errorf("%s: got %+v, %v afterwards", sentence, p, err)
		}
	}
	healthy(t, dir)
}

func TestDamagedOrderFoundByASweep(t *testing.T) {
	s, dir := newStore(t)
	must(t, s.Begin(name, newKey(t), store.Order{}))
	must(t, s.Close())
	order := dir + "/certs/" + name + "/pending/order"
	flip(t, order, 100)
	s = openAt(t, dir)
	wantDamaged(t, s.Sweep(name), order)
	must(t, s.Sweep(name))
}

func TestDamagedKeyOfAnOrderIsNoticed(t *testing.T) {
	s, dir := newStore(t)
	p := newPair(t)
	must(t, s.Begin(name, p.key, store.Order{}))
	path := dir + "/certs/" + name + "/pending/key.pem"
	flip(t, path, 60)
	pending, err := s.Pending(name)
	must(t, err)
	_, err = pending.Key()
	wantDamaged(t, err, path)
	_, err = s.Commit(name, p.chain, store.Revision{})
	wantDamaged(t, err, path)
	if errs := store.Check(dir); len(errs) != 1 {
		t.Errorf("Check: %v", errs)
	}
	must(t, os.Remove(path))
	_, err = pending.Key()
	wantDamaged(t, err, path)
}

func TestKeysThatCannotBeStoredAreRefused(t *testing.T) {
	s, _ := newStore(t)
	var key struct{ crypto.Signer }
	wantError(t, s.Begin(name, key, store.Order{}), "beginning the order of "+name, "unknown key type")
	wantError(t, s.CreateAccount("ca", store.Account{}, key), "creating the account at ca", "unknown key type")
}
