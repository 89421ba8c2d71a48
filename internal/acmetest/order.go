package acmetest

import (
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// orderLifetime is how long an order, and an authorization that is still to be proved, may take.
const orderLifetime = 24 * time.Hour

// identifier is a name or address (RFC 8555 §9.7.7, RFC 8738).
type identifier struct {
	Type  string `json:"type"`
	Value string `json:"value"`
}

// order is RFC 8555 §7.1.3.
type order struct {
	Status         string       `json:"status"`
	Expires        time.Time    `json:"expires"`
	NotBefore      time.Time    `json:"notBefore,omitzero"`
	NotAfter       time.Time    `json:"notAfter,omitzero"`
	Identifiers    []identifier `json:"identifiers"`
	Profile        string       `json:"profile,omitempty"`
	Replaces       string       `json:"replaces,omitempty"`
	Authorizations []string     `json:"authorizations"`
	Finalize       string       `json:"finalize"`
	Certificate    string       `json:"certificate,omitempty"`
	Error          *problem     `json:"error,omitempty"`

	url     string
	account *account
	set     *set
	authzs  []*authz
	known   bool         // to the client: the answer to newOrder arrived
	exempt  bool         // from the limits: it replaces a certificate (RFC 9773)
	renewal bool         // from those of new orders and domains: a certificate for the same names is there
	request *csr         // processing: what is to be issued
	issueAt time.Time    // processing: when
	issued  *certificate // valid: what came of it
}

// newOrder serves RFC 8555 §7.4.
func (ca *CA) newOrder(r *request) (*reply, *problem) {
	var want struct {
		Identifiers []identifier `json:"identifiers"`
		Profile     string       `json:"profile"`
		Replaces    string       `json:"replaces"`
		NotBefore   string       `json:"notBefore"`
		NotAfter    string       `json:"notAfter"`
	}
	if p := ca.decode(r, &want); p != nil {
		return nil, p
	}
	if want.NotBefore != "" || want.NotAfter != "" {
		return nil, refuse(http.StatusBadRequest, "malformed", "NotBefore and NotAfter are not supported")
	}
	if p := ca.checkIdentifiers(want.Identifiers); p != nil {
		return nil, p
	}
	if _, known := ca.cfg.Profiles[want.Profile]; want.Profile != "" && !known {
		return nil, refuse(http.StatusBadRequest, "invalidProfile", "profile %q is not offered", want.Profile)
	}
	o := &order{
		Status: "pending", Expires: r.now.Add(orderLifetime).Truncate(time.Second), Identifiers: want.Identifiers,
		Profile: want.Profile, Replaces: want.Replaces, account: r.account, set: ca.set(keyOf(valuesOf(want.Identifiers))),
	}
	if p := ca.checkReplaces(o, r.now); p != nil {
		return nil, p
	}
	if p := ca.checkOrder(r, o); p != nil {
		return nil, p
	}
	if ca.cfg.Dated {
		o.NotBefore = r.now.Truncate(time.Second)
		o.NotAfter = o.NotBefore.Add(ca.lifetime(o.Profile))
	}
	ca.open(o, r.now)
	r.told = func() { o.known = true }
	return &reply{status: http.StatusCreated, location: o.url, body: o}, nil
}

// open makes o known, with its authorizations.
func (ca *CA) open(o *order, now time.Time) {
	o.url = ca.url("order")
	o.Finalize = o.url + "/finalize"
	for _, id := range o.Identifiers {
		a := ca.authzFor(o.account, id, o.Profile, now)
		o.authzs = append(o.authzs, a)
		o.Authorizations = append(o.Authorizations, a.url)
	}
	if old := ca.byID[o.Replaces]; old != nil {
		old.replacement = o
	}
	ca.sweep(now)
	ca.orders[o.url] = o
	ca.byAge = append(ca.byAge, o)
	ca.update(o, now)
}

// sweep forgets the orders that expired a while ago.
func (ca *CA) sweep(now time.Time) {
	for len(ca.byAge) > 0 && now.Sub(ca.byAge[0].Expires) > orderLifetime {
		o := ca.byAge[0]
		ca.byAge[0] = nil
		ca.byAge = ca.byAge[1:]
		delete(ca.orders, o.url)
		ca.update(o, now)
		for _, a := range o.authzs {
			if a.statusAt(now) != "valid" {
				ca.forgetAuthz(a)
			}
		}
		o.authzs, o.request = nil, nil // it stays as what replaced a certificate
	}
}

func (ca *CA) forgetAuthz(a *authz) {
	delete(ca.authzs, a.url)
	for _, c := range a.Challenges {
		delete(ca.challenges, c.URL)
	}
}

// checkIdentifiers refuses what no CA would issue for.
func (ca *CA) checkIdentifiers(ids []identifier) *problem {
	if len(ids) == 0 || len(ids) > 100 {
		return refuse(http.StatusBadRequest, "malformed", "an order has 1 to 100 identifiers, not %d", len(ids))
	}
	seen := make(map[identifier]bool)
	for _, id := range ids {
		if seen[id] {
			ca.misbehaved("newOrder: %s occurs twice", id.Value)
			return refuse(http.StatusBadRequest, "malformed", "%s occurs twice", id.Value)
		}
		seen[id] = true
		addr, err := netip.ParseAddr(id.Value)
		switch {
		case id.Type == "ip" && err == nil && addr.String() == id.Value:
		case id.Type == "dns" && err != nil && strings.Contains(id.Value, ".") && strings.ToLower(id.Value) == id.Value:
		default:
			ca.misbehaved("newOrder: %q is no identifier of type %q", id.Value, id.Type)
			return refuse(http.StatusBadRequest, "rejectedIdentifier", "cannot issue for %q", id.Value)
		}
	}
	return nil
}

// checkReplaces does what Let's Encrypt does: a certificate is replaced once the order is made, not once it is
// issued, and a replacing order is exempt from limits within the window of its advice (RFC 9773 §5).
func (ca *CA) checkReplaces(o *order, now time.Time) *problem {
	if o.Replaces == "" {
		return nil
	}
	if !ca.cfg.RenewalInfo {
		ca.misbehaved("newOrder: replaces is sent to a CA without renewalInfo")
	}
	old := ca.byID[o.Replaces]
	switch {
	case old == nil:
		return refuse(http.StatusNotFound, "malformed", "the certificate to replace, %q, is not known", o.Replaces)
	case old.account != o.account:
		return refuse(http.StatusForbidden, "unauthorized", "the certificate to replace belongs to another account")
	case !slices.ContainsFunc(o.Identifiers, func(id identifier) bool { return slices.Contains(old.names, id.Value) }):
		return refuse(http.StatusBadRequest, "malformed", "the certificate to replace shares no identifier with the order")
	case old.replacement != nil && ca.update(old.replacement, now) != "invalid":
		return refuse(http.StatusConflict, "alreadyReplaced", "the certificate was already replaced by %s", old.replacement.url)
	}
	o.exempt = !now.Before(old.window.start) && now.Before(old.window.end)
	return nil
}

// update lets come true what the time has brought, and returns the status.
func (ca *CA) update(o *order, now time.Time) string {
	switch {
	case o.Status == "processing" && !now.Before(o.issueAt):
		ca.issue(o)
	case o.Status == "pending":
		ca.updatePending(o, now)
	}
	if (o.Status == "pending" || o.Status == "ready") && !now.Before(o.Expires) {
		ca.fail(o, refuse(http.StatusForbidden, "malformed", "the order expired"), o.Expires)
	}
	return o.Status
}

func (ca *CA) updatePending(o *order, now time.Time) {
	ready := true
	for _, a := range o.authzs {
		switch a.statusAt(now) {
		case "valid":
		case "pending":
			ready = false
		default:
			ca.fail(o, a.problem(), a.ended)
			return
		}
	}
	if ready {
		o.Status = "ready"
	}
}

// Unfinished returns the URLs of the orders that a client knows of and has to bring to an end, with their identifiers:
// those that are open, and those whose certificate nobody has fetched. Orders of the day before yesterday are forgotten.
func (ca *CA) Unfinished() map[string][]string {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	left := make(map[string][]string)
	for url, o := range ca.orders {
		status := ca.update(o, time.Now().Round(0))
		if o.known && status != "invalid" && (o.issued == nil || !o.issued.fetched) {
			left[url] = valuesOf(o.Identifiers)
		}
	}
	return left
}

func (ca *CA) fail(o *order, why *problem, at time.Time) {
	o.Status, o.Error = "invalid", why
	o.set.quiet = at.Add(ca.cfg.OrderGap)
}

// serveOrder serves polls of RFC 8555 §7.4.
func (ca *CA) serveOrder(r *request) (*reply, *problem) {
	o, p := ca.orderOf(r, r.url)
	if p != nil {
		return nil, p
	}
	if p := ca.wantEmpty(r); p != nil {
		return nil, p
	}
	r.told = func() {
		for _, a := range o.authzs {
			a.tell(r.now)
		}
	}
	rep := &reply{status: http.StatusOK, body: o}
	if o.Status == "processing" {
		rep.retryAfter = ca.cfg.RetryAfter
	}
	if o.Status == "invalid" && ca.cfg.Terse {
		terse := *o
		terse.Authorizations = nil
		rep.body = &terse
	}
	return rep, nil
}

// finalize serves RFC 8555 §7.4 from the CSR on.
func (ca *CA) finalize(r *request) (*reply, *problem) {
	o, p := ca.orderOf(r, strings.TrimSuffix(r.url, "/finalize"))
	if p != nil {
		return nil, p
	}
	if o.Status != "ready" {
		if o.Status == "pending" {
			ca.misbehaved("%s: finalized before it is ready", o.url)
		}
		return nil, refuse(http.StatusForbidden, "orderNotReady", "the order's status is %q, not ready", o.Status)
	}
	if ca.cfg.Dated && !r.now.Before(o.NotAfter) {
		return nil, refuse(http.StatusInternalServerError, "serverInternal", "The server experienced an internal error")
	}
	if o.request, p = ca.parseCSR(r, o); p != nil {
		return nil, p
	}
	o.Status, o.issueAt = "processing", r.now.Add(ca.cfg.FinalizeDelay)
	rep := &reply{status: http.StatusOK, location: o.url, body: o}
	if ca.update(o, r.now) == "processing" {
		rep.retryAfter = ca.cfg.RetryAfter
	}
	return rep, nil
}

// orderOf finds the order of that URL, up to date, for its owner.
func (ca *CA) orderOf(r *request, url string) (*order, *problem) {
	o := ca.orders[url]
	if o == nil || o.account != r.account {
		return nil, refuse(http.StatusNotFound, "malformed", "no such order")
	}
	ca.update(o, r.now)
	return o, nil
}

// url makes a new URL for an object of that kind.
func (ca *CA) url(kind string) string {
	ca.serial++
	return ca.cfg.BaseURL + "/" + kind + "/" + strconv.FormatUint(ca.serial, 10)
}
