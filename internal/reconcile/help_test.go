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

// memory is a folder where syncing costs nothing, if there is such a place: there are no power cuts here.
func memory(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "acmed-reconcile-")
	if err != nil {
		t.Logf("the state folder is on disk: %v", err)
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// discardRevision takes a revision that a test has damaged out of the way of the final check.
func discardRevision(dir, name, revision string) error {
	return os.RemoveAll(filepath.Join(dir, "certs", name, "rev", revision))
}
