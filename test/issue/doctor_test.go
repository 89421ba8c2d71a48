package issue_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"

	"acmed/internal/control"
	"acmed/internal/doctor"
	"acmed/test/pebble"
	"acmed/test/site"
)

// accountFindings are what acmed doctor says of issuers and accounts, as "level text; hint".
func accountFindings(t *testing.T, s *site.Site) (out []string) {
	t.Helper()
	// It finds nobody on port 80, and says so by its exit code.
	text, _ := exec.CommandContext(t.Context(), "acmed", "doctor", "--config", s.Path("acmed.yaml"), "--output", "json", "--resolver", "127.0.0.1:1").Output()
	var findings []doctor.Finding
	if err := json.Unmarshal(text, &findings); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, f := range findings {
		if f.Check == "account" || f.Check == "issuer" && f.Level != doctor.Good {
			out = append(out, string(f.Level)+" "+f.Text+"; "+f.Hint)
		}
	}
	return out
}

// TestDoctorLooksAtTheAccount from before there is one until the CA has forgotten it.
func TestDoctorLooksAtTheAccount(t *testing.T) {
	t.Parallel()
	const name = "www.example.com"
	key := []byte("a key of thirty-two bytes, or so")
	ca := pebble.Start(t, pebble.Options{EAB: map[string][]byte{"kid-1": key}})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, name, "")
	wants := func(sentence string, words ...string) {
		t.Helper()
		got := accountFindings(t, s)
		if len(got) != len(words) {
			t.Errorf("%s: %q", sentence, got)
			return
		}
		for i, word := range words {
			if !strings.Contains(got[i], word) {
				t.Errorf("%s: %q, and not %q", sentence, got[i], word)
			}
		}
	}
	wants("without a binding", "failure it makes accounts only with an external account binding, and none is given; get one from the CA", "good there is none yet")
	s.Append(t, "issuers.d/pebble.yaml", "externalAccountBinding: {kid: kid-1, hmacKeyFile: "+s.Path("hmac")+"}\n")
	wants("without its key", "good there is none yet", "failure "+s.Path("hmac")+": no such file or directory; put the HMAC key")
	s.Write(t, "hmac", base64.RawURLEncoding.EncodeToString(key))
	wants("with one that everybody reads", "good there is none yet", "warning everybody can read")
	if err := os.Chmod(s.Path("hmac"), 0o600); err != nil {
		t.Fatal(err)
	}
	wants("before the first order", "good there is none yet")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, name) == 1 })
	before := ca.Count(t)
	wants("with an account", "is valid; ")
	if did := ca.Count(t).Since(before); did["newAccount"]+did["newOrder"] > 0 {
		t.Errorf("it did %v", did)
	}
	if err := ca.Restart(t.Context()); err != nil { // Pebble keeps nothing
		t.Fatal(err)
	}
	wants("the CA has forgotten it", "failure the CA says that it does not exist: https://127.0.0.1:")
	if _, err := s.Control.DeactivateAccount(t.Context(), control.AccountRequest{Issuer: "pebble"}); err != nil {
		t.Error(err)
	}
	wants("it was deactivated", "failure acmed account deactivate has ended it")
	d.Stop(t)
}
