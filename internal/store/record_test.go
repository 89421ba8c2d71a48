package store_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"acmed/internal/store"
)

func TestRecordComesBackAsItWasSaved(t *testing.T) {
	s, dir := newStore(t)
	if rec, err := s.Record(name); err != nil || !reflect.DeepEqual(rec, store.Record{}) {
		t.Fatalf("got %+v, %v before the first", rec, err)
	}
	saved, want := sampleRecord(), sampleRecord()
	want.Issued.Sums = nil // meta.json has them
	for _, d := range []store.Durability{store.Durable, store.Lazy} {
		saved.Forced = !saved.Forced
		want.Forced = saved.Forced
		must(t, s.SaveRecord(name, saved, d))
		if saved.Issued.Sums == nil {
			t.Error("SaveRecord changed what it was given")
		}
		if rec, err := s.Record(name); err != nil || !reflect.DeepEqual(rec, want) {
			t.Errorf("got %+v, %v", rec, err)
		}
	}
	must(t, s.SaveRecord("b", store.Record{}, store.Lazy))
	must(t, os.WriteFile(dir+"/ledger/stray", nil, 0o600))
	names, err := s.Names()
	must(t, err)
	slices.Sort(names)
	if !slices.Equal(names, []string{"b", name}) {
		t.Errorf("Names: %q", names)
	}
}

// wantDamaged fails the test unless err tells of damage at path.
func wantDamaged(t *testing.T, err error, path string) *store.DamagedError {
	t.Helper()
	damaged, ok := errors.AsType[*store.DamagedError](err)
	if !ok || damaged.Path != path {
		t.Fatalf("got %v, want damage of %s", err, path)
	}
	return damaged
}

func TestDamagedRecordIsSetAsideAndStartsAnew(t *testing.T) {
	s, dir := newStore(t)
	path := dir + "/ledger/" + name + ".json"
	must(t, s.SaveRecord(name, store.Record{ARI: store.ARI{CertID: "x"}}, store.Durable))
	sound, err := os.ReadFile(path)
	must(t, err)
	for i := range sound {
		flipped := bytes.Clone(sound)
		flipped[i] ^= 1 << (i % 8)
		for _, data := range [][]byte{flipped, sound[:i]} {
			must(t, os.WriteFile(path, data, 0o600))
			rec, err := s.Record(name)
			damaged := wantDamaged(t, err, path)
			if kept, err := os.ReadFile(damaged.Archived); err != nil || !bytes.Equal(kept, data) || !reflect.DeepEqual(rec, store.Record{}) {
				t.Fatalf("byte %d: got %+v, archived %q, %v", i, rec, kept, err)
			}
			if _, err := s.Record(name); err != nil {
				t.Fatalf("byte %d: it did not start anew: %v", i, err)
			}
		}
	}
	wantError(t, wantDamagedOnce(t, s, path), "is damaged", "moved to "+dir+"/archive/", "starts anew")
	healthy(t, dir)
}

func wantDamagedOnce(t *testing.T, s *store.Store, path string) error {
	t.Helper()
	must(t, os.WriteFile(path, []byte("{}"), 0o600))
	_, err := s.Record(name)
	return err
}

func TestRecordsMayBeSavedAtOnce(t *testing.T) {
	s, dir := newStore(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for range 20 {
				if err := s.SaveRecord(name, store.Record{Retired: time.Unix(int64(i), 0)}, store.Lazy); err != nil {
					t.Error(err)
				}
				if _, err := s.Record(name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	healthy(t, dir)
}

func FuzzUnseal(f *testing.F) {
	sealed, err := store.Seal(sampleRecord())
	must(f, err)
	f.Add(sealed)
	f.Add([]byte(`{"sha256":"","data":{}}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var rec store.Record
		if store.Unseal(data, &rec) != nil {
			return
		}
		again, err := store.Seal(rec)
		must(t, err)
		must(t, store.Unseal(again, new(store.Record)))
	})
}

func TestLookChangesNothing(t *testing.T) {
	s, dir := newStore(t)
	if rec, live, o, err := s.Look(name); rec.Issued != nil || live != 0 || o != nil || err != nil {
		t.Errorf("nothing: got %+v, %d, %+v, %v", rec, live, o, err)
	}
	must(t, s.SaveRecord(name, store.Record{Issued: &store.Revision{Number: 3}}, store.Lazy))
	must(t, s.Begin(name, newKey(t), store.Order{Issuer: "a", URL: "u"}))
	if rec, _, o, err := s.Look(name); err != nil || rec.Issued == nil || rec.Issued.Number != 3 || o == nil || o.URL != "u" {
		t.Errorf("got %+v, %+v, %v", rec, o, err)
	}
	ledger := filepath.Join(dir, "ledger", name+".json")
	order := filepath.Join(dir, "certs", name, "pending", "order")
	for _, file := range []string{ledger, order} {
		must(t, os.WriteFile(file, []byte("{"), 0o600))
	}
	if rec, _, o, err := s.Look(name); rec.Issued != nil || o != nil || err != nil {
		t.Errorf("damaged: got %+v, %+v, %v", rec, o, err)
	}
	for _, file := range []string{ledger, order} {
		if text, err := os.ReadFile(file); err != nil || string(text) != "{" {
			t.Errorf("%s holds %q, %v", file, text, err)
		}
	}
}
