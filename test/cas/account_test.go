//go:build e2e

package cas_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"acmed/test/ca"
	"acmed/test/cas"
	"acmed/test/site"
)

// boundAccount restarts acmed again and again: the account that the binding made stays.
func boundAccount(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{bound: true})
	p := l.newPlace(t, authority, authority.bindings[0])
	p.publish("web", 1)
	p.spec(t, "web", "")
	p.Settle(t)
	l.try(t, cas.Binding, authority, func(t *testing.T) string {
		d := p.Start(t)
		p.await(t, "web", 1, site.Patience)
		for n := range 5 {
			if n%2 == 0 {
				d.Kill()
			} else {
				d.Stop(t)
			}
			d = p.Start(t)
		}
		p.Run(t, "renew", "web", "--wait")
		p.await(t, "web", 2, site.Patience)
		d.Stop(t)
		accounts := ca.Count(t, authority.server, authority.newAccount)
		if accounts != 1 {
			t.Errorf("the CA has made %d accounts", accounts)
		}
		return fmt.Sprint(accounts)
	})
}

// badBindings asks for accounts with bindings that the CA does not take.
func badBindings(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{bound: true})
	p := l.newPlace(t, authority, authority.bindings[0])
	other := l.newPlace(t, authority, authority.bindings[0])
	for _, at := range []*place{p, other} {
		at.publish("web", 1)
		at.spec(t, "web", "")
	}
	d := p.Start(t)
	p.await(t, "web", 1, site.Patience)
	wrong := binding{authority.bindings[1].kid, "d3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3Jvbmcgd3I"}
	p.issuer(t, "unknown", authority, binding{"kid-9", wrong.key})
	p.issuer(t, "wrong", authority, wrong)
	for _, name := range []string{"unknown", "wrong"} {
		p.publish(name, 1)
		p.spec(t, name, "issuers: ["+name+"]\n")
	}
	l.try(t, cas.WrongBinding, authority, func(t *testing.T) string {
		p.refusedBinding(t, "unknown")
		p.refusedBinding(t, "wrong")
		return "refused"
	})
	l.try(t, cas.UsedBinding, authority, func(t *testing.T) string {
		d := other.Start(t)
		defer d.Stop(t)
		within(t, site.Patience, "the order is refused or a certificate is there", func() bool {
			return other.Live(t, "web") > 0 || other.issuerHeld(t, "ca") != ""
		}, nil)
		if other.Live(t, "web") > 0 {
			return "accepted"
		}
		other.refusedBinding(t, "web")
		return "refused"
	})
	d.Stop(t)
}

// issuerHeld is why an issuer is not asked; "": it is.
func (p *place) issuerHeld(t *testing.T, name string) string {
	t.Helper()
	issuers, err := p.Control.Issuers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range issuers {
		if i.Name == name && i.Hold != nil {
			return i.Hold.Reason + "; " + i.Hint
		}
	}
	return ""
}

// refusedBinding expects that acmed says what is wrong: the CA has answered, and it is about the binding.
func (p *place) refusedBinding(t *testing.T, name string) {
	t.Helper()
	issuer := p.status(t, name).Issuers[0]
	within(t, site.Patience, "the issuer "+issuer+" is not asked", func() bool { return p.issuerHeld(t, issuer) != "" }, nil)
	pass(t, time.Second)
	said, _ := p.output(t, "status", name)
	if said += p.issuerHeld(t, issuer); strings.Contains(said, "cannot be reached") || !strings.Contains(said, "what to do") || !strings.Contains(said, "inding") {
		t.Errorf("acmed does not say that the CA answered, and that the binding may be the cause:\n%s", said)
	}
}

// unreachable has an issuer at a port that nobody listens at: the hint names it.
func unreachable(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	authority.stop()
	p.publish("web", 1)
	p.spec(t, "web", "")
	d := p.Start(t)
	within(t, site.Patience, "the issuer is not asked", func() bool { return p.issuerHeld(t, "ca") != "" || len(p.status(t, "web").Failures) > 0 }, nil)
	said, _ := p.output(t, "status", "web")
	if port := portOf(authority.directory); strings.Contains(said, "port 443") || !strings.Contains(said, "port "+port) {
		t.Errorf("the hint does not name port %s:\n%s", port, said)
	}
	d.Stop(t)
}

// profileOfTheCA leaves the choice to a CA with two profiles: the status shows which one it was.
func profileOfTheCA(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{profiles: map[string]time.Duration{"classic": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour}})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 1)
	p.spec(t, "web", "")
	d := p.Start(t)
	leaf := p.await(t, "web", 1, site.Patience).leaf
	want := "classic"
	if leaf.NotAfter.Sub(leaf.NotBefore) < 10*24*time.Hour {
		want = "shortlived"
	}
	if said, _ := p.output(t, "status", "web"); !strings.Contains(said, want) {
		t.Errorf("the CA chose the profile %s, and the status does not show it:\n%s", want, said)
	}
	d.Stop(t)
}

// newTerms changes the terms of service: acmed shows those of today.
func newTerms(t *testing.T, l *lab, start func(options) subject) {
	const before, after = "https://ca.test/terms-1", "https://ca.test/terms-2"
	authority := start(options{terms: before})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 1)
	p.spec(t, "web", "")
	d := p.Start(t)
	p.await(t, "web", 1, site.Patience)
	if said := p.Run(t, "account", "show", "ca"); !strings.Contains(said, before) {
		t.Errorf("the terms are not shown:\n%s", said)
	}
	if err := authority.setTerms(after); err != nil {
		t.Fatal(err)
	}
	if err := authority.restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if said := p.Run(t, "account", "show", "ca"); !strings.Contains(said, after) || strings.Contains(said, before+" (agreed)") {
		t.Errorf("the terms of today are %s:\n%s", after, said)
	}
	d.Stop(t)
}
