package store_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"acmed/internal/store"
)

func TestAccountKeepsItsKey(t *testing.T) {
	s, dir := newStore(t)
	if a, key, err := s.Account("ca"); a != nil || key != nil || err != nil {
		t.Fatalf("got %+v, %v before the first", a, err)
	}
	must(t, s.ArchiveAccount("ca"))
	wantError(t, s.SaveAccount("ca", store.Account{}), "saving the account at ca")

	want := store.Account{Directory: "d", Contact: []string{"mailto:a@example.com"}, Created: time.Unix(1, 0).UTC()}
	key := newKey(t)
	must(t, s.CreateAccount("ca", want, key))
	wantError(t, s.CreateAccount("ca", want, newKey(t)), "there is one already: archive it first")
	want.URL = "u"
	must(t, s.SaveAccount("ca", want))
	got, gotKey, err := s.Account("ca")
	must(t, err)
	if !reflect.DeepEqual(*got, want) || !sameKey(gotKey, key) {
		t.Errorf("got %+v", got)
	}
	healthy(t, dir)

	must(t, s.ArchiveAccount("ca"))
	if a, _, err := s.Account("ca"); a != nil || err != nil {
		t.Errorf("got %+v, %v after archiving", a, err)
	}
	kept, err := filepath.Glob(dir + "/archive/*-accounts-ca/key.pem")
	must(t, err)
	if len(kept) != 1 {
		t.Errorf("archived keys: %q", kept)
	}
	must(t, s.CreateAccount("ca", want, newKey(t)))
	healthy(t, dir)
}

func TestDamagedAccountIsNoticedAndStays(t *testing.T) {
	for _, base := range []string{"account.json", "key.pem"} {
		s, dir := newStore(t)
		must(t, s.CreateAccount("ca", store.Account{URL: "u"}, newKey(t)))
		path := dir + "/accounts/ca/" + base
		sound, err := os.ReadFile(path)
		must(t, err)
		for i := range sound {
			flip(t, path, i)
			_, _, err := s.Account("ca")
			wantDamaged(t, err, path)
			wantError(t, err, "reading the account at ca", "restore it from a backup")
			must(t, os.WriteFile(path, sound, 0))
		}
		must(t, os.Remove(path))
		_, _, err = s.Account("ca")
		wantDamaged(t, err, path)
		if errs := store.Check(dir); len(errs) != 1 {
			t.Errorf("Check: %v", errs)
		}
	}
}

// TestAKeyThatIsOffered begins with the state that older versions have written.
func TestAKeyThatIsOffered(t *testing.T) {
	s, dir := newStore(t)
	if key, err := s.NextKey("ca"); key != nil || err != nil {
		t.Errorf("got %v, %v without an account", key, err)
	}
	must(t, s.TidyAccount("ca"))
	old, next := newKey(t), newKey(t)
	must(t, s.CreateAccount("ca", store.Account{URL: "u"}, old))
	text, err := os.ReadFile(dir + "/accounts/ca/account.json")
	must(t, err)
	if strings.Contains(string(text), "nextSum") {
		t.Errorf("got %s", text)
	}
	must(t, s.SettleKey("ca", true)) // nothing is offered
	must(t, s.OfferKey("ca", next))
	wantError(t, s.OfferKey("ca", newKey(t)), "another one is offered already")
	must(t, s.SaveAccount("ca", store.Account{URL: "v"}))
	if got, err := s.NextKey("ca"); err != nil || !sameKey(got, next) {
		t.Errorf("the offered key is %v, %v", got, err)
	}
	healthy(t, dir)

	offered, err := os.ReadFile(dir + "/accounts/ca/account.json")
	must(t, err)
	must(t, s.SettleKey("ca", true))
	must(t, os.WriteFile(dir+"/accounts/ca/account.json", offered, 0)) // of a copy that is no snapshot
	a, key, err := s.Account("ca")
	if err != nil || a.URL != "v" || !sameKey(key, next) {
		t.Errorf("got %+v, %v", a, err)
	}
	if got, err := s.NextKey("ca"); got != nil || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
	healthy(t, dir)
}

func TestAnOfferedKeyThatIsDamagedStays(t *testing.T) {
	s, dir := newStore(t)
	must(t, s.CreateAccount("ca", store.Account{URL: "u"}, newKey(t)))
	must(t, s.OfferKey("ca", newKey(t)))
	path := dir + "/accounts/ca/next.pem"
	flip(t, path, 40)
	_, err := s.NextKey("ca")
	wantDamaged(t, err, path)
	wantError(t, err, "reading the next key of the account at ca", "restore it from a backup")
	wantDamaged(t, s.SettleKey("ca", true), path)
	if _, _, err := s.Account("ca"); err != nil {
		t.Error(err)
	}
	if errs := store.Check(dir); len(errs) != 1 {
		t.Errorf("Check: %v", errs)
	}
}
