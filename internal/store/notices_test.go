package store_test

import (
	"maps"
	"os"
	"testing"

	"acmed/internal/store"
)

func TestNotices(t *testing.T) {
	s, dir := newStore(t)
	if none, err := s.Notices(); len(none) > 0 || err != nil {
		t.Errorf("a new folder has %v, %v", none, err)
	}
	want := map[string]store.Notice{"www.example.com": {Failing: true, Expiring: 0.1}, "mail.example.com": {Undelivered: true}}
	must(t, s.SaveNotices(want))
	must(t, s.Close())
	s = openAt(t, dir)
	if got, err := s.Notices(); !maps.Equal(got, want) || err != nil {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	healthy(t, dir)

	must(t, os.WriteFile(dir+"/notices.json", []byte("{}\n"), 0o600))
	if errs := store.Check(dir); len(errs) != 1 {
		t.Errorf("a damaged file is found as %v", errs)
	}
	got, err := s.Notices()
	wantDamaged(t, err, dir+"/notices.json")
	if len(got) > 0 {
		t.Errorf("got %v from a damaged file", got)
	}
	healthy(t, dir)
}
