//go:build e2e

package matrix_test

import (
	"crypto"
	"crypto/x509"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/matrix"
	"acmed/test/netns"
	"acmed/test/site"
	"acmed/test/zone"
)

// specimen is a cell with a spec of its own.
type specimen struct {
	cell      matrix.Cell
	name      string
	ca        authority
	byKey     bool // who signs the revocation: the certificate's own key
	asked     []string
	dnsNames  []string // that the certificate has
	addresses []string
}

// TestMatrix has the real daemon issue, renew and revoke a certificate for each cell, all at the same time, and compares
// what came of it with docs/compatibility.md.
func TestMatrix(t *testing.T) {
	names := startZones(t)
	cas := startCAs(t, names)
	specs := specimens(cas)
	s := site.New(t, cas[0].server, site.Options{})
	writeConfig(t, s)
	for _, ca := range cas {
		ca.writeIssuer(t, s)
	}
	publish(t, names, specs)
	writeProviders(t, s, names, specs)
	for _, p := range specs {
		s.Spec(t, p.name, p.text())
	}
	s.Settle(t)
	s.Run(t, "check")
	d := s.Start(t)
	awaitRevision(t, s, specs, 1)
	first := kept(t, s, specs)
	renewAll(t, s)
	results := make([]matrix.Result, len(specs))
	for i, p := range specs {
		t.Run(p.cell.String(), func(t *testing.T) { results[i] = p.try(t, s, first[p.name]) })
	}
	offers := make([]matrix.Offer, len(cas))
	for i, ca := range cas {
		offers[i] = ca.seen(t, s, specs)
	}
	d.Stop(t)
	compare(t, s, results, offers)
}

// specimens are the cells that this run tries.
func specimens(cas []authority) (specs []specimen) {
	cells := matrix.Cells()
	if !*full {
		cells = matrix.Pairwise(cells)
	}
	for i, c := range cells {
		ca := cas[slices.IndexFunc(cas, func(a authority) bool { return a.name == c.CA })]
		p := specimen{cell: c, name: fmt.Sprintf("c%d", i), ca: ca, byKey: slices.Index(matrix.Keys(), c.Key)%2 == 1}
		p.identify(i)
		specs = append(specs, p)
	}
	return specs
}

// identify chooses names and addresses that no other cell has.
func (p *specimen) identify(i int) {
	domain := p.name + ".example.com"
	p.dnsNames = []string{domain}
	v4 := fmt.Sprintf("127.1.%d.%d", i/250, i%250+1)
	v6 := fmt.Sprintf("fd00::%x", i+1)
	switch p.cell.Identifiers {
	case "many names":
		for n := range 9 {
			p.dnsNames = append(p.dnsNames, fmt.Sprintf("n%d.%s", n, domain))
		}
	case "IDN":
		p.asked = []string{"Bücher." + domain, "例え." + domain}
		p.dnsNames = []string{"xn--bcher-kva." + domain, "xn--r8jz45g." + domain}
	case "wildcard":
		p.dnsNames = append(p.dnsNames, "*."+domain)
	case "IPv4":
		p.dnsNames, p.addresses = nil, []string{v4}
	case "IPv6":
		p.dnsNames, p.addresses = nil, []string{v6}
	case "names and addresses":
		p.dnsNames, p.addresses = append(p.dnsNames, "www."+domain), []string{v4, v6}
	}
	if p.asked == nil {
		p.asked = p.dnsNames
	}
}

// text is the spec.
func (p specimen) text() string {
	algorithm, size, _ := strings.Cut(p.cell.Key, " ")
	kind, provider, dns := strings.Cut(p.cell.Challenge, " ")
	challenge := "{type: " + kind + "}"
	if dns {
		challenge = fmt.Sprintf("{type: %s, provider: %s}", kind, strings.ToLower(provider))
	}
	text := fmt.Sprintf("issuers: [%s]\nchallenge: %s\nprivateKey: {algorithm: %s, size: %s, rotationPolicy: %s}\n%s",
		p.ca.issuer, challenge, algorithm, size, p.cell.Rotation, p.ca.spec)
	for key, values := range map[string][]string{"dnsNames": p.asked, "ipAddresses": p.addresses} {
		if len(values) > 0 {
			text += fmt.Sprintf("%s: [\"%s\"]\n", key, strings.Join(values, `", "`))
		}
	}
	return text
}

// publish has every name and address lead here.
func publish(t *testing.T, names *zone.Server, specs []specimen) {
	t.Helper()
	var records strings.Builder
	for _, p := range specs {
		for _, address := range p.addresses {
			if ip := netip.MustParseAddr(address); ip.Is6() {
				if err := netns.AddAddress(ip); err != nil {
					t.Fatal(err)
				}
			}
		}
		for _, name := range p.dnsNames {
			if !strings.HasPrefix(name, "*.") {
				fmt.Fprintf(&records, "%[1]s. 60 IN A 127.0.0.1\n%[1]s. 60 IN AAAA ::1\n", name)
			}
		}
	}
	names.Add(records.String())
}

// writeConfig is of a daemon that answers by itself, at every address.
func writeConfig(t *testing.T, s *site.Site) {
	t.Helper()
	s.Write(t, "acmed.yaml", fmt.Sprintf(`contact: ["mailto:pki@example.com"]
termsOfServiceAgreed: true
specDir: certs.d
issuerDir: issuers.d
dnsDir: dns.d
stateDir: state
runtimeDir: run
http: {solver: listen, listen: ":80"}
tlsALPN: {listen: ":443"}
admin: {listen: ""}
log: {format: json}
control: {socket: %s}
`, s.Path("run/acmed.sock")))
}

// awaitRevision waits for a revision of each, for as long as there comes one more.
func awaitRevision(t *testing.T, s *site.Site, specs []specimen, n int) {
	t.Helper()
	missing := func(p specimen) bool { return s.Live(t, p.name) < n }
	left := specs
	for len(left) > 0 {
		site.Eventually(t, fmt.Sprintf("one of %d certificates has revision %d, such as that for %s", len(left), n, left[0].cell), func() bool {
			return slices.ContainsFunc(left, func(p specimen) bool { return !missing(p) })
		})
		left = slices.DeleteFunc(slices.Clone(left), func(p specimen) bool { return !missing(p) })
	}
}

// pair is a certificate as its consumers see it.
type pair struct {
	leaf  *x509.Certificate
	chain []*x509.Certificate // with the leaf
	key   crypto.PublicKey
}

func served(t *testing.T, s *site.Site, name string) pair {
	t.Helper()
	c, err := s.Served(name)
	if err != nil {
		t.Fatal(err)
	}
	p := pair{leaf: c.Leaf, key: c.PrivateKey.(crypto.Signer).Public()}
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		p.chain = append(p.chain, cert)
	}
	return p
}

func kept(t *testing.T, s *site.Site, specs []specimen) map[string]pair {
	t.Helper()
	pairs := map[string]pair{}
	for _, p := range specs {
		pairs[p.name] = served(t, s, p.name)
	}
	return pairs
}

// attempts are how often renewAll asks for those that a CA had trouble with: step-ca with many orders at once.
const attempts = 5

// renewAll renews all, as an operator does who asks again for those that were not renewed.
func renewAll(t *testing.T, s *site.Site) {
	t.Helper()
	names := []string{"--all"}
	for n := 0; n < attempts && len(names) > 0; n++ {
		args := slices.Concat([]string{"renew", "--wait", "--config", s.Path("acmed.yaml")}, names)
		out, err := exec.CommandContext(t.Context(), "acmed", args...).CombinedOutput()
		if err == nil {
			return
		}
		names = nil
		for _, failed := range regexp.MustCompile(`(?m)^acmed: (\S+): (not renewed, .*)$`).FindAllStringSubmatch(string(out), -1) {
			t.Logf("%s: %s", failed[1], failed[2])
			if s.Live(t, failed[1]) < 2 { // else it has come meanwhile
				names = append(names, failed[1])
			}
		}
		if !strings.Contains(string(out), "not renewed") {
			t.Fatalf("acmed %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	if len(names) > 0 {
		t.Errorf("not renewed after %d attempts: %v", attempts, names)
	}
}

// try checks both certificates of a cell, has the older one revoked, and returns what was seen.
func (p specimen) try(t *testing.T, s *site.Site, first pair) (r matrix.Result) {
	second := served(t, s, p.name)
	r = matrix.Result{Cell: p.cell, Issued: p.fits(t, first)}
	fresh := s.Live(t, p.name) >= 2 && second.leaf.SerialNumber.Cmp(first.leaf.SerialNumber) != 0
	r.Renewed = p.fits(t, second) && fresh
	r.SameKey = second.key.(interface{ Equal(crypto.PublicKey) bool }).Equal(first.key)
	if !r.Renewed || r.SameKey != (p.cell.Rotation == "Never") {
		t.Errorf("revision %d, a new certificate: %v, with the same key: %v", s.Live(t, p.name), fresh, r.SameKey)
	}
	args := []string{"revoke", p.name, "--revision", "1", "--reason", "superseded", "--yes"}
	if p.byKey {
		args = append(args, "--by-key")
	}
	s.Run(t, args...)
	old, err := p.ca.revoked(t.Context(), first.leaf)
	if err != nil {
		t.Fatal(err)
	}
	young, err := p.ca.revoked(t.Context(), second.leaf)
	if err != nil {
		t.Fatal(err)
	}
	if r.Revoked, r.ByKey = old && !young, p.byKey; !r.Revoked {
		t.Errorf("the CA has revoked the first certificate: %v, the second: %v", old, young)
	}
	return r
}

// fits tells whether a certificate is what the cell asks for, and leads to the CA's root.
func (p specimen) fits(t *testing.T, c pair) bool {
	t.Helper()
	names, addresses := slices.Clone(c.leaf.DNSNames), []string{}
	for _, ip := range c.leaf.IPAddresses {
		addresses = append(addresses, ip.String())
	}
	slices.Sort(names)
	wantNames := slices.Sorted(slices.Values(p.dnsNames))
	roots, between := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(p.ca.root)
	for _, cert := range c.chain[1:] {
		between.AddCert(cert)
	}
	_, err := c.leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	lifetime := c.leaf.NotAfter.Sub(c.leaf.NotBefore).Round(time.Hour)
	switch {
	case !slices.Equal(names, wantNames) || !slices.Equal(addresses, p.addresses) && len(addresses)+len(p.addresses) > 0:
		t.Errorf("it is for %q and %q, want %q and %q", names, addresses, wantNames, p.addresses)
	case keyName(c.key) != p.cell.Key:
		t.Errorf("its key is %s", keyName(c.key))
	case err != nil || len(c.chain) != p.ca.length:
		t.Errorf("its chain has %d certificates, want %d: %v", len(c.chain), p.ca.length, err)
	case lifetime != p.ca.lifetime:
		t.Errorf("it lives for %s, want %s", lifetime, p.ca.lifetime)
	default:
		return true
	}
	return false
}

// seen tells what acmed makes of what the CA offers.
func (a authority) seen(t *testing.T, s *site.Site, specs []specimen) matrix.Offer {
	t.Helper()
	offer := matrix.Offer{CA: a.name, Directory: a.offer(t), Lifetime: a.lifetime, ChainLength: a.length}
	for _, p := range specs {
		if p.ca.name != a.name {
			continue
		}
		status, err := s.Control.Status(t.Context(), p.name)
		if err != nil {
			t.Fatal(err)
		}
		if status.Renewal != nil && status.Renewal.Source == "ari" {
			offer.Advised++
		}
		offer.Certificates++
	}
	account, err := s.Control.Account(t.Context(), control.AccountRequest{Issuer: a.issuer})
	if err != nil {
		t.Fatal(err)
	}
	offer.Account = account.Status
	offer.NewKey = a.rollover(t, s)
	return offer
}

// rollover changes the account's key, and tells what came of it. Either way, the CA goes on knowing the account.
func (a authority) rollover(t *testing.T, s *site.Site) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "acmed", "account", "rollover", a.issuer, "--config", s.Path("acmed.yaml")).CombinedOutput()
	t.Logf("%s: %v\n%s", a.name, err, out)
	s.Run(t, "account", "show", a.issuer)
	switch {
	case err == nil:
		return "done"
	case strings.Contains(string(out), "noKeyChange"):
		return "refused"
	}
	t.Errorf("acmed account rollover %s: %v\n%s", a.issuer, err, out)
	return "failed"
}
