package caddy

import (
	"testing"

	"acmed/test/ca"
)

// Start is [New] for tests: it ends with the test, which it fails when the CA does not come up, and shows the end of the
// CA's log when the test failed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := New(t.Context(), o)
	return ca.Started(t, "Caddy", s, err)
}
