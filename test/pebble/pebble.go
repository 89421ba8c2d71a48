// Package pebble runs Let's Encrypt's test CA, Pebble, and its DNS server,
// challtestsrv, as subprocesses on loopback ports of their own.
//
// It owns those two processes, their ports, their configuration and their
// logs. It never speaks ACME: what it knows of a client's requests, it reads
// in Pebble's log.
//
// What a test should know of Pebble v2.10.1 (read in its source):
//
//   - Retry-After is sent on every finalize answer and on an order that is
//     processing (both Options.RetryAfterOrder), and on an authorization that
//     is pending while one of its challenges is processing
//     (Options.RetryAfterAuthz). It is never sent on a challenge's answer, nor
//     on pending, ready or valid orders. Zero sends no header at all. The value
//     is seconds or an HTTP-date, at random. ARI answers always say 6 hours.
//   - The finalize answer always says "processing"; the certificate exists a
//     millisecond later.
//   - A certificate lives from the second of its issuance, with no backdating,
//     for its profile's lifetime less one second. One second is the least
//     (NotBefore equals NotAfter); zero becomes 90 days. Any lifetime works,
//     so that one of a minute or two gives real renewals.
//   - The ARI window is [2/3 of life - 24 h, 2/3 of life + 24 h], cut to the
//     certificate's life: with a lifetime of minutes it is the whole life, so a
//     client that draws an instant in it renews anywhere in it.
//   - Without a profile in the order, Pebble draws one of its profiles at
//     random.
//   - A rejected nonce leaves no trace of its own in the log.
//   - It exits when a port is taken, and forgets everything when it stops.
package pebble

import (
	"cmp"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"acmed/test/ca"
	"acmed/test/process"
)

// Options configure a CA. The zero value is a friendly one: it validates at
// once, accepts every nonce, hardly ever reuses an authorization, and sends no
// Retry-After.
type Options struct {
	// Dir holds configuration, keys and logs. [New] needs it; [Start] defaults
	// to a temporary folder of the test.
	Dir string

	// HTTPPort and TLSPort are where http-01 and tls-alpn-01 are validated.
	// Zero chooses free ports, see [Server.HTTPAddr] and [Server.TLSAddr].
	HTTPPort, TLSPort int

	// Profiles maps each profile to the lifetime of its certificates, in whole
	// seconds. Nil is one profile, "default", of 90 days.
	Profiles map[string]time.Duration

	// EAB maps key identifiers to HMAC keys. When there are any, an account
	// needs one of them; a key can be used more than once.
	EAB map[string][]byte

	// RetryAfterAuthz and RetryAfterOrder are in whole seconds; zero sends no
	// header.
	RetryAfterAuthz, RetryAfterOrder time.Duration

	// KeyAlgorithm of the issuing keys is "ecdsa" (also when empty) or "rsa".
	// The management interface hands out RSA keys only.
	KeyAlgorithm string

	// BlockedNames are refused with rejectedIdentifier.
	BlockedNames []string

	// NonceReject is how many percent of the good nonces are refused.
	NonceReject int

	// AuthzReuse is how many percent of the valid authorizations are reused.
	// Zero still reuses one in a hundred.
	AuthzReuse int

	// DNSServer is asked by the CA in place of challtestsrv, a host and port; "": challtestsrv is.
	DNSServer string

	// AlwaysValid accepts every challenge without looking.
	AlwaysValid bool

	// MaxValidationDelay is in whole seconds: each validation first waits for a
	// random time below it. Zero does not wait.
	MaxValidationDelay time.Duration

	// AlternateRoots is how many chains are offered besides the default one.
	AlternateRoots int

	// ChainLength is the number of intermediates; zero means one.
	ChainLength int
}

// Server is a running Pebble with its DNS server, which answers 127.0.0.1 for
// every name and has no IPv6.
type Server struct {
	// DirectoryURL is the same after a restart.
	DirectoryURL string
	// RootsFile is the PEM file of the root that vouches for the CA's own
	// listeners, what a client calls its CA bundle. It vouches for nothing that
	// the CA issues.
	RootsFile string
	// ManagementURL has no trailing slash.
	ManagementURL string
	// DNSURL is challtestsrv's management interface, without a trailing slash.
	DNSURL string
	// DNSAddr is where challtestsrv answers DNS queries.
	DNSAddr string
	// HTTPAddr and TLSAddr are where the CA looks for proofs: the client's
	// listeners belong there.
	HTTPAddr, TLSAddr string

	options Options
	tools   Tools
	client  *ca.Client
	dns, ca *process.Process
}

// New starts a CA and waits until it answers. The context bounds only that
// wait. The caller must Close the server.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("starting pebble: Options.Dir is empty")
	}
	tools, err := Build()
	if err != nil {
		return nil, err
	}
	return ca.OnFreePorts(func() (*Server, error) { return start(ctx, tools, o) })
}

func start(ctx context.Context, tools Tools, o Options) (*Server, error) {
	s := &Server{options: o, tools: tools, RootsFile: filepath.Join(o.Dir, "roots.pem")}
	root, err := ca.NewRoot("root of a test CA's listeners")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(root.WriteCertificate(s.RootsFile), root.WriteListener(o.Dir, "listener")); err != nil {
		return nil, err
	}
	s.client = ca.NewClient(root.Certificate)
	ports, err := process.FreePorts(6)
	if err != nil {
		return nil, err
	}
	acme, management, dns, dnsManagement := process.Loopback(ports[0]), process.Loopback(ports[1]), process.Loopback(ports[2]), process.Loopback(ports[3])
	s.HTTPAddr, s.TLSAddr = process.Loopback(orPort(o.HTTPPort, ports[4])), process.Loopback(orPort(o.TLSPort, ports[5]))
	s.DirectoryURL, s.ManagementURL = "https://"+acme+"/dir", "https://"+management
	s.DNSAddr, s.DNSURL = dns, "http://"+dnsManagement
	if err := s.writeConfig(acme, management); err != nil {
		return nil, err
	}
	err = s.startDNS(ctx, dnsManagement)
	if err == nil {
		err = s.startCA(ctx)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) startDNS(ctx context.Context, management string) (err error) {
	s.dns, err = process.Start(s.tools.ChallTestSrv, filepath.Join(s.options.Dir, "challtestsrv.log"), nil,
		"-dnsserver", s.DNSAddr, "-management", management, "-defaultIPv4", "127.0.0.1", "-defaultIPv6", "",
		"-http01", "", "-https01", "", "-tlsalpn01", "", "-doh", "")
	if err != nil {
		return err
	}
	return s.dns.AwaitReady(ctx, func(ctx context.Context) error {
		return errors.Join(lookup(ctx, s.DNSAddr), s.client.Answers(ctx, s.DNSURL))
	})
}

func (s *Server) startCA(ctx context.Context) (err error) {
	s.ca, err = process.Start(s.tools.Pebble, s.logFile(), s.options.environment(),
		"-strict", "-config", s.configFile(), "-dnsserver", cmp.Or(s.options.DNSServer, s.DNSAddr))
	if err != nil {
		return err
	}
	return s.ca.AwaitReady(ctx, func(ctx context.Context) error {
		// Below the directory there is no endpoint, so this leaves no trace in
		// the log.
		return errors.Join(s.client.Answers(ctx, s.DirectoryURL+"/none"), s.client.Answers(ctx, s.ManagementURL))
	})
}

// Stop ends the CA at once, as a crash does. DNS stays.
func (s *Server) Stop() {
	if s.ca != nil {
		s.ca.Kill()
	}
}

// Restart ends the CA, unless it is stopped already, and starts it with the
// same addresses and listener certificate. Pebble keeps nothing: accounts,
// orders, certificates and issuing roots are gone. Request counts go on.
func (s *Server) Restart(ctx context.Context) error {
	s.Stop()
	return s.startCA(ctx)
}

// Close ends both processes.
func (s *Server) Close() {
	s.Stop()
	if s.dns != nil {
		s.dns.Kill()
	}
	s.client.Close()
}

// IssuingRoots returns the roots of the chains that the CA offers, the default
// chain's first.
func (s *Server) IssuingRoots(ctx context.Context) ([]*x509.Certificate, error) {
	var roots []*x509.Certificate
	for n := range 1 + s.options.AlternateRoots {
		pem, err := s.client.Get(ctx, fmt.Sprintf("%s/roots/%d", s.ManagementURL, n))
		if err != nil {
			return nil, err
		}
		root, err := ca.Parse(pem)
		if err != nil {
			return nil, err
		}
		roots = append(roots, root)
	}
	return roots, nil
}

// Revoked tells whether the CA has revoked a certificate.
func (s *Server) Revoked(ctx context.Context, leaf *x509.Certificate) (bool, error) {
	body, err := s.client.Get(ctx, fmt.Sprintf("%s/cert-status-by-serial/%x", s.ManagementURL, leaf.SerialNumber))
	if err != nil {
		return false, err
	}
	var answer struct{ Status string }
	err = json.Unmarshal(body, &answer)
	return answer.Status == "Revoked", err
}

// SetRenewalInfo makes the CA answer ARI queries for the certificate with
// info, which need not even be JSON.
func (s *Server) SetRenewalInfo(ctx context.Context, certPEM []byte, info string) error {
	body := map[string]string{"Certificate": string(certPEM), "ARIResponse": info}
	_, err := s.client.Post(ctx, s.ManagementURL+"/set-renewal-info/", body)
	return err
}

// SetDNS calls challtestsrv, for example SetDNS(ctx, "set-servfail",
// map[string]any{"host": "www.example.com."}).
func (s *Server) SetDNS(ctx context.Context, verb string, body map[string]any) error {
	_, err := s.client.Post(ctx, s.DNSURL+"/"+verb, body)
	return err
}

// Log returns what Pebble has written so far.
func (s *Server) Log() ([]byte, error) {
	return os.ReadFile(s.logFile())
}

func (s *Server) logFile() string    { return filepath.Join(s.options.Dir, "pebble.log") }
func (s *Server) configFile() string { return filepath.Join(s.options.Dir, "pebble.json") }
