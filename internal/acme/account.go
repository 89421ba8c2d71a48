package acme

import (
	"context"
	"errors"
	"strings"

	xacme "golang.org/x/crypto/acme"
)

// Register makes an account, or finds the one that the key has, and uses it from now on (RFC 8555 §7.3).
func (c *Client) Register(ctx context.Context, r Registration) (accountURL string, err error) {
	defer c.finish(OpNewAccount, &err)
	if r.Existing {
		accountURL, err = c.lookup(ctx)
		if e, ok := errors.AsType[*Error](err); !ok || e.Problem != problemAccountDoesNotExist {
			return accountURL, err
		}
	}
	d, err := c.directory(ctx)
	if err != nil {
		return "", err
	}
	if err := registrable(d, r); err != nil {
		return "", err
	}
	return c.register(ctx, d, r)
}

// Lookup finds the account that the key has and uses it from now on (RFC 8555 §7.3.1). Without one, the problem of
// the error is accountDoesNotExist.
func (c *Client) Lookup(ctx context.Context) (accountURL string, err error) {
	defer c.finish(OpNewAccount, &err)
	return c.lookup(ctx)
}

// Account is what a CA knows of an account (RFC 8555 §7.1.2).
type Account struct {
	URL        string
	Status     string   // "valid", "deactivated" or "revoked"
	Contact    []string // the CA may keep none
	Thumbprint string   // of the account's key (RFC 7638), as proofs hold it
	Terms      string   // URL of the CA's terms of service; "": its directory names none
}

// Account reads what the CA knows of the account, and its terms of today.
func (c *Client) Account(ctx context.Context) (_ Account, err error) {
	defer c.finish(OpAccount, &err)
	a, err := c.tellAccount(ctx, OpAccount, nil)
	if err == nil {
		a.Terms = c.current(ctx).TermsOfService
	}
	return a, err
}

// UpdateContact replaces the account's contact at the CA (RFC 8555 §7.3.2); an empty one removes it.
func (c *Client) UpdateContact(ctx context.Context, contact []string) (_ Account, err error) {
	defer c.finish(OpChangeAccount, &err)
	if contact == nil {
		contact = []string{}
	}
	return c.tellAccount(ctx, OpChangeAccount, map[string][]string{"contact": contact})
}

// Deactivate has the CA end the account permanently (RFC 8555 §7.3.6). A CA refuses this to an account that has ended, but
// maybe for another reason as well: then Deactivate reads the account, and EndedAs of the error says which.
func (c *Client) Deactivate(ctx context.Context) (_ Account, err error) {
	defer c.finish(OpChangeAccount, &err)
	told, err := c.tellAccount(ctx, OpChangeAccount, map[string]string{"status": xacme.StatusDeactivated})
	if e, ok := errors.AsType[*Error](err); !ok || e.Kind == Transient || e.Kind == RateLimited {
		return told, err
	}
	now, readErr := c.tellAccount(ctx, OpAccount, nil)
	if EndedAs(readErr) != "" || readErr == nil && now.Status != xacme.StatusValid {
		return now, readErr
	}
	return Account{}, err
}

// EndedAs returns how an account ended, from the error of reading it: "deactivated", "revoked" or "does not exist"; "" if
// the error has another reason. A CA answers every request of an ended account 401 or 403 unauthorized (RFC 8555 §7.3.6);
// only its words can tell a revocation.
func EndedAs(err error) string {
	e, ok := errors.AsType[*Error](err)
	switch {
	case !ok || e.Op != OpAccount:
		return ""
	case e.Problem == problemAccountDoesNotExist:
		return "does not exist"
	case e.Problem != problemUnauthorized || e.Status/100 == 5:
		return ""
	case strings.Contains(e.Detail, xacme.StatusRevoked):
		return xacme.StatusRevoked
	}
	return xacme.StatusDeactivated
}

// tellAccount sends the account's URL a payload, nil being POST-as-GET, and reads the account from the answer.
func (c *Client) tellAccount(ctx context.Context, op string, payload any) (Account, error) {
	url := c.account()
	if url == "" {
		return Account{}, errNoAccount(op)
	}
	answer, err := c.post(ctx, op, url, payload)
	if err != nil {
		return Account{}, err
	}
	var w struct {
		Status  string
		Contact []string
	}
	if err := answer.decode(op, &w); err != nil {
		return Account{}, err
	}
	a := Account{URL: url, Status: clean(w.Status), Contact: w.Contact}
	for i := range a.Contact {
		a.Contact[i] = clean(a.Contact[i])
	}
	if d, err := c.directory(ctx); err == nil {
		a.Terms = d.TermsOfService
	}
	a.Thumbprint, err = xacme.JWKThumbprint(c.key.Public())
	return a, err
}

// registrable says before the CA does what a registration lacks.
func registrable(d *directory, r Registration) error {
	e := &Error{Kind: Permanent, Op: OpNewAccount, Whole: true}
	switch {
	case d.TermsOfService != "" && !r.TermsOfServiceAgreed:
		e.Problem, e.Detail = problemUserActionRequired, "the CA's terms of service are not agreed to: "+d.TermsOfService
		e.Hint = "read " + d.TermsOfService + " and set termsOfServiceAgreed: true in the issuer or in acmed.yaml"
	case d.ExternalAccountRequired && r.Binding == nil:
		e.Problem, e.Detail = problemExternalAccountRequired, "the CA makes accounts only for those that it knows already"
		e.Hint = hint(e, "")
	default:
		return nil
	}
	return e
}

// use signs with an account from now on, if its status allows ("": the CA did not say).
func (c *Client) use(ref, status string) (string, error) {
	if status != "" && status != xacme.StatusValid {
		return "", &Error{Kind: Permanent, Op: OpNewAccount, Problem: problemUnauthorized, Whole: true,
			Detail: "the account is " + clean(status), Hint: hintEnded}
	}
	account, err := c.resolve(OpNewAccount, c.base, ref)
	if err != nil {
		return "", err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kid = account
	return account, nil
}

func errNoAccount(op string) *Error {
	return &Error{Kind: Permanent, Op: op, Problem: problemAccountDoesNotExist, Whole: true,
		Detail: "no account is registered yet", Hint: "acmed account register ISSUER registers one"}
}
