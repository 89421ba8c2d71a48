//go:build e2e

package boulder_test

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/boulder"
	"acmed/test/site"
)

// failingScenarios are of orders that fail and what becomes of the certificates after it.
func failingScenarios() []scenario {
	return []scenario{
		{"two remote perspectives down", true, perspectivesDown},
		{"CT logs down during finalize", true, logsDown},
		{"three names: two slow, one fails", true, slowNames},
		{"100 names, one refused", true, manyNames},
		{"100 names, validated at once", false, hundredNames},
		{"profile not permitted", true, profileForbidden},
		{"paused account", true, pausedAccount},
	}
}

// perspectivesDown: an authorization becomes invalid with serverInternal. The order is over; a new one brings the certificate.
func perspectivesDown(t *testing.T, s *suite) {
	const name = "perspectives.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	s.lab.Stop(boulder.RemoteA, boulder.RemoteB)
	m.Spec(t, name, "")
	failure := m.fails(t, name)
	check(t, s.lab.Start(t.Context(), boulder.RemoteA, boulder.RemoteB))
	if failure.Kind != "transient" || failure.Problem != "serverInternal" {
		t.Errorf("the failure is %s, %s, want transient, serverInternal", failure.Kind, failure.Problem)
	}
	s.wantOrders(t, m, 1)
	s.row().issuance = s.count(t, func() { m.Run(t, "renew", name, "--wait") })
	m.await(t, name, 1)
	s.wantOrders(t, m, 2)
}

// logsDown: an order becomes invalid with serverInternal after finalize. The authorization stays valid and is reused.
func logsDown(t *testing.T, s *suite) {
	const name = "logs.example.net"
	m := s.start(t, site.Options{})
	m.point(t, name)
	s.lab.Stop(boulder.CT)
	m.Spec(t, name, "")
	failure := m.fails(t, name)
	check(t, s.lab.Start(t.Context(), boulder.CT))
	if failure.Kind != "transient" || failure.Problem != "serverInternal" {
		t.Errorf("the failure is %s, %s, want transient, serverInternal", failure.Kind, failure.Problem)
	}
	s.row().issuance = s.count(t, func() { m.Run(t, "renew", name, "--wait") })
	m.await(t, name, 1)
	s.wantOrders(t, m, 2)
	if got := s.row().issuance; got.Total() > renewalRequests+slowPolls(got) || got["authorization"] > 0 {
		t.Errorf("the new order took %s, want the valid authorization reused", got)
	}
}

// wantOrders checks how many orders Boulder has of the machine's account.
func (s *suite) wantOrders(t *testing.T, m *machine, want int) {
	t.Helper()
	rows := s.query(t, "SELECT COUNT(*) FROM orders WHERE registrationID=%s", m.account(t))
	if got := rows[0][0]; got != strconv.Itoa(want) {
		t.Errorf("Boulder has %s orders, want %d", got, want)
	}
}

// slowNames: an order becomes invalid at the first name that fails, while Boulder goes on to validate the others. Their
// challenge responses stay, so that they become valid, and the next order has only the failed name to validate.
func slowNames(t *testing.T, s *suite) {
	const name, bad = "slow-three.example.net", "slow-bad.example.net"
	good := []string{"slow-good1.example.net", "slow-good2.example.net"}
	m := s.start(t, site.Options{Limits: "failuresPerNamePerHour: 1"})
	check(t, s.lab.Point(t.Context(), slowServer(t, s, m, time.Second), good...))
	check(t, s.lab.SetDNS(t.Context(), "set-servfail", map[string]any{"host": bad + "."}))
	m.Spec(t, name, fmt.Sprintf("dnsNames: [%s, %s]\n", strings.Join(good, ", "), bad))
	failure := m.fails(t, name)
	if failure.Kind != "validation" || !slices.Equal(failedNames(failure), []string{bad}) {
		t.Errorf("the status names %q (%s), want %s alone (validation)", failedNames(failure), failure.Kind, bad)
	}
	s.wantAuthorizations(t, m, map[string]string{good[0]: valid, good[1]: valid, bad: invalid})
	// The good names have no failure to their account: they may be ordered at once.
	m.Spec(t, "slow-good", fmt.Sprintf("dnsNames: [%s]\n", strings.Join(good, ", ")))
	m.await(t, "slow-good", 1)
	m.point(t, bad)
	m.allow(t, "failuresPerNamePerHour: 0") // the limit of one binds also what is asked for by hand
	s.row().issuance = s.count(t, func() { m.Run(t, "renew", name, "--wait", "--force") })
	m.await(t, name, 1)
	if got := s.row().issuance; got["challenge"] != 1 {
		t.Errorf("the next order took %s, want one challenge", got)
	}
}

// allow changes the limits of the issuer.
func (m *machine) allow(t *testing.T, limits string) {
	t.Helper()
	file := filepath.Join("issuers.d", "boulder.yaml")
	text, err := os.ReadFile(m.Path(file))
	check(t, err)
	m.Write(t, file, regexp.MustCompile(`limits: \{.*\}`).ReplaceAllString(string(text), "limits: {"+limits+"}"))
	m.Run(t, "reload")
}

// manyNames is slowNames with 100 names, of which one has a closed port.
func manyNames(t *testing.T, s *suite) {
	const name, bad = "many.example.net", "refused.many.example.net"
	names, want := []string{}, map[string]string{bad: invalid}
	for i := range 99 {
		names = append(names, fmt.Sprintf("n%d.many.example.net", i))
		want[names[i]] = valid
	}
	m := s.start(t, site.Options{})
	check(t, s.lab.Point(t.Context(), slowServer(t, s, m, 300*time.Millisecond), names...))
	check(t, s.lab.Point(t.Context(), s.address(t), bad))
	m.Spec(t, name, fmt.Sprintf("dnsNames: [%s, %s]\n", strings.Join(names, ", "), bad))
	failure := m.fails(t, name)
	if failure.Kind != "validation" || !slices.Equal(failedNames(failure), []string{bad}) {
		t.Errorf("the status names %q (%s), want %s alone (validation)", failedNames(failure), failure.Kind, bad)
	}
	s.wantAuthorizations(t, m, want)
	m.point(t, bad)
	s.row().issuance = s.count(t, func() { m.Run(t, "renew", name, "--wait", "--force") })
	m.await(t, name, 1)
	if got := s.row().issuance; got["challenge"] != 1 {
		t.Errorf("the next order took %s, want one challenge", got)
	}
}

// hundredNames: five perspectives, with one address between them, look for 100 challenge responses at the same time.
func hundredNames(t *testing.T, s *suite) {
	const name = "hundred.example.net"
	names := []string{}
	for i := range 100 {
		names = append(names, fmt.Sprintf("n%d.hundred.example.net", i))
	}
	m := s.start(t, site.Options{})
	m.point(t, names...)
	m.Spec(t, name, fmt.Sprintf("dnsNames: [%s]\n", strings.Join(names, ", ")))
	m.await(t, name, 1)
	s.wantOrders(t, m, 1)
	s.row().renewal = s.count(t, func() { m.Run(t, "renew", name, "--wait") })
}

// failedNames are the names that a failure is about.
func failedNames(f control.Failure) (names []string) {
	for _, sub := range f.Subproblems {
		names = append(names, sub.Identifier)
	}
	if f.Identifier != "" && !slices.Contains(names, f.Identifier) {
		names = append(names, f.Identifier)
	}
	slices.Sort(names)
	return names
}

// The states of an authorization in Boulder's database.
const (
	valid   = "1"
	invalid = "2"
)

// wantAuthorizations checks the state of each name's only authorization of the machine's account.
func (s *suite) wantAuthorizations(t *testing.T, m *machine, want map[string]string) {
	t.Helper()
	rows := s.query(t, "SELECT identifierValue, status, COALESCE(CONVERT(validationError USING utf8), '') FROM authz2 WHERE registrationID=%s", m.account(t))
	if len(rows) != len(want) {
		t.Errorf("Boulder has %d authorizations, want %d", len(rows), len(want))
	}
	wrong := 0
	for _, row := range rows {
		if want[row[0]] == row[1] {
			continue
		}
		if wrong++; wrong <= 3 {
			t.Errorf("the authorization of %s has state %s, want %s: %s", row[0], row[1], want[row[0]], row[2])
		}
	}
	if wrong > 3 {
		t.Errorf("%d of %d authorizations have another state than wanted", wrong, len(rows))
	}
}

// slowServer is a web server in front of a machine's, which answers after a delay.
func slowServer(t *testing.T, s *suite, m *machine, delay time.Duration) netip.Addr {
	t.Helper()
	behind := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: netip.AddrPortFrom(m.address, 80).String()})
	transport := &http.Transport{MaxConnsPerHost: 8} // acmed bounds the connections of one address
	t.Cleanup(transport.CloseIdleConnections)
	behind.Transport = transport
	return serveAt(t, s, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(delay):
			behind.ServeHTTP(w, r)
		case <-r.Context().Done():
		}
	}))
}

// profileForbidden: the failure is the certificate's alone, and its end is an edit of the spec.
func profileForbidden(t *testing.T, s *suite) {
	const name, other = "profile.example.net", "profile-other.example.net"
	check(t, s.lab.Set(t.Context(), func(o *boulder.Options) {
		o.Profiles["closed"] = boulder.Profile{Allowed: []int64{}}
	}, boulder.RA, boulder.CA, boulder.WFE))
	m := s.start(t, site.Options{})
	m.point(t, name, other)
	m.Spec(t, name, "profile: closed\n")
	failure := m.fails(t, name)
	if failure.Kind != "permanent" || !strings.Contains(failure.Hint, "profile") || !strings.Contains(failure.Hint, "closed") {
		t.Errorf("the failure is %s with the hint %q, want permanent with the profile", failure.Kind, failure.Hint)
	}
	m.Spec(t, other, "")
	m.await(t, other, 1)
	m.Spec(t, name, "{}\n")
	m.await(t, name, 1)
}

// pausedAccount: only the URL that Boulder names ends a pause. acmed shows it whole and asks no more by itself.
func pausedAccount(t *testing.T, s *suite) {
	const other, name = "free.example.net", "paused"
	names := []string{"a-long-name-of-a-paused-one.example.net", "another-long-paused-name.example.net", "yet-another-paused-one.example.net"}
	m := s.start(t, site.Options{})
	m.point(t, append(names, other)...)
	m.Spec(t, other, "")
	m.await(t, other, 1)
	for _, n := range names {
		s.query(t, "INSERT INTO paused (registrationID, identifierType, identifierValue, pausedAt) VALUES (%s, 0, '%s', UTC_TIMESTAMP())", m.account(t), n)
	}
	m.Spec(t, name, fmt.Sprintf("dnsNames: [%s]\n", strings.Join(names, ", ")))
	failure := m.fails(t, name)
	if failure.Kind != "permanent" || !strings.Contains(failure.Hint, "open the URL") || !strings.Contains(failure.Hint, "acmed renew "+name) {
		t.Errorf("the failure is %s with the hint %q, want permanent, open the URL, acmed renew", failure.Kind, failure.Hint)
	}
	page := unpausePage(failure.Detail)
	if page == "" {
		t.Fatalf("the detail has no URL: %s", failure.Detail)
	}
	if out := m.Run(t, "status", name); !strings.Contains(out, page) {
		t.Errorf("acmed status does not show %s:\n%s", page, out)
	}
	m.Spec(t, "free2", "dnsNames: ["+other+"]\n") // other names of the account are not paused
	m.await(t, "free2", 1)
	check(t, s.lab.Unpause(t.Context(), page))
	s.row().issuance = s.count(t, func() { m.Run(t, "renew", name, "--wait") })
	m.await(t, name, 1)
}

func unpausePage(detail string) string {
	for word := range strings.FieldsSeq(detail) {
		if strings.HasPrefix(word, "https://") && strings.Contains(word, "unpause") {
			return strings.TrimRight(word, `."`)
		}
	}
	return ""
}
