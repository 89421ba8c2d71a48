package acme

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	xacme "golang.org/x/crypto/acme"
	"golang.org/x/sync/errgroup"
)

// proof computes what a Solver shows (RFC 8555 §8.1).
func (c *Client) proof(typ string, id Identifier, token string) (Proof, *Error) {
	if !base64URL(token, 16, 128) {
		return Proof{}, oddAnswer(OpAuthorization, 0, "the CA's token is not one: "+token)
	}
	x := &xacme.Client{Key: c.key}
	p := Proof{Type: typ, Identifier: id, Token: token}
	var err error
	p.KeyAuth, err = x.HTTP01ChallengeResponse(token)
	switch typ {
	case "dns-01":
		p.DNSValue, err = x.DNS01ChallengeRecord(token)
	case DNSAccount01:
		p.DNSLabel = accountLabel(c.account())
		p.DNSValue, err = x.DNS01ChallengeRecord(token)
	case "tls-alpn-01":
		cert, cerr := x.TLSALPN01ChallengeCert(token, id.Value)
		p.TLSCert, err = &cert, cerr
	}
	if err != nil {
		return Proof{}, &Error{Kind: Transient, Op: OpAuthorization, Problem: problemConfiguration,
			Identifier: id.Value, Detail: clean(err.Error()), Err: err}
	}
	return p, nil
}

// DNSAccount01 is dns-01 at a name of the account's own (draft-ietf-acme-dns-account-label).
const DNSAccount01 = "dns-account-01"

// accountLabel is the label of an account, by its URL.
func accountLabel(url string) string {
	sum := sha256.Sum256([]byte(url))
	return "_" + strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

func noChallenge(a *wireAuthorization, typ, name string) *Error {
	var offered []string
	for _, ch := range a.Challenges {
		offered = append(offered, ch.Type)
	}
	list := clean(strings.Join(offered, ", "))
	return &Error{Kind: Permanent, Op: OpAuthorization, Problem: problemNoChallenge, Identifier: clean(name),
		Detail: "the CA offers no " + typ + " challenge, only: " + list,
		Hint:   "set challenge.type in the spec to one that the CA offers: " + list}
}

// Accept tells the CA that the challenge response is visible (RFC 8555 §7.5.1), and returns what the CA answers about
// the authorization. Some CAs validate before they answer. Repeating it does no harm; where the CA leaves a challenge
// pending with an error, it makes the CA validate once more (RFC 8555 §8.2).
func (c *Client) Accept(ctx context.Context, ch Challenge) (_ Authorization, err error) {
	open := Authorization{URL: ch.Authorization, Name: ch.Name, Challenge: ch}
	if ch.Accepted {
		return open, nil
	}
	defer c.finish(OpChallenge, &err)
	url, err := c.resolve(OpChallenge, c.base, ch.URL)
	if err != nil {
		return open, err
	}
	a, err := c.post(ctx, OpChallenge, url, struct{}{})
	if e, ok := errors.AsType[*Error](err); ok && e.Problem == problemMalformed && c.decided(ctx, ch) {
		return open, nil
	}
	if err != nil {
		return open.refused(err), err
	}
	var w wireChallenge
	if err := a.decode(OpChallenge, &w); err != nil {
		return open, err
	}
	w.Type = ch.Proof.Type
	open.State, open.Error = w.outcome(ch.Name)
	open.RetryAfter = retryAfter(a.header)
	return open, nil
}

// refused is a after the CA answered a POST to its challenge with err: unless the CA asks for patience, it does not validate.
func (a Authorization) refused(err error) Authorization {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Status/100 != 4 || e.Kind == RateLimited {
		return a
	}
	named := *e
	named.Identifier = clean(a.Name)
	a.State, a.Error = Lost, &named
	return a
}

// decided reports whether an authorization is past its challenge, which is why a CA may refuse a POST to the challenge.
// The order shows the outcome.
func (c *Client) decided(ctx context.Context, ch Challenge) bool {
	_, a, err := c.authorization(ctx, ch.Authorization)
	return err == nil && a.Status != statusPending
}

// AcceptAll accepts several challenges at once. On an error the result still has an element for each challenge.
func (c *Client) AcceptAll(ctx context.Context, challenges []Challenge) ([]Authorization, error) {
	all := make([]Authorization, len(challenges))
	var g errgroup.Group // one failure must not cancel the others' POSTs half-way
	g.SetLimit(maxParallel)
	for i, ch := range challenges {
		g.Go(func() (err error) {
			all[i], err = c.Accept(ctx, ch)
			return err
		})
	}
	return all, g.Wait()
}

// Failure returns why an order is invalid, from its authorizations and its own error. It is never nil.
func (c *Client) Failure(ctx context.Context, o *Order) *Error {
	all, err := c.Authorizations(ctx, o, "")
	e := Reason(o, all)
	e.Err = err
	c.Count(e)
	return e
}

// Reason returns why an order is invalid, from its authorizations and its own error. It is never nil, and Final.
func Reason(o *Order, all []Authorization) *Error {
	_, e := Remaining(all)
	switch {
	case e != nil:
	case o.Error != nil:
		own := *o.Error
		e = &own
	default:
		e = &Error{Kind: Validation, Op: OpOrder, Problem: problemOther, Detail: "the order is " + string(o.Status) + " and the CA does not say why"}
	}
	e.Final = true
	return e
}

// Count counts an error that the CA reported inside an object, such as a challenge: those of refused requests are counted
// already.
func (c *Client) Count(e *Error) { c.metrics.failed(c.issuer, e) }

// failure says why an authorization is lost.
func (a *wireAuthorization) failure(name string) *Error {
	for _, ch := range a.Challenges {
		if e := ch.failure(name); e != nil {
			return e
		}
	}
	return &Error{Kind: Validation, Op: OpAuthorization, Problem: problemOther, Identifier: clean(name),
		Detail: "the authorization is " + clean(a.Status)}
}

// failure is the error of a challenge; nil: it has none. The CA offered the challenge for that very name: whatever the
// problem is called, it is no refusal of the name, and it concerns no other order.
func (ch wireChallenge) failure(name string) *Error {
	if ch.Error == nil {
		return nil
	}
	e := classify(OpAuthorization, 0, *ch.Error, 0, time.Now())
	e.Identifier, e.Whole = clean(name), false
	e.Hint = hint(e, ch.Type)
	if e.Kind == Permanent {
		e.Kind, e.Hint = Validation, hintUnauthorized(e, e.Identifier, ch.Type)
	}
	return e
}
