package acme

import (
	"context"
	"encoding/base64"
	"errors"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const maxAuthorizations = 1000 // of one order

type orderPayload struct {
	Identifiers []Identifier `json:"identifiers"`
	Profile     string       `json:"profile,omitempty"`
	Replaces    string       `json:"replaces,omitempty"`
}

// NewOrder makes an order with one POST (RFC 8555 §7.4). Replaces is sent only if the CA answers RFC 9773; if the
// CA refuses it, the order is made once more without.
func (c *Client) NewOrder(ctx context.Context, r OrderRequest) (_ *Order, err error) {
	defer c.finish(OpNewOrder, &err)
	d, err := c.offering(ctx, r.Profile)
	if err != nil {
		return nil, err
	}
	if !d.RenewalInfo {
		r.Replaces = ""
	}
	o, err := c.newOrder(ctx, d, r)
	if e, ok := errors.AsType[*Error](err); ok && e.Problem == problemInvalidProfile {
		e.Hint = c.instead(ctx, d, r.Profile)
	}
	if r.Replaces != "" && refusesReplaces(err) {
		r.Replaces = ""
		if o, err = c.newOrder(ctx, d, r); err == nil {
			o.ReplacesRefused = true
		}
	}
	return o, err
}

func (c *Client) newOrder(ctx context.Context, d *directory, r OrderRequest) (*Order, error) {
	a, err := c.post(ctx, OpNewOrder, d.newOrder, orderPayload(r))
	if err != nil {
		return nil, refused(err, r, d)
	}
	url, err := c.resolve(OpNewOrder, a.url, a.header.Get("Location"))
	if err != nil {
		return nil, err
	}
	o, err := c.parseOrder(OpNewOrder, a, url)
	if err != nil {
		return nil, err
	}
	if !sameIdentifiers(o.Identifiers, r.Identifiers) {
		return nil, oddAnswer(OpNewOrder, a.status, "the CA's order is for other names than those asked for")
	}
	return o, nil
}

// refusesReplaces reads whether an order may work that names no certificate to replace. Pebble knows one in 256 of its
// own certificates only without the zero byte that RFC 9773 §4.1 wants before their serial numbers, and calls that
// an error of its own.
func refusesReplaces(err error) bool {
	e, ok := errors.AsType[*Error](err)
	if !ok || e.Kind == RateLimited {
		return false
	}
	says := func(text string) bool { return strings.Contains(strings.ToLower(e.Detail), text) }
	return e.Status/100 == 4 && (e.Problem == problemAlreadyReplaced || says("replac")) ||
		e.Status == http.StatusInternalServerError && says("an order for the given certificate")
}

// Order reads an order with one POST-as-GET.
func (c *Client) Order(ctx context.Context, url string) (_ *Order, err error) {
	defer c.finish(OpOrder, &err)
	a, err := c.post(ctx, OpOrder, url, nil)
	if err != nil {
		return nil, err
	}
	return c.parseOrder(OpOrder, a, url)
}

// Finalize asks for the certificate of a ready order with one POST (RFC 8555 §7.4). The order comes back
// processing, valid, or, from a CA whose replicas lag, still ready: Order tells how it goes on.
func (c *Client) Finalize(ctx context.Context, o *Order, csr []byte) (_ *Order, err error) {
	defer c.finish(OpFinalize, &err)
	payload := map[string]string{"csr": base64.RawURLEncoding.EncodeToString(csr)}
	a, err := c.post(ctx, OpFinalize, o.FinalizeURL, payload)
	if err != nil {
		return nil, err
	}
	return c.parseOrder(OpFinalize, a, o.URL)
}

// wireOrder is an order object (RFC 8555 §7.1.3).
type wireOrder struct {
	Status         OrderStatus
	Expires        time.Time
	NotBefore      string
	NotAfter       string
	Identifiers    []Identifier
	Profile        string
	Error          *problem
	Authorizations []string
	Finalize       string
	Certificate    string
}

func (c *Client) parseOrder(op string, a *answer, url string) (*Order, error) {
	var w wireOrder
	if err := a.decode(op, &w); err != nil {
		return nil, err
	}
	if why := w.oddity(); why != "" {
		return nil, oddAnswer(op, a.status, why)
	}
	refs := append(w.Authorizations, w.Finalize, w.Certificate)
	for i, ref := range refs {
		if ref == "" {
			continue
		}
		var err error
		if refs[i], err = c.resolve(op, a.url, ref); err != nil {
			return nil, err
		}
	}
	n := len(w.Authorizations)
	o := &Order{
		URL: url, Status: w.Status, Expires: w.Expires, NotBefore: date(w.NotBefore), NotAfter: date(w.NotAfter), Identifiers: w.Identifiers,
		Profile: clean(w.Profile), RetryAfter: retryAfter(a.header),
		Authorizations: slices.Clip(refs[:n]), FinalizeURL: refs[n], CertificateURL: refs[n+1],
	}
	if w.Error != nil {
		// An order fails for what its authorizations lack, hence the operation.
		o.Error = classify(OpAuthorization, 0, *w.Error, 0, time.Now())
		o.Error.Op, o.Error.Whole = OpOrder, false
	}
	return o, nil
}

// date reads a time that an order may lack; zero: it is not there, or cannot be read.
func date(s string) time.Time {
	t, _ := time.Parse(time.RFC3339, s)
	return t
}

// oddity says what the RFC does not allow in an order; "" if nothing.
func (w *wireOrder) oddity() string {
	switch w.Status {
	case StatusPending, StatusReady, StatusProcessing, StatusInvalid:
	case StatusValid:
		if w.Certificate == "" {
			return "the order is valid but names no certificate"
		}
	default:
		return "the order's status is unknown: " + string(w.Status)
	}
	switch {
	case w.Finalize == "" && (w.Status == StatusPending || w.Status == StatusReady):
		return "the order names no URL to finalize it"
	case len(w.Authorizations) > maxAuthorizations:
		return "the order has too many authorizations"
	case slices.Contains(w.Authorizations, ""):
		return "the order names an authorization without a URL"
	}
	return ""
}

// sameIdentifiers compares two lists as sets.
func sameIdentifiers(a, b []Identifier) bool {
	return maps.Equal(identifierSet(a), identifierSet(b))
}

func identifierSet(ids []Identifier) map[Identifier]bool {
	set := make(map[Identifier]bool, len(ids))
	for _, id := range ids {
		set[canonical(id)] = true
	}
	return set
}

// canonical spells an identifier in the one way that is compared.
func canonical(id Identifier) Identifier {
	if addr, err := netip.ParseAddr(id.Value); err == nil && id.Type == "ip" {
		return Identifier{Type: "ip", Value: addr.Unmap().String()}
	}
	return Identifier{Type: id.Type, Value: strings.ToLower(id.Value)}
}
