package stepca

import (
	"bytes"
	"testing"
)

// Start is [New] for tests: it ends with the test, which it fails when the CA does not come up, and shows the end of the
// CA's log when the test failed.
func Start(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := New(t.Context(), o)
	if err != nil {
		t.Fatalf("starting step-ca: %v", err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			lines := bytes.SplitAfter(s.ca.Log(), []byte("\n"))
			t.Logf("the end of step-ca's log:\n%s", bytes.Join(lines[max(0, len(lines)-60):], nil))
		}
	})
	return s
}
