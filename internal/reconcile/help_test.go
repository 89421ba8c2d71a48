package reconcile_test

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// counted counts the requests that f answers.
func counted(f func(*http.Request) *http.Response) (answer func(*http.Request) *http.Response, count func() int) {
	var n atomic.Int64
	answer = func(r *http.Request) *http.Response {
		res := f(r)
		if res != nil {
			n.Add(1)
		}
		return res
	}
	return answer, func() int { synctest.Wait(); return int(n.Load()) }
}

// problem answers requests to a path with an ACME problem, and with Retry-After unless that is "".
func problem(path string, status int, kind, detail, retryAfter string) func(*http.Request) *http.Response {
	return func(r *http.Request) *http.Response {
		if !strings.Contains(r.URL.Path, path) {
			return nil
		}
		h := http.Header{"Content-Type": {"application/problem+json"}, "Replay-Nonce": {"a-nonce-for-nothing"}}
		if retryAfter != "" {
			h.Set("Retry-After", retryAfter)
		}
		body := `{"type":"urn:ietf:params:acme:error:` + kind + `","detail":"` + detail + `"}`
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Header: h, Body: io.NopCloser(strings.NewReader(body)), Request: r}
	}
}

// refusing is problem without Retry-After and without a nonce, so that nothing of it is left when it ends.
func refusing(path string, status int, kind, detail string) func(*http.Request) *http.Response {
	refuse := problem(path, status, kind, detail, "")
	return func(r *http.Request) *http.Response {
		res := refuse(r)
		if res != nil {
			res.Header.Del("Replay-Nonce")
		}
		return res
	}
}

// payload is what a request to a CA says; "" for one that is not signed.
func payload(r *http.Request) string {
	var signed struct{ Payload string }
	if r.Body == nil || json.NewDecoder(r.Body).Decode(&signed) != nil {
		return ""
	}
	text, _ := base64.RawURLEncoding.DecodeString(signed.Payload) // what is none says nothing
	return string(text)
}

// gateway answers like a proxy before a CA that is gone.
func gateway(status int) func(*http.Request) *http.Response {
	return func(*http.Request) *http.Response {
		return &http.Response{StatusCode: status, Status: http.StatusText(status), Body: http.NoBody, Header: http.Header{}}
	}
}

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
	dir, err := os.MkdirTemp("/dev/shm", "acmed-reconcile-") //nolint:usetesting // t.TempDir knows one place only
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

// forgetRecord removes what is known of name, as acmed delete does, while acmed is stopped.
func (w *world) forgetRecord(name string) {
	w.t.Helper()
	for _, path := range []string{filepath.Join("ledger", name+".json"), filepath.Join("certs", name)} {
		if err := os.RemoveAll(filepath.Join(w.dir, path)); err != nil {
			w.t.Fatal(err)
		}
	}
}
