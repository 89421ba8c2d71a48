//go:build e2e

package boulder_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"acmed/test/boulder"
	"acmed/test/site"
)

// limitScenarios are of rate limits. The limits of the issuer's file are off, so that Boulder's own are reached.
func limitScenarios() []scenario {
	return []scenario{
		{"limit on failed validations", false, failedValidations},
		{"limit on the set of names", false, nameSet},
		{"limit on new orders", false, newOrders},
		{"limit on a domain", false, domainLimit},
	}
}

// limit changes one of Boulder's rate limits for a scenario.
func (s *suite) limit(t *testing.T, name string, l boulder.Limit) {
	t.Helper()
	set := func(l boulder.Limit) error {
		return s.lab.Set(t.Context(), func(o *boulder.Options) { o.Limits[name] = l }, boulder.RA, boulder.WFE)
	}
	old := options().Limits[name]
	check(t, set(l))
	t.Cleanup(func() {
		err := s.lab.Set(context.WithoutCancel(t.Context()), func(o *boulder.Options) { o.Limits[name] = old }, boulder.RA, boulder.WFE)
		if err != nil {
			t.Error(err)
		}
	})
}

// wantWait checks that a rate limit is waited for as long as the CA says, and that all places show the same time.
func (m *machine) wantWait(t *testing.T, name string, least, most time.Duration) {
	t.Helper()
	failure, status := m.fails(t, name), m.status(t, name)
	wait := failure.RetryAt.Sub(failure.At)
	if failure.Kind != "rateLimited" || wait < least || wait > most {
		t.Errorf("%s is %s and retried after %s, want rateLimited, %s to %s", name, failure.Kind, wait, least, most)
	}
	if next := status.Next.At; next.Sub(failure.RetryAt).Abs() > time.Second {
		t.Errorf("%s: the next action is at %s, the retry at %s, want one time", name, next.Format(time.DateTime), failure.RetryAt.Format(time.DateTime))
	}
}

// wantReady checks that the issuer is not held.
func (m *machine) wantReady(t *testing.T) {
	t.Helper()
	issuers, err := m.Control.Issuers(t.Context())
	check(t, err)
	for _, i := range issuers {
		if i.Name == "boulder" && i.Hold != nil {
			t.Errorf("the issuer is held: %+v", *i.Hold)
		}
	}
}

// failedValidations: the name waits for as long as Boulder says. Other names go on.
func failedValidations(t *testing.T, s *suite) {
	const name, other = "failing.limits.example.net", "other.limits.example.net"
	s.limit(t, boulder.Failures, boulder.Limit{Count: 2, Period: time.Hour})
	m := s.start(t, site.Options{})
	check(t, s.lab.Point(t.Context(), s.address(t), name))
	m.point(t, other)
	m.Spec(t, name, "")
	m.fails(t, name)
	for range 2 {
		_, err := m.try(t, "renew", name, "--wait", "--force")
		if err == nil {
			t.Fatal("a certificate was issued for a name with a closed port")
		}
	}
	m.wantWait(t, name, 25*time.Minute, 35*time.Minute)
	m.wantReady(t)
	m.Spec(t, other, "")
	m.await(t, other, 1)
}

// nameSet: a renewal by hand is not exempt. Boulder says when the next certificate is allowed, days later.
func nameSet(t *testing.T, s *suite) {
	const name, other = "set.limits.example.net", "set-other.limits.example.net"
	s.limit(t, boulder.PerNameSet, boulder.Limit{Count: 1, Period: 5 * 24 * time.Hour})
	m := s.start(t, site.Options{})
	m.point(t, name, other)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	if out, err := m.try(t, "renew", name, "--wait"); err == nil {
		t.Fatalf("a second certificate was issued for the same names: %s", out)
	}
	m.wantWait(t, name, 4*24*time.Hour, 6*24*time.Hour)
	m.wantReady(t)
	m.Spec(t, other, "")
	m.await(t, other, 1)
}

// newOrders: the account waits, but renewals of the same names go on, since Boulder exempts them.
func newOrders(t *testing.T, s *suite) {
	s.limit(t, boulder.NewOrders, boulder.Limit{Count: 2, Period: 3 * time.Hour})
	m := s.start(t, site.Options{Limits: "failuresPerNamePerHour: 0, renewalsExempt: true"})
	name := func(i int) string { return fmt.Sprintf("new%d.limits.example.net", i) }
	for i := range 2 {
		m.point(t, name(i))
		m.Spec(t, name(i), "")
		m.await(t, name(i), 1)
	}
	m.point(t, name(2))
	m.Spec(t, name(2), "")
	m.wantWait(t, name(2), 80*time.Minute, 100*time.Minute)
	s.row().renewal = s.count(t, func() { m.Run(t, "renew", name(0), "--wait") })
	if got := m.Live(t, name(0)); got != 2 {
		t.Errorf("revision %d is in use after the renewal, want 2", got)
	}
	m.point(t, name(3))
	before := s.count(t, func() {})
	m.Spec(t, name(3), "") // waits with the account
	eventually(t, "the new certificate waits", func() bool {
		status, err := m.Control.Status(t.Context(), name(3))
		return err == nil && time.Until(status.Next.At) > time.Hour
	})
	if got := s.count(t, func() {}).Since(before); got.Total() > 0 {
		t.Errorf("a new certificate during the limit took %s, want no request", got)
	}
}

// domainLimit: Boulder checks the limit at an order and spends it at an issuance. Orders made together all pass.
func domainLimit(t *testing.T, s *suite) {
	s.limit(t, boulder.PerDomain, boulder.Limit{Count: 2, Period: 7 * 24 * time.Hour})
	m := s.start(t, site.Options{})
	name := func(i int) string { return fmt.Sprintf("d%d.example.org", i) }
	for i := range 4 {
		m.point(t, name(i))
		m.Spec(t, name(i), "")
	}
	for i := range 4 {
		m.await(t, name(i), 1)
	}
	m.point(t, name(4), "elsewhere.example.com")
	m.Spec(t, name(4), "")
	m.wantWait(t, name(4), 24*time.Hour, 8*24*time.Hour)
	m.wantReady(t)
	m.Spec(t, "elsewhere.example.com", "")
	m.await(t, "elsewhere.example.com", 1)
	if detail := m.fails(t, name(4)).Detail; !strings.Contains(detail, "example.org") {
		t.Errorf("the detail does not name the domain: %s", detail)
	}
	m.Run(t, "renew", name(0), "--wait") // a renewal of the same names is exempt
}
