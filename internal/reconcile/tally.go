package reconcile

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"acmed/internal/store"
)

const (
	// noticeable is the least that a certificate whose turn has come waits for a limit to be told of.
	noticeable = 10 * time.Minute
	// mostDelays is how many of the certificates that wait, or end, are told of by name.
	mostDelays = 100
)

// Forecast is what a Simulation came to.
type Forecast struct {
	Certificates int
	Issuers      []IssuerForecast // by name; of those that are asked
	Delayed      int              // certificates that waited for a limit, once or more often
	Delays       []Delay          // the longest first, 100 of them
	Ended        int              // certificates that had none in force for a while
	Gaps         []Gap            // of those, the longest first, 100 of them
	Habits       []Habit          // what issuers were taken to grant and advise
}

// IssuerForecast is the load on one issuer. Days are those of UTC.
type IssuerForecast struct {
	Issuer string
	Total  Load
	Limits []Tightest // the account's first
	Days   []DayForecast
}

// DayForecast is the load on one issuer in one day. Days without any are left out.
type DayForecast struct {
	Day    time.Time // its beginning
	Load   Load
	Limits []Tightest // as far as something was taken from them
}

// Load counts.
type Load struct {
	Orders      int
	New         int // of Orders: for names that no certificate was for
	Exempt      int // of Orders: the issuer's limits do not count them, because it advised to renew
	BusiestHour int // the most Orders within any hour
	InFlight    int // the most orders open at once
	Held        int // certificates that began to wait for a limit, for 10 minutes or more
	Ended       int // certificates that ended before their successors came
}

// Tightest is how near to a limit it came.
type Tightest struct {
	Limit string // in words
	Max   int
	Per   time.Duration
	Left  int       // at least, at any time
	At    time.Time // when that was
}

// Delay is a certificate whose order had to wait for a limit.
type Delay struct {
	Name   string
	Issuer string
	Limit  string // in words
	Since  time.Time
	Until  time.Time // of the order; zero: not within the simulation
}

// Gap is a certificate whose end came before its successor.
type Gap struct {
	Name  string
	Since time.Time
	Until time.Time // zero: not within the simulation
}

// hold is the wait of a certificate for a limit.
type hold struct {
	since         time.Time // zero: it does not wait
	issuer, limit string
}

// tally counts what happens in a Simulation.
type tally struct {
	from    time.Time
	issuers map[string]*issuerTally
	delays  []Delay
	gaps    []Gap
}

// issuerTally counts at one issuer.
type issuerTally struct {
	days   map[time.Time]*dayTally
	recent []time.Time // the orders of the last hour
	open   []time.Time // when orders in flight end, the earliest first
}

type dayTally struct {
	load   Load
	limits map[string]Tightest // by the kind of limit
}

func newTally(from time.Time) *tally { return &tally{from: from, issuers: map[string]*issuerTally{}} }

func (t *tally) issuer(name string) *issuerTally {
	i := t.issuers[name]
	if i == nil {
		i = &issuerTally{days: map[time.Time]*dayTally{}}
		t.issuers[name] = i
	}
	return i
}

func (i *issuerTally) day(at time.Time) *dayTally {
	day := at.UTC().Truncate(24 * time.Hour)
	d := i.days[day]
	if d == nil {
		d = &dayTally{limits: map[string]Tightest{}}
		i.days[day] = d
	}
	return d
}

// wait takes note of a certificate that has to wait for a limit, or in a queue behind others that do.
func (t *tally) wait(c *simulatedCert, d Decision, now time.Time) {
	if !c.held.since.IsZero() {
		return
	}
	switch d.Why {
	case OverBudget:
		c.held = hold{now, d.Issuer, d.Detail}
	case Queued:
		limit := "orders in flight"
		for _, s := range c.in.Issuers {
			if s.Name == d.Issuer && s.Budget.After(now) {
				limit = s.BudgetWhy
			}
		}
		c.held = hold{now, d.Issuer, limit}
	}
}

// ordered counts an order, and what is left of the limits now that it has spent from buckets.
func (t *tally) ordered(c *simulatedCert, i *simulatedIssuer, o *store.Order, buckets []bucket, now time.Time) {
	t.settle(c, now)
	at := t.issuer(o.Issuer)
	day := at.day(now)
	day.load.Orders++
	if is := c.in.Have.Issued; is == nil || !named(c.in.Want, is) {
		day.load.New++
	}
	if !o.Charged {
		day.load.Exempt++
	}
	at.recent = since(append(at.recent, now), now.Add(-time.Hour))
	at.open = since(append(at.open, now), now.Add(-orderTakes))
	day.load.BusiestHour = max(day.load.BusiestHour, len(at.recent))
	day.load.InFlight = max(day.load.InFlight, len(at.open))
	for _, b := range buckets {
		kind, _, _ := strings.Cut(b.key, ":")
		tight := Tightest{Limit: b.words, Max: b.limit, Per: b.per, Left: b.left(i.state.Budgets[b.key], now), At: now}
		if have, known := day.limits[kind]; kind != "failures" && (!known || tight.Left < have.Left) {
			day.limits[kind] = tight
		}
	}
}

// since are the times after one, of those in order.
func since(times []time.Time, after time.Time) []time.Time {
	n, _ := slices.BinarySearchFunc(times, after, func(t, after time.Time) int {
		return cmp.Or(t.Compare(after), -1)
	})
	return times[n:]
}

// settle ends the wait of a certificate, if it waited.
func (t *tally) settle(c *simulatedCert, now time.Time) {
	if h := c.held; !h.since.IsZero() && now.Sub(h.since) >= noticeable {
		t.delays = append(t.delays, Delay{c.in.Want.Name, h.issuer, h.limit, h.since, now})
	}
	c.held = hold{}
}

// issued takes note when a certificate ended before its successor came, which it does now.
func (t *tally) issued(c *simulatedCert, now time.Time) {
	if is := c.in.Have.Issued; is != nil && is.NotAfter.Before(now) {
		t.gaps = append(t.gaps, Gap{c.in.Want.Name, is.NotAfter, now})
	}
}

// Forecast tells what happened until now. The Simulation is over then.
func (s *Simulation) Forecast(now time.Time) Forecast {
	t := s.tally
	for _, name := range slices.Sorted(maps.Keys(s.certs)) {
		c := s.certs[name]
		if h := c.held; !h.since.IsZero() && now.Sub(h.since) >= noticeable {
			t.delays = append(t.delays, Delay{name, h.issuer, h.limit, h.since, time.Time{}})
		}
		if is := c.in.Have.Issued; is != nil && is.NotAfter.Before(now) {
			t.gaps = append(t.gaps, Gap{name, is.NotAfter, time.Time{}})
		}
	}
	f := Forecast{Certificates: len(s.certs), Habits: s.habits.sorted()}
	delayed, ended := map[string]bool{}, map[string]bool{}
	for _, d := range t.delays {
		delayed[d.Name] = true
		t.issuer(d.Issuer).day(d.Since).load.Held++
	}
	for _, g := range t.gaps {
		ended[g.Name] = true
		t.issuer(s.issuerOf(g.Name)).day(later(g.Since, t.from)).load.Ended++
	}
	f.Delayed, f.Ended = len(delayed), len(ended)
	f.Delays = longest(t.delays, now, func(d Delay) (string, time.Time, time.Time) { return d.Name, d.Since, d.Until })
	f.Gaps = longest(t.gaps, now, func(g Gap) (string, time.Time, time.Time) { return g.Name, g.Since, g.Until })
	for _, name := range slices.Sorted(maps.Keys(t.issuers)) {
		f.Issuers = append(f.Issuers, t.issuers[name].forecast(name))
	}
	return f
}

// issuerOf is whom a certificate is asked of first.
func (s *Simulation) issuerOf(name string) string { return s.certs[name].in.Want.Issuers[0] }

// longest are those that last longest, by then at least.
func longest[T any](all []T, then time.Time, about func(T) (name string, since, until time.Time)) []T {
	lasts := func(x T) (string, time.Duration) {
		name, since, until := about(x)
		if until.IsZero() {
			until = then
		}
		return name, until.Sub(since)
	}
	slices.SortStableFunc(all, func(a, b T) int {
		nameA, lastsA := lasts(a)
		nameB, lastsB := lasts(b)
		return cmp.Or(cmp.Compare(lastsB, lastsA), cmp.Compare(nameA, nameB))
	})
	return all[:min(len(all), mostDelays)]
}

// forecast sums the days up.
func (i *issuerTally) forecast(name string) IssuerForecast {
	f := IssuerForecast{Issuer: name}
	limits := map[string]Tightest{}
	for _, day := range slices.SortedFunc(maps.Keys(i.days), time.Time.Compare) {
		d := i.days[day]
		f.Days = append(f.Days, DayForecast{Day: day, Load: d.load, Limits: inOrder(d.limits)})
		f.Total.add(d.load)
		for kind, tight := range d.limits {
			if have, known := limits[kind]; !known || tight.Left < have.Left {
				limits[kind] = tight
			}
		}
	}
	f.Limits = inOrder(limits)
	return f
}

// inOrder puts the account's limit first, then those of domains and of sets of names.
func inOrder(limits map[string]Tightest) (out []Tightest) {
	for _, kind := range []string{"orders", "domain", "set"} {
		if tight, known := limits[kind]; known {
			out = append(out, tight)
		}
	}
	return out
}

func (l *Load) add(day Load) {
	l.Orders += day.Orders
	l.New += day.New
	l.Exempt += day.Exempt
	l.Held += day.Held
	l.Ended += day.Ended
	l.BusiestHour = max(l.BusiestHour, day.BusiestHour)
	l.InFlight = max(l.InFlight, day.InFlight)
}
