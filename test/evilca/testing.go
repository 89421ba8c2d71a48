package evilca

import (
	"testing"

	"acmed/test/pebble"
)

// Start is [New] for tests, before a Pebble. It ends with the test, which fails when its client misbehaved or was
// lured away.
func Start(t testing.TB, ca *pebble.Server, rules *Rules) *Proxy {
	t.Helper()
	p, err := New(Config{Upstream: ca.DirectoryURL, RootsFile: ca.RootsFile, Dir: t.TempDir(), Rules: rules})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Close()
		if err := p.Misdeeds(); err != nil {
			t.Error(err)
		}
		if n := p.Strays(); n > 0 {
			t.Errorf("the client was lured away %d times", n)
		}
	})
	return p
}
