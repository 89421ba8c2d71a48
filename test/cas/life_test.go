//go:build e2e

package cas_test

import (
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/test/ca"
	"acmed/test/cas"
	"acmed/test/site"
)

// pair is a certificate as servers load it.
type pair struct {
	leaf  *x509.Certificate
	chain []*x509.Certificate // with the leaf
}

func (p *place) pair(t *testing.T, name string) pair {
	t.Helper()
	c, err := p.Served(name)
	if err != nil {
		t.Fatal(err)
	}
	found := pair{leaf: c.Leaf}
	for _, der := range c.Certificate {
		cert, err := x509.ParseCertificate(der)
		if err != nil {
			t.Fatal(err)
		}
		found.chain = append(found.chain, cert)
	}
	return found
}

// certificatesAndAccount goes through the life of certificates and of their account.
func certificatesAndAccount(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{})
	p := l.newPlace(t, authority, binding{})
	for _, name := range []string{"web", "alpn"} {
		p.publish(name, 1)
	}
	p.spec(t, "web", "")
	p.spec(t, "alpn", "challenge: {type: tls-alpn-01}\n")
	p.Spec(t, "address", fmt.Sprintf("ipAddresses: [%s]\n", p.address(1)))
	p.Spec(t, "wild", fmt.Sprintf("dnsNames: [%[1]q, \"*.%[1]s\"]\nchallenge: {type: dns-01, provider: zone}\n", p.domain("wild")))
	p.Settle(t)
	d := p.Start(t)
	for _, c := range []struct{ feature, spec string }{
		{cas.HTTP01, "web"}, {cas.HTTP01Address, "address"}, {cas.TLSALPN01, "alpn"}, {cas.DNS01, "wild"},
	} {
		l.try(t, c.feature, authority, func(t *testing.T) string {
			p.await(t, c.spec, 1, site.Patience)
			return "yes"
		})
	}
	l.try(t, cas.Lifetime, authority, func(t *testing.T) string {
		leaf := p.pair(t, "web").leaf
		return spoken(leaf.NotAfter.Sub(leaf.NotBefore))
	})
	p.revoke(t, authority)
	p.account(t, authority)
	d.Stop(t)
}

// spoken is a duration in days or hours.
func spoken(d time.Duration) string {
	if d = d.Round(time.Hour); d%(24*time.Hour) == 0 && d > 24*time.Hour {
		return fmt.Sprint(int(d/(24*time.Hour)), " days")
	}
	return fmt.Sprint(int(d/time.Hour), " hours")
}

// revoke has certificates revoked, each of which is replaced.
func (p *place) revoke(t *testing.T, authority subject) {
	l := p.lab
	for _, c := range []struct{ feature, spec, option string }{{cas.Revocation, "web", ""}, {cas.ByKey, "alpn", "--by-key"}} {
		l.try(t, c.feature, authority, func(t *testing.T) string {
			old := p.pair(t, c.spec)
			args := []string{"revoke", c.spec, "--revision", "1", "--reason", "superseded", "--yes"}
			if c.option != "" {
				args = append(args, c.option)
			}
			out := p.Run(t, args...)
			p.await(t, c.spec, 2, site.Patience)
			if authority.revoked != nil {
				if revoked, err := authority.revoked(t.Context(), old.leaf); err != nil || !revoked {
					t.Errorf("the CA has revoked it: %v, %v", revoked, err)
				}
			}
			if strings.Contains(out, "does not accept the reason") {
				return "yes, without a reason"
			}
			return "yes"
		})
	}
	l.try(t, cas.Again, authority, func(t *testing.T) string {
		if out, err := p.output(t, "revoke", "web", "--revision", "1", "--reason", "superseded", "--yes"); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return "yes"
	})
}

// account goes through the life of an account.
func (p *place) account(t *testing.T, authority subject) {
	l := p.lab
	l.try(t, cas.Update, authority, func(t *testing.T) string {
		p.configure(t, "new@example.com")
		p.Run(t, "reload")
		if out := p.Run(t, "account", "update", "ca"); !strings.Contains(out, "new@example.com") {
			return "yes, not shown"
		}
		return "yes"
	})
	l.try(t, cas.Rollover, authority, func(t *testing.T) string {
		out, err := p.output(t, "account", "rollover", "ca")
		if shown := p.Run(t, "account", "show", "ca"); !strings.Contains(shown, "valid") {
			t.Errorf("the account is not valid: %s", shown)
		}
		if err == nil {
			return "yes"
		}
		if !strings.Contains(out, "noKeyChange") {
			t.Errorf("%v: %s", err, out)
		}
		return "offered, refused"
	})
	l.try(t, cas.Deactivation, authority, func(t *testing.T) string {
		p.Run(t, "account", "deactivate", "ca", "--yes")
		return "yes"
	})
	l.try(t, cas.Ended, authority, p.ended)
	l.try(t, cas.Registration, authority, func(t *testing.T) string {
		p.Run(t, "account", "register", "ca")
		p.Run(t, "renew", "address", "--wait")
		p.await(t, "address", 2, site.Patience)
		return "yes"
	})
}

// ended has acmed show an account that it has deactivated, and deactivate it once more.
func (p *place) ended(t *testing.T) string {
	out, err := p.output(t, "account", "show", "ca")
	if err == nil || !strings.Contains(out, "deactivated") || strings.Contains(out, "externalAccountBinding") {
		t.Errorf("acmed account show: %v, want exit code 1 and that the account is deactivated:\n%s", err, out)
	}
	if out, err := p.output(t, "account", "deactivate", "ca", "--yes"); err != nil || !strings.Contains(out, "deactivated") {
		t.Errorf("acmed account deactivate, once more: %v\n%s", err, out)
	}
	return "yes"
}

// requests counts what a certificate costs the CA. On a busy machine a CA may validate after acmed has asked, which costs one
// request more: the least of some counts.
func requests(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{friendly: true})
	p := l.newPlace(t, authority, binding{})
	p.publish("known", 1)
	p.spec(t, "known", "")
	d := p.Start(t)
	p.await(t, "known", 1, site.Patience) // there is an account now
	l.try(t, cas.Requests, authority, func(t *testing.T) string {
		first, renewal := 1000, 1000
		for n := range 3 {
			name := fmt.Sprint("web", n)
			p.publish(name, 1)
			first = min(first, p.cost(t, func() { p.spec(t, name, "renew: {ari: false}\n"); p.await(t, name, 1, site.Patience) }))
			renewal = min(renewal, p.cost(t, func() { p.Run(t, "renew", name, "--wait") }))
		}
		return fmt.Sprintf("%d, %d", first, renewal)
	})
	d.Stop(t)
}

// cost is how many signed requests the CA gets meanwhile.
func (p *place) cost(t *testing.T, act func()) int {
	t.Helper()
	before := ca.Count(t, p.ca.server, p.ca.signed)
	act()
	return ca.Count(t, p.ca.server, p.ca.signed) - before
}

// renewal waits for certificates that nobody asks for.
func renewal(t *testing.T, l *lab, start func(options) subject) {
	authority := start(options{lifetime: 5 * time.Minute})
	p := l.newPlace(t, authority, binding{})
	p.publish("web", 1)
	p.spec(t, "web", "renew: {before: 4m 30s, ari: false}\n")
	d := p.Start(t)
	l.try(t, cas.Renewal, authority, func(t *testing.T) string {
		var serials []string
		for n := 1; n <= 3; n++ {
			serials = append(serials, p.await(t, "web", n, 5*time.Minute).leaf.SerialNumber.String())
		}
		if slices.Sort(serials); len(slices.Compact(serials)) != 3 {
			t.Errorf("two of three certificates are the same")
		}
		return "yes"
	})
	d.Stop(t)
}
