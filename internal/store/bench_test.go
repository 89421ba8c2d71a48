package store_test

import (
	"fmt"
	"testing"
	"time"

	"acmed/internal/store"
)

func numberedName(i int) string { return fmt.Sprintf("host-%05d.example.com", i) }

// open opens a store on the real disk, with fsync.
func open(b *testing.B) (*store.Store, string) {
	b.Helper()
	dir := b.TempDir() + "/state"
	s, err := store.Open(store.Config{Dir: dir})
	must(b, err)
	b.Cleanup(func() { s.Close() })
	return s, dir
}

// BenchmarkIssue is what the disk takes of one issuance, Begin to Activate.
func BenchmarkIssue(b *testing.B) {
	s, _ := open(b)
	p := newPair(b)
	i := 0
	for b.Loop() {
		issue(b, s, numberedName(i), p)
		i++
	}
}

func sampleRecord() store.Record {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC)
	return store.Record{
		Issued: &store.Revision{Number: 7, Issuer: "letsencrypt", Directory: "https://acme-v02.api.letsencrypt.org/directory",
			Account: "https://acme-v02.api.letsencrypt.org/acme/acct/1", DNSNames: []string{name}, Key: "ECDSA-256", NotBefore: at, NotAfter: at, Committed: at,
			Sums: map[string]string{"privkey.pem": "0", "cert.pem": "1", "chain.pem": "2", "fullchain.pem": "3"}},
		ARI: store.ARI{CertID: "a.b", Start: at, End: at, Chosen: at, NextPoll: at},
	}
}

func BenchmarkRecord(b *testing.B) {
	s, _ := open(b)
	must(b, s.SaveRecord(name, sampleRecord(), store.Lazy))
	for b.Loop() {
		if _, err := s.Record(name); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSaveRecordLazy(b *testing.B) {
	s, _ := open(b)
	rec := sampleRecord()
	for b.Loop() {
		must(b, s.SaveRecord(name, rec, store.Lazy))
	}
}

func BenchmarkGood(b *testing.B) {
	s, _ := open(b)
	issue(b, s, name, newPair(b))
	for b.Loop() {
		if _, err := s.Good(name); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen opens a state directory with 10,000 certificates.
func BenchmarkOpen(b *testing.B) {
	dir := newDir(b)
	s, err := store.OpenWith(store.Config{Dir: dir}, unsynced)
	must(b, err)
	p := newPair(b)
	for i := range 10_000 {
		issue(b, s, numberedName(i), p)
		must(b, s.SaveRecord(numberedName(i), sampleRecord(), store.Lazy))
	}
	must(b, s.Remember(manySpecs(10_000)))
	must(b, s.Close())
	for b.Loop() {
		s, err := store.Open(store.Config{Dir: dir})
		must(b, err)
		must(b, s.Close())
	}
}
