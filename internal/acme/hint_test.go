package acme_test

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/acme"
)

// TestANameThatTheCACannotLookUpGetsAHintAboutDNS is about the words of several CAs and libraries, whatever type the CA gives
// the problem: no port of this machine is at fault.
func TestANameThatTheCACannotLookUpGetsAHintAboutDNS(t *testing.T) {
	const (
		address = "a.test resolves to this machine in public DNS"
		servers = "the public name servers of a.test answer"
		txt     = "all serve the TXT record _acme-challenge"
		caa     = "answers queries for CAA records"
	)
	for detail, c := range map[string]struct{ challenge, word, want string }{
		"Could not resolve host": {"http-01", "connection", address},
		"error dialing a.test: lookup a.test on 10.0.0.2:53: no such host":      {"http-01", "connection", address},
		"dial tcp: lookup a.test: no such host":                                 {"tls-alpn-01", "connection", address},
		"DNS problem: NXDOMAIN looking up A for a.test":                         {"http-01", "dns", address},
		"No valid IP addresses found for a.test":                                {"http-01", "unauthorized", address},
		"no valid A records found for a.test; no valid AAAA records found":      {"http-01", "dns", address},
		"Temporary failure in name resolution":                                  {"http-01", "incorrectResponse", address},
		"DNS problem: SERVFAIL looking up A for a.test":                         {"http-01", "dns", servers},
		"DNS problem: query timed out looking up A for a.test":                  {"tls-alpn-01", "dns", servers},
		"DNS problem: SERVFAIL looking up CAA for a.test":                       {"http-01", "dns", caa},
		"While processing CAA for a.test: DNS problem: looking up CAA: timeout": {"dns-01", "caa", caa},
		"DNS problem: NXDOMAIN looking up TXT for _acme-challenge.a.test":       {"dns-01", "dns", txt},
		"error looking up TXT records for domain: no such host":                 {"dns-01", "connection", txt},
		"any other words":                                  {"dns-account-01", "dns", txt},
		"Incorrect TXT record found":                       {"dns-01", "unauthorized", txt},
		"Connection refused":                               {"http-01", "connection", "reachable from the Internet on port 80"},
		"Timeout during connect (likely firewall problem)": {"tls-alpn-01", "connection", "reachable from the Internet on port 443"},
		"Connection timed out":                             {"dns-01", "connection", "name servers of a.test can be reached"},
		"remote error: tls: handshake failure":             {"http-01", "tls", "on port 80 without a redirect"},
		"Incorrect validation certificate":                 {"tls-alpn-01", "tls", "nothing else may terminate TLS"},
		"CAA record for a.test prevents issuance":          {"http-01", "caa", "allow this CA in the CAA record"},
		"Invalid response from http://a.test/: 404":        {"http-01", "unauthorized", "no other server answers for it"},
	} {
		f := newFake(t)
		f.on("POST /authz/1", ok(authzJSON("invalid", fmt.Sprintf(`{"type":%q,"error":{"type":"urn:ietf:params:acme:error:%s","detail":%q}}`, c.challenge, c.word, detail))))
		if e := f.client().Failure(t.Context(), anOrder("invalid")); !strings.Contains(e.Hint, c.want) {
			t.Errorf("%s of %s, %q: got %q, want %q", c.word, c.challenge, detail, e.Hint, c.want)
		}
	}
}

// TestARefusedRequestIsNotBlamedOnTheName is about "unauthorized" as the answer to a request: only a challenge is about a name.
func TestARefusedRequestIsNotBlamedOnTheName(t *testing.T) {
	for _, op := range []string{acme.OpFinalize, acme.OpCertificate, acme.OpAuthorization, acme.OpChallenge} {
		e := acme.Classify(op, 403, []byte(document("unauthorized", "account is not allowed")))
		if strings.Contains(e.Hint, "points to this machine") || e.Hint == "" {
			t.Errorf("%s: got %q", op, e.Hint)
		}
	}
}

// TestAnOrderThatNamesNoNameHasAHintForAll is about orders that are invalid for what their authorizations lack.
func TestAnOrderThatNamesNoNameHasAHintForAll(t *testing.T) {
	for _, challenge := range []string{"", "http-01", "tls-alpn-01", "dns-01"} {
		e := acme.Classify(acme.OpAuthorization, 0, []byte(document("connection", "Connection refused")))
		e.Op = acme.OpOrder
		want := map[string]string{"tls-alpn-01": "port 443", "dns-01": "port 53"}[challenge]
		if hint := e.HintFor(challenge); strings.Contains(hint, "http://the name") || !strings.Contains(hint, cmp.Or(want, "of every name")) {
			t.Errorf("%s: got %q", challenge, hint)
		}
	}
}

// TestACAThatIsNotReachedGetsAHintAboutTheCause is about what can go wrong between this machine and a CA.
func TestACAThatIsNotReachedGetsAHintAboutTheCause(t *testing.T) {
	at := &url.URL{Scheme: "https", Host: "ca.test:14000"}
	dial := func(err error) error {
		return &url.Error{Op: "Get", URL: "https://ca.test", Err: &net.OpError{Op: "dial", Err: err}}
	}
	cert := func(err error) error { return &tls.CertificateVerificationError{Err: err} }
	for want, err := range map[string]error{
		"this machine resolves ca.test, see /etc/resolv.conf; correct directory": dial(&net.DNSError{Err: "no such host", Name: "ca.test", IsNotFound: true}),
		"this machine resolves proxy.test, see /etc/resolv.conf":                 dial(&net.DNSError{Err: "server misbehaving", Name: "proxy.test"}),
		"reaches the CA on port 14000":                                           dial(syscall.ECONNREFUSED),
		"the clock of this machine":                                              cert(x509.CertificateInvalidError{Cert: &x509.Certificate{NotAfter: time.Now()}, Reason: x509.Expired}),
		"that server is another one":                                             cert(x509.HostnameError{Certificate: &x509.Certificate{}, Host: "ca.test"}),
		"set caBundle in the issuer":                                             cert(x509.UnknownAuthorityError{}),
		"that server speaks no TLS":                                              tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"},
		"which versions of TLS it accepts":                                       &net.OpError{Op: "remote error", Err: errors.New("tls: protocol version not supported")},
	} {
		if e := acme.NetworkError(at, err); !strings.Contains(e.Hint, want) {
			t.Errorf("%v: got %q, want %q", err, e.Hint, want)
		}
	}
}
