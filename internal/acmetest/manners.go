package acmetest

import (
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"
)

// Limits are the CA's published rate limits. A client is expected to stay within them by itself: exceeding one is
// answered as rateLimited and fails the test. Each refills steadily, as Let's Encrypt's do. Zero: there is none.
type Limits struct {
	OrdersPer3h               int // by account
	CertificatesPerSetWeek    int // of exactly the same identifiers
	CertificatesPerDomainWeek int // by registered domain
	FailuresPerHour           int // failed authorizations by account and identifier
}

// LetsEncrypt returns the limits of Let's Encrypt as published in 2026. Orders that replace a certificate (RFC 9773)
// are exempt.
func LetsEncrypt() Limits {
	return Limits{OrdersPer3h: 300, CertificatesPerSetWeek: 5, CertificatesPerDomainWeek: 50, FailuresPerHour: 5}
}

const week = 7 * 24 * time.Hour

// set is what the CA knows about one set of identifiers.
type set struct {
	key     string
	allowed int          // repeats that the test permits
	quiet   time.Time    // until when no order is welcome
	last    *order       // the newest
	current *certificate // the newest; nil: there is none
}

// keyOf names a set of identifiers, whatever their order.
func keyOf(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	return strings.Join(slices.Compact(names), " ")
}

func valuesOf(ids []identifier) []string {
	values := make([]string, len(ids))
	for i, id := range ids {
		values[i] = id.Value
	}
	return values
}

// set returns the set with that key, which becomes known.
func (ca *CA) set(key string) *set {
	s := ca.sets[key]
	if s == nil {
		s = &set{key: key}
		ca.sets[key] = s
	}
	return s
}

// checkOrder checks that a new order is welcome now.
func (ca *CA) checkOrder(r *request, o *order) *problem {
	now := r.now
	s := o.set
	o.renewal = ca.cfg.ExemptRenewals && s.current != nil && now.Sub(s.current.notBefore) < 120*24*time.Hour
	if !o.renewal {
		if p := ca.checkHold(r); p != nil {
			return p
		}
	}
	if s.allowed > 0 {
		s.allowed--
	} else {
		ca.checkRepeat(o, now)
	}
	s.quiet, s.last = now.Add(ca.cfg.OrderGap), o
	if o.exempt {
		return nil
	}
	return ca.checkLimits(o, now)
}

func (ca *CA) checkHold(r *request) *problem {
	h := &ca.script.accountHold
	left := h.until.Sub(r.now)
	if left <= 0 {
		return nil
	}
	if h.broken(r) {
		ca.misbehaved("newOrder: %v before the account's Retry-After ended", left)
	}
	return rateLimited(left, "too many new orders recently from this account")
}

// checkRepeat fails the test when o is not needed, or comes too soon after another one.
func (ca *CA) checkRepeat(o *order, now time.Time) {
	s := o.set
	switch {
	case s.last != nil && ca.update(s.last, now) == "processing":
		ca.misbehaved("newOrder for %s: %s is still processing", s.key, s.last.url)
	case now.Before(s.quiet):
		ca.misbehaved("newOrder for %s: %v too soon after the last one", s.key, s.quiet.Sub(now))
	case s.current != nil && s.current.profile == o.Profile && !ca.mayRenew(s.current, now):
		ca.misbehaved("newOrder for %s: the certificate is good until %v and not due", s.key, s.current.notAfter)
	}
}

// mayRenew tells whether it is late enough, by the CA's advice or without it.
func (ca *CA) mayRenew(c *certificate, now time.Time) bool {
	lifetime := c.notAfter.Sub(c.notBefore)
	early := c.notBefore.Add(time.Duration(ca.cfg.EarliestRenewal * float64(lifetime)))
	return c.revoked || !now.Before(early) || ca.cfg.RenewalInfo && !now.Before(c.window.start)
}

func rateLimited(retryAfter time.Duration, detail string) *problem {
	p := refuse(http.StatusTooManyRequests, "rateLimited", "%s, retry after %v", detail, retryAfter)
	p.retryAfter = retryAfter
	return p
}

// checkLimits refuses what exceeds a limit. Certificates and failures count when they come about, orders at once.
func (ca *CA) checkLimits(o *order, now time.Time) *problem {
	lim := ca.cfg.Limits
	checks := []limit{{lim.CertificatesPerSetWeek, week, "set " + o.set.key}}
	for _, name := range registeredDomains(o.Identifiers) {
		if !o.renewal {
			checks = append(checks, limit{lim.CertificatesPerDomainWeek, week, "domain " + name})
		}
	}
	for _, id := range o.Identifiers {
		checks = append(checks, failureLimit(lim, o.account, id))
	}
	orders := limit{lim.OrdersPer3h, 3 * time.Hour, "orders " + o.account.url}
	if o.renewal {
		orders.burst = 0
	}
	for _, l := range append(checks, orders) {
		if wait := ca.wait(l, now); wait > 0 {
			ca.misbehaved("newOrder for %s: over the budget of %d in %v for %q", o.set.key, l.burst, l.period, l.subject)
			return rateLimited(wait, "too many for "+l.subject)
		}
	}
	ca.spend(orders, now)
	return nil
}

// spendIssued counts a certificate.
func (ca *CA) spendIssued(o *order, now time.Time) {
	if o.exempt {
		return
	}
	ca.spend(limit{ca.cfg.Limits.CertificatesPerSetWeek, week, "set " + o.set.key}, now)
	if o.renewal {
		return
	}
	for _, name := range registeredDomains(o.Identifiers) {
		ca.spend(limit{ca.cfg.Limits.CertificatesPerDomainWeek, week, "domain " + name}, now)
	}
}

// SpendDomain counts n certificates of a registered domain that others were issued.
func (ca *CA) SpendDomain(domain string, n int) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	for range n {
		ca.spend(limit{ca.cfg.Limits.CertificatesPerDomainWeek, week, "domain " + domain}, time.Now())
	}
}

// spendFailure counts a failed authorization.
func (ca *CA) spendFailure(a *authz, now time.Time) {
	ca.spend(failureLimit(ca.cfg.Limits, a.account, a.Identifier), now)
}

func failureLimit(lim Limits, a *account, id identifier) limit {
	return limit{lim.FailuresPerHour, time.Hour, "failures " + a.url + " " + strings.TrimPrefix(id.Value, "*.")}
}

// registeredDomains are what Let's Encrypt counts certificates by: addresses stand for themselves.
func registeredDomains(ids []identifier) []string {
	var domains []string
	for _, id := range ids {
		domain, err := publicsuffix.EffectiveTLDPlusOne(strings.TrimPrefix(id.Value, "*."))
		if err != nil || net.ParseIP(id.Value) != nil {
			domain = id.Value
		}
		domains = append(domains, domain)
	}
	slices.Sort(domains)
	return slices.Compact(domains)
}

// limit allows burst at once and as many again in each period, steadily; a burst of zero allows everything.
type limit struct {
	burst   int
	period  time.Duration
	subject string
}

// wait is how long it takes until the limit has room for one.
func (ca *CA) wait(l limit, now time.Time) time.Duration {
	if l.burst <= 0 {
		return 0
	}
	return ca.arrival(l, now).Sub(now) - l.period
}

func (ca *CA) spend(l limit, now time.Time) {
	if l.burst > 0 {
		ca.buckets[l.subject] = ca.arrival(l, now)
	}
}

// arrival is the theoretical arrival time (GCRA) after one more.
func (ca *CA) arrival(l limit, now time.Time) time.Time {
	full := ca.buckets[l.subject]
	if full.Before(now) {
		full = now
	}
	return full.Add(l.period / time.Duration(l.burst))
}
