package acme

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"slices"
	"strings"
	"time"

	xacme "golang.org/x/crypto/acme"
	"golang.org/x/sync/errgroup"
)

// Challenges reads the order's authorizations and returns the challenge of the type, such as "http-01", of each that
// is pending, by identifier in the order of the alphabet; nil when all are valid. When an authorization cannot become valid, or offers no challenge of the type,
// the error joins the CA's reasons.
func (c *Client) Challenges(ctx context.Context, o *Order, typ string) (_ []Challenge, err error) {
	defer c.finish(OpAuthorization, &err)
	auths, err := c.authorizations(ctx, o)
	if err != nil {
		return nil, err
	}
	wanted := identifierSet(o.Identifiers)
	var open []Challenge
	var failed []*Error
	for _, a := range auths {
		ch, e := c.challenge(a, typ, wanted)
		switch {
		case e != nil:
			failed = append(failed, e)
		case ch != nil:
			open = append(open, *ch)
		}
	}
	if len(failed) > 0 {
		return nil, worst(OpAuthorization, failed)
	}
	slices.SortStableFunc(open, func(a, b Challenge) int { return cmp.Compare(a.Proof.Identifier.Value, b.Proof.Identifier.Value) })
	return open, nil
}

// authorizations reads the authorizations of an order, in its order.
func (c *Client) authorizations(ctx context.Context, o *Order) ([]*xacme.Authorization, error) {
	auths := make([]*xacme.Authorization, len(o.Authorizations))
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for i, url := range o.Authorizations {
		g.Go(func() (err error) {
			auths[i], err = c.authorization(ctx, url)
			return err
		})
	}
	return auths, g.Wait()
}

func (c *Client) authorization(ctx context.Context, url string) (*xacme.Authorization, error) {
	x, url, err := c.ask(ctx, OpAuthorization, url)
	if err != nil {
		return nil, err
	}
	return x.GetAuthorization(withOp(ctx, OpAuthorization), url)
}

// ask readies x/crypto for a signed request to a URL of the CA's.
func (c *Client) ask(ctx context.Context, op, url string) (*xacme.Client, string, error) {
	x, err := c.x(ctx)
	if err != nil {
		return nil, "", err
	}
	if x.KID == "" {
		return nil, "", errNoAccount(op) // x/crypto would sign in a way that no CA accepts
	}
	url, err = c.resolve(op, c.base, url)
	return x, url, err
}

// challenge picks what is to be proved for one authorization: nothing when it is valid.
func (c *Client) challenge(a *xacme.Authorization, typ string, wanted map[Identifier]bool) (*Challenge, *Error) {
	id, name := identify(a, wanted)
	switch a.Status {
	case xacme.StatusValid:
		return nil, nil
	case xacme.StatusPending:
	default:
		return nil, authorizationError(a, name.Value)
	}
	if !wanted[name] { // nothing is published for a name that nobody asked for
		return nil, oddAnswer(OpAuthorization, 0, "the CA wants a proof for a name that is not in the order: "+name.Value)
	}
	i := slices.IndexFunc(a.Challenges, func(ch *xacme.Challenge) bool { return ch.Type == typ })
	if i < 0 {
		return nil, noChallenge(a, typ, name.Value)
	}
	ch := a.Challenges[i]
	switch ch.Status {
	case xacme.StatusPending, xacme.StatusProcessing, xacme.StatusValid:
	default:
		return nil, authorizationError(a, name.Value)
	}
	proof, err := c.proof(typ, id, ch.Token)
	if err != nil {
		return nil, err
	}
	return &Challenge{Proof: proof, URL: ch.URI, Authorization: a.URI, Accepted: ch.Status != xacme.StatusPending}, nil
}

// identify returns what an authorization is for: the identifier to prove, and the order's name for it, which differs
// by the wildcard.
func identify(a *xacme.Authorization, wanted map[Identifier]bool) (id, name Identifier) {
	id = canonical(Identifier{Type: a.Identifier.Type, Value: strings.TrimPrefix(a.Identifier.Value, "*.")})
	if name = id; a.Wildcard || !wanted[id] && wanted[Identifier{Type: id.Type, Value: "*." + id.Value}] {
		name.Value = "*." + id.Value
	}
	return id, name
}

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

func noChallenge(a *xacme.Authorization, typ, name string) *Error {
	var offered []string
	for _, ch := range a.Challenges {
		offered = append(offered, ch.Type)
	}
	list := clean(strings.Join(offered, ", "))
	return &Error{Kind: Permanent, Op: OpAuthorization, Problem: problemNoChallenge, Identifier: clean(name),
		Detail: "the CA offers no " + typ + " challenge, only: " + list,
		Hint:   "set challenge.type in the spec to one that the CA offers: " + list}
}

// authorizationError says why an authorization is lost.
func authorizationError(a *xacme.Authorization, name string) *Error {
	for _, ch := range a.Challenges {
		cause, ok := errors.AsType[*xacme.Error](ch.Error)
		if !ok {
			continue
		}
		e := classify(OpAuthorization, 0, problemOfX(cause), 0, time.Now())
		e.Identifier = clean(name)
		e.Hint = hint(e, ch.Type)
		return e
	}
	return &Error{Kind: Validation, Op: OpAuthorization, Problem: problemOther, Identifier: clean(name),
		Detail: "the authorization is " + clean(a.Status)}
}

// Accept tells the CA that the proof is visible (RFC 8555 §7.5.1). Repeating it does no harm.
func (c *Client) Accept(ctx context.Context, ch Challenge) (err error) {
	if ch.Accepted {
		return nil
	}
	defer c.finish(OpChallenge, &err)
	x, url, err := c.ask(ctx, OpChallenge, ch.URL)
	if err != nil {
		return err
	}
	_, err = x.Accept(withOp(ctx, OpChallenge), &xacme.Challenge{URI: url})
	if e, ok := errors.AsType[*Error](err); ok && e.Problem == problemMalformed && c.decided(ctx, ch) {
		return nil
	}
	return err
}

// decided reports whether an authorization is past its challenge, which is why a CA may refuse to hear of it again.
// What became of it, the order tells.
func (c *Client) decided(ctx context.Context, ch Challenge) bool {
	a, err := c.authorization(ctx, ch.Authorization)
	return err == nil && a.Status != xacme.StatusPending
}

// AcceptAll accepts several challenges at once.
func (c *Client) AcceptAll(ctx context.Context, challenges []Challenge) error {
	var g errgroup.Group // one failure must not cancel the others' POSTs half-way
	g.SetLimit(maxParallel)
	for _, ch := range challenges {
		g.Go(func() error { return c.Accept(ctx, ch) })
	}
	return g.Wait()
}

// Failure tells why an order is invalid, from its authorizations and its own error. It is never nil.
func (c *Client) Failure(ctx context.Context, o *Order) *Error {
	e := asError(OpOrder, c.failure(ctx, o))
	c.metrics.failed(c.issuer, e)
	return e
}

func (c *Client) failure(ctx context.Context, o *Order) *Error {
	auths, err := c.authorizations(ctx, o)
	wanted := identifierSet(o.Identifiers)
	var failed []*Error
	for _, a := range auths {
		if a == nil || a.Status == xacme.StatusValid || a.Status == xacme.StatusPending {
			continue
		}
		_, name := identify(a, wanted)
		failed = append(failed, authorizationError(a, name.Value))
	}
	switch {
	case len(failed) > 0:
		return worst(OpAuthorization, failed)
	case o.Error != nil:
		return o.Error
	}
	return &Error{Kind: Validation, Op: OpOrder, Problem: problemOther, Err: err,
		Detail: "the order is " + string(o.Status) + " and the CA does not say why"}
}
