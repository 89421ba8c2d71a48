//go:build e2e

package boulder_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/miekg/dns"

	"acmed/test/boulder"
	"acmed/test/site"
)

// issuance is a certificate by one challenge.
type issuance struct {
	title     string
	name      string // of the spec, and the first name of the certificate
	spec      string
	attempted int // the challenge's number in Boulder's table of authorizations
	addresses bool
	validated int // authorizations
}

func challengeScenarios() (all []scenario) {
	for _, i := range []issuance{
		{title: "http-01", name: "http.example.net", attempted: 0, validated: 1},
		{title: "http-01, three names", name: "three.example.net", spec: "dnsNames: [three.example.net, two.example.net, one.example.net]\n", attempted: 0, validated: 3},
		{title: "dns-01, a wildcard and its apex", name: "wild.example.net", spec: "dnsNames: [wild.example.net, '*.wild.example.net']\nchallenge: {type: dns-01, provider: lab}\n", attempted: 1, validated: 2},
		{title: "tls-alpn-01", name: "alpn.example.net", spec: "challenge: {type: tls-alpn-01}\n", attempted: 2, validated: 1},
		{title: "dns-account-01", name: "dnsaccount.example.net", spec: "challenge: {type: dns-account-01, provider: lab}\n", attempted: 3, validated: 1},
		{title: "IP address, profile shortlived", name: "address", spec: "profile: shortlived\n", attempted: 0, addresses: true, validated: 1},
	} {
		all = append(all, scenario{i.title, true, i.run})
	}
	return all
}

// The most requests that an issuance for one name takes: newOrder, authorization, challenge, two polls of the order, finalize,
// one poll, certificate, renewal advice. Each further name takes two. A valid authorization is reused by the renewal.
const (
	issuanceRequests = 9
	renewalRequests  = 5
)

// run issues and renews a certificate.
func (i issuance) run(t *testing.T, s *suite) {
	m := s.newMachine(t, site.Options{})
	m.writeProvider(t)
	m.Start(t)
	if i.addresses {
		i.spec += fmt.Sprintf("ipAddresses: [%s]\n", m.address)
	} else {
		m.point(t, i.name, "one.example.net", "two.example.net")
	}
	s.row().issuance = s.count(t, func() {
		m.Spec(t, i.name, i.spec)
		m.await(t, i.name, 1)
	})
	s.row().issuance = withoutFirstContact(t, s.row().issuance)
	if got, most := s.row().issuance.Total(), issuanceRequests+2*(i.validated-1); got > most+slowPolls(s.row().issuance) {
		t.Errorf("the issuance took %d requests, want at most %d: %s", got, most, s.row().issuance)
	}
	rows := s.query(t, "SELECT COUNT(*) FROM authz2 WHERE registrationID=%s AND status=1 AND attempted=%d", m.account(t), i.attempted)
	if got := rows[0][0]; got != fmt.Sprint(i.validated) {
		t.Errorf("Boulder has %s valid authorizations by challenge %d, want %d", got, i.attempted, i.validated)
	}
	s.row().renewal = s.count(t, func() { m.Run(t, "renew", i.name, "--wait") })
	if got := s.row().renewal.Total(); got > renewalRequests+slowPolls(s.row().renewal) {
		t.Errorf("the renewal took %d requests, want %d: %s", got, renewalRequests, s.row().renewal)
	}
	if got := m.Live(t, i.name); got != 2 {
		t.Errorf("revision %d is in use after the renewal, want 2", got)
	}
}

// withoutFirstContact removes what a daemon asks once in its life.
func withoutFirstContact(t *testing.T, r boulder.Requests) boulder.Requests {
	t.Helper()
	if r["newAccount"] != 1 {
		t.Errorf("the first contact took %s, want one newAccount", r)
	}
	return r.Since(boulder.Requests{"newAccount": 1})
}

// slowPolls are the polls of an order beyond three, which a busy machine needs.
func slowPolls(r boulder.Requests) int { return max(r["order"]-3, 0) }

// writeProvider writes a DNS provider that publishes the records of dns-01 in challtestsrv.
func (m *machine) writeProvider(t *testing.T) {
	t.Helper()
	mux := http.NewServeMux()
	handle := func(path, verb string) {
		mux.HandleFunc("POST "+path, func(w http.ResponseWriter, r *http.Request) {
			var body struct{ FQDN, Value string }
			err := json.NewDecoder(r.Body).Decode(&body)
			if err == nil {
				err = m.lab.SetDNS(r.Context(), verb, map[string]any{"host": dns.Fqdn(body.FQDN), "value": body.Value})
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	handle("/present", "set-txt")
	handle("/cleanup", "clear-txt")
	service := httptest.NewServer(mux)
	t.Cleanup(service.Close)
	// challtestsrv has neither zones nor name servers, so that there is nothing to check before the CA does.
	m.Write(t, "dns.d/lab.yaml", fmt.Sprintf("httpReq: {url: %q}\npropagation: {check: false, resolvers: [%q]}\n", service.URL, boulder.ResolverAddress))
}
