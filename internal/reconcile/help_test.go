package reconcile_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"testing"
)

// writeKey writes an HMAC key as CAs hand it out.
func writeKey(t *testing.T, key []byte) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "hmac")
	if err := os.WriteFile(file, []byte(base64.RawURLEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// discardRevision takes a revision that a test has damaged out of the way of the final check.
func discardRevision(dir, name, revision string) error {
	return os.RemoveAll(filepath.Join(dir, "certs", name, "rev", revision))
}
