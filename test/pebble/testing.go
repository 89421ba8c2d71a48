package pebble

import (
	"testing"

	"acmed/test/ca"
)

// Start is [New] for tests: it ends with the test, which it fails when the CA
// does not come up, and shows the end of Pebble's log when the test failed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := New(t.Context(), o)
	return ca.Started(t, "Pebble", s, err)
}

// Count is [Server.Requests] for tests.
func (s *Server) Count(t testing.TB) Requests {
	t.Helper()
	counts, err := s.Requests()
	if err != nil {
		t.Fatalf("reading Pebble's log: %v", err)
	}
	return counts
}
