// Package issue_test proves what acmed promises about issuing: the real program, as a subprocess, against a test CA
// that is as hostile as it can be.
package issue_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m)) }

// deeds is what a CA has done, after its own log. A request refused for its nonce leaves no trace here.
type deeds struct {
	accounts, bindings, authorizations, orders int

	certificates int // orders that brought one
	doubles      int // second certificates of one order: Pebble finalizes it twice when it is asked twice at once
	invalid      int // orders that ended because a proof was not found
}

// deedsOf counts what happened since the CA first started.
func deedsOf(t testing.TB, ca *pebble.Server) deeds {
	t.Helper()
	log, err := ca.Log()
	if err != nil {
		t.Fatal(err)
	}
	return deedsIn(log)
}

func deedsIn(log []byte) deeds {
	count := func(line string) int { return len(regexp.MustCompile(line).FindAllIndex(log, -1)) }
	issued := map[string]bool{}
	certificates := regexp.MustCompile(`Issued certificate serial \S+ for order (\S+)`).FindAllSubmatch(log, -1)
	for _, match := range certificates {
		issued[string(match[1])] = true
	}
	return deeds{
		accounts:       count(`There are now \d+ accounts`),
		bindings:       count(`Successful newAccount Binding`),
		orders:         count(`Added order "`),
		invalid:        count(`order \S+ set INVALID`),
		authorizations: count(`There are now \d+ authorizations`),
		certificates:   len(issued),
		doubles:        len(certificates) - len(issued),
	}
}

// renew renews one certificate and waits until it is served.
func renew(t testing.TB, s *site.Site, name string) {
	t.Helper()
	request := control.RenewRequest{Names: []string{name}, Wait: true}
	err := s.Control.Renew(t.Context(), request, func(e control.Event) {
		if e.Done && !e.OK {
			t.Errorf("renewing %s: %s; %s", e.Cert, e.Error, e.Hint)
		}
	})
	if err != nil {
		t.Fatalf("renewing %s: %v", name, err)
	}
}

// served counts the certificates that there are.
func served(t testing.TB, s *site.Site) (n int) {
	t.Helper()
	list, err := s.Control.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		if c.Revision > 0 {
			n++
		}
	}
	return n
}

// openOrders counts the orders in the state folder of a daemon that has ended: those whose URL is on disk, which the
// next daemon resumes, and those that were begun and not heard of again, which it makes anew.
func openOrders(t testing.TB, s *site.Site) (resumable, begun int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.State, "certs/*/pending/order"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		order, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(order, []byte(`"url"`)) {
			resumable++
		} else {
			begun++
		}
	}
	return resumable, begun
}
