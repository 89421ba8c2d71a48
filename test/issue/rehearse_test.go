package issue_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"strings"
	"testing"

	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/site"
	"acmed/test/zone"
)

// TestARehearsalLeavesNothing rehearses at a twin of the CA, with the chain that the spec prefers, and is killed in the
// middle of another rehearsal: the next start takes its record away.
func TestARehearsalLeavesNothing(t *testing.T) {
	t.Parallel()
	const record = "_acme-challenge.www.example.com"
	secret := base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes yes"))
	names := zone.Start(t, zone.Config{TSIG: map[string]string{"acmed.": secret}, Records: `
example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
example.com. 60 IN NS ns1.example.com.
`})
	ca := pebble.Start(t, pebble.Options{DNSServer: names.Addr, NonceReject: 5, AlternateRoots: 1})
	s := site.New(t, ca, site.Options{Responder: true})
	provider := func(delay string) {
		s.Write(t, "dns.d/corp.yaml", fmt.Sprintf("rfc2136: {server: %q, tsigKeyName: acmed, tsigKeyFile: %s}\npropagation: {check: false, delay: %s, resolvers: [%q]}\n",
			names.Addr, s.Path("tsig"), delay, names.Addr))
	}
	s.Write(t, "tsig", secret)
	s.Write(t, "issuers.d/pebble-staging.yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {failuresPerNamePerHour: 0}\n", ca.DirectoryURL, ca.RootsFile))
	provider("1s")
	s.Spec(t, "www", "dnsNames: [www.example.com]\nchallenge: {type: dns-01, provider: corp}\n")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www") == 1 })
	if text := s.Run(t, "renew", "www", "--staging"); !strings.Contains(text, "the rehearsal worked") {
		t.Error(text)
	}
	if left := names.TXT(record); len(left) > 0 || s.Live(t, "www") != 1 {
		t.Errorf("it left %q", left)
	}

	provider("1h")
	s.Run(t, "reload")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { // the daemon dies in the middle of it
		_ = s.Control.Renew(ctx, control.RenewRequest{Names: []string{"www"}, Staging: true}, func(control.Event) {})
	}()
	site.Eventually(t, "the record is there", func() bool { return len(names.TXT(record)) == 1 })
	d.Kill()
	if len(names.TXT(record)) != 1 {
		t.Fatal("it was taken away by a kill")
	}
	d = s.Start(t)
	site.Eventually(t, "the next start takes it away", func() bool { return len(names.TXT(record)) == 0 })
	site.Eventually(t, "nothing of it is known any more", func() bool {
		text, err := os.ReadFile(s.State + "/rehearsals.json")
		return err == nil && strings.HasSuffix(string(text), "\"data\":{}}\n")
	})
	d.Stop(t)
}
