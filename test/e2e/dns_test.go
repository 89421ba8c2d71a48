//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestNameServers proves names at the name servers that people run, while the CA asks the same caching resolver as acmed.
func TestNameServers(t *testing.T) {
	unpack(t)
	startNameServers(t)
	ca := pebble.Start(t, pebble.Options{DNSServer: resolverAddr + ":53"})
	s := site.New(t, ca, site.Options{Responder: true})
	s.Write(t, "tsig", secret)
	s.Write(t, "wrong", "d3Jvbmc=")
	for name, server := range map[string]string{"bind": bindAddr, "knot": knotAddr, "pdns": pdnsAddr, "nsd": nsdAddr} {
		s.Write(t, "dns.d/"+name+".yaml", provider(server, "acmed", s.Path("tsig")))
		s.Write(t, "dns.d/"+name+"-secret.yaml", provider(server, "acmed", s.Path("wrong")))
		s.Write(t, "dns.d/"+name+"-key.yaml", provider(server, "nobody", s.Path("tsig")))
	}
	s.Start(t)
	t.Run("names are proved", func(t *testing.T) { proveNames(t, s) })
	t.Run("what a server refuses is explained", func(t *testing.T) { explainRefusals(t, s) })
}

func provider(server, key, file string) string {
	return fmt.Sprintf("rfc2136: {server: %s, tsigKeyName: %s, tsigKeyFile: %s}\npropagation: {resolvers: [%s]}\n", server, key, file, resolverAddr)
}

// proofNames maps each name to the provider that proves it, and to where its record is.
func proofNames() map[string][2]string {
	return map[string][2]string{
		"none.corp.test":        {"bind", "_acme-challenge.none.corp.test"}, // a name without a record of its own
		"foo.wild.corp.test":    {"bind", "_acme-challenge.foo.wild.corp.test"},
		"moved.corp.test":       {"bind", "moved.proofs.corp.test"},
		"www.nsd.corp.test":     {"bind", "www.proofs.corp.test"},
		"www.knot.corp.test":    {"knot", "_acme-challenge.www.knot.corp.test"},
		"none.signed.corp.test": {"knot", "_acme-challenge.none.signed.corp.test"},
		"*.signed.corp.test":    {"knot", "_acme-challenge.signed.corp.test"},
		"www.pdns.corp.test":    {"pdns", "_acme-challenge.www.pdns.corp.test"},
	}
}

func proveNames(t *testing.T, s *site.Site) {
	specs := map[string]string{}
	for name, how := range proofNames() {
		spec := strings.ReplaceAll(name, "*", "wildcard")
		specs[spec] = how[1]
		s.Spec(t, spec, fmt.Sprintf("dnsNames: [%q]\nchallenge: {type: dns-01, provider: %s}\n", name, how[0]))
	}
	for _, spec := range slices.Sorted(maps.Keys(specs)) {
		site.Eventually(t, spec+" is proved", func() bool { return s.Live(t, spec) == 1 })
		c, err := s.Control.Status(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Failures) > 0 {
			t.Errorf("%s failed before: %s", spec, c.Failures[0].Detail)
		}
	}
	for at := range maps.Values(specs) {
		for _, server := range []string{bindAddr, knotAddr, pdnsAddr} {
			for _, rr := range dnsAnswer(server, at, dns.TypeTXT).Answer {
				if rr.Header().Rrtype == dns.TypeTXT {
					t.Errorf("%s still has %s", server, rr)
				}
			}
		}
	}
}

func explainRefusals(t *testing.T, s *site.Site) {
	// None of the names was proved before: a CA may reuse an authorization.
	tests := map[string]struct{ name, provider, says, hint string }{
		"bind-1": {"other.corp.test", "bind", "REFUSED", "grant acmed name _acme-challenge.other.corp.test. TXT"},
		"bind-2": {"two.corp.test", "bind-secret", "BADSIG", "the secret in "},
		"bind-3": {"three.corp.test", "bind-key", "BADKEY", "knows no key nobody"},
		"bind-4": {"www.static.corp.test", "bind", "REFUSED", "a secondary says so too"},
		"bind-5": {"five.knot.corp.test", "bind", "NOTAUTH", "has to be the primary"},
		"knot-1": {"other.knot.corp.test", "knot", "BADKEY", "if it is Knot, no acl"},
		"knot-2": {"none.knot.corp.test", "knot-secret", "BADSIG", "the secret in "},
		"knot-3": {"three.knot.corp.test", "knot-key", "BADKEY", "knows no key nobody"},
		"knot-4": {"four.pdns.corp.test", "knot", "NOTAUTH", "has to be the primary"},
		"pdns-1": {"one.pdns.corp.test", "pdns-secret", "REFUSED", "PowerDNS, to a key that it does not know"},
		"pdns-2": {"two.pdns.corp.test", "pdns-key", "REFUSED", "PowerDNS, to a key that it does not know"},
		"pdns-3": {"six.knot.corp.test", "pdns", "NOTAUTH", "has to be the primary"},
		"nsd-1":  {"mail.nsd.corp.test", "nsd", "NOTIMP", "takes no updates, as NSD does not"},
		"nsd-2":  {"mail.nsd.corp.test", "nsd-key", "NOTIMP", "takes no updates, as NSD does not"},
	}
	for spec, tt := range tests {
		s.Spec(t, spec, fmt.Sprintf("dnsNames: [%q]\nchallenge: {type: dns-01, provider: %s}\n", tt.name, tt.provider))
	}
	for _, spec := range slices.Sorted(maps.Keys(tests)) {
		tt := tests[spec]
		site.Eventually(t, spec+" has failed", func() bool {
			c, err := s.Control.Status(t.Context(), spec)
			return err == nil && len(c.Failures) > 0
		})
		c, err := s.Control.Status(t.Context(), spec)
		if err != nil {
			t.Fatal(err)
		}
		if f := c.Failures[0]; !strings.Contains(f.Detail, tt.says) || !strings.Contains(f.Hint, tt.hint) {
			t.Errorf("%s by %s: %s; hint: %s; want %s and %q", tt.name, tt.provider, f.Detail, f.Hint, tt.says, tt.hint)
		}
	}
}
