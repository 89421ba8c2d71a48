//go:build e2e

package boulder_test

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/boulder"
	"acmed/test/site"
)

// storyScenarios are of what happens to certificates that are there, and of what Boulder refuses.
func storyScenarios() []scenario {
	return []scenario{
		{"renewal that comes due by itself", false, comesDue},
		{"both nonce services restarted", false, noncesRestarted},
		{"one of two nonce services down", false, nonceDown},
		{"RA down", false, authorityDown},
		{"another CA in the CAA record", false, forbiddenByCAA},
		{"spec edited while its renewal is pending", false, editedDuringRenewal},
		{"profile changed", false, profileChanged},
		{"one name in two orders at once", false, sharedName},
		{"revoked for keyCompromise", false, keyCompromised},
		{"account rolled over, deactivated, registered", false, accountStory},
		{"IP address without a profile", false, addressRefused},
		{"name covered by the wildcard of its order", false, redundantName},
		{"26 names with a profile for 25", false, tooManyNames},
		{"fallback issuer", false, fallback},
	}
}

// comesDue: the daemon follows the CA's advice, which is a window of 2 % of the lifetime in its middle.
func comesDue(t *testing.T, s *suite) {
	const name = "due.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "profile: "+brief+"\n")
	m.await(t, name, 1)
	renewal := m.status(t, name).Renewal
	if renewal == nil || renewal.Source != "ari" {
		t.Fatalf("the renewal is planned by %+v, want ari", renewal)
	}
	s.row().renewal = s.count(t, func() { m.await(t, name, 2) })
	leaf := served(t, m, name).Leaf
	if issued := leaf.NotBefore.Add(59 * time.Second); issued.Before(renewal.WindowStart) || issued.After(renewal.WindowEnd.Add(30*time.Second)) {
		t.Errorf("it was renewed at about %s, outside of the window %s to %s", issued, renewal.WindowStart, renewal.WindowEnd)
	}
	rows := s.query(t, "SELECT COUNT(*) FROM orders WHERE registrationID=%s AND replaces IS NOT NULL", m.account(t))
	if rows[0][0] == "0" { // another renewal may have come due
		t.Error("no order names the certificate that it replaces")
	}
}

func served(t *testing.T, m *machine, name string) tls.Certificate {
	t.Helper()
	c, err := m.Served(name)
	check(t, err)
	return c
}

// noncesRestarted: all nonces are unknown, one request is repeated.
func noncesRestarted(t *testing.T, s *suite) {
	const name = "nonces.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	check(t, s.lab.Restart(t.Context(), boulder.NonceA, boulder.NonceB))
	if got := s.count(t, func() { m.Run(t, "renew", name, "--wait") }); got["newOrder"] > 2 || got.Total() > renewalRequests+1+slowPolls(got) {
		t.Errorf("the renewal took %s, want one repeated newOrder", got)
	}
}

// nonceDown: Boulder answers 500 to a nonce of the service that is down, and acmed tries again with another after a minute.
func nonceDown(t *testing.T, s *suite) {
	const name = "nonce.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	s.lab.Stop(boulder.NonceB)
	defer func() { check(t, s.lab.Start(t.Context(), boulder.NonceB)) }()
	// The nonce at hand may be of either service: whether the first request fails is chance, and it may do so before acmed answers.
	check(t, m.Control.Renew(t.Context(), control.RenewRequest{Names: []string{name}}, func(control.Event) {}))
	m.await(t, name, 2)
	m.wantReady(t)
}

// authorityDown: a 500 at newOrder is transient. It holds no issuer, and acmed tries again after the minute that Boulder says.
func authorityDown(t *testing.T, s *suite) {
	const name = "ra.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	s.lab.Stop(boulder.RA)
	_, err := m.try(t, "renew", name, "--wait")
	failure := m.fails(t, name)
	check(t, s.lab.Start(t.Context(), boulder.RA))
	wait := failure.RetryAt.Sub(failure.At)
	if err == nil || failure.Kind != "transient" || wait < 50*time.Second || wait > 90*time.Second {
		t.Errorf("the failure is %s and retried after %s (%v), want transient, a minute", failure.Kind, wait, err)
	}
	m.wantReady(t)
	m.await(t, name, 2)
}

func forbiddenByCAA(t *testing.T, s *suite) {
	const name = "caa.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	check(t, s.lab.SetDNS(t.Context(), "add-caa", map[string]any{
		"host": name + ".", "policies": []map[string]string{{"tag": "issue", "value": "elsewhere.example"}},
	}))
	m.Spec(t, name, "")
	if f := m.fails(t, name); f.Problem != "caa" || f.Identifier != name || !strings.Contains(f.Hint, "CAA") {
		t.Errorf("the failure is %s of %q with the hint %q, want caa of %s with a hint", f.Problem, f.Identifier, f.Hint, name)
	}
	check(t, s.lab.SetDNS(t.Context(), "clear-caa", map[string]any{"host": name + "."}))
	m.Run(t, "renew", name, "--wait", "--force")
	m.await(t, name, 1)
}

// editedDuringRenewal: while an order is pending, Boulder refuses another one that replaces the same certificate (409).
func editedDuringRenewal(t *testing.T, s *suite) {
	const name, second = "edited.example.net", "edited-too.example.net"
	m := s.start(t, site.Options{})
	check(t, s.lab.Point(t.Context(), slowServer(t, s, m, 4*time.Second), name))
	m.point(t, second)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	s.query(t, "UPDATE authz2 SET expires=UTC_TIMESTAMP() - INTERVAL 1 MINUTE WHERE registrationID=%s", m.account(t)) // none is reused
	m.Run(t, "renew", name)
	eventually(t, "the order of the renewal is pending", func() bool {
		order := m.status(t, name).Order
		return order != nil && order.URL != ""
	})
	m.Spec(t, name, fmt.Sprintf("dnsNames: [%s, %s]\n", name, second))
	eventually(t, "the certificate has both names", func() bool { return len(served(t, m, name).Leaf.DNSNames) == 2 })
	if failures := m.status(t, name).Failures; len(failures) > 0 {
		t.Errorf("there is a failure: %+v", failures[0])
	}
}

// profileChanged: an authorization belongs to the profile of its order, so that another profile needs another validation.
func profileChanged(t *testing.T, s *suite) {
	const name = "changed.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	s.row().renewal = s.count(t, func() {
		m.Spec(t, name, "profile: tlsserver\n")
		m.await(t, name, 2)
	})
	if got := m.status(t, name).Current.Profile; got != "tlsserver" {
		t.Errorf("the certificate is of profile %q, want tlsserver", got)
	}
	rows := s.query(t, "SELECT COUNT(*) FROM authz2 WHERE registrationID=%s AND status=%s", m.account(t), valid)
	if rows[0][0] != "2" {
		t.Errorf("Boulder has %s valid authorizations, want 2", rows[0][0])
	}
}

// sharedName: pending authorizations are not shared. Each order validates the name for itself.
func sharedName(t *testing.T, s *suite) {
	const name, other = "shared.example.net", "shared-with.example.net"
	m := s.newMachine(t, site.Options{})
	m.point(t, name, other)
	m.Spec(t, "a", "dnsNames: ["+name+"]\n")
	m.Spec(t, "b", fmt.Sprintf("dnsNames: [%s, %s]\n", name, other))
	m.Settle(t)
	m.Start(t)
	m.await(t, "a", 1)
	m.await(t, "b", 1)
	if failures := append(m.status(t, "a").Failures, m.status(t, "b").Failures...); len(failures) > 0 {
		t.Errorf("there is a failure: %+v", failures[0])
	}
}

// keyCompromised: signed by the certificate's key, the revocation blocks the key. Whatever has it gets another one.
func keyCompromised(t *testing.T, s *suite) {
	const name = "compromised.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "privateKey: {rotationPolicy: Never}\n")
	m.await(t, name, 1)
	m.Run(t, "renew", name, "--wait")
	first := served(t, m, name)
	if out, err := m.try(t, "revoke", name, "--reason", "keyCompromise"); err == nil || !strings.Contains(out, "revision 1") {
		t.Errorf("without --yes, acmed revoke must name revision 1, which has the same key: %v\n%s", err, out)
	}
	m.Run(t, "revoke", name, "--reason", "keyCompromise", "--yes")
	hash := sha256.Sum256(first.Leaf.RawSubjectPublicKeyInfo)
	if rows := s.query(t, "SELECT COUNT(*) FROM blockedKeys WHERE keyHash=x'%x'", hash); rows[0][0] != "1" {
		t.Error("Boulder has not blocked the key")
	}
	m.await(t, name, 3)
	type key interface{ Equal(crypto.PublicKey) bool }
	if served(t, m, name).Leaf.PublicKey.(key).Equal(first.Leaf.PublicKey) {
		t.Error("the replacement has the compromised key")
	}
	rows := s.query(t, "SELECT revokedReason FROM certificateStatus WHERE status='revoked' AND serial='%036x'", first.Leaf.SerialNumber)
	if len(rows) != 1 || rows[0][0] != "1" {
		t.Errorf("Boulder has the certificate as %v, want revoked for reason 1", rows)
	}
}

// accountStory: the account gets another key, ends, and is followed by another one.
func accountStory(t *testing.T, s *suite) {
	const name = "account.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	m.Spec(t, name, "")
	m.await(t, name, 1)
	m.Run(t, "account", "rollover", "boulder")
	m.Run(t, "renew", name, "--wait")
	m.Run(t, "account", "update", "boulder")
	m.Run(t, "account", "deactivate", "boulder", "--yes")
	if out, err := m.try(t, "account", "show", "boulder"); !strings.Contains(out, "boulder: deactivated") {
		t.Errorf("acmed account show of a deactivated account: %v\n%s", err, out)
	}
	m.Run(t, "account", "register", "boulder")
	m.Run(t, "renew", name, "--wait")
	m.await(t, name, 3)
}

// addressRefused: the default profile is for names alone.
func addressRefused(t *testing.T, s *suite) {
	m := s.start(t, site.Options{})
	m.Spec(t, "address", fmt.Sprintf("ipAddresses: [%s]\n", m.address))
	if f := m.fails(t, "address"); !strings.Contains(f.Hint, "shortlived") {
		t.Errorf("the hint does not name the profile: %q", f.Hint)
	}
	m.Spec(t, "address", fmt.Sprintf("ipAddresses: [%s]\nprofile: shortlived\n", m.address))
	m.await(t, "address", 1)
}

func redundantName(t *testing.T, s *suite) {
	const name, covered = "redundant.example.net", "x.redundant.example.net"
	m := s.newMachine(t, site.Options{})
	m.writeProvider(t)
	m.Start(t)
	m.Spec(t, name, fmt.Sprintf("dnsNames: [%s, '*.%s']\nchallenge: {type: dns-01, provider: lab}\n", covered, name))
	if f := m.fails(t, name); !strings.Contains(f.Hint, covered) {
		t.Errorf("the hint does not name %s: %q", covered, f.Hint)
	}
}

func tooManyNames(t *testing.T, s *suite) {
	var names []string
	for i := range 26 {
		names = append(names, fmt.Sprintf("n%d.toomany.example.net", i))
	}
	m := s.start(t, site.Options{})
	m.Spec(t, "toomany", fmt.Sprintf("profile: tlsserver\ndnsNames: [%s]\n", strings.Join(names, ", ")))
	if f := m.fails(t, "toomany"); !strings.Contains(f.Hint, "25") {
		t.Errorf("the hint does not say the limit: %q", f.Hint)
	}
}

// fallback: an order that ended with serverInternal counts as a failure, so that the second issuer is asked.
func fallback(t *testing.T, s *suite) {
	const name = "fallback.example.net"
	m := s.newMachine(t, site.Options{})
	m.Write(t, "issuers.d/second.yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {failuresPerNamePerHour: 0}\n", s.lab.DirectoryURL, s.lab.RootsFile))
	m.Start(t)
	m.point(t, name)
	s.lab.Stop(boulder.RemoteA, boulder.RemoteB)
	m.Spec(t, name, "issuers: [boulder, second]\n")
	m.fails(t, name)
	eventually(t, "the second issuer is asked", func() bool {
		return slices.ContainsFunc(m.status(t, name).Failures, func(f control.Failure) bool { return f.Issuer == "second" })
	})
	check(t, s.lab.Start(t.Context(), boulder.RemoteA, boulder.RemoteB))
	m.Run(t, "renew", name, "--wait", "--force")
	m.await(t, name, 1)
}
