//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestBINDTakesUpdates does what docs/dns.md says with BIND 9: a wildcard is proved by signed updates, which every name
// server is seen to have before the CA looks.
func TestBINDTakesUpdates(t *testing.T) {
	unpack(t)
	key, err := hostOutput("tsig-keygen", "acmed")
	if err != nil {
		t.Fatal(err)
	}
	dir := startBIND(t, key)
	ca := pebble.Start(t, pebble.Options{DNSServer: "127.0.0.1:53"})
	s := site.New(t, ca, site.Options{Responder: true})
	s.Write(t, "tsig", key)
	s.Write(t, "dns.d/bind.yaml", fmt.Sprintf("rfc2136: {server: 127.0.0.1, tsigKeyName: acmed, tsigKeyFile: %s}\npropagation: {resolvers: [127.0.0.1]}\n", s.Path("tsig")))
	s.Spec(t, "wild", "dnsNames: [example.com, \"*.example.com\"]\nchallenge: {type: dns-01, provider: bind}\n")
	d := s.Start(t)
	site.Eventually(t, "BIND has proved the wildcard", func() bool { return s.Live(t, "wild") == 1 })

	s.Spec(t, "refused", "dnsNames: [refused.example.com]\nchallenge: {type: dns-01, provider: bind}\n")
	site.Eventually(t, "a name that the key may not change says so", func() bool {
		c, err := s.Control.Status(t.Context(), "refused")
		return err == nil && len(c.Failures) == 1 && strings.Contains(c.Failures[0].Detail, "answers REFUSED to an update of example.com") &&
			strings.Contains(c.Failures[0].Hint, "grant acmed name _acme-challenge.refused.example.com. TXT")
	})
	d.Stop(t)
	if out, err := hostOutput("named-checkzone", "-j", "-D", "example.com", filepath.Join(dir, "example.com")); err != nil || strings.Contains(out, "_acme-challenge") {
		t.Errorf("a proof is left in the zone: %v\n%s", err, out)
	}
}

// startBIND runs BIND on port 53 of the test's own network, and returns its folder.
func startBIND(t *testing.T, key string) string {
	t.Helper()
	dir := t.TempDir()
	for file, text := range map[string]string{
		"acmed.key": key,
		"named.conf": fmt.Sprintf(`include "%[1]s/acmed.key";
options { directory "%[1]s"; pid-file none; listen-on { 127.0.0.1; }; listen-on-v6 { none; }; recursion yes; dnssec-validation no; session-keyfile none; };
controls { };
zone "example.com" {
	type primary;
	file "%[1]s/example.com";
	update-policy { grant acmed name _acme-challenge.example.com. TXT; };
};
`, dir),
		"example.com": "$TTL 60\n@ IN SOA ns1 hostmaster 1 3600 600 86400 60\n@ IN NS ns1\nns1 IN A 127.0.0.1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	log := filepath.Join(dir, "log")
	background(t, log, "named", "-g", "-c", filepath.Join(dir, "named.conf"))
	site.Eventually(t, "BIND runs", func() bool {
		text, err := os.ReadFile(log)
		return err == nil && strings.Contains(string(text), "running")
	})
	return dir
}
