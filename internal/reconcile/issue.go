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
	"net/http"
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
	want := v.in.Want
	o := store.Order{
		Issuer: d.Issuer, Directory: i.spec.Directory, Account: v.account, Request: want.Request(),
		DNSNames: want.DNSNames, IPAddresses: addresses(want), Profile: want.Profile,
		Key: want.PrivateKey.String(), Replaces: v.replaces(v.account), Created: v.now, Reason: string(d.Why),
	}
	// CAs exempt what replaces a certificate at their advice; one that is replaced in its first tenth is counted
	// nevertheless, for advice can be wrong.
	o.Charged = o.Replaces == "" || d.Why != Advised || v.now.Sub(v.in.Have.Issued.Committed) < lifetime(v.in.Have.Issued)/tooEarly
	if err := v.charge(i, o); err != nil {
		return err
	}
	if err := v.r.store.Begin(v.name, key, o); err != nil {
		return errors.Join(err, v.giveBack(i, o, false))
	}
	v.r.land(v.name)
	return v.order(ctx, i, client, o)
}

// order makes the order that is pending, and takes it on.
func (v *visit) order(ctx context.Context, i *issuer, client *acme.Client, o store.Order) error {
	made, err := client.NewOrder(ctx, acme.OrderRequest{
		Identifiers: acmeIdentifiers(o), Profile: o.Profile, Replaces: o.Replaces,
	})
	if err != nil {
		var e *acme.Error
		if errors.As(err, &e) && e.Status != 0 { // without an answer, an order may have been made
			err = errors.Join(err, v.giveBack(i, o, false))
		}
		return v.heard(ctx, i, errors.Join(err, v.r.store.Drop(v.name)))
	}
	if made.ReplacesRefused {
		v.log.Info("ordered without naming the certificate that is replaced: the CA refused that", fieldIssuer(o.Issuer))
		o.Replaces = ""
	}
	o.URL, o.Status, o.Expires = made.URL, string(made.Status), made.Expires
	if err := v.r.store.SaveOrder(v.name, o, store.Durable); err != nil {
		return err
	}
	v.log.Debug("ordered", fieldIssuer(o.Issuer), zap.String("reason", o.Reason), zap.String("order", o.URL))
	return v.advance(ctx, i, client, o, made)
}

// resume asks the CA how the order in flight stands, and takes it on.
func (v *visit) resume(ctx context.Context) error {
	o := *v.in.Order
	i, err := v.r.issuer(o.Issuer)
	if err != nil || i == nil {
		return errors.Join(err, errGone(o.Issuer))
	}
	if until, err := i.claim(v.now); err != nil || until.After(v.now) {
		return err // another certificate probes
	}
	client, err := v.ready(ctx, i)
	if err != nil {
		return v.heard(ctx, i, err)
	}
	state, err := client.Order(ctx, o.URL)
	if err != nil {
		return v.unfinished(ctx, i, o, err)
	}
	return v.advance(ctx, i, client, o, state)
}

// advance takes an order from the state it is in as far as it goes without waiting for the CA.
func (v *visit) advance(ctx context.Context, i *issuer, client *acme.Client, o store.Order, state *acme.Order) (err error) {
	before := acme.OrderStatus(o.Status)
	if before == acme.StatusPending && state.Status != acme.StatusPending {
		v.cleanUp(ctx, o) // the CA has looked
	}
	if state.Status == acme.StatusReady {
		if err := v.validated(i, &o); err != nil {
			return err
		}
		if state, err = v.finalize(ctx, client, &o, state); err != nil {
			return v.unfinished(ctx, i, o, err)
		}
	}
	switch state.Status {
	case acme.StatusPending:
		if err = v.prove(ctx, client, &o, state); err == nil {
			v.wait(state)
		}
	case acme.StatusReady, acme.StatusProcessing: // ready once more: a replica of the CA lags behind
		v.wait(state)
	case acme.StatusValid:
		err = v.fetch(ctx, client, o, state)
	default:
		err = client.Failure(ctx, state)
	}
	if err != nil {
		return v.unfinished(ctx, i, o, err)
	}
	return i.heard(nil, v.now)
}

// prove makes the proofs of an order visible and tells the CA to look. What was made visible is written down before,
// so that it is taken away whatever happens.
func (v *visit) prove(ctx context.Context, client *acme.Client, o *store.Order, state *acme.Order) error {
	f := v.r.flight(v.name)
	if f.proved {
		return nil
	}
	challenge := v.in.Want.Challenge
	challenges, err := client.Challenges(ctx, state, challenge.Type)
	if err != nil || len(challenges) == 0 {
		return err
	}
	solver, err := v.r.solver(challenge)
	if err != nil {
		return err
	}
	for _, c := range challenges { // beside those of an attempt that was cut short
		p := store.Proof{Type: c.Proof.Type, Identifier: c.Proof.Identifier.Value, Token: c.Proof.Token}
		if !slices.Contains(o.Proofs, p) {
			o.Proofs = append(o.Proofs, p)
		}
	}
	if err := v.r.store.SaveOrder(v.name, *o, store.Whole); err != nil {
		return err
	}
	for _, c := range challenges {
		if err := solver.Present(ctx, c.Proof); err != nil {
			return fmt.Errorf("presenting the proof for %s: %w", c.Proof.Identifier.Value, err)
		}
	}
	if err := client.AcceptAll(ctx, challenges); err != nil {
		return err
	}
	f.proved = true
	v.r.setFlight(v.name, f)
	return nil
}

// finalize asks for the certificate of an order that is ready, having written down that it will.
func (v *visit) finalize(ctx context.Context, client *acme.Client, o *store.Order, state *acme.Order) (*acme.Order, error) {
	key, err := v.pendingKey()
	if err != nil {
		return nil, err
	}
	csr, err := acme.CSR(key, acmeIdentifiers(*o))
	if err != nil {
		return nil, err
	}
	o.Status = string(acme.StatusProcessing)
	if err := v.r.store.SaveOrder(v.name, *o, store.Durable); err != nil {
		return nil, err
	}
	v.r.land(v.name)
	return client.Finalize(ctx, state, csr)
}

// pendingKey is the key of the order in flight.
func (v *visit) pendingKey() (crypto.Signer, error) {
	p, err := v.r.store.Pending(v.name)
	if err != nil {
		return nil, err
	}
	if p == nil {
		return nil, errors.New("reading the key of the order: it is gone")
	}
	return p.Key()
}

// fetch takes the certificate, believes it only if it is the one asked for, and commits it beside its key.
func (v *visit) fetch(ctx context.Context, client *acme.Client, o store.Order, state *acme.Order) error {
	chain, err := client.Fetch(ctx, state, v.in.Want.PreferredChain)
	if err != nil {
		return err
	}
	key, err := v.pendingKey()
	if err != nil {
		return err
	}
	issued, err := acme.Verify(chain, key.Public(), acmeIdentifiers(o), v.now)
	if err != nil {
		return err
	}
	rev, err := v.r.store.Commit(v.name, chain, store.Revision{
		Issuer: o.Issuer, Directory: o.Directory, Account: o.Account, Order: o.URL, Profile: o.Profile, Key: o.Key,
		CertID: acme.CertID(issued.Chain[0]), Committed: time.Now().Round(0),
	})
	if err != nil {
		return err
	}
	v.r.land(v.name)
	v.r.board.uncheck(v.name)
	took := rev.Committed.Sub(o.Created)
	v.r.metrics.issued(o, took)
	v.log.Info("issued certificate", fieldIssuer(o.Issuer), zap.String("reason", o.Reason), zap.Int("revision", rev.Number),
		zap.Time("notAfter", rev.NotAfter), zap.Duration("took", took))
	return nil
}

// unfinished sorts out an order that an error interrupted: one that may still come to an end is kept, for it has
// been paid for; any other is dropped, and what it did not use is given back.
func (v *visit) unfinished(ctx context.Context, i *issuer, o store.Order, err error) error {
	var e *acme.Error
	if ctx.Err() != nil || !errors.As(err, &e) {
		return err // this machine's trouble: the order stays
	}
	gone := e.Status == http.StatusNotFound || e.Problem == "accountDoesNotExist"
	if (e.Kind == acme.Transient || e.Kind == acme.RateLimited) && !gone {
		v.r.land(v.name)
		return v.heard(ctx, i, err)
	}
	v.cleanUp(ctx, o)
	v.r.land(v.name)
	return v.heard(ctx, i, errors.Join(err, v.giveBack(i, o, e.Kind == acme.Validation), v.r.store.Drop(v.name)))
}

// heard tells the issuer how the CA answered and passes the error on.
func (v *visit) heard(ctx context.Context, i *issuer, err error) error {
	var e *acme.Error
	if errors.As(err, &e) && e.Problem == "accountDoesNotExist" {
		forgot, ferr := v.r.forget(ctx, i, v.account, v.now)
		if forgot || ferr != nil {
			return errors.Join(err, ferr)
		}
	}
	if herr := i.heard(err, v.now); herr != nil {
		return errors.Join(err, herr)
	}
	return err
}

// abandon gives the order in flight up.
func (v *visit) abandon(ctx context.Context) error {
	o := *v.in.Order
	v.cleanUp(ctx, o)
	v.r.land(v.name)
	if i, err := v.r.issuer(o.Issuer); err != nil {
		return err
	} else if i != nil && o.URL != "" {
		if err := v.giveBack(i, o, false); err != nil {
			return err
		}
	}
	return v.r.store.Drop(v.name)
}

// cleanUp takes the proofs of an order away, even while the daemon stops.
func (v *visit) cleanUp(ctx context.Context, o store.Order) {
	if len(o.Proofs) == 0 || v.in.Want == nil {
		return
	}
	solver, err := v.r.solver(v.in.Want.Challenge)
	if err != nil {
		return // nothing answers challenges of this type, so nothing is visible
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
	defer cancel()
	for _, p := range o.Proofs {
		proof := acme.Proof{Type: p.Type, Token: p.Token, Identifier: acme.Identifier{Value: p.Identifier}}
		if err := solver.CleanUp(ctx, proof); err != nil {
			v.log.Warn("leaving a proof behind", zap.String("domain", p.Identifier), zap.Error(err))
		}
	}
}

// charge spends what an order costs, on disk before the CA is asked.
func (v *visit) charge(i *issuer, o store.Order) error {
	names := slices.Concat(o.DNSNames, o.IPAddresses)
	buckets := failureBuckets(names, i.spec.Limits)
	if o.Charged {
		buckets = append(buckets, orderBuckets(names, i.spec.Limits)...)
	}
	if len(buckets) == 0 {
		return nil
	}
	return i.ledger.Update(func(s *store.IssuerState) { charge(s, buckets, v.now) })
}

// validated gives back what was spent in case the names of o could not be validated.
func (v *visit) validated(i *issuer, o *store.Order) error {
	if o.Validated {
		return nil
	}
	o.Validated = true
	buckets := failureBuckets(slices.Concat(o.DNSNames, o.IPAddresses), i.spec.Limits)
	if len(buckets) == 0 {
		return nil
	}
	return i.ledger.Update(func(s *store.IssuerState) { refund(s, buckets) })
}

// giveBack gives back what an order that brought no certificate did not cost after all: all that counts
// certificates, and the failures too unless it is one.
func (v *visit) giveBack(i *issuer, o store.Order, failed bool) error {
	names := slices.Concat(o.DNSNames, o.IPAddresses)
	var buckets []bucket
	if !failed && !o.Validated {
		buckets = failureBuckets(names, i.spec.Limits)
	}
	if o.Charged {
		buckets = append(buckets, slices.DeleteFunc(orderBuckets(names, i.spec.Limits), func(b bucket) bool { return b.shared })...)
	}
	if len(buckets) == 0 {
		return nil
	}
	return i.ledger.Update(func(s *store.IssuerState) { refund(s, buckets) })
}

// replaces is the certificate that the CA may take the new order to replace: one of the same account (RFC 9773 §5)
// with a name in common, still valid.
func (v *visit) replaces(account string) string {
	is := v.in.Have.Issued
	if is == nil || is.Account != account || !v.now.Before(is.NotAfter) {
		return ""
	}
	had := slices.Concat(is.DNSNames, is.IPAddresses)
	if !slices.ContainsFunc(identifiers(v.in.Want), func(n string) bool { return slices.Contains(had, n) }) {
		return ""
	}
	return is.CertID
}

// key is the key of the next certificate: the present one where the spec wants to keep it, else a new one.
func (v *visit) key() (crypto.Signer, error) {
	want, is := v.in.Want.PrivateKey, v.in.Have.Issued
	if want.RotationPolicy == "Never" && is != nil && is.Key == want.String() && !v.in.Damaged {
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
