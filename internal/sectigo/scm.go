package sectigo

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
)

const (
	pageSize = 200
	maxPages = 100
)

// Server is an ACME service that the customer may use.
type Server struct {
	Name           string `json:"name"`
	URL            string `json:"url"` // of the ACME directory
	ValidationType string `json:"certValidationType"`
	CAID           int    `json:"caId"`
}

// Account is an ACME account in SCM: one external account binding, which any number of ACME clients may use.
type Account struct {
	ID             int    `json:"id"`
	Name           string `json:"name"`
	Status         string `json:"status"`
	Server         string `json:"acmeServer"` // name or URL of a Server
	OrganizationID int    `json:"organizationId"`
	ValidationType string `json:"certValidationType"`
	KID            string `json:"macId"`
	Key            Secret `json:"macKey"`
	Contacts       string `json:"contacts"`
	// Domains is filled by version 1 of the API only.
	Domains []Domain `json:"domains"`
}

// Domain is one that clients of an account may order certificates for.
type Domain struct {
	Name        string `json:"name"`
	ValidUntil  string `json:"validUntil,omitempty"`  // of its validation, ISO 8601; "": not known
	StickyUntil string `json:"stickyUntil,omitempty"` // until when the CA relies on it
}

// NewAccount is what an account is made from.
type NewAccount struct {
	Name string `json:"name"`
	// Server is the name of a Server, after the reference; what customers show of their SCMs has its URL.
	Server         string `json:"acmeServer"`
	OrganizationID int    `json:"organizationId"`
}

// Servers returns the ACME services that the customer may use.
func (c *Client) Servers(ctx context.Context) ([]Server, error) {
	return pages[Server](ctx, func(q url.Values) (*answer, error) {
		return c.ask(ctx, request{op: opServers, method: http.MethodGet, path: "/acme/v1/server", query: q})
	}, c.exchange, opServers, nil)
}

const opServers = "listing the ACME servers of SCM"

// Server returns the one that has this name or this URL.
func (c *Client) Server(ctx context.Context, nameOrURL string) (Server, error) {
	servers, err := c.Servers(ctx)
	if err != nil {
		return Server{}, err
	}
	var names []string
	for _, s := range servers {
		if strings.EqualFold(s.Name, nameOrURL) || strings.TrimRight(s.URL, "/") == strings.TrimRight(nameOrURL, "/") {
			return s, nil
		}
		names = append(names, strconv.Quote(clean(s.Name)))
	}
	return Server{}, &Error{
		Op: "looking for the ACME server " + strconv.Quote(nameOrURL), Description: "SCM offers no such server",
		Hint: "name one of " + strings.Join(names, ", ") + ", or its URL: acmed sectigo server list",
	}
}

// Accounts returns the accounts of an organization; 0: of all that the administrator may see.
func (c *Client) Accounts(ctx context.Context, organization int) ([]Account, error) {
	const op = "listing the ACME accounts of SCM"
	q := url.Values{}
	if organization > 0 {
		q.Set("organizationId", strconv.Itoa(organization))
	}
	return pages[Account](ctx, func(q url.Values) (*answer, error) {
		return c.account(ctx, request{op: op, method: http.MethodGet, query: q})
	}, c.exchange, op, q)
}

// Account returns one account.
func (c *Client) Account(ctx context.Context, id int) (a Account, err error) {
	op := fmt.Sprintf("reading ACME account %d of SCM", id)
	got, err := c.account(ctx, request{op: op, method: http.MethodGet, path: one(id)})
	if err != nil {
		return a, err
	}
	if err := c.exchange.decode(op, got, &a); err != nil {
		return a, err
	}
	if a.ID != id {
		return a, c.exchange.odd(op, got.status, fmt.Sprintf("the answer is about account %d", a.ID))
	}
	return a, nil
}

// CreateAccount makes an account and returns its ID.
func (c *Client) CreateAccount(ctx context.Context, n NewAccount) (id int, err error) {
	op := "creating the ACME account " + strconv.Quote(n.Name) + " in SCM"
	a, err := c.account(ctx, request{op: op, method: http.MethodPost, body: n})
	if e, ok := errors.AsType[*Error](err); ok && e.Status == http.StatusBadRequest && e.Hint == hint(e.Status, 0) {
		e.Hint += "; or name the server by its URL instead of its name, or the other way round"
	}
	if err != nil {
		return 0, err
	}
	location := a.header.Get("Location")
	id, err = strconv.Atoi(path.Base(location))
	if err != nil || id <= 0 {
		return 0, &Error{
			Op: op, Status: a.status, Description: "SCM made it, but does not say which: its Location is " + strconv.Quote(clean(location)),
			Hint: "find it with acmed sectigo account list, and go on with acmed sectigo account show",
		}
	}
	return id, nil
}

// DeleteAccount ends an account: no client can order with it any more.
func (c *Client) DeleteAccount(ctx context.Context, id int) error {
	op := fmt.Sprintf("deleting ACME account %d of SCM", id)
	_, err := c.account(ctx, request{op: op, method: http.MethodDelete, path: one(id)})
	return err
}

// Domains returns the domains of an account.
func (c *Client) Domains(ctx context.Context, id int) ([]Domain, error) {
	op := fmt.Sprintf("listing the domains of ACME account %d of SCM", id)
	if !c.old {
		list, err := pages[Domain](ctx, func(q url.Values) (*answer, error) {
			return c.account(ctx, request{op: op, method: http.MethodGet, path: one(id) + pathDomain, query: q})
		}, c.exchange, op, nil)
		if !errors.Is(err, errOld) {
			return list, err
		}
	}
	a, err := c.Account(ctx, id)
	return a.Domains, err
}

// domains is the body of a change of an account's domains.
type domains struct {
	Domains []Domain `json:"domains"`
}

// AddDomains adds domains to an account and returns those that SCM did not add: a success of the request as a whole
// does not mean that every domain was.
func (c *Client) AddDomains(ctx context.Context, id int, names []string) (missing []string, err error) {
	return c.change(ctx, fmt.Sprintf("adding domains to ACME account %d of SCM", id), http.MethodPost, id, names)
}

// RemoveDomains removes domains from an account and returns those that SCM did not remove.
func (c *Client) RemoveDomains(ctx context.Context, id int, names []string) (left []string, err error) {
	return c.change(ctx, fmt.Sprintf("removing domains from ACME account %d of SCM", id), http.MethodDelete, id, names)
}

func (c *Client) change(ctx context.Context, op, method string, id int, names []string) ([]string, error) {
	var body domains
	for _, name := range names {
		body.Domains = append(body.Domains, Domain{Name: name})
	}
	a, err := c.account(ctx, request{op: op, method: method, path: one(id) + pathDomain, body: body})
	if err != nil {
		return nil, err
	}
	var said struct{ NotAddedDomains, NotRemovedDomains []string }
	if err := c.exchange.decode(op, a, &said); err != nil {
		return nil, err
	}
	failed := append(said.NotAddedDomains, said.NotRemovedDomains...)
	for i, name := range failed {
		failed[i] = clean(name)
	}
	return failed, nil
}

const pathDomain = "/domain"

func one(id int) string { return "/" + strconv.Itoa(id) }

// errOld means that the SCM has only version 1 of the API, which cannot be asked for that.
var errOld = errors.New("this SCM has only version 1 of the API")

// account asks about accounts: with version 2 of the API, or once the SCM turned out not to have it, with version 1.
// It has not when the path is unknown: then the 404 comes without SCM's own error, which says that a thing is unknown.
func (c *Client) account(ctx context.Context, r request) (*answer, error) {
	below := r.path
	if !c.old {
		r.path = "/acme/v2/account" + below
		a, err := c.ask(ctx, r)
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Code != 0 || e.Status != http.StatusNotFound && e.Status != http.StatusMethodNotAllowed {
			return a, err
		}
		c.old = true
	}
	if strings.HasSuffix(below, pathDomain) {
		if r.method == http.MethodGet {
			return nil, errOld
		}
		below += "s"
	}
	r.path = "/acme/v1/account" + below
	return c.ask(ctx, r)
}

// pages collects a list page by page.
func pages[T any](ctx context.Context, ask func(url.Values) (*answer, error), x *exchange, op string, q url.Values) ([]T, error) {
	all := []T{}
	for page := range maxPages {
		query := url.Values{"position": {strconv.Itoa(page * pageSize)}, "size": {strconv.Itoa(pageSize)}}
		maps.Copy(query, q)
		a, err := ask(query)
		if err != nil {
			return nil, err
		}
		var some []T
		if err := x.decode(op, a, &some); err != nil {
			return nil, err
		}
		all = append(all, some...)
		if len(some) < pageSize || ctx.Err() != nil {
			return all, ctx.Err()
		}
	}
	return nil, x.odd(op, http.StatusOK, fmt.Sprintf("there are more than %d", maxPages*pageSize))
}
