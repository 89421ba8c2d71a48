package store_test

import (
	"os"
	"reflect"
	"testing"

	"acmed/internal/store"
)

func TestRehearsals(t *testing.T) {
	s, dir := newStore(t)
	if none, err := s.Rehearsals(); len(none) > 0 || err != nil {
		t.Errorf("a new folder has %v, %v", none, err)
	}
	want := map[string][]store.Proof{"wild": {{Type: "dns-01", Identifier: "example.com", Token: "token", Provider: "corp", Value: "value", KeyAuth: "token.thumbprint"}}}
	must(t, s.SaveRehearsals(want))
	must(t, s.Close())
	s = openAt(t, dir)
	if got, err := s.Rehearsals(); !reflect.DeepEqual(got, want) || err != nil {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	healthy(t, dir)

	must(t, os.WriteFile(dir+"/rehearsals.json", []byte("{}\n"), 0o600))
	if errs := store.Check(dir); len(errs) != 1 {
		t.Errorf("a damaged file is found as %v", errs)
	}
	got, err := s.Rehearsals()
	wantDamaged(t, err, dir+"/rehearsals.json")
	if len(got) > 0 {
		t.Errorf("got %v from a damaged file", got)
	}
	healthy(t, dir)
}
