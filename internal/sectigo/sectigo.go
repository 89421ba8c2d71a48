// Package sectigo speaks the web APIs with which Sectigo and its sister ZeroSSL hand out ACME accounts: the REST API of
// Sectigo Certificate Manager (SCM), and ZeroSSL's for external account bindings.
//
// It owns the requests, the words of every refusal with what to do about it, and the guard in front of the network.
// It never speaks ACME, never touches the disk, never retries what changes something, and never puts a password or a
// key into a URL that it shows, an error or a log. The daemon does not need it.
package sectigo

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
)

// DefaultURL is the API of the SCM that most customers use.
const DefaultURL = "https://cert-manager.com/api"

// Config is what a Client is made from.
type Config struct {
	URL         string // of the API; "": DefaultURL
	CustomerURI string // the last part of the URL at which the customer logs in; required
	Login       string // of an administrator who may use the API; required
	Password    string // required
	UserAgent   string // "": "acmed"
	// Rehearse is told what would be sent instead of sending it, for all that changes something, which then ends with
	// ErrRehearsed. Nil: it is sent.
	Rehearse func(method, url string, body any)
}

// ErrRehearsed ends a change that was shown to Config.Rehearse.
var ErrRehearsed = errors.New("nothing was sent")

// Client asks one SCM on behalf of one administrator. It is for one goroutine at a time.
type Client struct {
	exchange *exchange
	header   http.Header
	rehearse func(method, url string, body any)
	old      bool // the SCM has only version 1 of the accounts
}

// New makes a Client without touching the network.
func New(c Config) (*Client, error) {
	if slices.Contains([]string{c.CustomerURI, c.Login, c.Password}, "") {
		return nil, errors.New("asking SCM: customer URI, login and password are all needed")
	}
	if c.URL == "" {
		c.URL = DefaultURL
	}
	x, err := newExchange(c.URL, c.UserAgent)
	if err != nil {
		return nil, err
	}
	header := http.Header{"Login": {c.Login}, "Password": {c.Password}, "Customeruri": {c.CustomerURI}}
	return &Client{exchange: x, header: header, rehearse: c.Rehearse}, nil
}

// Secret is a key that prints as "redacted".
type Secret string

// String hides the key.
func (Secret) String() string { return "redacted" }

// GoString hides the key.
func (Secret) GoString() string { return "redacted" }

// MarshalJSON hides the key.
func (Secret) MarshalJSON() ([]byte, error) { return []byte(`"redacted"`), nil }

// scmError is the body of every refusal of SCM.
type scmError struct {
	Code        int    `json:"code"`
	Description string `json:"description"`
}

// ask sends one request and returns a good answer.
func (c *Client) ask(ctx context.Context, r request) (*answer, error) {
	if c.rehearse != nil && r.method != http.MethodGet {
		c.rehearse(r.method, c.exchange.url(r).String(), r.body)
		return nil, ErrRehearsed
	}
	r.header = c.header
	a, err := c.exchange.do(ctx, r)
	if err != nil {
		if e, ok := errors.AsType[*Error](err); ok && r.method != http.MethodGet && e.Status == 0 {
			e.Hint = strings.TrimPrefix(e.Hint+"; whether it was done is not known: look before you repeat it", "; ")
		}
		return nil, err
	}
	if a.status/100 != 2 {
		return nil, c.refusal(r.op, a)
	}
	return a, nil
}

// refusal puts SCM's words into an error and says what to do.
func (c *Client) refusal(op string, a *answer) *Error {
	var said scmError
	if c.exchange.decode(op, a, &said) != nil || said.Code == 0 && said.Description == "" {
		e := c.exchange.odd(op, a.status, "SCM answers without an error of its own: "+http.StatusText(a.status))
		if a.status == http.StatusUnauthorized || a.status == http.StatusForbidden || a.status >= 429 {
			e.Hint = hint(a.status, 0)
		}
		return e
	}
	e := &Error{Op: op, Status: a.status, Code: said.Code, Description: clean(said.Description)}
	e.Hint = hint(a.status, said.Code)
	return e
}

// hint says what can be done about a refusal, by the codes of SCM's reference.
func hint(status, code int) string {
	switch code {
	case -16:
		return "check customerUri, login and the password; the login must be that of an SCM administrator who may use the API"
	case -3, -25, -37:
		return "let the SCM administrator of that login manage ACME accounts of this organization (in SCM: its role and privileges)"
	case -1023, -1001:
		return "give --organization the ID that SCM shows under Organizations"
	case -1010, -715, -727, -732, -737, -738, -1137:
		return "add the domain in SCM, delegate it to the organization, and complete its validation (DCV) there"
	}
	switch {
	case status == http.StatusUnauthorized:
		return hint(0, -16)
	case status == http.StatusForbidden:
		return hint(0, -3)
	case status == http.StatusNotFound:
		return "acmed sectigo account list shows the accounts there are"
	case status == http.StatusTooManyRequests, status >= 500:
		return "try again later; if it stays, tell Sectigo's support what SCM said"
	}
	return "see what SCM says, and its reference of the REST API"
}
