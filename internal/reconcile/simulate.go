package reconcile

import (
	"crypto/sha256"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	// orderTakes is from an order to its certificate, where CAs validate at once and issue in seconds.
	orderTakes = 10 * time.Second
	// simulatedURL stands for the URL of an order that was never made.
	simulatedURL = "simulated"
)

// Simulation lives through the time to come with the rules that visits follow, and with copies of what they know. Every
// order works, at issuers that grant and advise what they granted and advised before. Nothing is written, and nobody is
// asked. It is for one goroutine.
type Simulation struct {
	set     *spec.Set
	wake    func(name string)
	certs   map[string]*simulatedCert
	issuers map[string]*simulatedIssuer
	habits  habits
	tally   *tally
}

// simulatedCert is a certificate as its visits would find it.
type simulatedCert struct {
	in   Input
	held hold
}

// simulatedIssuer is an issuer of the set.
type simulatedIssuer struct {
	spec    *spec.Issuer
	state   store.IssuerState
	gate    *gate
	account string
}

// Simulate begins a Simulation of all certificates of set at now, on what is known of them. wake asks for a visit of
// name as soon as possible.
func (r *Reconciler) Simulate(set *spec.Set, now time.Time, wake func(name string)) (*Simulation, error) {
	s := &Simulation{
		set: set, wake: wake, certs: map[string]*simulatedCert{}, issuers: map[string]*simulatedIssuer{}, habits: habits{},
		tally: newTally(now),
	}
	for name, want := range set.Certificates() {
		c := &simulatedCert{in: Input{Want: want, Host: r.host, Floor: r.floor}}
		var err error
		if c.in.Have, c.in.Live, c.in.Order, err = r.store.Look(name); err != nil {
			return nil, err
		}
		c.in.Have.Retired = time.Time{}
		s.certs[name] = c
		s.habits.learn(&c.in.Have)
		for _, issuer := range want.Issuers {
			if err := s.addIssuer(r, issuer); err != nil {
				return nil, err
			}
		}
	}
	return s, nil
}

// addIssuer copies what is known of an issuer, once.
func (s *Simulation) addIssuer(r *Reconciler, name string) error {
	want := s.set.Issuer(name)
	if want == nil || s.issuers[name] != nil {
		return nil
	}
	i := &simulatedIssuer{spec: want, gate: newGate(want.Limits.OrdersInFlight, s.wake), account: "to be made"}
	account, _, err := r.store.Account(name)
	if err == nil && account != nil && account.Directory == want.Directory && account.URL != "" {
		i.account = account.URL
	}
	if i.state, err = r.issuerState(name); err != nil {
		return err
	}
	s.issuers[name] = i
	return nil
}

// issuerState is a copy of what is known of an issuer: in memory, or else on disk.
func (r *Reconciler) issuerState(name string) (state store.IssuerState, err error) {
	r.mu.Lock()
	i := r.issuers[name]
	r.mu.Unlock()
	if i == nil {
		state, err = r.store.IssuerState(name)
	} else {
		i.ledger.View(func(s *store.IssuerState) { state = *s; state.Budgets = maps.Clone(s.Budgets) })
	}
	return state, err
}

// Visit does what a visit of name at now would do, and tells when it would come back, and by when it has to be served.
func (s *Simulation) Visit(name string, now time.Time) (at, deadline time.Time) {
	c := s.certs[name]
	for range maxSteps {
		s.gather(c, now)
		d := s.admit(c, Decide(c.in, now), now)
		if d.Do == Wait {
			s.tally.wait(c, d, now)
			return d.At, expiry(c.in.Have)
		}
		s.perform(c, d, now)
	}
	return now.Add(firstRetry), expiry(c.in.Have)
}

// gather is that of a visit. What limits say is looked up only for what is due: nothing else depends on it, and it is most
// of the work.
func (s *Simulation) gather(c *simulatedCert, now time.Time) {
	c.in.PollAt = time.Time{}
	if c.in.Order != nil && c.in.Order.URL == simulatedURL {
		c.in.PollAt = c.in.Order.Created.Add(orderTakes)
	}
	s.ask(c, now, false)
	if due, _ := Due(&c.in, now); !due.After(now) {
		s.ask(c, now, true)
	}
}

// ask gathers what the issuers of c say, with or without their limits.
func (s *Simulation) ask(c *simulatedCert, now time.Time, limits bool) {
	c.in.Issuers = c.in.Issuers[:0]
	for _, name := range c.in.Want.Issuers {
		i := s.issuers[name]
		if i == nil {
			continue
		}
		var buckets []bucket
		if limits {
			buckets = budget(&c.in, i.spec, now)
		}
		c.in.Issuers = append(c.in.Issuers, issuerState(&c.in, i.spec, &i.state, buckets, now))
	}
}

// admit is that of a visit.
func (s *Simulation) admit(c *simulatedCert, d Decision, now time.Time) Decision {
	stay := d.queues()
	for name, i := range s.issuers {
		if !stay || name != d.Issuer {
			i.gate.leave(c.in.Want.Name)
		}
	}
	if i := s.issuers[d.Issuer]; stay && i != nil {
		return i.gate.admit(c.in.Want.Name, &c.in, d, now)
	}
	return d
}

// perform does what a visit would do, at an issuer that agrees to everything.
func (s *Simulation) perform(c *simulatedCert, d Decision, now time.Time) {
	switch d.Do {
	case StandIn:
		c.in.Placeholder = placeholder(c.in.Want, now)
	case Activate:
		c.in.Live, c.in.Have.Live, c.in.Have.Hurried = c.in.Have.Issued.Number, nil, time.Time{}
	case PollARI:
		s.poll(c, now)
	case Abandon:
		c.in.Order = nil
	case Issue:
		s.order(c, d, now)
	case Resume:
		s.commit(c, now)
	case Wait, Retire, Withdraw, Deploy: // nothing is retired, and nobody serves consumers
	}
}

// order spends what an order costs and makes it; if that is not left, the next decision is to wait.
func (s *Simulation) order(c *simulatedCert, d Decision, now time.Time) {
	i := s.issuers[d.Issuer]
	o := newOrder(&c.in, i.spec, i.account, d.Why, now)
	buckets := costs(o, i.spec.Limits)
	if _, spent := spend(&i.state, buckets, budget(&c.in, i.spec, now), now); !spent {
		return
	}
	o.URL = simulatedURL
	c.in.Order = &o
	s.tally.ordered(c, i, &o, buckets, now)
}

// commit brings the certificate of the order in flight. What its names had cost in case they failed is given back.
func (s *Simulation) commit(c *simulatedCert, now time.Time) {
	o := c.in.Order
	c.in.Order = nil
	if i := s.issuers[o.Issuer]; i != nil && !o.Validated {
		refund(&i.state, failureBuckets(namesOf(*o), i.spec.Limits))
	}
	rev := store.Revision{
		Number: 1, Issuer: o.Issuer, Directory: o.Directory, Account: o.Account, Profile: o.Profile, Key: o.Key,
		DNSNames: o.DNSNames, IPAddresses: o.IPAddresses, NotBefore: now, Committed: now,
		NotAfter: now.Add(s.habits.of(o.Issuer, o.Profile).Life),
	}
	if is := c.in.Have.Issued; is != nil {
		rev.Number = is.Number + 1
		c.in.Have.Live = c.in.Have.Serving()
	}
	sum := sha256.Sum256([]byte(c.in.Want.Name + strconv.Itoa(rev.Number)))
	rev.CertID, rev.SHA256 = simulatedURL+hex.EncodeToString(sum[:8]), hex.EncodeToString(sum[:])
	s.tally.issued(c, now)
	succeed(&c.in, rev, now)
}

// poll has the issuer advise as it did before.
func (s *Simulation) poll(c *simulatedCert, now time.Time) {
	is, a := c.in.Have.Issued, &c.in.Have.ARI
	if a.CertID != is.CertID {
		*a = store.ARI{CertID: is.CertID}
	}
	info := acme.RenewalInfo{Start: a.Start, End: a.End, RetryAfter: noAdvice}
	if a.Start.IsZero() {
		h := s.habits.of(is.Issuer, is.Profile)
		if !h.Advises {
			a.NextPoll = now.Add(noAdvice)
			return
		}
		life := float64(is.NotAfter.Sub(is.NotBefore))
		info.Start = is.NotBefore.Add(time.Duration(h.from * life))
		info.End = is.NotBefore.Add(time.Duration(h.to * life))
	}
	follow(a, info, now, func() float64 { return share(c.in.Want.Name, is.CertID) })
}

// Habit is what an issuer is taken to grant and advise.
type Habit struct {
	Issuer  string
	Profile string        // "": the issuer's choice
	Life    time.Duration // of a certificate
	Seen    bool          // a certificate of it is at hand; else Life is assumed
	Advises bool          // it has advised when to renew, which exempts orders from its limits

	from, to float64   // the window of the advice, in shares of the lifetime
	newest   time.Time // when the certificate was issued that Life is from
	advised  time.Time // and the one that the window is from
}

// habits are by issuer and profile.
type habits map[[2]string]*Habit

// learn takes the newest certificate of each kind for what comes of the next orders, and its advice as far as it was of
// the ordinary kind: after the first tenth.
func (h habits) learn(have *store.Record) {
	is := have.Issued
	life := time.Duration(0)
	if is != nil {
		life = is.NotAfter.Sub(is.NotBefore)
	}
	if life <= 0 {
		return
	}
	habit := h.of(is.Issuer, is.Profile)
	if is.Committed.After(habit.newest) {
		habit.newest, habit.Life, habit.Seen = is.Committed, life, true
	}
	a := have.ARI
	from, to := float64(a.Start.Sub(is.NotBefore))/float64(life), float64(a.End.Sub(is.NotBefore))/float64(life)
	if a.CertID == is.CertID && from > 1.0/tooEarly && to > from && to < 1 && is.Committed.After(habit.advised) {
		habit.advised, habit.Advises, habit.from, habit.to = is.Committed, true, from, to
	}
}

// assumedLife is what profiles of Let's Encrypt grant (https://letsencrypt.org/docs/profiles), and else 90 days.
func assumedLife(profile string) time.Duration {
	switch profile {
	case "shortlived":
		return 160 * time.Hour
	case "tlsserver":
		return 45 * 24 * time.Hour
	default:
		return 90 * 24 * time.Hour
	}
}

// of is the habit of an issuer; before anything was learnt it advises nothing.
func (h habits) of(issuer, profile string) *Habit {
	key := [2]string{issuer, profile}
	if h[key] == nil {
		h[key] = &Habit{Issuer: issuer, Profile: profile, Life: assumedLife(profile)}
	}
	return h[key]
}

// sorted are the habits by issuer and profile.
func (h habits) sorted() (out []Habit) {
	for _, habit := range h {
		out = append(out, *habit)
	}
	slices.SortFunc(out, func(a, b Habit) int {
		return slices.Compare([]string{a.Issuer, a.Profile}, []string{b.Issuer, b.Profile})
	})
	return out
}
