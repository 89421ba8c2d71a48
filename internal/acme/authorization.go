package acme

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// AuthorizationState says what is left to do for an authorization.
type AuthorizationState uint8

// The states.
const (
	Open      AuthorizationState = iota // pending: the challenge is to be accepted, or the CA is to validate it
	Validated                           // nothing is left to do
	Lost                                // it can no longer become valid: Authorization.Error says why
)

// Authorization is how far the CA has come with one identifier of an order (RFC 8555 §7.1.4).
type Authorization struct {
	URL        string
	Name       string // the identifier as the order names it: of a wildcard with "*."
	State      AuthorizationState
	Challenge  Challenge     // of the type asked for; the zero Challenge unless State is Open
	Error      *Error        // why it is lost; while it is open, why the CA's last attempt failed; nil: neither
	RetryAfter time.Duration // the CA's wish for the next poll, clamped; zero: not stated
}

// wireAuthorization is an authorization object (RFC 8555 §7.1.4).
type wireAuthorization struct {
	Status     string
	Identifier Identifier
	Wildcard   bool
	Challenges []wireChallenge
}

// wireChallenge is a challenge object (RFC 8555 §8).
type wireChallenge struct {
	Type   string
	URL    string
	Token  string
	Status string
	Error  *problem
}

// The statuses of authorizations and challenges that the code asks about (RFC 8555 §7.1.6).
const (
	statusPending    = "pending"
	statusProcessing = "processing"
	statusValid      = "valid"
)

// Authorizations reads the order's authorizations, with the challenge of the type, such as "http-01", of each that is open;
// "": without challenges.
// The result has the order's sequence. On an error it holds those that could be read.
func (c *Client) Authorizations(ctx context.Context, o *Order, typ string) (_ []Authorization, err error) {
	defer c.finish(OpAuthorization, &err)
	all := make([]*Authorization, len(o.Authorizations))
	wanted := identifierSet(o.Identifiers)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(maxParallel)
	for i, url := range o.Authorizations {
		g.Go(func() (err error) {
			all[i], err = c.validation(ctx, url, typ, wanted)
			return err
		})
	}
	err = g.Wait()
	var read []Authorization
	for _, v := range all {
		if v != nil {
			read = append(read, *v)
		}
	}
	return read, err
}

// Challenges reads the order's authorizations and returns the challenge of the type of each that is open, sorted by
// identifier; nil when all are valid. When an authorization cannot become valid, or offers no challenge of the type,
// the error joins the CA's reasons.
func (c *Client) Challenges(ctx context.Context, o *Order, typ string) (_ []Challenge, err error) {
	all, err := c.Authorizations(ctx, o, typ)
	if err != nil {
		return nil, err
	}
	open, lost := Remaining(all)
	if lost != nil {
		c.Count(lost)
		return nil, lost
	}
	return open, nil
}

// Remaining returns the challenges that are open, sorted by identifier, or why authorizations are lost, joined and Final;
// nil: none is.
func Remaining(all []Authorization) (open []Challenge, lost *Error) {
	var failed []*Error
	for _, v := range all {
		switch v.State {
		case Lost:
			failed = append(failed, v.Error)
		case Open:
			open = append(open, v.Challenge)
		}
	}
	if len(failed) > 0 {
		lost = worst(OpAuthorization, failed)
		lost.Final = true
		return nil, lost
	}
	slices.SortStableFunc(open, func(a, b Challenge) int { return cmp.Compare(a.Proof.Identifier.Value, b.Proof.Identifier.Value) })
	return open, nil
}

// Failing returns why the CA could not validate identifiers that are still open, joined; nil: it could, or was not heard of.
func Failing(all []Authorization) *Error {
	var failed []*Error
	for _, a := range all {
		if a.State == Open && a.Error != nil {
			failed = append(failed, a.Error)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	return worst(OpAuthorization, failed)
}

func (c *Client) validation(ctx context.Context, url, typ string, wanted map[Identifier]bool) (*Authorization, error) {
	a, w, err := c.authorization(ctx, url)
	if err != nil {
		return nil, err
	}
	id, name := identify(w, wanted)
	v := &Authorization{URL: url, Name: name.Value, RetryAfter: retryAfter(a.header)}
	switch {
	case w.Status == statusValid:
		v.State = Validated
	case w.Status != statusPending:
		v.State, v.Error = Lost, w.failure(name.Value)
	case !wanted[name]: // nothing is published for a name that nobody asked for
		v.State, v.Error = Lost, oddAnswer(OpAuthorization, 0, "the CA wants validation of a name that is not in the order: "+name.Value)
	case typ != "":
		err = c.open(v, a, w, typ, id)
	}
	return v, err
}

// authorization reads one authorization with one POST-as-GET.
func (c *Client) authorization(ctx context.Context, url string) (*answer, *wireAuthorization, error) {
	url, err := c.resolve(OpAuthorization, c.base, url)
	if err != nil {
		return nil, nil, err
	}
	a, err := c.post(ctx, OpAuthorization, url, nil)
	if err != nil {
		return nil, nil, err
	}
	w := &wireAuthorization{}
	if err := a.decode(OpAuthorization, w); err != nil {
		return nil, nil, err
	}
	return a, w, nil
}

// open fills in what is to be done for an authorization that is pending.
func (c *Client) open(v *Authorization, a *answer, w *wireAuthorization, typ string, id Identifier) error {
	i := slices.IndexFunc(w.Challenges, func(ch wireChallenge) bool { return ch.Type == typ })
	if i < 0 {
		v.State, v.Error = Lost, noChallenge(w, typ, v.Name)
		return nil
	}
	ch := w.Challenges[i]
	v.State, v.Error = ch.outcome(v.Name)
	if v.State == Lost {
		return nil
	}
	v.State = Open // a challenge may be valid before its authorization is
	url, err := c.resolve(OpAuthorization, a.url, ch.URL)
	if err != nil {
		return err
	}
	v.Challenge = Challenge{Name: v.Name, URL: url, Authorization: v.URL, Accepted: ch.Status != statusPending}
	var unusable *Error
	if v.Challenge.Proof, unusable = c.proof(typ, id, ch.Token); unusable != nil {
		v.State, v.Error = Lost, unusable
	}
	return nil
}

// outcome is what a challenge says about the validation of name.
func (ch wireChallenge) outcome(name string) (AuthorizationState, *Error) {
	switch ch.Status {
	case statusValid:
		return Validated, nil
	case statusPending, statusProcessing:
		return Open, ch.failure(name)
	}
	if e := ch.failure(name); e != nil {
		return Lost, e
	}
	return Lost, &Error{Kind: Validation, Op: OpAuthorization, Problem: problemOther, Identifier: clean(name),
		Detail: "the challenge is " + clean(ch.Status)}
}

// identify returns what an authorization is for: the identifier to prove, and the order's name for it, which differs
// by the wildcard.
func identify(a *wireAuthorization, wanted map[Identifier]bool) (id, name Identifier) {
	id = canonical(Identifier{Type: a.Identifier.Type, Value: strings.TrimPrefix(a.Identifier.Value, "*.")})
	if name = id; a.Wildcard || !wanted[id] && wanted[Identifier{Type: id.Type, Value: "*." + id.Value}] {
		name.Value = "*." + id.Value
	}
	return id, name
}
