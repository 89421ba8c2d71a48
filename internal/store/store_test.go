package store_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/store"
)

const name = "www.example.com"

// pair is a key and a chain for it.
type pair struct {
	key   crypto.Signer
	chain [][]byte // leaf and root, DER
	sum   string   // SHA-256 of the leaf, hex
}

func newPair(t testing.TB) pair { return newPairFor(t, newKey(t)) }

func newPairFor(t testing.TB, key crypto.Signer) pair {
	t.Helper()
	ca := newKey(t)
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(0xabc), DNSNames: []string{name},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)}
	p := pair{key: key, chain: [][]byte{sign(t, leaf, root, key, ca), sign(t, root, root, ca, ca)}}
	sum := sha256.Sum256(p.chain[0])
	p.sum = hex.EncodeToString(sum[:])
	return p
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t testing.TB, c, parent *x509.Certificate, key, ca crypto.Signer) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func sameKey(a, b crypto.Signer) bool {
	return a.Public().(*ecdsa.PublicKey).Equal(b.Public())
}

// unsynced performs every change but fsync, which is what takes time.
func unsynced(op, _ string, do func() error) error {
	if strings.HasPrefix(op, "sync") {
		return nil
	}
	return do()
}

// openAt opens a store that is closed when the test ends.
func openAt(t testing.TB, dir string) *store.Store {
	t.Helper()
	s, err := store.OpenWith(store.Config{Dir: dir}, unsynced)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func newStore(t testing.TB) (*store.Store, string) {
	t.Helper()
	dir := newDir(t)
	return openAt(t, dir), dir
}

// newDir returns a path where nothing is yet, in memory where there is such a filesystem: thousands of states are
// made and removed, and the platter is our own.
func newDir(t testing.TB) string {
	t.Helper()
	parent, err := os.MkdirTemp("/dev/shm", "store") //nolint:usetesting // TempDir is on a disk
	if err != nil {
		return filepath.Join(t.TempDir(), "state")
	}
	t.Cleanup(func() { os.RemoveAll(parent) })
	return filepath.Join(parent, "state")
}

// issue takes a certificate from Begin to Activate.
func issue(t testing.TB, s *store.Store, name string, p pair) store.Revision {
	t.Helper()
	url := "https://ca.example/order/" + p.sum[:8]
	must(t, s.Begin(name, p.key, store.Order{Issuer: "ca"}))
	must(t, s.SaveOrder(name, store.Order{Issuer: "ca", URL: url}, store.Durable))
	rev, err := s.Commit(name, p.chain, store.Revision{})
	must(t, err)
	must(t, s.Activate(name, rev.Number))
	return rev
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// healthy fails the test unless the whole state directory is as documented.
func healthy(t testing.TB, dir string) {
	t.Helper()
	for _, err := range store.Check(dir) {
		t.Error(err)
	}
}

// leftovers returns the temporary files and folders below dir.
func leftovers(t testing.TB, dir string) (found []string) {
	t.Helper()
	must(t, filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(p, ".tmp") {
			found = append(found, p)
		}
		return err
	}))
	return found
}

// wantError fails the test unless err says all of want.
func wantError(t testing.TB, err error, want ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("got no error, want one that says %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("got %q, want it to say %q", err, w)
		}
	}
}

func flip(t testing.TB, p string, at int) {
	t.Helper()
	data, err := os.ReadFile(p)
	must(t, err)
	data[at] ^= 1
	must(t, os.WriteFile(p, data, 0)) // the mode stays
}

// commit takes a certificate from Begin to Commit.
func commit(t testing.TB, s *store.Store, p pair) store.Revision {
	t.Helper()
	must(t, s.Begin(name, p.key, store.Order{Issuer: "ca"}))
	rev, err := s.Commit(name, p.chain, store.Revision{})
	must(t, err)
	return rev
}

// age moves the time of a file, or of all files in a folder, away from now.
func age(t testing.TB, path string, by time.Duration) {
	t.Helper()
	files, err := filepath.Glob(path + "/*")
	must(t, err)
	if len(files) == 0 {
		files = []string{path}
	}
	at := time.Now().Add(by)
	for _, f := range files {
		must(t, os.Chtimes(f, at, at))
	}
}

// timesOf are those of the files in a folder, which may be named by a link.
func timesOf(t testing.TB, dir string) map[string]time.Time {
	t.Helper()
	times := map[string]time.Time{}
	files, err := filepath.Glob(dir + "/*")
	must(t, err)
	for _, f := range files {
		info, err := os.Stat(f)
		must(t, err)
		times[filepath.Base(f)] = info.ModTime()
	}
	return times
}

// only is the one time that all files have.
func only(t testing.TB, times map[string]time.Time) (at time.Time) {
	t.Helper()
	for base, its := range times {
		if !at.IsZero() && !its.Equal(at) {
			t.Errorf("%s has the time %v, and another file %v", base, its, at)
		}
		at = its
	}
	return at
}

// wantLater wants each file to be newer by a whole second than any of those before.
func wantLater(t testing.TB, times, before map[string]time.Time) {
	t.Helper()
	at := only(t, times)
	for base, old := range before {
		if at.Unix() <= old.Unix() || at.Sub(old) < time.Second {
			t.Errorf("%s had the time %v, and the files have %v", base, old, at)
		}
	}
}

func numberedRevision(n int) string { return fmt.Sprintf("%04d", n) }

// cut takes a line of a trace apart.
func cut(line string) (op, path string, ok bool) { return strings.Cut(line, " ") }
