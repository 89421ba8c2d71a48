package store_test

import (
	"crypto"
	"maps"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acmed/internal/store"
)

// issuance makes a certificate's next revision.
type issuance struct {
	old, new                           pair
	before                             int // revisions that exist already
	began, committed, activated, saved bool
}

func (c *issuance) prepare(t *testing.T, s *store.Store) {
	for range c.before {
		rev := issue(t, s, name, c.old)
		must(t, s.SaveRecord(name, store.Record{Issued: &rev}, store.Durable))
	}
}

func (c *issuance) run(s *store.Store) error {
	rev, err := s.Good(name)
	if err != nil {
		return err
	}
	if rev.SHA256 != c.new.sum {
		if rev, err = c.order(s); err != nil {
			return err
		}
	}
	c.committed = true
	if live, err := s.Live(name); live != rev.Number || err != nil {
		if err != nil {
			return err
		}
		if err := s.Activate(name, rev.Number); err != nil {
			return err
		}
		c.activated = true
	}
	if err := s.SaveRecord(name, store.Record{Issued: &rev}, store.Durable); err != nil {
		return err
	}
	c.saved = true
	return s.Prune(name, 2)
}

func (c *issuance) order(s *store.Store) (rev store.Revision, err error) {
	p, err := s.Pending(name)
	if err != nil {
		return rev, err
	}
	o := store.Order{Issuer: "ca", Created: time.Unix(1, 0)}
	if p == nil {
		if err := s.Begin(name, c.new.key, o); err != nil {
			return rev, err
		}
	}
	c.began = true
	o.URL = "https://ca.example/order/new"
	if err := s.SaveOrder(name, o, store.Durable); err != nil {
		return rev, err
	}
	return s.Commit(name, c.new.chain, store.Revision{})
}

func (c *issuance) verify(t *testing.T, s *store.Store) {
	t.Helper()
	good, err := s.Good(name)
	must(t, err)
	pending, err := s.Pending(name)
	must(t, err)
	live, err := s.Live(name)
	must(t, err)
	served := c.leaf(t, s, live)
	rec, err := s.Record(name)
	must(t, err)
	switch {
	case good.SHA256 != c.new.sum && good.SHA256 != c.old.sum && c.before > 0:
		t.Errorf("the newest sound revision is %+v", good)
	case served != "" && served != c.new.sum && (served != c.old.sum || c.before == 0), served == "" && c.before > 0:
		t.Errorf("revision %d is live: %s", live, served)
	case c.committed && good.SHA256 != c.new.sum:
		t.Error("a committed revision is lost")
	case c.activated && served != c.new.sum:
		t.Error("an activated revision is not live")
	case c.saved && (rec.Issued == nil || rec.Issued.SHA256 != c.new.sum):
		t.Error("a saved record is lost")
	case pending != nil && good.SHA256 == c.new.sum:
		t.Error("the order of the newest revision is pending")
	}
	if served == c.new.sum {
		c.verifyTimes(t, s, live)
	}
	if c.began && good.SHA256 != c.new.sum {
		c.verifyKey(t, pending)
	}
}

// verifyTimes checks that nobody saw an old time through the new link.
func (c *issuance) verifyTimes(t *testing.T, s *store.Store, live int) {
	t.Helper()
	times := timesOf(t, s.Dir()+"/live/"+name)
	only(t, times)
	if before := timesOf(t, filepath.Join(s.Dir(), "certs", name, "rev", numberedRevision(live-1))); live > 1 {
		wantLater(t, times, before)
	}
}

// leaf returns the checksum of a revision's leaf.
func (c *issuance) leaf(t *testing.T, s *store.Store, number int) string {
	t.Helper()
	if number == 0 {
		return ""
	}
	rev, err := s.Revision(name, number)
	must(t, err)
	return rev.SHA256
}

func (c *issuance) verifyKey(t *testing.T, pending *store.Pending) {
	t.Helper()
	if pending == nil {
		t.Error("the order and its key are lost")
		return
	}
	key, err := pending.Key()
	must(t, err)
	if !sameKey(key, c.new.key) {
		t.Error("the order has another key")
	}
}

func (c *issuance) finished(t *testing.T, s *store.Store) {
	t.Helper()
	live, err := s.Live(name)
	must(t, err)
	if c.leaf(t, s, live) != c.new.sum {
		t.Errorf("revision %d is live", live)
	}
	if n := s.Numbers(name); len(n) > 2 {
		t.Errorf("revisions %d are left", n)
	}
}

func TestIssuanceStoppedAnywhere(t *testing.T) {
	old, next := newPair(t), newPair(t)
	for sentence, c := range map[string]issuance{
		"the first": {new: next},
		"a renewal": {old: old, new: next, before: 2},
	} {
		t.Run(sentence, func(t *testing.T) {
			everywhere(t, func() scenario { return new(c) })
		})
	}
}

func TestIssuanceStoppedTwice(t *testing.T) {
	old, next := newPair(t), newPair(t)
	for sentence, c := range map[string]issuance{
		"the first":                   {new: next},
		"a renewal":                   {old: old, new: next, before: 2},
		"a renewal with the same key": {old: old, new: newPairFor(t, old.key), before: 1},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			base := prepared(t, new(c))
			for first := 1; strikeTwice(t, base, new(c), first, 1+mathrand.N(80)); first++ {
			}
		})
	}
}

// account creates an account in place of another one.
type account struct {
	old, new       crypto.Signer
	created, saved bool
}

func (c *account) prepare(t *testing.T, s *store.Store) {
	must(t, s.CreateAccount("ca", store.Account{Directory: "old", URL: "old"}, c.old))
}

func (c *account) run(s *store.Store) error {
	a, _, err := s.Account("ca")
	if err != nil {
		return err
	}
	if a != nil && a.Directory == "old" {
		if err := s.ArchiveAccount("ca"); err != nil {
			return err
		}
		a = nil
	}
	if a == nil {
		if err := s.CreateAccount("ca", store.Account{Directory: "new"}, c.new); err != nil {
			return err
		}
	}
	c.created = true
	if err := s.SaveAccount("ca", store.Account{Directory: "new", URL: "new"}); err != nil {
		return err
	}
	c.saved = true
	return nil
}

func (c *account) verify(t *testing.T, s *store.Store) {
	t.Helper()
	a, key, err := s.Account("ca")
	must(t, err)
	switch {
	case a == nil && c.created, c.created && !sameKey(key, c.new), c.saved && a.URL != "new":
		t.Errorf("got %+v of %+v", a, c)
	case a != nil && a.Directory == "new" && !sameKey(key, c.new), a != nil && a.Directory == "old" && !sameKey(key, c.old):
		t.Errorf("%+v has another key", a)
	}
}

func (c *account) finished(t *testing.T, s *store.Store) {}

func TestAccountStoppedAnywhere(t *testing.T) {
	old, next := newKey(t), newKey(t)
	everywhere(t, func() scenario { return &account{old: old, new: next} })
}

// rollover gives an account another key, which the CA accepts or not.
type rollover struct {
	old, new         crypto.Signer
	accepts          bool
	offered, settled bool
}

func (c *rollover) prepare(t *testing.T, s *store.Store) {
	must(t, s.CreateAccount("ca", store.Account{Directory: "d", URL: "u"}, c.old))
}

func (c *rollover) run(s *store.Store) error {
	if err := s.TidyAccount("ca"); err != nil {
		return err
	}
	next, err := s.NextKey("ca")
	if err != nil {
		return err
	}
	_, key, err := s.Account("ca")
	if err != nil {
		return err
	}
	if next == nil && !c.settled && !sameKey(key, c.new) {
		if err := s.OfferKey("ca", c.new); err != nil {
			return err
		}
		c.offered = true
	}
	if err := s.SettleKey("ca", c.accepts); err != nil {
		return err
	}
	c.settled = true
	return s.SaveAccount("ca", store.Account{Directory: "d", URL: "u", Contact: []string{"mailto:pki@example.com"}})
}

func (c *rollover) verify(t *testing.T, s *store.Store) {
	t.Helper()
	a, key, err := s.Account("ca")
	must(t, err)
	next, err := s.NextKey("ca")
	must(t, err)
	switch hasNew := sameKey(key, c.new); {
	case a.URL != "u", !hasNew && !sameKey(key, c.old), hasNew && !c.accepts, next != nil && (hasNew || !sameKey(next, c.new)):
		t.Errorf("got %+v, new %t, next %v", a, hasNew, next != nil)
	case c.settled && (next != nil || hasNew != c.accepts), c.offered && next == nil && !c.settled && c.accepts && !hasNew:
		t.Errorf("%+v: new %t, next %v", c, hasNew, next != nil)
	}
}

func (c *rollover) finished(t *testing.T, s *store.Store) {
	t.Helper()
	if _, err := os.Stat(s.Dir() + "/accounts/ca/next.pem"); err == nil {
		t.Error("next.pem is left")
	}
	kept, err := filepath.Glob(s.Dir() + "/archive/*next.pem")
	must(t, err)
	if !c.accepts && len(kept) == 0 {
		t.Error("a key that the CA has seen is lost")
	}
}

func TestRolloverStoppedAnywhere(t *testing.T) {
	old, next := newKey(t), newKey(t)
	for sentence, accepts := range map[string]bool{"accepted": true, "refused": false} {
		t.Run(sentence, func(t *testing.T) {
			everywhere(t, func() scenario { return &rollover{old: old, new: next, accepts: accepts} })
		})
	}
}

func TestRolloverStoppedTwice(t *testing.T) {
	old, next := newKey(t), newKey(t)
	for sentence, accepts := range map[string]bool{"accepted": true, "refused": false} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			start := func() scenario { return &rollover{old: old, new: next, accepts: accepts} }
			base := prepared(t, start())
			for second := 1 + mathrand.N(4); second <= 24; second += 4 {
				for first := 1; strikeTwice(t, base, start(), first, second); first++ {
				}
			}
		})
	}
}

// record replaces a record.
type record struct{ saved bool }

func (c *record) prepare(t *testing.T, s *store.Store) {
	must(t, s.SaveRecord(name, store.Record{ARI: store.ARI{CertID: "old"}}, store.Durable))
}

func (c *record) run(s *store.Store) error {
	err := s.SaveRecord(name, store.Record{ARI: store.ARI{CertID: "new"}}, store.Durable)
	c.saved = c.saved || err == nil
	return err
}

func (c *record) verify(t *testing.T, s *store.Store) {
	t.Helper()
	rec, err := s.Record(name)
	must(t, err)
	if got := rec.ARI.CertID; got != "new" && (c.saved || got != "old") {
		t.Errorf("got %q, saved %t", got, c.saved)
	}
}

func (c *record) finished(t *testing.T, s *store.Store) {}

func TestRecordStoppedAnywhere(t *testing.T) {
	everywhere(t, func() scenario { return new(record) })
}

// ledger updates the ledger of an issuer.
type ledger struct{ saved bool }

func (c *ledger) update(s *store.Store, outage int) error {
	l, err := s.Issuer("ca")
	if err != nil {
		return err
	}
	return l.Update(func(s *store.IssuerState) { s.Outage = outage })
}

func (c *ledger) prepare(t *testing.T, s *store.Store) { must(t, c.update(s, 1)) }

func (c *ledger) run(s *store.Store) error {
	err := c.update(s, 2)
	c.saved = c.saved || err == nil
	return err
}

func (c *ledger) verify(t *testing.T, s *store.Store) {
	t.Helper()
	l, err := s.Issuer("ca")
	must(t, err)
	l.View(func(s *store.IssuerState) {
		if s.Outage != 2 && (c.saved || s.Outage != 1) {
			t.Errorf("got %d, saved %t", s.Outage, c.saved)
		}
	})
}

func (c *ledger) finished(t *testing.T, s *store.Store) {}

func TestLedgerStoppedAnywhere(t *testing.T) {
	everywhere(t, func() scenario { return new(ledger) })
}

// specs remembers texts, some of them anew.
type specs struct{ saved bool }

func (c *specs) texts(text string, at int64) []store.Spec {
	var batch []store.Spec
	for _, key := range []string{"certs/a.yaml", "certs/b.yaml", "issuers/c.yaml"} {
		batch = append(batch, store.Spec{Key: key, Text: []byte(text), ModTime: time.Unix(at, 0)})
	}
	return batch
}

func (c *specs) prepare(t *testing.T, s *store.Store) { must(t, s.Remember(c.texts("old", 1)[:2])) }

func (c *specs) run(s *store.Store) error {
	err := s.Remember(c.texts("new", 2))
	c.saved = c.saved || err == nil
	return err
}

func (c *specs) verify(t *testing.T, s *store.Store) {
	t.Helper()
	known, err := s.Known()
	must(t, err)
	keys := slices.Sorted(maps.Keys(known))
	if len(keys) < 2 || c.saved && len(keys) < 3 {
		t.Errorf("known: %q", keys)
	}
	for _, key := range keys {
		text, err := s.Recall(key)
		must(t, err)
		if got := string(text); got != "new" && (c.saved || got != "old") {
			t.Errorf("%s: got %q, saved %t", key, got, c.saved)
		}
	}
}

func (c *specs) finished(t *testing.T, s *store.Store) {}

func TestSpecsStoppedAnywhere(t *testing.T) {
	everywhere(t, func() scenario { return new(specs) })
}

func TestFirstStartStoppedAnywhere(t *testing.T) {
	for sentence, f := range faults() {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			for n, more := 1, true; more; n++ {
				dir := newDir(t)
				must(t, os.Mkdir(dir, 0o711))
				d := &disk{platter: newPlatter(t, dir), fault: f, at: n, unclean: map[string]bool{}, dated: map[string]bool{}}
				s, err := store.OpenWith(store.Config{Dir: dir}, d.step)
				if more = d.count >= n; err == nil {
					must(t, s.Close())
				}
				if f.power {
					dir = newDir(t)
					d.restore(dir)
				}
				must(t, openAt(t, dir).Close())
				healthy(t, dir)
				if left := leftovers(t, dir); left != nil {
					t.Errorf("operation %d left behind: %q\n%s", n, left, numbered(d.trace))
				}
			}
		})
	}
}
