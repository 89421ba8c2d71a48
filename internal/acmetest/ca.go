// Package acmetest is a certificate authority in memory that minds its clients' manners.
//
// A CA is an http.RoundTripper that speaks RFC 8555 and RFC 9773 well enough for real clients, checks what a client
// sends as a strict CA's operators would wish to, and fails the test on every breach: a nonce used twice, an order
// repeated for a certificate that is still good, a proof that is missing or left behind, a budget exceeded, a
// Retry-After ignored, and more (each is a call of misbehaved). It fails on script, too: answers are refused, lost or
// delayed, and validations go wrong.
//
// It is made for testing/synctest: it reads the time from time.Now, never sleeps and starts no goroutine. Delays are
// states that become true at a time and are seen by the next poll.
//
// It is for tests only and proves nothing about cryptography.
package acmetest

import (
	"cmp"
	"context"
	"crypto/x509"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Config says what kind of CA it is. Its zero value is a friendly and quick one that believes every proof.
type Config struct {
	BaseURL string // of all its URLs; "": https://ca.test

	Lifetime time.Duration            // of certificates; zero: 90 days
	Profiles map[string]time.Duration // lifetimes by profile, which the directory offers; nil: none

	Algorithms  []string          // of account signatures that it accepts; nil: all that it knows
	EAB         map[string][]byte // HMAC keys by kid, each good for one account; nil: none is known
	EABSigned   string            // the only algorithm of an EAB that it accepts; "": HS256
	RequireEAB  bool              // refuse accounts without one
	RenewalInfo bool              // offer RFC 9773
	RenewalPoll time.Duration     // how often renewal information is to be asked for; zero: every 6 hours
	// ExemptRenewals makes the limits of new orders and of registered domains, and HoldAccount, spare orders for the
	// names of a certificate that was issued within 120 days, as Let's Encrypt does.
	ExemptRenewals bool
	CRL            bool // name a revocation list in certificates, and serve it
	// IssuerLife is how long the issuing certificate lives, past which no certificate is issued; zero: 100 years.
	IssuerLife time.Duration
	LeafAlone  bool // the root issues, and no chain is sent with the leaf

	ValidateDelay time.Duration // from a challenge accepted to its authorization final; zero: at once
	FinalizeDelay time.Duration // from finalize to the certificate; zero: at once
	RetryAfter    time.Duration // sent with the answers to polls that came too early; zero: none is sent
	Prevalidated  bool          // authorizations are valid from the start, orders ready
	AuthzReuse    time.Duration // how long a valid authorization serves further orders of its account; zero: never

	// Retryable leaves a challenge whose validation failed pending, with its error inside, so that the client may accept it
	// again (RFC 8555 §8.2), as step-ca and Caddy do. Nothing else ends it but the order's end.
	Retryable bool
	// Terse leaves the authorizations out of an order that is invalid, as Vault does.
	Terse bool
	// Dated fixes the validity of the certificate when the order is made, and refuses to finalize past it, as step-ca does.
	Dated bool

	Limits    Limits  // what Exceeding fails the test; the zero Limits never do
	BadNonces float64 // share of good nonces that are refused
	Errors    float64 // share of requests answered 503, half of them after they took effect
	Seed      uint64  // of the two shares' dice

	// EarliestRenewal is the share of its lifetime after which a certificate may be renewed without the CA's
	// advice; zero: 0.45.
	EarliestRenewal float64
	// OrderGap is how long after an order for a set of names was asked for, or failed, the next one may be asked
	// for; zero: 1 min; negative: there is none.
	OrderGap time.Duration
	// ProofGrace is how long a proof may stay visible after the client learned that its authorization is final;
	// zero: it must be gone when the test ends, or CheckProofs looks.
	ProofGrace time.Duration

	// Fetch is how the CA sees an http-01 proof: it returns what is served for token by the host of that name.
	// It is called from within RoundTrip, and at the end of the test. nil: every proof is believed unseen.
	Fetch func(ctx context.Context, host, token string) (keyAuth string, err error)
}

// Entry is one request that reached the CA.
type Entry struct {
	// Op is "directory", "newNonce", "newAccount", "account", "newOrder", "order", "authz", "challenge", "finalize",
	// "certificate", "renewalInfo", "revokeCert", "keyChange" or "crl"; "" for a URL that the CA does not have.
	Op     string
	Method string
	URL    string
	Status int // of the answer, also when it got lost
	Time   time.Time
}

// logLimit is how many entries are kept.
const logLimit = 20_000

// CA is the authority. Its methods may be called from any goroutine.
type CA struct {
	t   testing.TB
	cfg Config

	mu        sync.Mutex // guards the following; never held over Fetch or an interceptor
	authority *authority
	nonces    nonces
	dice      *rand.Rand
	serial    uint64 // of everything that needs a number

	accounts   map[string]*account     // by URL
	byKey      map[string]*account     // by thumbprint
	bound      map[string]string       // kid of an external account to the thumbprint that it was bound to
	orders     map[string]*order       // by URL
	byAge      []*order                // the oldest first
	authzs     map[string]*authz       // by URL
	reusable   map[reuseKey]*authz     // the newest
	challenges map[string]*challenge   // by URL
	validating []*challenge            // accepted, not final
	proofs     []*authz                // whose proofs are still to be looked for when they are final
	issued     []*certificate          // certificate N has URL …/certificate/N
	byID       map[string]*certificate // by CertID
	sets       map[string]*set         // by their identifiers
	blocked    map[string]bool         // keys that are known to be compromised, SubjectPublicKeyInfo

	nextProofCheck time.Time

	buckets map[string]time.Time // theoretical arrival time by limit and subject
	script  script
	counts  map[string]int
	log     []Entry
}

// script is what a test wants to go wrong.
type script struct {
	down         bool
	intercept    func(*http.Request) *http.Response
	refuse, lose map[string]int
	validations  map[string]*problem // by identifier
	delays       map[string]time.Duration
	accountHold  hold
	caHold       hold
}

// New returns a CA that fails t on bad manners. When t ends, it looks for proofs that were left behind.
func New(t testing.TB, cfg Config) *CA {
	t.Helper()
	cfg.BaseURL = cmp.Or(strings.TrimSuffix(cfg.BaseURL, "/"), "https://ca.test")
	cfg.Lifetime = cmp.Or(cfg.Lifetime, 90*24*time.Hour)
	cfg.OrderGap = cmp.Or(cfg.OrderGap, time.Minute)
	cfg.EarliestRenewal = cmp.Or(cfg.EarliestRenewal, 0.45)
	authority, err := newAuthority(time.Now(), cfg.LeafAlone, cfg.IssuerLife)
	if err != nil {
		t.Fatalf("acmetest: making the CA's keys: %v", err)
	}
	ca := &CA{
		t: t, cfg: cfg, authority: authority,
		nonces:   nonces{open: make(map[string]struct{})},
		dice:     rand.New(rand.NewPCG(cfg.Seed, 0)),
		accounts: make(map[string]*account), byKey: make(map[string]*account), bound: make(map[string]string),
		orders: make(map[string]*order), authzs: make(map[string]*authz), reusable: make(map[reuseKey]*authz),
		challenges: make(map[string]*challenge), byID: make(map[string]*certificate), sets: make(map[string]*set),
		blocked: make(map[string]bool), buckets: make(map[string]time.Time), counts: make(map[string]int),
		script: script{
			refuse: make(map[string]int), lose: make(map[string]int), validations: make(map[string]*problem), delays: make(map[string]time.Duration),
		},
	}
	t.Cleanup(ca.CheckProofs)
	return ca
}

// DirectoryURL is where clients start.
func (ca *CA) DirectoryURL() string { return ca.cfg.BaseURL + "/directory" }

// Roots returns the CA's root, for verification.
func (ca *CA) Roots() *x509.CertPool { return ca.authority.roots() }

// RootPEM returns the CA's root as a file holds it.
func (ca *CA) RootPEM() []byte { return encodePEM(ca.authority.root.Raw) }

// Down makes every request fail like a network that is gone, until Down(false).
func (ca *CA) Down(down bool) { ca.scripted(func(s *script) { s.down = down }) }

// Intercept lets f answer requests instead of the CA, which does not see those; where f returns nil, the CA goes on.
// A nil f ends it.
func (ca *CA) Intercept(f func(*http.Request) *http.Response) {
	ca.scripted(func(s *script) { s.intercept = f })
}

// Refuse makes the next n requests of op fail in the network before they reach the CA: they have no effect.
func (ca *CA) Refuse(op string, n int) { ca.scripted(func(s *script) { s.refuse[op] += n }) }

// Lose makes the next n answers to op get lost in the network: the requests have their effect.
func (ca *CA) Lose(op string, n int) { ca.scripted(func(s *script) { s.lose[op] += n }) }

// FailValidation makes every validation of identifier fail with an ACME error type, given without its prefix, and
// detail. An empty problem ends it.
func (ca *CA) FailValidation(identifier, problemType, detail string) {
	ca.scripted(func(s *script) {
		delete(s.validations, identifier)
		if problemType != "" {
			s.validations[identifier] = refuse(http.StatusForbidden, problemType, "%s", detail)
		}
	})
}

// DelayValidation is ValidateDelay for one identifier.
func (ca *CA) DelayValidation(identifier string, d time.Duration) {
	ca.scripted(func(s *script) { s.delays[identifier] = d })
}

// HoldAccount makes the CA refuse new orders as rateLimited until then, with a Retry-After. A client that was told
// and orders again before fails the test.
func (ca *CA) HoldAccount(until time.Time) {
	ca.scripted(func(s *script) { s.accountHold = hold{until: until} })
}

// HoldAll makes the CA answer every request 503 until then, with a Retry-After. A client that was told and asks again
// before fails the test.
func (ca *CA) HoldAll(until time.Time) {
	ca.scripted(func(s *script) { s.caHold = hold{until: until} })
}

func (ca *CA) scripted(f func(*script)) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	f(&ca.script)
}

// Accept changes which algorithms of account signatures are accepted: see Config.Algorithms.
func (ca *CA) Accept(algorithms ...string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.cfg.Algorithms = algorithms
}

// AllowRepeat permits one more order for exactly these names, however soon: the test plays an operator who asks for
// it, or edits the spec.
func (ca *CA) AllowRepeat(names ...string) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.set(keyOf(names)).allowed++
}

// Amnesty forgets what its clients have spent of the limits, and when they were told to ask for renewal information
// again: the test plays somebody who sets their clocks, and with them what they know of that.
func (ca *CA) Amnesty() {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	clear(ca.buckets)
	for _, c := range ca.issued {
		c.nextPoll = time.Time{}
	}
}

// ForgetAccounts makes the CA forget its accounts, their orders and what the external accounts were bound to.
func (ca *CA) ForgetAccounts() {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	clear(ca.accounts)
	clear(ca.byKey)
	clear(ca.bound)
	clear(ca.orders)
	clear(ca.authzs)
	clear(ca.reusable)
	clear(ca.challenges)
	ca.byAge, ca.validating = nil, nil
}

// Count returns how many requests of op reached the CA, or how many of all for "".
func (ca *CA) Count(op string) int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return ca.counts[op]
}

// Counts returns how many requests of each op reached the CA.
func (ca *CA) Counts() map[string]int {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	counts := maps.Clone(ca.counts)
	delete(counts, "")
	return counts
}

// Log returns the newest requests, up to some 20,000, the oldest first.
func (ca *CA) Log() []Entry {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	return slices.Clone(ca.log)
}

// record counts and logs one request.
func (ca *CA) record(e Entry) {
	ca.counts[""]++
	ca.counts[e.Op]++
	if len(ca.log) >= 2*logLimit {
		ca.log = append(ca.log[:0], ca.log[logLimit:]...)
	}
	ca.log = append(ca.log, e)
}

// misbehaved fails the test.
func (ca *CA) misbehaved(format string, args ...any) {
	ca.t.Helper()
	ca.t.Errorf("acmetest: bad manners: %s", fmt.Sprintf(format, args...))
}
