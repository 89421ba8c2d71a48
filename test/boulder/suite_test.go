//go:build e2e

package boulder_test

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/boulder"
	"acmed/test/netns"
	"acmed/test/site"
)

var short = flag.Bool("boulder.short", false, "only an issuance for each challenge and orders that fail")

// TestMain runs the tests in a network namespace: Boulder validates on the ports that the RFCs name, at public addresses.
func TestMain(m *testing.M) {
	os.Exit(netns.Main(func() int { return site.Main(m) }, prepare))
}

// prepare does what needs the network.
func prepare() error {
	if err := boulder.Install(); err != nil {
		return err
	}
	if err := boulder.Build(); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-o", os.DevNull, "acmed/cmd/acmed").CombinedOutput(); err != nil {
		return fmt.Errorf("building acmed: %w\n%s", err, out)
	}
	return nil
}

// scenario is a story of acmed and Boulder.
type scenario struct {
	name  string
	short bool // it is part of the short form
	run   func(*testing.T, *suite)
}

// suite is what the scenarios share. They run one after the other, since some of them stop services or change limits.
type suite struct {
	lab  *boulder.Lab
	rows []row
}

// row is a line of the table that the suite prints.
type row struct {
	scenario          string
	issuance, renewal boulder.Requests
	took              time.Duration
	failed            bool
}

// brief is a profile whose certificates come due in half a minute: they live for two minutes from their issuance, and
// Boulder advises to renew at half of their lifetime.
const brief = "brief"

func TestBoulder(t *testing.T) {
	s := &suite{lab: boulder.Start(t, options())}
	for _, c := range scenarios() {
		if *short && !c.short {
			continue
		}
		s.rows = append(s.rows, row{scenario: c.name})
		begun := time.Now()
		ran := false
		passed := t.Run(c.name, func(t *testing.T) { ran = true; c.run(t, s) })
		if s.row().took, s.row().failed = time.Since(begun), !passed; !ran { // not what -run asks for
			s.rows = s.rows[:len(s.rows)-1]
		}
	}
	s.print()
	s.compare(t)
}

func options() boulder.Options {
	limits := boulder.DefaultLimits()
	limits[boulder.PerDomain] = boulder.Unlimited()[boulder.PerDomain] // all names are below few domains
	limits[boulder.NewOrders] = boulder.Unlimited()[boulder.NewOrders]
	return boulder.Options{Limits: limits, Profiles: map[string]boulder.Profile{
		brief: {Validity: 3 * time.Minute, Backdate: 66 * time.Second},
	}}
}

func scenarios() []scenario {
	return concat(challengeScenarios(), failingScenarios(), limitScenarios(), storyScenarios())
}

func concat(lists ...[]scenario) (all []scenario) {
	for _, list := range lists {
		all = append(all, list...)
	}
	return all
}

func (s *suite) row() *row { return &s.rows[len(s.rows)-1] }

// machine is a site with an address of its own, to which its names resolve.
type machine struct {
	*site.Site
	address netip.Addr
	lab     *boulder.Lab
}

// newMachine sets up a machine. Its daemon is not started.
func (s *suite) newMachine(t *testing.T, o site.Options) *machine {
	t.Helper()
	address := s.address(t)
	o.ALPN = true
	return &machine{lab: s.lab, address: address, Site: site.At(t, site.CA{
		Issuer: "boulder", DirectoryURL: s.lab.DirectoryURL, RootsFile: s.lab.RootsFile, Contact: "mailto:pki@ops.example.com",
		HTTPAddr: netip.AddrPortFrom(address, 80).String(), TLSAddr: netip.AddrPortFrom(address, 443).String(),
	}, o)}
}

// address returns one that nothing listens at.
func (s *suite) address(t *testing.T) netip.Addr {
	t.Helper()
	address, err := s.lab.NextAddress()
	check(t, err)
	return address
}

// start sets up a machine whose daemon runs. It has no account until it has a spec.
func (s *suite) start(t *testing.T, o site.Options) *machine {
	t.Helper()
	m := s.newMachine(t, o)
	m.Start(t)
	return m
}

// point makes names resolve to the machine.
func (m *machine) point(t *testing.T, names ...string) {
	t.Helper()
	check(t, m.lab.Point(t.Context(), m.address, names...))
}

// await waits for a revision of a certificate.
func (m *machine) await(t *testing.T, name string, revision int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%s has revision %d", name, revision), func() bool { return m.Live(t, name) >= revision })
}

// status is what `acmed status` shows.
func (m *machine) status(t *testing.T, name string) control.Certificate {
	t.Helper()
	status, err := m.Control.Status(t.Context(), name)
	check(t, err)
	return status
}

// fails waits until an attempt for a certificate has failed, and returns the failure.
func (m *machine) fails(t *testing.T, name string) (failure control.Failure) {
	t.Helper()
	eventually(t, "the failure of "+name+" is known", func() bool {
		status, err := m.Control.Status(t.Context(), name)
		if err != nil || len(status.Failures) == 0 { // the spec may not be read yet
			return false
		}
		failure = status.Failures[0]
		return true
	})
	t.Logf("%s: %s %s: %s; hint: %s", name, failure.Kind, failure.Problem, failure.Detail, failure.Hint)
	return failure
}

// account is the number of the machine's account at Boulder.
func (m *machine) account(t *testing.T) string {
	t.Helper()
	account, err := m.Control.Account(t.Context(), control.AccountRequest{Issuer: "boulder"})
	check(t, err)
	return account.URL[strings.LastIndex(account.URL, "/")+1:]
}

// try runs one command of acmed that may fail.
func (m *machine) try(t *testing.T, args ...string) (string, error) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "acmed", append(args, "--config", m.Path("acmed.yaml"))...).CombinedOutput()
	return string(out), err
}

// query runs a statement in Boulder's database.
func (s *suite) query(t *testing.T, statement string, args ...any) [][]string {
	t.Helper()
	rows, err := s.lab.Query(t.Context(), fmt.Sprintf(statement, args...))
	check(t, err)
	return rows
}

// count returns the requests of the front end's log during act. Before it returns, renewal advice of the last certificate
// was requested, if act has ended with an issuance.
func (s *suite) count(t *testing.T, act func()) boulder.Requests {
	t.Helper()
	before, err := s.lab.Requests()
	check(t, err)
	act()
	var counted boulder.Requests
	eventually(t, "renewal advice was requested for each certificate", func() bool {
		now, err := s.lab.Requests()
		check(t, err)
		counted = now.Since(before)
		return counted["renewalInfo"] >= counted["certificate"]
	})
	return counted
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually is site.Eventually with fewer looks.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), site.Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}

// serveAt runs a web server at an address of its own, on port 80.
func serveAt(t *testing.T, s *suite, handler http.Handler) netip.Addr {
	t.Helper()
	address := s.address(t)
	listener, err := net.Listen("tcp", netip.AddrPortFrom(address, 80).String())
	check(t, err)
	server := &http.Server{Handler: handler}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close() // what is open is cut off
		<-ended
	})
	return address
}
