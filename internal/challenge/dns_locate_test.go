package challenge_test

import (
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/spec"
	"acmed/test/zone"
)

// corpZone has a delegation to a server of its own at 127.0.0.2, and one to a zone that the same server has.
const corpZone = `
corp.test. 60 IN SOA ns1.corp.test. hostmaster.corp.test. 1 3600 600 86400 300
corp.test. 60 IN NS ns1.corp.test.
ns1.corp.test. 60 IN A 127.0.0.1
*.wild.corp.test. 60 IN CNAME lb.elsewhere.test.
_acme-challenge.written.wild.corp.test. 60 IN CNAME written.proofs.test.
_acme-challenge.moved.corp.test. 60 IN CNAME moved.proofs.test.
child.corp.test. 60 IN SOA ns1.corp.test. hostmaster.corp.test. 1 3600 600 86400 300
child.corp.test. 60 IN NS ns1.corp.test.
proofs.test. 60 IN SOA ns1.corp.test. hostmaster.corp.test. 1 3600 600 86400 300
proofs.test. 60 IN NS ns1.corp.test.
away.corp.test. 60 IN NS ns.away.corp.test.
ns.away.corp.test. 60 IN A 127.0.0.2
`

const awayZone = `
away.corp.test. 60 IN SOA ns.away.corp.test. hostmaster.corp.test. 1 3600 600 86400 300
away.corp.test. 60 IN NS ns.away.corp.test.
ns.away.corp.test. 60 IN A 127.0.0.2
`

// company is a network with a resolver that acmed asks, and the CA too.
type company struct {
	*challenge.DNS
	provider *spec.Provider
	resolver *zone.Resolver
	server   *zone.Server // of corp.test and proofs.test
	away     *zone.Server // of away.corp.test
}

func newCompany(t *testing.T, more string) *company {
	t.Helper()
	keys := map[string]string{"acmed.": tsigSecret()}
	c := &company{server: zone.Start(t, zone.Config{Records: corpZone + more, TSIG: keys})}
	_, port, _ := net.SplitHostPort(c.server.Addr)
	number, _ := strconv.Atoi(port)
	c.away = zone.Start(t, zone.Config{Records: awayZone, TSIG: keys, Address: "127.0.0.2", Port: number})
	c.resolver = zone.StartResolver(t, c.server, c.away)
	c.provider = &spec.Provider{RFC2136: &spec.RFC2136{
		Server: c.server.Addr, TSIGKeyName: "acmed", TSIGAlgorithm: "hmac-sha256", TSIGKeyFile: secretFile(t, tsigSecret()),
	}}
	c.remake(t)
	return c
}

// remake makes the solver anew, as when the provider's file has changed.
func (c *company) remake(t *testing.T) {
	t.Helper()
	p := c.provider
	p.Name, p.File, p.TTL = "corp", "dns.d/corp.yaml", time.Minute
	p.Propagation = spec.Propagation{Timeout: time.Minute, Check: true, Resolvers: []string{c.resolver.Addr}}
	var err error
	if c.DNS, err = challenge.NewDNS(challenge.DNSConfig{Provider: p}); err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(c.server.Addr)
	c.AskAt(port)
}

func TestNoResolverIsAskedForANameThatMayNotExist(t *testing.T) {
	for sentence, tt := range map[string]struct {
		proof acme.Proof
		at    string
		asked []string
	}{
		"a name that has no record of its own":     {dnsProof("none.corp.test", "one"), "_acme-challenge.none.corp.test", []string{"corp.test."}},
		"a name far below the zone":                {dnsProof("a.b.c.corp.test", "one"), "_acme-challenge.a.b.c.corp.test", []string{"corp.test."}},
		"the name of the zone":                     {dnsProof("corp.test", "one"), "_acme-challenge.corp.test", []string{"corp.test."}},
		"a zone below at the same server":          {dnsProof("www.child.corp.test", "one"), "_acme-challenge.www.child.corp.test", []string{"corp.test."}},
		"a record of the account's own":            {ownProof("www.corp.test", "one"), "_ujmmovf2vn55tgye._acme-challenge.www.corp.test", []string{"corp.test."}},
		"a CNAME to a name that does not exist":    {dnsProof("moved.corp.test", "one"), "moved.proofs.test", []string{"corp.test.", "proofs.test."}},
		"a CNAME beside a wildcard that is also a": {dnsProof("written.wild.corp.test", "one"), "written.proofs.test", []string{"corp.test.", "proofs.test."}},
		"a CNAME that a wildcard made":             {dnsProof("foo.wild.corp.test", "one"), "_acme-challenge.foo.wild.corp.test", []string{"corp.test."}},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := newCompany(t, "")
			if err := c.Present(t.Context(), tt.proof); err != nil {
				t.Fatal(err)
			}
			if lacking, err := c.Visible(t.Context(), tt.proof, time.Now()); err != nil || lacking != "" {
				t.Errorf("it is not seen: %q, %v", lacking, err)
			}
			for _, name := range c.resolver.Asked() {
				if !slices.Contains(append(tt.asked, "ns1.corp.test."), name) {
					t.Errorf("the resolver was asked for %s", name)
				}
			}
			if got := c.resolver.TXT(tt.at); !slices.Equal(got, []string{"one"}) {
				t.Errorf("the CA sees %q at %s", got, tt.at)
			}
			if err := c.CleanUp(t.Context(), tt.proof); err != nil {
				t.Fatal(err)
			}
			want(t, c.server, tt.at)
		})
	}
}

// TestADelegationIsFollowedToItsServer, which alone has the zone.
func TestADelegationIsFollowedToItsServer(t *testing.T) {
	c := newCompany(t, "")
	c.provider.RFC2136.Server = c.away.Addr
	c.remake(t)
	p := dnsProof("www.away.corp.test", "one")
	if err := c.Present(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	want(t, c.away, "_acme-challenge.www.away.corp.test", "one")
	if lacking, err := c.Visible(t.Context(), p, time.Now()); err != nil || lacking != "" {
		t.Errorf("it is not seen: %q, %v", lacking, err)
	}
	if slices.Contains(c.resolver.Asked(), "www.away.corp.test.") {
		t.Error("the resolver was asked for the name")
	}
}

func TestFollowingCNAMEsIsTheProvidersChoice(t *testing.T) {
	yes, no := true, false
	for sentence, tt := range map[string]struct {
		follow *bool
		domain string
		at     string
	}{
		"off: a CNAME of the name's own":      {&no, "moved.corp.test", "_acme-challenge.moved.corp.test"},
		"on: a CNAME that a wildcard made":    {&yes, "foo.all.corp.test", "all.proofs.test"},
		"unset: a CNAME that a wildcard made": {nil, "foo.all.corp.test", "_acme-challenge.foo.all.corp.test"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := newCompany(t, "*.all.corp.test. 60 IN CNAME all.proofs.test.")
			c.provider.FollowCNAME = tt.follow
			c.remake(t)
			if err := c.Present(t.Context(), dnsProof(tt.domain, "one")); err != nil {
				t.Fatal(err)
			}
			want(t, c.server, tt.at, "one")
		})
	}
}

// TestServersThatCannotBeAsked may have the record: the others are enough, after a while.
func TestServersThatCannotBeAsked(t *testing.T) {
	const record = "_acme-challenge.www.corp.test"
	for sentence, tt := range map[string]struct {
		more    string
		lacking string // at once
		late    string // when propagation.timeout is over
		hint    string
	}{
		"one of two is dead":                  {"corp.test. 60 IN NS ns2.corp.test.\nns2.corp.test. 60 IN A 127.0.0.9", "ns2.corp.test does not answer", "", ""},
		"one has no address":                  {"corp.test. 60 IN NS ns3.corp.test.", "ns3.corp.test has no address", "", ""},
		"one has an address that is silent":   {"ns1.corp.test. 60 IN A 127.0.0.4", "", "", ""},
		"one has an address without a way":    {"ns1.corp.test. 60 IN AAAA 2001:db8::53", "", "", ""},
		"one answers and has no such record":  {"corp.test. 60 IN NS ns4.corp.test.\nns4.corp.test. 60 IN A 127.0.0.2", "ns4.corp.test (127.0.0.2) to have the TXT record " + record, "ns4.corp.test (127.0.0.2)", "propagation.timeout in dns.d/corp.yaml"},
		"a record that was there and is gone": {"", "ns1.corp.test (127.0.0.1) to have the TXT record " + record, "ns1.corp.test (127.0.0.1)", "named under zones"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := newCompany(t, tt.more)
			_, port, _ := net.SplitHostPort(c.server.Addr)
			silent(t, net.JoinHostPort("127.0.0.4", port))
			p := dnsProof("www.corp.test", "one")
			if err := c.Present(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if strings.Contains(sentence, "is gone") {
				c.server.RemoveTXT(record, "one")
			}
			ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // of which the silent one uses all
			defer cancel()
			if lacking, err := c.Visible(ctx, p, time.Now()); err != nil || !strings.HasPrefix(lacking, tt.lacking) || tt.lacking == "" && lacking != "" {
				t.Errorf("at once: %q, %v", lacking, err)
			}
			late, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
			defer cancel()
			lacking, err := c.Visible(late, p, time.Now().Add(-time.Hour))
			if tt.late != "" {
				wantFailure(t, err, acme.Transient, "after 1m0s still: "+tt.late, tt.hint)
			} else if lacking != "" || err != nil {
				t.Errorf("later: %q, %v", lacking, err)
			}
		})
	}
}

// silent takes questions at an address and answers none.
func silent(t *testing.T, address string) {
	t.Helper()
	packets, err := net.ListenPacket("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { packets.Close(); stream.Close() })
}

// TestNoServerCanBeAsked: the resolver has to be, and acmed status shows what that risks.
func TestNoServerCanBeAsked(t *testing.T) {
	c := newCompany(t, "")
	c.AskAt("1") // where nobody is
	c.provider.RFC2136 = nil
	address, _ := service(t, 200, "")
	c.provider.HTTPReq = &spec.HTTPReq{URL: address, Mode: "default"}
	c.remake(t)
	c.AskAt("1")
	p := dnsProof("www.corp.test", "one")
	if err := c.Present(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	lacking, err := c.Visible(t.Context(), p, time.Now())
	if err != nil || !strings.Contains(lacking, "no name server of corp.test can be asked from here: ns1.corp.test (127.0.0.1)") ||
		!strings.Contains(lacking, "a CA that asks the same one may not see the record for 1m0s") {
		t.Errorf("at once: %q, %v", lacking, err)
	}
	_, err = c.Visible(t.Context(), p, time.Now().Add(-time.Hour))
	wantFailure(t, err, acme.Transient, "no name server of corp.test can be asked", "UDP and TCP port 53")
}

// TestAResolverThatTellsNothingOfZones, as some routers do, is enough for programs and services that find the zone themselves.
func TestAResolverThatTellsNothingOfZones(t *testing.T) {
	for sentence, rcode := range map[string]uint16{
		"it has no answer":          dns.RcodeSuccess,
		"it knows no such question": dns.RcodeNotImplemented,
		"it refuses the question":   dns.RcodeRefused,
	} {
		t.Run(sentence, func(t *testing.T) {
			router := zone.Start(t, zone.Config{Records: "_acme-challenge.moved.router.lan. 60 IN CNAME moved.router.lan.\n"})
			if rcode != dns.RcodeSuccess {
				router.Fail("router.lan", rcode)
			}
			address, asked := service(t, 200, "")
			d := solver(t, router, &spec.Provider{HTTPReq: &spec.HTTPReq{URL: address, Mode: "default"}}, nil)
			p := dnsProof("moved.router.lan", "one")
			if err := d.Present(t.Context(), p); err != nil {
				t.Fatal(err)
			}
			if len(*asked) != 1 || !strings.Contains((*asked)[0], `"fqdn":"moved.router.lan."`) {
				t.Errorf("asked %q", *asked)
			}
			lacking, err := d.Visible(t.Context(), p, time.Now())
			if err != nil || !strings.HasPrefix(lacking, "no zone is found that holds moved.router.lan") ||
				!strings.HasSuffix(lacking, "so a resolver was asked for moved.router.lan") {
				t.Errorf("at once: %q, %v", lacking, err)
			}
		})
	}
}

func TestThePrimaryIsAskedWhereNobodyElseKnowsTheZone(t *testing.T) {
	const hidden = `
hidden.example. 60 IN SOA ns1.hidden.example. hostmaster.hidden.example. 1 3600 600 86400 300
hidden.example. 60 IN NS ns1.hidden.example.
`
	for sentence, tt := range map[string]struct{ resolver, server, domain, at, zone string }{
		"the resolver knows no SOA record":     {"", hidden, "www.hidden.example", "_acme-challenge.www.hidden.example", ""},
		"the resolver knows the zone above":    {corpZone, corpZone + "in.corp.test. 60 IN SOA ns1.corp.test. h.corp.test. 1 3600 600 86400 300\n", "www.in.corp.test", "_acme-challenge.www.in.corp.test", ""},
		"the provider's file names the zone":   {corpZone, hidden, "www.hidden.example", "_acme-challenge.www.hidden.example", "hidden.example"},
		"the zone is below a registry's there": {"com. 60 IN SOA a.gtld. h.gtld. 1 3600 600 86400 300\ncom. 60 IN NS ns1.corp.test.\n" + corpZone, "own.com. 60 IN SOA ns1.own.com. h.own.com. 1 3600 600 86400 300\n", "www.own.com", "_acme-challenge.www.own.com", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := newCompany(t, "")
			primary := zone.Start(t, zone.Config{Records: tt.server, TSIG: map[string]string{"acmed.": tsigSecret()}})
			c.resolver = zone.StartResolver(t, zone.Start(t, zone.Config{Records: tt.resolver}))
			c.provider.RFC2136.Server, c.provider.RFC2136.Zone = primary.Addr, tt.zone
			c.remake(t)
			if err := c.Present(t.Context(), dnsProof(tt.domain, "one")); err != nil {
				t.Fatal(err)
			}
			want(t, primary, tt.at, "one")
		})
	}
}

// TestAWildcardOfAHiddenZoneIsNoDelegation: what holds for the zone's own servers holds for the server that takes the updates.
func TestAWildcardOfAHiddenZoneIsNoDelegation(t *testing.T) {
	c := newCompany(t, "")
	primary := zone.Start(t, zone.Config{TSIG: map[string]string{"acmed.": tsigSecret()}, Records: `
hidden.example. 60 IN SOA ns1.hidden.example. hostmaster.hidden.example. 1 3600 600 86400 300
hidden.example. 60 IN NS ns1.hidden.example.
*.wild.hidden.example. 60 IN CNAME lb.hidden.example.
_acme-challenge.moved.hidden.example. 60 IN CNAME moved.hidden.example.
`})
	c.resolver = zone.StartResolver(t, zone.Start(t, zone.Config{}))
	c.provider.RFC2136.Server = primary.Addr
	c.remake(t)
	for domain, at := range map[string]string{
		"foo.wild.hidden.example": "_acme-challenge.foo.wild.hidden.example",
		"moved.hidden.example":    "moved.hidden.example",
	} {
		if err := c.Present(t.Context(), dnsProof(domain, "one")); err != nil {
			t.Fatal(err)
		}
		want(t, primary, at, "one")
	}
}

// TestARegistrysZoneIsNeverUpdated, even if a name server says that it holds the record.
func TestARegistrysZoneIsNeverUpdated(t *testing.T) {
	for _, registry := range []string{"com", "co.uk", "museum"} {
		c := newCompany(t, registry+". 60 IN SOA ns1.corp.test. h.corp.test. 1 3600 600 86400 300\n"+registry+". 60 IN NS ns1.corp.test.\n")
		err := c.Present(t.Context(), dnsProof("www.nobodys."+registry, "one"))
		wantFailure(t, err, acme.Permanent, "is not updated", "rfc2136.zone")
		if n := c.server.Updates(); n > 0 {
			t.Errorf("%d updates were made", n)
		}
	}
}

func TestWhatAServerSaysToAnUpdateIsExplained(t *testing.T) {
	for sentence, tt := range map[string]struct {
		config      zone.Config
		key         string
		kind        acme.Kind
		words, hint string
	}{
		"it does not know the key":         {zone.Config{TSIG: map[string]string{"other.": tsigSecret()}}, "acmed", acme.Permanent, "BADKEY", "if it is Knot, no acl"},
		"it knows another secret":          {zone.Config{TSIG: map[string]string{"acmed.": "bm9uZQ=="}}, "acmed", acme.Permanent, "BADSIG", "the secret in "},
		"its clock is wrong":               {zone.Config{Skew: time.Hour}, "acmed", acme.Permanent, "BADTIME: its clock says", "timedatectl"},
		"it takes no updates":              {zone.Config{Updates: dns.RcodeNotImplemented}, "acmed", acme.Permanent, "NOTIMP", "takes no updates, as NSD"},
		"it refuses the update":            {zone.Config{Updates: dns.RcodeRefused}, "acmed", acme.Permanent, "REFUSED", "grant acmed name _acme-challenge.www.corp.test. TXT; }; a secondary says so too"},
		"it is not primary for the zone":   {zone.Config{Updates: dns.RcodeNotAuth}, "acmed", acme.Permanent, "NOTAUTH", "has to be the primary"},
		"the record is in another zone":    {zone.Config{Updates: dns.RcodeNotZone}, "acmed", acme.Permanent, "NOTZONE", "rfc2136.zone"},
		"it fails inside":                  {zone.Config{Updates: dns.RcodeServerFailure}, "acmed", acme.Transient, "SERVFAIL", "dns.d/corp.yaml"},
		"it wants updates that are signed": {zone.Config{}, "", acme.Permanent, "NOTAUTH", "not signed"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := newCompany(t, "")
			if tt.config.TSIG == nil {
				tt.config.TSIG = map[string]string{"acmed.": tsigSecret()}
			}
			tt.config.Records = corpZone
			server := zone.Start(t, tt.config)
			c.provider.RFC2136.Server, c.provider.RFC2136.TSIGKeyName = server.Addr, tt.key
			c.remake(t)
			wantFailure(t, c.Present(t.Context(), dnsProof("www.corp.test", "one")), tt.kind, tt.words, tt.hint)
		})
	}
}
