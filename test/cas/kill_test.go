//go:build e2e

package cas_test

import (
	"fmt"
	"testing"

	"acmed/test/ca"
	"acmed/test/cas"
	"acmed/test/site"
)

// kill ends acmed while the CA waits for a challenge response, which the next acmed gives.
func kill(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 2)
	g := p.gate(t)
	p.spec(t, "web", "")
	d := p.Start(t)
	restart := func() { d.Kill(); d = p.Start(t) }
	l.try(t, cas.Kill, authority, func(t *testing.T) string {
		g.knocked(t)
		restart()
		g.open()
		p.await(t, "web", 1, site.Patience)
		return fmt.Sprint(ca.Count(t, authority.server, authority.newOrder))
	})
	d.Stop(t)
}

// killCA ends the CA while it waits for a challenge response.
func killCA(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 2)
	g := p.gate(t)
	p.spec(t, "web", "")
	d := p.Start(t)
	l.try(t, cas.Restart, authority, func(t *testing.T) string {
		g.knocked(t)
		authority.stop()
		if err := authority.restart(t.Context()); err != nil {
			t.Fatal(err)
		}
		g.open()
		p.await(t, "web", 1, 4*site.Patience)
		if ca.Count(t, authority.server, authority.newOrder) == 1 {
			return "the order goes on"
		}
		if ca.Count(t, authority.server, authority.newAccount) == 1 {
			return "a new order"
		}
		return "a new account and order"
	})
	d.Stop(t)
}
