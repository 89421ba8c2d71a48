package evilca

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Rules are what Let's Encrypt enforces and Pebble does not (its page of rate limits, August 2026; Boulder's
// sa/sa.go). A limit of zero is none. Failed authorizations are counted when the client reads them.
type Rules struct {
	OrdersPer3h        int // of the account
	CertsPerSetPerWeek int // for the exact set of names
	FailuresPerHour    int // failed authorizations of one name
	// Replacements makes new-order itself record which certificate an order replaces, so that an order whose answer
	// was lost refuses the next one that names the same certificate.
	Replacements bool

	mu       sync.Mutex     // guards the following
	refused  map[string]int // by type of problem
	orders   []time.Time
	sets     map[string][]time.Time // finalized, by names
	names    map[string]string      // of an order, by its finalize URL
	failures map[string][]time.Time
	failed   map[string]bool // authorizations that were counted
	replaced map[string]bool
}

// LetsEncrypt are the rules of its production.
func LetsEncrypt() *Rules {
	return &Rules{OrdersPer3h: 300, CertsPerSetPerWeek: 5, FailuresPerHour: 5, Replacements: true}
}

type orderPayload struct {
	Identifiers []struct{ Type, Value string }
	Replaces    string
}

func (o *orderPayload) names() []string {
	var out []string
	for _, id := range o.Identifiers {
		out = append(out, strings.ToLower(id.Value))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// before refuses an order that is against the rules. Renewals that name what they replace are exempt from limits,
// once.
func (r *Rules) before(x *Exchange) *Answer {
	if r == nil || x.Endpoint != NewOrder {
		return nil
	}
	var order orderPayload
	if json.Unmarshal(x.signed.payload, &order) != nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if order.Replaces == "" || !r.Replacements {
		return r.limit(order.names(), x.At)
	}
	if r.replaced[order.Replaces] {
		return r.refuse(http.StatusConflict, "alreadyReplaced", "cannot indicate an order replaces certificate with serial "+
			order.Replaces+", which already has a replacement order", 0)
	}
	return nil
}

// Refused is how many orders were refused with a problem of the type, such as "rateLimited".
func (r *Rules) Refused(typ string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.refused[typ]
}

func (r *Rules) limit(names []string, now time.Time) *Answer {
	if wait := full(r.orders, r.OrdersPer3h, 3*time.Hour, now); wait > 0 {
		return r.limited(fmt.Sprintf("too many new orders (%d) from this account in the last 3h0m0s", r.OrdersPer3h), wait)
	}
	set := strings.Join(names, ",")
	if wait := full(r.sets[set], r.CertsPerSetPerWeek, 7*24*time.Hour, now); wait > 0 {
		return r.limited(fmt.Sprintf("too many certificates (%d) already issued for this exact set of identifiers in the last 168h0m0s", r.CertsPerSetPerWeek), wait)
	}
	for _, name := range names {
		if wait := full(r.failures[name], r.FailuresPerHour, time.Hour, now); wait > 0 {
			return r.limited(fmt.Sprintf("too many failed authorizations (%d) for %q in the last 1h0m0s", r.FailuresPerHour, name), wait)
		}
	}
	return nil
}

// full is how long it takes until less than limit of the events lie within the window; zero: they do.
func full(events []time.Time, limit int, window time.Duration, now time.Time) time.Duration {
	if limit == 0 || len(events) < limit {
		return 0
	}
	return max(0, events[len(events)-limit].Add(window).Sub(now))
}

func (r *Rules) limited(detail string, wait time.Duration) *Answer {
	return r.refuse(http.StatusTooManyRequests, "rateLimited", detail, wait)
}

func (r *Rules) refuse(status int, typ, detail string, wait time.Duration) *Answer {
	put(&r.refused, typ, r.refused[typ]+1)
	body := fmt.Sprintf(`{"type": "urn:ietf:params:acme:error:%s", "detail": %q, "status": %d}`, typ, detail, status)
	a := &Answer{Status: status, Header: http.Header{"Content-Type": {"application/problem+json"}}, Body: []byte(body)}
	if wait > 0 {
		a.Header.Set("Retry-After", fmt.Sprint(int(wait/time.Second)+1))
	}
	return a
}

// after counts what the good CA did.
func (r *Rules) after(x *Exchange, a *Answer) {
	if r == nil || a.Status/100 != 2 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch x.Endpoint {
	case NewOrder:
		r.ordered(x, a)
	case Finalize:
		set := r.names[x.Origin()+x.URL.Path]
		put(&r.sets, set, append(r.sets[set], x.At))
	case Authz:
		r.authorized(x, a)
	}
}

func (r *Rules) ordered(x *Exchange, a *Answer) {
	var asked orderPayload
	var made struct{ Finalize string }
	if json.Unmarshal(x.signed.payload, &asked) != nil || json.Unmarshal(a.Body, &made) != nil {
		return
	}
	put(&r.names, made.Finalize, strings.Join(asked.names(), ","))
	if asked.Replaces != "" && r.Replacements {
		put(&r.replaced, asked.Replaces, true)
		return
	}
	r.orders = append(r.orders, x.At)
}

func (r *Rules) authorized(x *Exchange, a *Answer) {
	var authz struct {
		Status     string
		Identifier struct{ Value string }
	}
	if json.Unmarshal(a.Body, &authz) != nil || authz.Status != "invalid" || r.failed[x.URL.Path] {
		return
	}
	put(&r.failed, x.URL.Path, true)
	name := strings.ToLower(authz.Identifier.Value)
	put(&r.failures, name, append(r.failures[name], x.At))
}

// put makes the map when it is first needed, so that the zero Rules work.
func put[K comparable, V any](m *map[K]V, key K, value V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[key] = value
}
