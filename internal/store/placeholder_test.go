package store_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"acmed/internal/store"
)

// placeholder has one made in place of another, and then the first revision.
type placeholder struct {
	issuance
	first, second pair
	made          bool
}

func (c *placeholder) prepare(t *testing.T, s *store.Store) {
	must(t, s.SetPlaceholder(name, c.first.key, c.first.chain[0]))
}

func (c *placeholder) run(s *store.Store) error {
	live, err := s.Live(name)
	if err != nil {
		return err
	}
	p, err := s.Placeholder(name)
	if err != nil {
		return err
	}
	if live == 0 && !bytes.Equal(p.Raw, c.second.chain[0]) {
		if err := s.SetPlaceholder(name, c.second.key, c.second.chain[0]); err != nil {
			return err
		}
	}
	c.made = true
	return c.issuance.run(s)
}

func (c *placeholder) verify(t *testing.T, s *store.Store) {
	t.Helper()
	live, err := s.Live(name)
	must(t, err)
	p, err := s.Placeholder(name)
	must(t, err)
	switch {
	case live > 0 && p != nil, live == 0 && p == nil:
		t.Fatalf("revision %d is live, and the placeholder %v", live, p)
	case live == 0 && !bytes.Equal(p.Raw, c.second.chain[0]) && (c.made || !bytes.Equal(p.Raw, c.first.chain[0])):
		t.Error("another placeholder is live")
	}
	c.issuance.verify(t, s)
}

func (c *placeholder) finished(t *testing.T, s *store.Store) {
	t.Helper()
	c.issuance.finished(t, s)
	must(t, s.Sweep(name))
	if s.HoldsPlaceholder(name) {
		t.Error("the placeholder is left")
	}
}

func TestPlaceholderStoppedAnywhere(t *testing.T) {
	first, second, next := newPair(t), newPair(t), newPair(t)
	everywhere(t, func() scenario { return &placeholder{issuance: issuance{new: next}, first: first, second: second} })
}

func TestNoPlaceholderTakesThePlaceOfARevision(t *testing.T) {
	s, _ := newStore(t)
	issue(t, s, name, newPair(t))
	p := newPair(t)
	wantError(t, s.SetPlaceholder(name, p.key, p.chain[0]), "revision 1 is live, and no placeholder may take its place")
	if live, err := s.Live(name); live != 1 || err != nil {
		t.Errorf("live: %d, %v", live, err)
	}
}

func TestPlaceholderMustBeForItsKey(t *testing.T) {
	s, dir := newStore(t)
	if err := s.SetPlaceholder(name, newKey(t), newPair(t).chain[0]); err == nil {
		t.Error("no error")
	}
	if _, err := os.Lstat(filepath.Join(dir, "live", name)); !os.IsNotExist(err) {
		t.Errorf("live: %v", err)
	}
}

func TestDamagedPlaceholderIsReplaced(t *testing.T) {
	s, dir := newStore(t)
	p := newPair(t)
	must(t, s.SetPlaceholder(name, p.key, p.chain[0]))
	must(t, os.WriteFile(filepath.Join(dir, "live", name, "cert.pem"), nil, 0o600))
	if _, err := s.Placeholder(name); err == nil {
		t.Error("the damage is not noticed")
	}
	must(t, s.SetPlaceholder(name, p.key, p.chain[0]))
	if got, err := s.Placeholder(name); err != nil || !bytes.Equal(got.Raw, p.chain[0]) {
		t.Errorf("got %v, %v", got, err)
	}
	healthy(t, dir)
}
