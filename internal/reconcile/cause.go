package reconcile

import (
	"errors"
	"slices"
	"strings"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// cause is the order that a hold of an issuer comes from. The zero cause is no order.
type cause struct {
	certificate string
	spec        string // see summary
	renewal     bool   // of unchanged names
	spares      bool   // renewals of unchanged names: the CA does not count them
}

// sparing is the cause of a hold for the rate limit e. Where the CA exempts renewals of unchanged names from the limit of
// new orders, they go on until one of them is refused too.
func (c cause) sparing(e *acme.Error, l spec.Limits) cause {
	return cause{spares: l.RenewalsExempt && e.Op == acme.OpNewOrder && c.certificate != "" && !c.renewal}
}

// cause is the order of this visit, if err is the CA's answer to a step of one.
func (v *visit) cause(i *issuer, err error) cause {
	e, ok := errors.AsType[*acme.Error](err)
	if !ok || v.in.Want == nil || !slices.Contains([]string{acme.OpNewOrder, acme.OpOrder, acme.OpAuthorization,
		acme.OpChallenge, acme.OpFinalize, acme.OpCertificate}, e.Op) {
		return cause{}
	}
	return cause{certificate: v.name, spec: summary(v.in.Want), renewal: sameNames(&v.in, i.spec)}
}

// summary sums up what a spec makes a CA see; "" if there is no spec.
func summary(c *spec.Certificate) string {
	if c == nil {
		return ""
	}
	return strings.Join(append([]string{attempt(c)}, c.Issuers...), " ")
}

// pardon ends the hold of an issuer if the spec whose order caused it has changed since, or is gone.
func (r *Reconciler) pardon(i *issuer) error {
	var by cause
	i.ledger.View(func(s *store.IssuerState) {
		if !s.Promised && s.Outage == 0 && !s.Hold.IsZero() {
			by = cause{certificate: s.HoldBy, spec: s.HoldSpec}
		}
	})
	if by.certificate == "" || summary(r.specs.Load().Certificate(by.certificate)) == by.spec {
		return nil
	}
	return i.release()
}

// pardonAll is pardon for every issuer that is in use.
func (r *Reconciler) pardonAll() error {
	r.mu.Lock()
	all := make([]*issuer, 0, len(r.issuers))
	for _, i := range r.issuers {
		all = append(all, i)
	}
	r.mu.Unlock()
	var errs []error
	for _, i := range all {
		errs = append(errs, r.pardon(i))
	}
	return errors.Join(errs...)
}
