//go:build e2e

package cas_test

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/ca"
	"acmed/test/cas"
	"acmed/test/site"
	"acmed/test/zone"
)

// nameServer is where the tests' names are resolved.
const nameServer = "127.0.0.1:53"

// tsig is the key by which acmed writes into the zone.
const tsig = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="

// lab is what the scenarios share.
type lab struct {
	names *zone.Server

	mu     sync.Mutex // guards the following
	seen   cas.Seen
	places int
}

func newLab(t *testing.T) *lab {
	t.Helper()
	return &lab{seen: cas.Seen{}, names: zone.Start(t, zone.Config{TSIG: map[string]string{"acmed.": tsig}, Port: 53, Records: `
test. 60 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 60
test. 60 IN NS ns.test.
ns.test. 60 IN A 127.0.0.1
`})}
}

// try runs one test of a feature and keeps what it returns as the cell of the table.
func (l *lab) try(t *testing.T, feature string, ca subject, test func(t *testing.T) string) {
	t.Helper()
	cell := ""
	if !t.Run(feature, func(t *testing.T) { cell = test(t) }) {
		cell = "no"
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen[feature] == nil {
		l.seen[feature] = map[string]string{}
	}
	l.seen[feature][ca.name] = cell
}

// place is a machine with acmed, at loopback addresses that no other place has, whose only issuer is ca.
type place struct {
	*site.Site
	lab    *lab
	ca     subject
	number int
}

// newPlace writes the files of a machine; binding is of the issuer, the zero binding none.
func (l *lab) newPlace(t *testing.T, ca subject, b binding) *place {
	t.Helper()
	l.mu.Lock()
	l.places++
	p := &place{Site: site.Empty(t), lab: l, ca: ca, number: l.places}
	l.mu.Unlock()
	p.configure(t, "pki@example.com")
	p.issuer(t, "ca", ca, b)
	p.Write(t, "tsig", tsig)
	p.Write(t, "dns.d/zone.yaml", fmt.Sprintf("rfc2136: {server: %q, tsigKeyName: acmed, tsigKeyFile: %s}\npropagation: {resolvers: [%q]}\n",
		nameServer, p.Path("tsig"), nameServer))
	return p
}

// configure writes acmed.yaml.
func (p *place) configure(t *testing.T, contact string) {
	t.Helper()
	p.Write(t, "acmed.yaml", fmt.Sprintf(`contact: ["mailto:%s"]
termsOfServiceAgreed: true
defaults: {issuers: [ca]}
specDir: certs.d
issuerDir: issuers.d
dnsDir: dns.d
stateDir: state
runtimeDir: run
http: {solver: listen, listen: "%[2]s:80"}
tlsALPN: {listen: "%[2]s:443"}
admin: {listen: ""}
log: {format: json}
control: {socket: %[3]s}
`, contact, p.address(1), p.Socket()))
}

// issuer writes the file of an issuer.
func (p *place) issuer(t *testing.T, name string, ca subject, b binding) {
	t.Helper()
	text := fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {failuresPerNamePerHour: 0}\n", ca.directory, ca.caBundle)
	if b.kid != "" {
		p.Write(t, "hmac-"+name, b.key)
		text += fmt.Sprintf("externalAccountBinding: {kid: %s, hmacKeyFile: %s}\n", b.kid, p.Path("hmac-"+name))
	}
	p.Write(t, "issuers.d/"+name+".yaml", text)
}

// address n of the machine. acmed listens at the first.
func (p *place) address(n int) string { return fmt.Sprintf("127.7.%d.%d", p.number, n) }

// domain returns a name that no other machine has.
func (p *place) domain(label string) string { return fmt.Sprintf("%s.p%d.test", label, p.number) }

// publish points the name of a certificate to an address of the machine.
func (p *place) publish(label string, n int) {
	p.lab.names.Remove(p.domain(label))
	p.lab.names.Add(fmt.Sprintf("%s. 60 IN A %s\n", p.domain(label), p.address(n)))
}

// spec asks for a certificate for the domain of its name, with more keys.
func (p *place) spec(t *testing.T, name, more string) {
	t.Helper()
	p.Spec(t, name, fmt.Sprintf("dnsNames: [%s]\n%s", p.domain(name), more))
}

// output runs one command of acmed, which may fail.
func (p *place) output(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "acmed", append(args, "--config", p.Path("acmed.yaml"))...).CombinedOutput()
	t.Logf("acmed %s: %v\n%s", strings.Join(args, " "), err, out)
	return string(out), err
}

// status waits until the daemon has read the spec.
func (p *place) status(t *testing.T, name string) (c control.Certificate) {
	t.Helper()
	var err error
	within(t, site.Patience, "the spec of "+name+" is read", func() bool {
		c, err = p.Control.Status(t.Context(), name)
		return err == nil
	}, func() { t.Log(err) })
	return c
}

// await waits for a revision and returns its certificate.
func (p *place) await(t *testing.T, name string, revision int, patience time.Duration) pair {
	t.Helper()
	within(t, patience, fmt.Sprintf("%s has revision %d", name, revision), func() bool { return p.Live(t, name) >= revision }, func() {
		p.output(t, "status", name)
	})
	return p.pair(t, name)
}

// ordered waits until the CA has the first order.
func (p *place) ordered(t *testing.T) {
	t.Helper()
	within(t, site.Patience, "the CA has an order", func() bool { return ca.Count(t, p.ca.server, p.ca.newOrder) > 0 }, nil)
}

// within polls until a condition holds. If it never does, show runs before the test fails; nil: nothing does.
func within(t *testing.T, patience time.Duration, what string, condition func() bool, show func()) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline:
			if show != nil {
				show()
			}
			t.Fatalf("waited in vain for %s until %s", patience, what)
		case <-tick.C:
		}
	}
}

// pass lets time go by, which is what some scenarios are about.
func pass(t *testing.T, d time.Duration) {
	t.Helper()
	select {
	case <-time.After(d):
	case <-t.Context().Done():
		t.Fatal("the test is over")
	}
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
