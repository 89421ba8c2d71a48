package store_test

import (
	"bytes"
	"maps"
	"os"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
	"acmed/internal/store"
)

func TestSpecsAreRememberedUntilForgotten(t *testing.T) {
	s, dir := newStore(t)
	at := time.Unix(1_700_000_000, 123456789)
	must(t, s.Remember([]store.Spec{
		{Key: "certs/a.yaml", Text: []byte("a: 1\n"), ModTime: at},
		{Key: "certs/b.yaml", ModTime: at.Add(1)}, // empty files are valid specs
		{Key: "issuers/a.yaml", Text: []byte("x"), ModTime: at.Add(2)},
	}))
	wantKnown(t, s, map[string]time.Time{"certs/a.yaml": at, "certs/b.yaml": at.Add(1), "issuers/a.yaml": at.Add(2)})
	if text, err := s.Recall("certs/a.yaml"); !bytes.Equal(text, []byte("a: 1\n")) || err != nil {
		t.Errorf("got %q, %v", text, err)
	}
	must(t, s.Forget([]string{"certs/a.yaml", "certs/unknown.yaml"}))
	wantKnown(t, s, map[string]time.Time{"certs/b.yaml": at.Add(1), "issuers/a.yaml": at.Add(2)})
	if _, err := s.Recall("certs/a.yaml"); err == nil {
		t.Error("a forgotten text was recalled")
	}
	must(t, os.WriteFile(dir+"/specs/certs/stray", nil, 0o600))
	wantKnown(t, s, map[string]time.Time{"certs/b.yaml": at.Add(1), "issuers/a.yaml": at.Add(2)})
}

func wantKnown(t *testing.T, s *store.Store, want map[string]time.Time) {
	t.Helper()
	got, err := s.Known()
	must(t, err)
	if !maps.EqualFunc(got, want, time.Time.Equal) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestSpecKeysThatAreNoneAreRefused(t *testing.T) {
	s, dir := newStore(t)
	for _, key := range []string{"", "a.yaml", "certs/a", "certs/a.yml", "ledger/a.yaml", "certs/../x.yaml", "/certs/a.yaml", "certs/A.yaml", "certs/b/a.yaml"} {
		wantError(t, s.Remember([]store.Spec{{Key: "certs/good.yaml"}, {Key: key}}), "refusing the")
		wantError(t, s.Forget([]string{key}), "refusing the")
		_, err := s.Recall(key)
		wantError(t, err, "refusing the")
	}
	known, err := s.Known()
	must(t, err)
	if len(known) != 1 || known["certs/good.yaml"].IsZero() {
		t.Errorf("beside a key that is refused %v are remembered", known)
	}
	healthy(t, dir)
}

// TestEveryNameThatASpecMayHaveIsStored guards the one definition of a name: the store takes what spec takes, and no less.
func TestEveryNameThatASpecMayHaveIsStored(t *testing.T) {
	s, dir := newStore(t)
	for _, name := range []string{
		"a", "0", "a.b", "a..b", "a...b", "a.", "a._b", "a-.b", "-a", "_a", ".a", "..", "a b", "A", "a/b", "a\n", "é", "xn--a", "a__b", "a--b",
		strings.Repeat("a", 128), strings.Repeat("a", 129), "",
	} {
		for _, folder := range []string{"certs/", "dns/", "issuers/"} {
			err := s.Remember([]store.Spec{{Key: folder + name + ".yaml", Text: []byte("{}")}})
			if spec.ValidName(name) != (err == nil) {
				t.Errorf("spec accepts the name %q: %v; the store says %v", name, spec.ValidName(name), err)
			}
		}
	}
	healthy(t, dir)
}
