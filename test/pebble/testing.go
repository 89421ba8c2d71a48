package pebble

import (
	"bytes"
	"testing"
)

// Start is [New] for tests: it ends with the test, which it fails when the CA
// does not come up, and shows the end of Pebble's log when the test failed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatalf("starting Pebble: %v", err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			t.Logf("the end of Pebble's log:\n%s", lastLines(s.ca.Log(), 60))
		}
	})
	return s
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

func lastLines(text []byte, n int) []byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], nil)
}
