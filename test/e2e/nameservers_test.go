//go:build e2e

package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"acmed/test/netns"
	"acmed/test/site"
)

// Where the name servers of a company answer, in the network of the tests.
const (
	bindAddr     = "127.0.1.1" // primary for corp.test and proofs.corp.test
	knotAddr     = "127.0.1.2" // primary for knot.corp.test and signed.corp.test
	pdnsAddr     = "127.0.1.3" // primary for pdns.corp.test
	nsdAddr      = "127.0.1.4" // primary for nsd.corp.test
	deadAddr     = "127.0.1.9" // of a second server of corp.test: nobody answers there
	resolverAddr = "127.0.1.53"
)

// secret is the TSIG key acmed of all servers.
const secret = "YSBzZWNyZXQgb2YgdGhpcnR5LXR3byBieXRlcyB5ZXM="

// startNameServers runs BIND, Knot, PowerDNS and NSD with a zone each, and in front of them Unbound, which remembers for an hour that
// a name does not exist, validates the signed zone and denies what its NSEC records deny (RFC 8198).
func startNameServers(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for file, text := range serverFiles(dir) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, sub := range []string{"knot", "nsd", "pdns"} {
		if err := os.Mkdir(filepath.Join(dir, sub), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range [][]string{
		{"load-zone", "pdns.corp.test", filepath.Join(dir, "pdns.corp.test")},
		{"import-tsig-key", "acmed", "hmac-sha256", secret},
		{"set-meta", "pdns.corp.test", "TSIG-ALLOW-DNSUPDATE", "acmed"},
	} {
		if err := host("pdnsutil", append([]string{"--config-dir=" + dir}, args...)...); err != nil {
			t.Fatal(err)
		}
	}
	if err := netns.AddAddress(netip.MustParseAddr(bindAddr)); err != nil { // BIND listens at addresses of devices alone
		t.Fatal(err)
	}
	startServer(t, dir, bindAddr, "corp.test", "named", "-g", "-c", filepath.Join(dir, "named.conf"))
	startServer(t, dir, knotAddr, "signed.corp.test", "knotd", "-c", filepath.Join(dir, "knot.conf"))
	startServer(t, dir, pdnsAddr, "pdns.corp.test", "pdns_server", "--config-dir="+dir, "--guardian=no", "--daemon=no")
	startServer(t, dir, nsdAddr, "nsd.corp.test", "nsd", "-d", "-c", filepath.Join(dir, "nsd.conf"))
	writeAnchor(t, filepath.Join(dir, "anchor"))
	startServer(t, dir, resolverAddr, "corp.test", "unbound", "-d", "-c", filepath.Join(dir, "unbound.conf"))
}

// zoneText is a zone at address, whose negative answers may be remembered for an hour.
func zoneText(zone, address, more string) string {
	return fmt.Sprintf("$ORIGIN %s.\n$TTL 3600\n@ IN SOA ns1 hostmaster 1 3600 600 86400 3600\n@ IN NS ns1\nns1 IN A %s\n%s", zone, address, more)
}

func serverFiles(dir string) map[string]string {
	expand := strings.NewReplacer("DIR", dir, "SECRET", secret, "BIND", bindAddr, "KNOT", knotAddr, "PDNS", pdnsAddr, "NSD", nsdAddr, "UNBOUND", resolverAddr).Replace
	delegations := ""
	for zone, address := range map[string]string{"knot": knotAddr, "signed": knotAddr, "pdns": pdnsAddr, "nsd": nsdAddr} {
		delegations += fmt.Sprintf("%[1]s IN NS ns1.%[1]s\nns1.%[1]s IN A %[2]s\n", zone, address)
	}
	return map[string]string{
		"corp.test": zoneText("corp.test", bindAddr, delegations+"@ IN NS ns2\nns2 IN A "+deadAddr+
			"\n*.wild IN CNAME lb.elsewhere.test.\n_acme-challenge.moved IN CNAME moved.proofs.corp.test.\n"),
		"proofs.corp.test": zoneText("proofs.corp.test", bindAddr, ""),
		"static.corp.test": zoneText("static.corp.test", bindAddr, ""),
		"knot.corp.test":   zoneText("knot.corp.test", knotAddr, ""),
		"signed.corp.test": zoneText("signed.corp.test", knotAddr, ""),
		"pdns.corp.test":   zoneText("pdns.corp.test", pdnsAddr, ""),
		"nsd.corp.test":    zoneText("nsd.corp.test", nsdAddr, "_acme-challenge.www IN CNAME www.proofs.corp.test.\n"),
		"named.conf":       expand(bindConfig), "knot.conf": expand(knotConfig), "pdns.conf": expand(pdnsConfig),
		"nsd.conf": expand(nsdConfig), "unbound.conf": expand(unboundConfig),
	}
}

const bindConfig = `key "acmed." { algorithm hmac-sha256; secret "SECRET"; };
options { directory "DIR"; pid-file none; listen-on { BIND; }; listen-on-v6 { none; }; recursion no; dnssec-validation no; session-keyfile none; };
controls { };
zone "corp.test" {
	type primary; file "DIR/corp.test";
	update-policy { grant acmed. name _acme-challenge.none.corp.test. TXT; grant acmed. name _acme-challenge.foo.wild.corp.test. TXT; };
};
zone "proofs.corp.test" { type primary; file "DIR/proofs.corp.test"; update-policy { grant acmed. subdomain proofs.corp.test. TXT; }; };
zone "static.corp.test" { type primary; file "DIR/static.corp.test"; };
`

const knotConfig = `server:
    listen: KNOT@53
    rundir: DIR/knot
    user: root
database:
    storage: DIR/knot
log:
  - target: stderr
    any: info
key:
  - id: acmed.
    algorithm: hmac-sha256
    secret: "SECRET"
acl:
  - id: acmed
    key: acmed.
    action: update
    update-type: TXT
    update-owner: name
    update-owner-match: equal
    update-owner-name: [_acme-challenge, _acme-challenge.www, _acme-challenge.none]
zone:
  - domain: knot.corp.test
    file: DIR/knot.corp.test
    acl: [acmed]
  - domain: signed.corp.test
    file: DIR/signed.corp.test
    acl: [acmed]
    dnssec-signing: on
`

const pdnsConfig = `launch=lmdb
lmdb-filename=DIR/pdns/zones
local-address=PDNS
socket-dir=DIR/pdns
setuid=
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
`

const nsdConfig = `server:
    ip-address: NSD
    username: ""
    chroot: ""
    pidfile: ""
    database: ""
    xfrdfile: ""
    zonelistfile: "DIR/nsd/zones"
    xfrdir: "DIR/nsd"
    zonesdir: "DIR"
remote-control:
    control-enable: no
zone:
    name: nsd.corp.test
    zonefile: DIR/nsd.corp.test
`

const unboundConfig = `server:
    interface: UNBOUND
    username: ""
    chroot: ""
    pidfile: ""
    directory: "DIR"
    use-syslog: no
    do-not-query-localhost: no
    local-zone: "test." nodefault
    module-config: "validator iterator"
    trust-anchor-file: "DIR/anchor"
    aggressive-nsec: yes
    do-ip6: no
remote-control:
    control-enable: no
stub-zone:
    name: "corp.test."
    stub-addr: BIND
`

// startServer runs a name server until the test ends, and waits until it has a zone.
func startServer(t *testing.T, dir, address, zone string, command ...string) {
	t.Helper()
	background(t, filepath.Join(dir, command[0]+".log"), command...)
	site.Eventually(t, command[0]+" answers for "+zone, func() bool { return len(dnsAnswer(address, zone, dns.TypeSOA).Answer) > 0 })
}

// dnsAnswer returns the answer of a server; an empty one, if it does not answer.
func dnsAnswer(address, name string, kind uint16) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	m.SetEdns0(4096, true)
	answer, err := dns.Exchange(m, address+":53")
	if err != nil {
		return new(dns.Msg)
	}
	return answer
}

// writeAnchor writes the keys of the signed zone, as Unbound reads them.
func writeAnchor(t *testing.T, file string) {
	t.Helper()
	var keys strings.Builder
	site.Eventually(t, "Knot has signed its zone", func() bool {
		for _, rr := range dnsAnswer(knotAddr, "signed.corp.test", dns.TypeDNSKEY).Answer {
			if key, ok := rr.(*dns.DNSKEY); ok {
				fmt.Fprintln(&keys, key)
			}
		}
		return keys.Len() > 0
	})
	if err := os.WriteFile(file, []byte(keys.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
