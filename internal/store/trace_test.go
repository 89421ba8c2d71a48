package store_test

import (
	"slices"
	"strings"
	"testing"

	"acmed/internal/store"
)

// TestIssuanceCostsNoMoreThanItMust lists every change of the disk in one first issuance, with the reason of each
// fsync. A certificate's renewal saves the first three lines.
func TestIssuanceCostsNoMoreThanItMust(t *testing.T) {
	want := []string{
		// Begin
		"mkdir certs/www.example.com",
		"mkdir certs/www.example.com/rev",
		"sync certs", // the certificate's folder has its name
		"mkdir certs/www.example.com/.pending.tmp",
		"create certs/www.example.com/.pending.tmp/key.pem",
		"write certs/www.example.com/.pending.tmp/key.pem",
		"sync certs/www.example.com/.pending.tmp/key.pem", // no CA sees a key that could be lost
		"create certs/www.example.com/.pending.tmp/order",
		"write certs/www.example.com/.pending.tmp/order",
		"sync certs/www.example.com/.pending.tmp/order", // what was asked for, and the key's checksum
		"sync certs/www.example.com/.pending.tmp",       // both have their names
		"rename certs/www.example.com/pending",
		"sync certs/www.example.com", // pending has its name, and so has rev
		// SaveOrder
		"create certs/www.example.com/pending/.order.tmp",
		"write certs/www.example.com/pending/.order.tmp",
		"sync certs/www.example.com/pending/.order.tmp", // the order's URL, or the order could be made twice
		"rename certs/www.example.com/pending/order",
		"sync certs/www.example.com/pending", // the new order has the name of the old
		// Commit
		"mkdir certs/www.example.com/rev/.0001.tmp",
		"link certs/www.example.com/rev/.0001.tmp/privkey.pem",
		"create certs/www.example.com/rev/.0001.tmp/cert.pem",
		"write certs/www.example.com/rev/.0001.tmp/cert.pem",
		"sync certs/www.example.com/rev/.0001.tmp/cert.pem", // these may be served, so each is whole
		"create certs/www.example.com/rev/.0001.tmp/chain.pem",
		"write certs/www.example.com/rev/.0001.tmp/chain.pem",
		"sync certs/www.example.com/rev/.0001.tmp/chain.pem",
		"create certs/www.example.com/rev/.0001.tmp/fullchain.pem",
		"write certs/www.example.com/rev/.0001.tmp/fullchain.pem",
		"sync certs/www.example.com/rev/.0001.tmp/fullchain.pem",
		"create certs/www.example.com/rev/.0001.tmp/meta.json",
		"write certs/www.example.com/rev/.0001.tmp/meta.json",
		"sync certs/www.example.com/rev/.0001.tmp/meta.json", // the checksums that prove it
		"sync certs/www.example.com/rev/.0001.tmp",           // the five have their names
		"rename certs/www.example.com/rev/0001",
		"sync certs/www.example.com/rev", // the revision has its name: from here on the order may go
		"rename certs/www.example.com/.pending.old.tmp",
		"remove certs/www.example.com/.pending.old.tmp",
		// Activate
		"chtimes certs/www.example.com/rev/0001/privkey.pem",
		"chtimes certs/www.example.com/rev/0001/cert.pem",
		"chtimes certs/www.example.com/rev/0001/chain.pem",
		"chtimes certs/www.example.com/rev/0001/fullchain.pem",
		"chtimes certs/www.example.com/rev/0001/meta.json",
		"sync certs/www.example.com/rev/0001/privkey.pem", // nobody sees an old time through the new link
		"sync certs/www.example.com/rev/0001/cert.pem",
		"sync certs/www.example.com/rev/0001/chain.pem",
		"sync certs/www.example.com/rev/0001/fullchain.pem",
		"sync certs/www.example.com/rev/0001/meta.json",
		"symlink live/.www.example.com.tmp",
		"rename live/www.example.com",
		"sync live", // the old revision may be removed
		// SaveRecord
		"create ledger/.www.example.com.json.tmp",
		"write ledger/.www.example.com.json.tmp",
		"sync ledger/.www.example.com.json.tmp", // no failure and no wish of the operator is forgotten
		"rename ledger/www.example.com.json",
		"sync ledger", // the new record has the name of the old
	}
	s, d := traced(t)
	issue(t, s, name, newPair(t))
	must(t, s.SaveRecord(name, store.Record{}, store.Durable))
	must(t, s.Prune(name, 2))
	if !slices.Equal(d.trace, want) {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(d.trace, "\n"), strings.Join(want, "\n"))
	}
}

func TestWhatIsDurableSyncsAndWhatIsLazyDoesNot(t *testing.T) {
	s, d := traced(t)
	must(t, s.Begin(name, newKey(t), store.Order{}))
	must(t, s.CreateAccount("other", store.Account{}, newKey(t)))
	for sentence, c := range map[string]struct {
		do   func() error
		want int
	}{
		"a durable record":  {func() error { return s.SaveRecord(name, store.Record{}, store.Durable) }, 2},
		"a lazy record":     {func() error { return s.SaveRecord(name, store.Record{}, store.Lazy) }, 0},
		"a durable order":   {func() error { return s.SaveOrder(name, store.Order{}, store.Durable) }, 2},
		"a whole order":     {func() error { return s.SaveOrder(name, store.Order{}, store.Whole) }, 1},
		"a new account":     {func() error { return s.CreateAccount("ca", store.Account{}, newKey(t)) }, 4},
		"an offered key":    {func() error { return s.OfferKey("other", newKey(t)) }, 4},
		"no specs":          {func() error { return s.Remember(nil) }, 0},
		"a spec":            {func() error { return s.Remember(manySpecs(1)) }, 2},
		"a few specs":       {func() error { return s.Remember(manySpecs(16)) }, 17},
		"a thousand specs":  {func() error { return s.Remember(manySpecs(1000)) }, 2},
		"nothing to remove": {func() error { return s.Prune(name, 1) }, 0},
	} {
		d.trace = nil
		must(t, c.do())
		got := 0
		for _, line := range d.trace {
			if strings.HasPrefix(line, "sync") {
				got++
			}
		}
		if got != c.want {
			t.Errorf("%s: %d fsyncs, want %d:\n%s", sentence, got, c.want, numbered(d.trace))
		}
	}
}

// traced returns a store and the record of what it does to its disk from now on.
func traced(t *testing.T) (*store.Store, *disk) {
	t.Helper()
	dir := newDir(t)
	must(t, openAt(t, dir).Close())
	d := &disk{platter: newPlatter(t, dir)}
	s, err := store.OpenWith(store.Config{Dir: dir}, d.step)
	must(t, err)
	t.Cleanup(func() { s.Close() })
	d.trace = nil
	return s, d
}

func manySpecs(n int) []store.Spec {
	batch := make([]store.Spec, n)
	for i := range batch {
		batch[i] = store.Spec{Key: "certs/" + numberedName(i) + ".yaml", Text: []byte("{}\n")}
	}
	return batch
}
