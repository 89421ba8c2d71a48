package acmetest

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// proofCheckInterval is how often the CA looks for proofs that were left behind while the test goes on.
const proofCheckInterval = time.Hour

// authz is RFC 8555 §7.1.4.
type authz struct {
	Status     string       `json:"status"`
	Identifier identifier   `json:"identifier"`
	Wildcard   bool         `json:"wildcard,omitempty"`
	Expires    time.Time    `json:"expires"`
	Challenges []*challenge `json:"challenges"`

	url     string
	account *account
	ended   time.Time // when Status became final
	told    time.Time // when a client learned so; zero: none did
}

// challenge is RFC 8555 §8.
type challenge struct {
	Type      string     `json:"type"`
	URL       string     `json:"url"`
	Token     string     `json:"token"`
	Status    string     `json:"status"`
	Validated *time.Time `json:"validated,omitempty"`
	Error     *problem   `json:"error,omitempty"`

	authz   *authz
	due     time.Time // processing: when it is validated
	visible bool      // processing: the proof was there when the challenge was accepted
}

// reuseKey finds the authorization of an account for an identifier. As at Let's Encrypt, it belongs to the profile of its
// order.
type reuseKey struct {
	account *account
	id      identifier
	profile string
}

// statusAt is the status with expiry counted in.
func (a *authz) statusAt(now time.Time) string {
	switch {
	case now.Before(a.Expires):
	case a.Status == "pending":
		a.Status, a.ended = "expired", a.Expires
	case a.Status == "valid":
		a.Status = "expired" // its proof was over before
	}
	return a.Status
}

// tell notes that a client sees the status.
func (a *authz) tell(now time.Time) {
	if a.Status != "pending" && a.told.IsZero() {
		a.told = now
	}
}

// settled tells whether a client has had the time to take the proof away: grace since it knows that nobody needs it
// any more, and a day when it did not ask.
func (a *authz) settled(now time.Time, grace time.Duration) bool {
	switch {
	case a.statusAt(now) == "pending":
		return false
	case a.told.IsZero():
		return now.Sub(a.ended) >= orderLifetime
	}
	return now.Sub(a.told) >= grace
}

// problem is what an order with this authorization fails with.
func (a *authz) problem() *problem {
	for _, c := range a.Challenges {
		if c.Error != nil {
			return c.Error
		}
	}
	return refuse(http.StatusForbidden, "unauthorized", "the authorization for %s is %s", a.Identifier.Value, a.Status)
}

// authzFor returns an authorization for id: one that is valid still, or a new one.
func (ca *CA) authzFor(acc *account, id identifier, profile string, now time.Time) *authz {
	key := reuseKey{acc, id, profile}
	if a := ca.reusable[key]; a != nil && a.statusAt(now) == "valid" {
		return a
	}
	a := &authz{
		Status: "pending", Expires: now.Add(orderLifetime).Truncate(time.Second), url: ca.url("authz"), account: acc,
	}
	a.Identifier = identifier{id.Type, strings.TrimPrefix(id.Value, "*.")}
	a.Wildcard = a.Identifier != id
	ca.authzs[a.url] = a
	for _, kind := range kindsFor(id) {
		a.Challenges = append(a.Challenges, &challenge{
			Type: kind, URL: ca.url("challenge"), Token: ca.token(), Status: "pending", authz: a,
		})
	}
	for _, c := range a.Challenges {
		ca.challenges[c.URL] = c
	}
	if ca.cfg.Prevalidated {
		a.Status, a.ended = "valid", now
	} else if ca.cfg.Fetch != nil {
		ca.proofs = append(ca.proofs, a)
	}
	if ca.cfg.AuthzReuse > 0 {
		ca.reusable[key] = a
	}
	return a
}

// kindsFor returns the challenge types that can prove id (RFC 8738 §7: addresses have no dns-01).
func kindsFor(id identifier) []string {
	switch {
	case strings.HasPrefix(id.Value, "*."):
		return []string{"dns-01"}
	case id.Type == "ip":
		return []string{"http-01", "tls-alpn-01"}
	}
	return []string{"dns-01", "http-01", "tls-alpn-01"}
}

// token has 128 bits, as RFC 8555 §8.3 wants, though they are no secret here.
func (ca *CA) token() string {
	ca.serial++
	return base64.RawURLEncoding.EncodeToString(fmt.Appendf(nil, "token %016d", ca.serial))
}

// serveAuthz serves RFC 8555 §7.5.
func (ca *CA) serveAuthz(r *request) (*reply, *problem) {
	a := ca.authzs[r.url]
	if a == nil || a.account != r.account {
		return nil, refuse(http.StatusNotFound, "malformed", "no such authorization")
	}
	if string(r.payload) == `{"status":"deactivated"}` {
		a.Status, a.ended = "deactivated", r.now
	} else if p := ca.wantEmpty(r); p != nil {
		return nil, p
	}
	r.told = func() { a.tell(r.now) }
	rep := &reply{status: http.StatusOK, body: a}
	validating := slices.ContainsFunc(a.Challenges, func(c *challenge) bool { return c.Status == "processing" })
	if a.statusAt(r.now) == "pending" && validating {
		rep.retryAfter = ca.cfg.RetryAfter
	}
	return rep, nil
}

// serveChallenge serves RFC 8555 §7.5.1.
func (ca *CA) serveChallenge(r *request) (*reply, *problem) {
	c := ca.challenges[r.url]
	if c == nil || c.authz.account != r.account {
		return nil, refuse(http.StatusNotFound, "malformed", "no such challenge")
	}
	rep := &reply{status: http.StatusOK, body: c}
	switch {
	case len(r.payload) == 0:
		return rep, nil // only looking
	case string(r.payload) != "{}":
		ca.misbehaved("%s: a challenge is accepted with %.40q instead of {}", r.url, r.payload)
	}
	if c.authz.statusAt(r.now) != "pending" {
		ca.misbehaved("%s: accepted although its authorization is %s", r.url, c.authz.Status)
		return nil, refuse(http.StatusBadRequest, "malformed", "the authorization is %s", c.authz.Status)
	}
	if c.Status == "pending" {
		delay, own := ca.script.delays[c.authz.Identifier.Value]
		if !own {
			delay = ca.cfg.ValidateDelay
		}
		c.Status, c.Error, c.due = "processing", nil, r.now.Add(delay)
		ca.validating = append(ca.validating, c)
		r.accepted = c
	}
	return rep, nil
}

// firstLook checks that the proof of a challenge is there when it is accepted, and validates it if that is at once.
func (ca *CA) firstLook(r *request) {
	c := r.accepted
	err := ca.fetch(r.Context(), c)
	ca.mu.Lock()
	defer ca.mu.Unlock()
	if c.visible = err == nil; !c.visible {
		ca.misbehaved("%s for %s: accepted before its proof is visible: %v", c.Type, c.authz.Identifier.Value, err)
	}
	if !r.now.Before(c.due) {
		ca.conclude(c, err)
	}
}

// validate concludes the challenges whose time has come, and looks for proofs that should be gone. It does so only
// in requests during which x/crypto/acme holds no lock, because Fetch may have to wait for somebody.
func (ca *CA) validate(r *request) {
	if !slices.Contains([]string{"newOrder", "order", "authz", "challenge", "finalize"}, r.op) {
		return
	}
	for _, c := range ca.takeDue(r.now) {
		err := ca.fetch(r.Context(), c)
		ca.mu.Lock()
		ca.conclude(c, err)
		ca.mu.Unlock()
	}
	ca.checkOldProofs(r)
}

// takeDue takes the challenges that are to be validated now.
func (ca *CA) takeDue(now time.Time) (due []*challenge) {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	ca.validating = slices.DeleteFunc(ca.validating, func(c *challenge) bool {
		if now.Before(c.due) {
			return false
		}
		due = append(due, c)
		return true
	})
	return due
}

// conclude makes a challenge and its authorization final. It is called without any other validation of it going on.
func (ca *CA) conclude(c *challenge, err error) {
	if c.Status != "processing" {
		return
	}
	a := c.authz
	ca.validating = slices.DeleteFunc(ca.validating, func(v *challenge) bool { return v == c })
	if err != nil && c.visible {
		ca.misbehaved("%s for %s: the proof went away before it was validated: %v", c.Type, a.Identifier.Value, err)
	}
	c.Error = ca.script.validations[a.Identifier.Value]
	if c.Error == nil && err != nil {
		c.Error = refuse(http.StatusForbidden, "unauthorized", "%v", err)
	}
	if c.Error != nil && ca.cfg.Retryable {
		c.Status = "pending"
		ca.spendFailure(a, c.due)
		return
	}
	a.ended = c.due
	if c.Error != nil {
		c.Status, a.Status = "invalid", "invalid"
		ca.spendFailure(a, c.due)
		return
	}
	validated := c.due.Truncate(time.Second)
	c.Status, c.Validated, a.Status = "valid", &validated, "valid"
	a.Expires = c.due.Add(max(ca.cfg.AuthzReuse, orderLifetime)).Truncate(time.Second)
}

// fetch looks at a proof as a CA does; nil: it is right.
func (ca *CA) fetch(ctx context.Context, c *challenge) error {
	if ca.cfg.Fetch == nil || c.Type != "http-01" {
		return nil
	}
	got, err := ca.cfg.Fetch(context.WithoutCancel(ctx), c.authz.Identifier.Value, c.Token)
	if err == nil && strings.TrimRight(got, " \t\r\n") != c.Token+"."+c.authz.account.signer.thumbprint {
		return fmt.Errorf("%.40q is served instead of the key authorization", got)
	}
	return err
}

// CheckProofs fails the test for every http-01 proof that is still visible although its authorization is final. New
// arranges for it to be called when the test ends.
func (ca *CA) CheckProofs() {
	ca.mu.Lock()
	stale := ca.takeStale(time.Now(), ca.cfg.ProofGrace)
	ca.mu.Unlock()
	ca.checkGone(context.Background(), stale)
}

// checkOldProofs does the same now and then while the test goes on.
func (ca *CA) checkOldProofs(r *request) {
	ca.mu.Lock()
	var stale []staleProof
	if !r.now.Before(ca.nextProofCheck) {
		ca.nextProofCheck = r.now.Add(proofCheckInterval)
		stale = ca.takeStale(r.now, max(ca.cfg.ProofGrace, proofCheckInterval))
	}
	ca.mu.Unlock()
	ca.checkGone(r.Context(), stale)
}

// staleProof should not be visible any more.
type staleProof struct {
	host, token, status string
	ended               time.Time
}

// takeStale takes the authorizations that are settled out of those whose proofs are still to be looked for.
func (ca *CA) takeStale(now time.Time, grace time.Duration) (stale []staleProof) {
	ca.proofs = slices.DeleteFunc(ca.proofs, func(a *authz) bool {
		if !a.settled(now, grace) {
			return false
		}
		for _, c := range a.Challenges {
			if c.Type == "http-01" {
				stale = append(stale, staleProof{a.Identifier.Value, c.Token, a.Status, a.ended})
			}
		}
		return true
	})
	return stale
}

func (ca *CA) checkGone(ctx context.Context, stale []staleProof) {
	for _, p := range stale {
		if _, err := ca.cfg.Fetch(context.WithoutCancel(ctx), p.host, p.token); err == nil {
			ca.misbehaved("http-01 for %s: the proof is left behind; the authorization is %s since %v", p.host, p.status, p.ended)
		}
	}
}
