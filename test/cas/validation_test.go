//go:build e2e

package cas_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/ca"
	"acmed/test/cas"
	"acmed/test/pebble"
	"acmed/test/site"
)

// lateness is how long after the first validation a name or a server appears.
const lateness = 25 * time.Second

// lateDNS publishes a name after the CA has looked for it.
func lateDNS(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	p.spec(t, "late", "")
	d := p.Start(t)
	l.try(t, cas.LateDNS, authority, func(t *testing.T) string {
		p.ordered(t)
		pass(t, lateness)
		p.publish("late", 1)
		p.await(t, "late", 1, 4*time.Minute)
		return "yes"
	})
	d.Stop(t)
}

// lateServer starts a web server after the CA has looked for it.
func lateServer(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	p.publish("late", 2)
	p.spec(t, "late", "")
	d := p.Start(t)
	l.try(t, cas.LateServer, authority, func(t *testing.T) string {
		p.ordered(t)
		pass(t, 2*lateness)
		p.forward(t, nil)
		p.await(t, "late", 1, 4*time.Minute)
		return "yes"
	})
	d.Stop(t)
}

// wrongServer has another web server respond: that is a failed validation, and what to do is not to give the name up.
func wrongServer(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 2)
	p.welcome(t)
	p.spec(t, "web", "")
	d := p.Start(t)
	l.try(t, cas.WrongServer, authority, func(t *testing.T) string {
		f := p.failure(t, "web")
		if f.Kind != "validation" || f.Hint == "" || strings.Contains(f.Hint, "remove "+p.domain("web")) {
			t.Errorf("the failure is %+v", f)
		}
		p.publish("web", 1)
		p.Run(t, "renew", "web", "--wait")
		p.await(t, "web", 1, site.Patience)
		return "failed validation: " + f.Problem
	})
	d.Stop(t)
}

// failure waits until an attempt has failed, and returns how.
func (p *place) failure(t *testing.T, name string) (f control.Failure) {
	t.Helper()
	within(t, 4*time.Minute, name+" has failed", func() bool {
		failures := p.status(t, name).Failures
		if len(failures) == 0 {
			return false
		}
		f = failures[0]
		return true
	}, func() { p.output(t, "status", name) })
	p.output(t, "status", name)
	return f
}

// noServer has nobody respond: acmed says why while the order is pending.
func noServer(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 3)
	p.spec(t, "web", "")
	d := p.Start(t)
	l.try(t, cas.NoServer, authority, func(t *testing.T) string {
		said := ""
		within(t, 30*time.Second, "the status has the CA's reason", func() bool {
			c := p.status(t, "web")
			said = c.Next.Reason
			if len(c.Failures) > 0 {
				said = c.Failures[0].Detail
			}
			return strings.Contains(said, "connect")
		}, func() { p.output(t, "status", "web") })
		return "yes"
	})
	if authority.name == "Vault" {
		p.whyInvalid(t)
	}
	d.Stop(t)
}

// whyInvalid waits until Vault has given the order up. Its invalid orders list no authorization.
func (p *place) whyInvalid(t *testing.T) {
	t.Helper()
	var f control.Failure
	within(t, 4*time.Minute, "the order has failed", func() bool {
		c := p.status(t, "web")
		if len(c.Failures) == 0 || c.Order != nil {
			return false
		}
		f = c.Failures[0]
		return true
	}, func() { p.output(t, "status", "web") })
	if f.Kind != "validation" || !strings.Contains(f.Detail, "connection refused") || f.Hint == "" {
		t.Errorf("the failure of an invalid order is %+v", f)
	}
}

// hanging has sixteen certificates whose names do not exist, which is as many orders as acmed has pending at an issuer.
func hanging(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	for n := range 16 {
		p.spec(t, fmt.Sprint("dead", n), "")
	}
	p.Settle(t)
	d := p.Start(t)
	l.try(t, cas.Hanging, authority, func(t *testing.T) string {
		within(t, site.Patience, "sixteen orders are at the CA", func() bool {
			return ca.Count(t, authority.server, authority.newOrder) >= 16
		}, nil)
		p.publish("good", 1)
		p.spec(t, "good", "")
		p.await(t, "good", 1, 150*time.Second)
		return "yes"
	})
	d.Stop(t)
}

// fallback waits until acmed gives an order up for which nobody responds, and goes to the next issuer.
func fallback(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	next := pebble.Start(t, pebble.Options{AlwaysValid: true})
	p := l.newPlace(t, authority, binding{})
	p.issuer(t, "next", subject{directory: next.DirectoryURL, caBundle: next.RootsFile}, binding{})
	p.publish("web", 3)
	p.spec(t, "web", "issuers: [ca, next]\n")
	d := p.Start(t)
	l.try(t, cas.Fallback, authority, func(t *testing.T) string {
		began := time.Now()
		p.await(t, "web", 1, 20*time.Minute)
		return fmt.Sprintf("after %d minutes", int(time.Since(began).Minutes()+0.5))
	})
	d.Stop(t)
}

// lateOrder has a name appear when less than half is left of the time that the CA has written into the order.
func lateOrder(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{lifetime: 5 * time.Minute})
	p := l.newPlace(t, authority, binding{})
	p.spec(t, "late", "")
	d := p.Start(t)
	l.try(t, cas.LateOrder, authority, func(t *testing.T) string {
		p.ordered(t)
		pass(t, 200*time.Second)
		p.publish("late", 1)
		leaf := p.await(t, "late", 1, 10*time.Minute).leaf
		if left := time.Until(leaf.NotAfter); left < 4*time.Minute {
			t.Errorf("the certificate is valid for %s more, of 5 minutes", left)
		}
		return "a new order"
	})
	d.Stop(t)
}
