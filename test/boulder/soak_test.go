//go:build e2e

package boulder_test

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/boulder"
	"acmed/test/site"
)

var soak = flag.Duration("boulder.soak", 0, "how long TestSoak takes; below two hours, outages and lifetimes are shorter")

// What a soak of two hours has. A shorter one shortens outages and lifetimes, but these not below shortestLifetime: acmed
// retries after 1 and 10 minutes however short a lifetime is.
const (
	soakDuration     = 2 * time.Hour
	soakLifetime     = time.Hour // of a certificate, from its issuance
	shortestLifetime = 30 * time.Minute
	soakReuse        = 5 * time.Minute
	shortestOutage   = 30 * time.Second
	longestOutage    = 2 * time.Minute
	oldestOrder      = 15 * time.Minute
	soakCertificates = 200
	outagesOfEach    = 3
	newPerOutage     = 4 // certificates that are ordered when an outage begins
)

// outages returns the services that are down together, each of them outagesOfEach times, in random order.
func outages() (all [][]boulder.Service) {
	for range outagesOfEach {
		all = append(all, [][]boulder.Service{
			{boulder.VA}, {boulder.RemoteA, boulder.RemoteB}, {boulder.RA}, {boulder.CA},
			{boulder.NonceA, boulder.NonceB}, {boulder.SA}, {boulder.CT}, {boulder.Database},
		}...)
	}
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all
}

// endurance is a soak under way.
type endurance struct {
	*machine
	suite   *suite
	scale   float64
	begun   time.Time
	specs   int
	expired map[string]bool // certificates that were seen after their end
}

// event is what happens at a time after the begin.
type event struct {
	at time.Duration
	do func()
}

// TestSoak keeps 200 certificates, while each part of Boulder is down three times with orders in flight. No certificate may
// expire, no order may be stuck, and no validation may fail for a reason that acmed is to blame for.
func TestSoak(t *testing.T) {
	if *soak == 0 {
		t.Skip("it takes hours: run make boulder-soak")
	}
	e := newEndurance(t)
	events := e.events(t)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for e.begun = time.Now(); time.Since(e.begun) < *soak; <-tick.C {
		for len(events) > 0 && time.Since(e.begun) >= events[0].at {
			events[0].do()
			events = events[1:]
		}
		e.look(t)
	}
	e.judge(t)
}

func newEndurance(t *testing.T) *endurance {
	t.Helper()
	e := &endurance{scale: min(1, soak.Seconds()/soakDuration.Seconds()), expired: map[string]bool{}}
	// Boulder refuses to issue when a tenth of it has passed since it chose the times, as while it waits for CT logs.
	// A part of a second in the validity fails Boulder's lint w_validity_period_has_extra_second, and 0.9 of this is a part of it.
	backdate := max(time.Minute, e.scaled(5*time.Minute).Round(10*time.Second))
	profile := boulder.Profile{
		Validity: max(e.scaled(soakLifetime), shortestLifetime) + backdate*9/10, Backdate: backdate, Authorizations: e.scaled(soakReuse),
	}
	lab := boulder.Start(t, boulder.Options{Limits: boulder.Unlimited(), Profiles: map[string]boulder.Profile{"classic": profile}})
	e.suite = &suite{lab: lab}
	e.machine = e.suite.newMachine(t, site.Options{})
	t.Cleanup(func() {
		if t.Failed() {
			check(t, os.WriteFile(filepath.Join(lab.Dir, "acmed.log"), []byte(e.Output(t)), 0o600))
		}
	})
	e.Start(t)
	return e
}

func (e *endurance) scaled(d time.Duration) time.Duration {
	return max(time.Second, time.Duration(float64(d)*e.scale).Round(time.Second))
}

// events plans a soak: an outage in each slot of the time, certificates of which an order is in flight when it begins, and
// the others during the first quarter, so that they come due at different times.
func (e *endurance) events(t *testing.T) (all []event) {
	plan := outages()
	early := soakCertificates - newPerOutage*len(plan)
	for i := range early {
		all = append(all, event{*soak / 4 * time.Duration(i) / time.Duration(early), func() { e.add(t, 1) }})
	}
	slot := *soak / time.Duration(len(plan))
	for i, services := range plan {
		length := e.scaled(shortestOutage + rand.N(longestOutage-shortestOutage))
		begin := time.Duration(i)*slot + rand.N(max(slot-length, 1))
		crash := i%2 == 1
		all = append(all,
			event{begin - 2*time.Second, func() { e.add(t, newPerOutage) }},
			event{begin, func() { e.down(t, services, length, crash) }},
			event{begin + length, func() { e.up(t, services) }})
	}
	slices.SortStableFunc(all, func(a, b event) int { return cmp.Compare(a.at, b.at) })
	return all
}

// add asks for certificates.
func (e *endurance) add(t *testing.T, n int) {
	for range n {
		name := fmt.Sprintf("c%d.soak.example.net", e.specs)
		e.point(t, name)
		e.Spec(t, name, "")
		e.specs++
	}
}

func (e *endurance) down(t *testing.T, services []boulder.Service, length time.Duration, crash bool) {
	phases := e.look(t)
	t.Logf("%s: %v down for %s, crashed: %t; certificates: %v", e.elapsed(), services, length, crash, phases)
	if crash {
		e.lab.Kill(services...)
	} else {
		e.lab.Stop(services...)
	}
}

func (e *endurance) up(t *testing.T, services []boulder.Service) {
	check(t, e.lab.Launch(t.Context(), services...))
	t.Logf("%s: %v up; certificates: %v", e.elapsed(), services, e.look(t))
}

func (e *endurance) elapsed() time.Duration { return time.Since(e.begun).Round(time.Second) }

// look notes certificates that have expired, and counts the certificates by phase.
func (e *endurance) look(t *testing.T) map[control.Phase]int {
	t.Helper()
	list, err := e.Control.List(t.Context())
	check(t, err)
	phases := map[control.Phase]int{}
	for _, c := range list {
		phases[c.Phase]++
		if !c.NotAfter.IsZero() && time.Now().After(c.NotAfter) && !e.expired[c.Name] {
			e.expired[c.Name] = true
			t.Errorf("%s: %s has expired at %s: %s; next %s (%s)", e.elapsed(), c.Name, c.NotAfter.Format(time.TimeOnly), c.Error, c.Next.Format(time.TimeOnly), c.Reason)
		}
	}
	return phases
}

// judge is what must be true at the end.
func (e *endurance) judge(t *testing.T) {
	t.Helper()
	list, err := e.Control.List(t.Context())
	check(t, err)
	if len(list) != soakCertificates {
		t.Errorf("acmed has %d certificates, want %d", len(list), soakCertificates)
	}
	for _, c := range list {
		status := e.status(t, c.Name)
		if o := status.Order; o != nil && time.Since(o.Created) > oldestOrder {
			t.Errorf("the order of %s is %s old, and %s: %s", c.Name, time.Since(o.Created).Round(time.Second), o.Status, c.Error)
		}
		served, err := e.Served(c.Name)
		if patient(status) {
			t.Logf("%s has no certificate yet: %s; next %s", c.Name, c.Error, c.Next.Format(time.TimeOnly))
		} else if err != nil || time.Now().After(served.Leaf.NotAfter) {
			t.Errorf("%s has no certificate in use that is valid: %v; %s; next %s", c.Name, err, c.Error, c.Next.Format(time.TimeOnly))
		}
	}
	e.judgeAuthorizations(t)
	for _, row := range e.suite.query(t, "SELECT COUNT(*), COUNT(DISTINCT registrationID) FROM serials") {
		t.Logf("%s: Boulder has issued %s certificates to %s account; certificates: %v", e.elapsed(), row[0], row[1], e.look(t))
	}
}

// patient reports whether a certificate, which was ordered for the first time during an outage, met others when acmed retried: after
// 1 and 10 minutes, and from then on once an hour or so.
func patient(status control.Certificate) bool {
	return status.Current == nil && status.Phase == control.BackingOff && time.Until(status.Next.At) < 75*time.Minute &&
		slices.ContainsFunc(status.Failures, func(f control.Failure) bool { return f.Kind == "transient" && f.Count >= 3 })
}

// judgeAuthorizations looks for validations that failed although all names resolved and acmed's server was up all the time.
func (e *endurance) judgeAuthorizations(t *testing.T) {
	t.Helper()
	kinds := map[string]int{}
	for _, row := range e.suite.query(t, "SELECT identifierValue, CONVERT(validationError USING utf8) FROM authz2 WHERE status=%s", invalid) {
		var problem struct {
			Type, Detail string
			Status       int
		}
		check(t, json.Unmarshal([]byte(row[1]), &problem))
		kinds[problem.Type]++
		if problem.Type == "connection" || problem.Type == "unauthorized" || problem.Status == 403 || problem.Status == 404 {
			t.Errorf("the validation of %s has failed: %s: %s", row[0], problem.Type, problem.Detail)
		}
	}
	t.Logf("validations that failed, by problem: %v", kinds)
}
