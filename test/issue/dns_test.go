package issue_test

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
	"acmed/test/zone"
)

// TestWildcardByDNS has a wildcard and its apex proved by records of one name, one of them written by way of a CNAME,
// and renewed. Nothing stays in the zone, and a file of dns.d that turns bad changes nothing.
func TestWildcardByDNS(t *testing.T) {
	t.Parallel()
	secret := base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes yes"))
	names := zone.Start(t, zone.Config{TSIG: map[string]string{"acmed.": secret}, Records: `
example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
example.com. 60 IN NS ns1.example.com.
proofs.test. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
_acme-challenge.shop.example.com. 60 IN CNAME shop.proofs.test.
`})
	ca := pebble.Start(t, pebble.Options{DNSServer: names.Addr, NonceReject: 5})
	s := site.New(t, ca, site.Options{Responder: true})
	s.Write(t, "tsig", secret)
	provider := fmt.Sprintf("rfc2136: {server: %q, tsigKeyName: acmed, tsigKeyFile: %s}\npropagation: {check: false, delay: 1s, resolvers: [%q]}\n",
		names.Addr, s.Path("tsig"), names.Addr)
	s.Write(t, "dns.d/corp.yaml", provider)
	s.Spec(t, "wild", "dnsNames: [example.com, \"*.example.com\", shop.example.com]\nchallenge: {type: dns-01, provider: corp}\n")
	s.Run(t, "check")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "wild") == 1 })
	pair, err := s.Served("wild")
	if err != nil || !slices.Contains(pair.Leaf.DNSNames, "*.example.com") || len(pair.Leaf.DNSNames) != 3 {
		t.Fatalf("got %v, %v", pair.Leaf, err)
	}
	s.Write(t, "dns.d/corp.yaml", "rfc2136: {serve: wrong}\n")
	site.Eventually(t, "the bad file is known", func() bool {
		info, err := s.Control.Info(t.Context())
		return err == nil && len(info.Problems) > 0 && info.Problems[0].Kept
	})
	renew(t, s, "wild")
	if n := s.Live(t, "wild"); n != 2 {
		t.Errorf("revision %d is live", n)
	}
	for _, name := range []string{"_acme-challenge.example.com", "shop.proofs.test"} {
		if left := names.TXT(name); len(left) > 0 {
			t.Errorf("%s still has %q", name, left)
		}
	}
	if names.Updates() < 8 {
		t.Errorf("only %d updates were made", names.Updates())
	}

	d.Stop(t)
	d = s.Start(t) // the last good version outlives a start, too
	renew(t, s, "wild")
	d.Stop(t)
}

// TestANameOfTheAccountsOwn has a name proved where only this account looks.
func TestANameOfTheAccountsOwn(t *testing.T) {
	t.Parallel()
	secret := base64.StdEncoding.EncodeToString([]byte("a secret of thirty-two bytes yes"))
	names := zone.Start(t, zone.Config{TSIG: map[string]string{"acmed.": secret}, Records: `
example.com. 60 IN SOA ns1.example.com. hostmaster.example.com. 1 3600 600 86400 60
example.com. 60 IN NS ns1.example.com.
`})
	ca := pebble.Start(t, pebble.Options{DNSServer: names.Addr})
	s := site.New(t, ca, site.Options{Responder: true})
	s.Write(t, "tsig", secret)
	s.Write(t, "dns.d/corp.yaml", fmt.Sprintf("rfc2136: {server: %q, tsigKeyName: acmed, tsigKeyFile: %s}\npropagation: {check: false, delay: 1s, resolvers: [%q]}\n",
		names.Addr, s.Path("tsig"), names.Addr))
	s.Spec(t, "www.example.com", "dnsNames: [www.example.com]\nchallenge: {type: dns-account-01, provider: corp}\n")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	if names.Updates() < 2 {
		t.Errorf("only %d updates were made", names.Updates())
	}
	d.Stop(t)
}
