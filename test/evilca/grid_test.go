package evilca_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/acme"
	"acmed/internal/reconcile"
	"acmed/test/evilca"
	"acmed/test/site"
)

var everything = flag.Bool("evil.all", false, "run the whole grid, not the part that CI has time for")

func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "48"); err != nil { // cells wait for the network more than they compute
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(site.Main(m))
}

// maxRequests is what an attempt that fails may cost; one that works takes about a dozen.
const maxRequests = 40

// cell is one fault at one endpoint.
type cell struct {
	at   evilca.Endpoint
	name string
	do   evilca.Fault
	// always is a fault that begins with the first certificate; nil: the CA is good then.
	always evilca.Fault
	// harmless tells that acmed gets its certificate all the same.
	harmless bool
	// waits tells that acmed goes on waiting for the CA with the order that it has.
	waits bool
	// problem is how acmed names it; "": in any way.
	problem string
	// kinds are those that make sense; nil: any but "local".
	kinds []string
	rare  bool           // only with -evil.all
	edit  func(*machine) // before it runs; nil: nothing
}

func (c cell) String() string { return string(c.at) + "/" + c.name }

// TestGrid lets a machine that has a certificate renew it while its CA does evil. Whatever that is, the certificate in
// use stays, acmed tells what went wrong and tries again at a sensible time, and a renewal works once the CA is good
// again.
func TestGrid(t *testing.T) {
	w := newWorld(t)
	t.Parallel() // not before: a process that is being started holds on to the locks of all machines
	seen := map[string]bool{}
	for _, c := range grid(t, w) {
		if seen[c.String()] {
			t.Fatalf("there are two cells %s", c)
		}
		seen[c.String()] = true
		if c.rare && !*everything {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			c.run(newMachine(t, w, nil, func(m *machine) {
				if c.edit != nil {
					c.edit(m)
				}
				if c.always != nil {
					m.proxy.Spoil(c.at, c.always)
				}
			}))
		})
	}
}

func (c cell) run(m *machine) {
	m.prepare(c.at)
	had := m.reconciler.View(m.name)
	before, start := m.proxy.Total(), time.Now()
	if c.do != nil {
		m.proxy.Spoil(c.at, c.do)
	}
	v := m.renew()
	took, asked := time.Since(start), m.proxy.Total()-before
	m.t.Logf("%s: %d requests in %v: %s %s %q, next in %v", c, asked, took.Round(10*time.Millisecond), v.Phase, v.Why, v.Error,
		time.Until(v.Next).Round(time.Second))
	if m.proxy.Hits(c.at) == 0 {
		m.t.Error("the fault was not met")
	}
	if asked > maxRequests {
		m.t.Errorf("%d requests, more than %d", asked, maxRequests)
	}
	switch {
	case c.harmless:
		if v.Revision != had.Revision+1 {
			m.t.Errorf("the renewal did not work: %+v", v)
		}
	case v.Revision != had.Revision:
		m.t.Errorf("the certificate that the CA forged is in use")
	case c.waits:
		if v.Why != reconcile.AwaitingCA || v.Error != "" {
			m.t.Errorf("got %+v, want that it waits", v)
		}
	default:
		c.checkFailure(m, start)
	}
	m.recover(v.Revision)
	m.check()
}

// prepare restarts acmed, so that it asks for everything anew; for newAccount, its account is gone.
func (m *machine) prepare(e evilca.Endpoint) {
	m.t.Helper()
	m.secrets()
	if e == evilca.NewAccount {
		if err := m.store.ArchiveAccount(issuerName); err != nil {
			m.t.Fatal(err)
		}
	}
	m.patienceEnds()
	m.stop()
	m.run()
}

// checkFailure looks at what acmed tells of a failed attempt, and at when it tries again.
func (c cell) checkFailure(m *machine, start time.Time) {
	m.t.Helper()
	s, err := m.reconciler.Status(m.name)
	if err != nil {
		m.t.Fatal(err)
	}
	_, f := reconcile.LastFailure(s.Record)
	kinds := c.kinds
	if kinds == nil {
		kinds = []string{acme.Transient.String(), acme.RateLimited.String(), acme.Validation.String(), acme.Permanent.String()}
	}
	switch {
	case f.At.Before(start):
		m.t.Errorf("no failure is recorded: %+v", f)
	case !slices.Contains(kinds, f.Kind), c.problem != "" && f.Problem != c.problem:
		m.t.Errorf("the failure is recorded as %s %s (%s), want %s %s", f.Kind, f.Problem, f.Detail, strings.Join(kinds, " or "), c.problem)
	case len(f.Detail) > 4<<10, f.Detail == "":
		m.t.Errorf("the failure's detail has %d bytes", len(f.Detail))
	}
	if wait := s.Decision.At.Sub(f.At); s.Decision.Do != reconcile.Wait || wait < time.Minute || wait > 30*time.Hour {
		m.t.Errorf("acmed will %s in %v, want that it waits for a minute to a day", s.Decision.Do, wait)
	}
}

// recover lets the CA be good again and renews.
func (m *machine) recover(had int) {
	m.t.Helper()
	m.proxy.Mend()
	m.patienceEnds()
	before := m.proxy.Total()
	m.reconciler.Renew(m.name, false)
	v := m.await("a renewal works, now that the CA is good again", func(v reconcile.View) bool { return v.Revision > had })
	if asked := m.proxy.Total() - before; asked > maxRequests {
		m.t.Errorf("%d requests after the CA was mended, more than %d", asked, maxRequests)
	}
	live, err := m.store.Live(m.name)
	if err != nil || live != v.Revision {
		m.t.Errorf("live is revision %d, %v, want %d", live, err, v.Revision)
	}
	if good, err := m.store.Good(m.name); err != nil || good.Number != live {
		m.t.Errorf("the live revision is not sound: %v", err)
	}
}
