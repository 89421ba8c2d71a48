package reconcile

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// issue orders a certificate and takes the order as far as it goes without waiting. On disk before the CA is asked:
// what it costs of the budgets, the new key, and that an order is being made; before the first challenge: its URL.
func (v *visit) issue(ctx context.Context, d Decision) error {
	i, err := v.r.issuer(d.Issuer)
	if err != nil || i == nil {
		return errors.Join(err, errGone(d.Issuer))
	}
	if until, err := i.claim(v.now); err != nil || until.After(v.now) {
		return err // another certificate probes: the next decision waits for the hold
	}
	if v.pending != nil {
		if err := v.abandon(ctx); err != nil {
			return err
		}
	}
	client, err := v.ready(ctx, i)
	if err != nil {
		return v.heard(ctx, i, err)
	}
	key, err := v.key()
	if err != nil {
		return err
	}
	o := newOrder(&v.in, i.spec, v.account, d.Why, v.now)
	o.Instead = d.Instead
	if until, err := v.charge(i, o); err != nil || until.After(v.now) {
		return err // others spent what was left: the next decision waits for the budget
	}
	if err := v.r.store.Begin(v.name, key, o); err != nil {
		return errors.Join(err, i.refund(costs(o, i.spec.Limits))) // the CA was not asked
	}
	if d.Instead != "" {
		v.log.Warn("ordering from a standby", fieldIssuer(d.Issuer), zap.String("reason", d.Instead))
	}
	v.r.land(v.name)
	v.changed(lazily) // whose record is there is visited, should the spec go while acmed is stopped
	return v.order(ctx, i, client, o)
}

// newOrder is the order of what is wanted, of an account at i.
func newOrder(in *Input, i *spec.Issuer, account string, why Reason, now time.Time) store.Order {
	want := in.Want
	o := store.Order{
		Issuer: i.Name, Directory: i.Directory, Account: account, Request: want.Request(),
		DNSNames: want.DNSNames, IPAddresses: addresses(want), Profile: want.Profile,
		Key: want.PrivateKey.String(), Replaces: replaces(in, account, now), Created: now, Reason: string(why),
	}
	if want.CSR != nil {
		o.CSR = want.CSR.DER
	}
	o.Charged = o.Replaces == "" || !exempt(in, i, now)
	o.Renewal = renewal(in, i, now)
	return o
}

// order makes the order that is pending, and takes it on.
func (v *visit) order(ctx context.Context, i *issuer, client *acme.Client, o store.Order) error {
	made, err := client.NewOrder(ctx, acme.OrderRequest{
		Identifiers: acmeIdentifiers(o), Profile: o.Profile, Replaces: o.Replaces,
	})
	if err != nil {
		return v.heard(ctx, i, errors.Join(err, v.refused(i, o, err)))
	}
	if made.ReplacesRefused {
		v.log.Info("ordered without naming the certificate that is replaced: the CA refused that", fieldIssuer(o.Issuer))
		o.Replaces = ""
		v.chargeLate(i, &o)
	}
	o.URL, o.Status, o.Expires = made.URL, string(made.Status), made.Expires
	o.Authorizations = made.Authorizations
	if err := v.r.store.SaveOrder(v.name, o, store.Durable); err != nil {
		return err
	}
	v.log.Debug("ordered", fieldIssuer(o.Issuer), zap.String("reason", o.Reason), zap.String("order", o.URL))
	return v.advance(ctx, i, client, o, made)
}

// refused forgets an order that the CA did not make. Without an answer it may have made it, and counted it.
func (v *visit) refused(i *issuer, o store.Order, err error) error {
	if err := v.r.store.Drop(v.name); err != nil {
		return err
	}
	if e, ok := errors.AsType[*acme.Error](err); !ok || e.Status == 0 {
		return nil
	}
	return i.giveBack(o, nil)
}

// replaces is the certificate that the CA may take the new order to replace: one of the same account (RFC 9773 §5)
// with a name in common, still valid.
func replaces(in *Input, account string, now time.Time) string {
	is := in.Have.Issued
	if is == nil || is.Account != account || !now.Before(is.NotAfter) {
		return ""
	}
	had := slices.Concat(is.DNSNames, is.IPAddresses)
	if !slices.ContainsFunc(identifiers(in.Want), func(n string) bool { return slices.Contains(had, n) }) {
		return ""
	}
	return is.CertID
}

// key is the key of the next certificate: the present one where the spec wants to keep it and the CA has not revoked
// it, else a new one; none where the spec has a CSR.
func (v *visit) key() (crypto.Signer, error) {
	want, is := v.in.Want.PrivateKey, v.in.Have.Issued
	if v.in.Want.CSR != nil {
		return nil, nil
	}
	if want.RotationPolicy == "Never" && is != nil && is.Key == want.String() && is.CSR == "" && !v.in.Damaged && !revoked(&v.in) {
		return v.r.store.Key(v.name, is.Number)
	}
	return newKey(want)
}

func newKey(want spec.PrivateKey) (crypto.Signer, error) {
	switch {
	case want.Algorithm == "RSA":
		return rsa.GenerateKey(rand.Reader, want.Size)
	case want.Size == 384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	default:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
}

func acmeIdentifiers(o store.Order) []acme.Identifier {
	var out []acme.Identifier
	for _, n := range o.DNSNames {
		out = append(out, acme.Identifier{Type: "dns", Value: n})
	}
	for _, a := range o.IPAddresses {
		out = append(out, acme.Identifier{Type: "ip", Value: a})
	}
	return out
}

func errGone(issuer string) error {
	return fmt.Errorf("asking issuer %s: no file of issuers.d defines it any more", issuer)
}
