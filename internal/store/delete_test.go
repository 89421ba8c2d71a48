package store_test

import (
	"os"
	"path/filepath"
	"testing"

	"acmed/internal/store"
)

// deletion archives a certificate.
type deletion struct {
	pair pair
	done bool
}

func (c *deletion) prepare(t *testing.T, s *store.Store) {
	rev := issue(t, s, name, c.pair)
	must(t, s.Activate(name, rev.Number))
	must(t, s.SaveRecord(name, store.Record{Issued: &rev}, store.Durable))
}

func (c *deletion) run(s *store.Store) error {
	_, err := s.ArchiveCertificate(name)
	c.done = c.done || err == nil
	return err
}

// verify: what the certificate has is where it was or in the archive. After a power cut it may be in both places.
func (c *deletion) verify(t *testing.T, s *store.Store) {
	t.Helper()
	live, err := s.Live(name)
	must(t, err)
	good, err := s.Good(name)
	must(t, err)
	archived, err := filepath.Glob(s.Dir() + "/archive/*-certs-" + name + "/rev/*/privkey.pem")
	must(t, err)
	switch {
	case good.Number == 0 && len(archived) == 0:
		t.Errorf("the key is lost: %q in the archive", archived)
	case good.Number > 0 && good.SHA256 != c.pair.sum, live > 0 && good.Number == 0:
		t.Errorf("revision %d is live, and the newest is %+v", live, good)
	case c.done && (live > 0 || good.Number > 0):
		t.Error("it is still there")
	}
	if names, err := s.Names(); err != nil || c.done && len(names) > 0 {
		t.Errorf("known: %q, %v", names, err)
	}
}

func (c *deletion) finished(t *testing.T, s *store.Store) {
	t.Helper()
	if records, err := filepath.Glob(s.Dir() + "/archive/*-ledger-" + name + ".json"); err != nil || len(records) == 0 {
		t.Errorf("records in the archive: %q, %v", records, err)
	}
}

func TestDeletionStoppedAnywhere(t *testing.T) {
	p := newPair(t)
	everywhere(t, func() scenario { return &deletion{pair: p} })
}

func TestNothingIsArchivedOfNothing(t *testing.T) {
	s, dir := newStore(t)
	if archived, err := s.ArchiveCertificate("nobody"); err != nil || len(archived) > 0 {
		t.Errorf("got %q, %v", archived, err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "archive")); err != nil || len(entries) > 0 {
		t.Errorf("the archive holds %v, %v", entries, err)
	}
}
