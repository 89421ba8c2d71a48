package reconcile

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/store"
)

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
	if err := v.rekey(o); err != nil {
		return err
	}
	client, err := v.ready(ctx, i)
	if err != nil {
		return v.heard(ctx, i, err)
	}
	if f := v.r.flight(v.name); !f.over.IsZero() {
		return v.settle(ctx, i, client, o, f.reason)
	}
	state, err := client.Order(ctx, o.URL)
	if err != nil {
		return v.unfinished(ctx, i, client, o, err)
	}
	return v.advance(ctx, i, client, o, state)
}

// advance takes an order from the state it is in as far as it goes without waiting for the CA.
func (v *visit) advance(ctx context.Context, i *issuer, client *acme.Client, o store.Order, state *acme.Order) (err error) {
	if len(o.Authorizations) > 0 {
		state.Authorizations = o.Authorizations
	}
	if err := v.hopeless(o, state); err != nil {
		return v.unfinished(ctx, i, client, o, err)
	}
	switch state.Status {
	case acme.StatusReady, acme.StatusProcessing, acme.StatusValid:
		if acme.OrderStatus(o.Status) == acme.StatusPending {
			v.cleanUp(ctx, &o) // the CA has validated
		}
		o.Failing, o.Failure = time.Time{}, nil
	}
	if state.Status == acme.StatusReady {
		if state, err = v.finalize(ctx, i, client, &o, state); err != nil {
			return v.finalizeFailed(ctx, i, client, o, err)
		}
	}
	switch state.Status {
	case acme.StatusPending:
		err = v.prove(ctx, client, &o, state)
	case acme.StatusReady, acme.StatusProcessing: // ready once more: a replica of the CA lags behind
		err = v.await(o, state)
	case acme.StatusValid:
		err = v.fetch(ctx, client, o, state)
	default:
		err = v.invalid(o, state)
	}
	if err != nil {
		return v.unfinished(ctx, i, client, o, err)
	}
	return i.heard(nil, time.Now().Round(0))
}

// slow is a Solver whose proofs take a while until everybody sees them.
type slow interface {
	// Visible tells who does not see a proof yet that was presented at that time; "": everybody does.
	Visible(ctx context.Context, p acme.Proof, since time.Time) (lacking string, err error)
}

// busy is a Solver that may be slow to show a proof.
type busy interface {
	// Busy tells what a proof would wait for if it were presented now; "": nothing.
	Busy() string
}

// errExpired is for an order that the CA calls open past its end. To order anew at once, and so for ever, would not
// help a clock that is wrong.
func errExpired(state *acme.Order) error {
	return &acme.Error{Kind: acme.Validation, Op: acme.OpOrder, Problem: problemExpired,
		Detail: "the order ended at " + state.Expires.UTC().Format(time.RFC3339) + " and the CA has not validated it",
		Hint:   "make sure that the clock of this machine is right"}
}

// present makes proofs visible, once, and tells who does not see them yet; "": everybody does.
func (v *visit) present(ctx context.Context, o *store.Order, challenges []acme.Challenge) (lacking string, err error) {
	solver, err := v.r.solver(v.name, v.in.Want.Challenge)
	if err != nil {
		return "", err
	}
	f := v.r.flight(v.name)
	if s, ok := solver.(busy); ok && f.shown.IsZero() {
		if lacking := s.Busy(); lacking != "" { // a worker has better things to do than to wait
			return lacking, nil
		}
	}
	if f.shown.IsZero() {
		if err := v.show(ctx, solver, o, challenges); err != nil {
			return "", err
		}
		f.shown, f.since, f.polls, f.lacking = time.Now().Round(0), time.Time{}, 0, ""
		v.r.setFlight(v.name, f)
	}
	s, ok := solver.(slow)
	for i := 0; ok && i < len(challenges); i++ {
		if lacking, err := s.Visible(ctx, challenges[i].Proof, f.shown); err != nil || lacking != "" {
			return lacking, err
		}
	}
	return "", nil
}

// show makes proofs visible. What is made visible is written down before, so that it is taken away whatever happens.
func (v *visit) show(ctx context.Context, solver acme.Solver, o *store.Order, challenges []acme.Challenge) error {
	where := v.in.Want.Challenge
	for _, c := range challenges { // beside those of an attempt that was cut short
		p := proofOf(c, where)
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
	return nil
}

// finalize asks for the certificate of an order that is ready, having written down that it will. What was spent in
// case its names could not be validated is given back afterwards: so it is never given back twice.
func (v *visit) finalize(ctx context.Context, i *issuer, client *acme.Client, o *store.Order, state *acme.Order) (*acme.Order, error) {
	csr, err := v.csr(o)
	if err != nil {
		return nil, err
	}
	again := o.Validated
	o.Status, o.Validated = string(acme.StatusProcessing), true
	if err := v.r.store.SaveOrder(v.name, *o, store.Durable); err != nil {
		return nil, err
	}
	if !again { // else it is polled less and less often, whatever the CA takes finalize for
		v.r.land(v.name)
		i.ledger.Note(func(s *store.IssuerState) { refund(s, failureBuckets(namesOf(*o), i.spec.Limits)) })
	}
	return client.Finalize(ctx, state, csr)
}

// csr is what an order is finalized with: the operator's own CSR as it is, or one of the order's key.
func (v *visit) csr(o *store.Order) ([]byte, error) {
	if o.CSR != nil {
		return o.CSR, nil
	}
	p, err := v.inFlight()
	if err != nil {
		return nil, err
	}
	key, err := p.Key()
	if err != nil {
		return nil, err
	}
	return acme.CSR(key, acmeIdentifiers(*o))
}

// inFlight is the order in flight, with its key.
func (v *visit) inFlight() (*store.Pending, error) {
	p, err := v.r.store.Pending(v.name)
	if err == nil && p == nil {
		err = errors.New("reading the key of the order: it is gone")
	}
	return p, err
}

// fetch takes the certificate, believes it only if it is the one asked for, and commits it beside its key.
func (v *visit) fetch(ctx context.Context, client *acme.Client, o store.Order, state *acme.Order) error {
	preferred := v.in.Want.PreferredChain
	chain, offered, err := client.Fetch(ctx, state, preferred)
	if err != nil {
		return err
	}
	p, err := v.inFlight()
	if err != nil {
		return err
	}
	key, err := p.Public()
	if err != nil {
		return err
	}
	issued, err := acme.Verify(chain, key, acmeIdentifiers(o), v.now)
	if err != nil {
		return v.leafEnded(o, err)
	}
	if is := v.in.Have.Issued; is != nil && is.SHA256 == fingerprint(issued) {
		return errOld()
	}
	v.cleanUp(ctx, &o) // should anything be left
	about := store.Revision{
		Issuer: o.Issuer, Directory: o.Directory, Account: o.Account, Order: o.URL, Profile: o.Profile, Key: o.Key,
		CertID: acme.CertID(issued.Chain[0]), Committed: time.Now().Round(0),
	}
	if state.Profile != o.Profile {
		about.Granted = state.Profile
	}
	about.IssuerEnds = issuerEnds(issued.Chain)
	if offered != nil {
		about.Unmet, about.Offered = preferred, offered
	}
	rev, err := v.r.store.Commit(v.name, chain, about)
	if err != nil {
		return err
	}
	if rev.Unmet != "" {
		v.log.Warn("the CA offers no chain to the preferred issuer", fieldIssuer(o.Issuer), zap.String("preferredChain", rev.Unmet),
			zap.Strings("offered", rev.Offered), zap.String("hint", "set preferredChain in the spec to one that is offered, or remove it"))
	}
	if !rev.IssuerEnds.IsZero() {
		v.log.Warn("the certificate of the CA ends with the one it issued", fieldIssuer(o.Issuer), zap.Time("issuerEnds", rev.IssuerEnds),
			zap.String("hint", "have the operator of the CA renew its issuing certificate: no renewal can last longer"))
	}
	v.r.land(v.name)
	v.r.board.uncheck(v.name)
	took := rev.Committed.Sub(o.Created)
	v.r.metrics.issued(o, took)
	v.log.Info("issued certificate", fieldIssuer(o.Issuer), zap.String("reason", o.Reason), zap.Int("revision", rev.Number),
		zap.Time("notAfter", rev.NotAfter), zap.Duration("took", took))
	return nil
}

// issuerEnds is when the first certificate of the CA in a chain ends, if that is with the leaf or before; zero: it is later.
// Private CAs shorten what they issue to their own end (Vault).
func issuerEnds(chain []*x509.Certificate) (ends time.Time) {
	const close = time.Minute // Vault's leaf ends seconds before its issuer
	for _, c := range chain[1:] {
		if c.NotAfter.Before(chain[0].NotAfter.Add(close)) && (ends.IsZero() || c.NotAfter.Before(ends)) {
			ends = c.NotAfter
		}
	}
	return ends
}

// fingerprint is what Revision.SHA256 holds.
func fingerprint(c acme.Issued) string {
	sum := sha256.Sum256(c.DER[0])
	return hex.EncodeToString(sum[:])
}

// errOld refuses the certificate in use: taken for a new one, it would be due again at once.
func errOld() error {
	return &acme.Error{Kind: acme.Validation, Op: acme.OpCertificate, Problem: "badCertificate",
		Detail: "the CA sent the certificate in use once more", Hint: "report this to the CA; the certificate in use stays"}
}

// unfinished sorts out an order that an error interrupted: one that may still come to an end is kept, for it has
// been paid for; any other is dropped, and what it did not use is given back.
func (v *visit) unfinished(ctx context.Context, i *issuer, client *acme.Client, o store.Order, err error) error {
	if ctx.Err() != nil {
		return err
	}
	e, ok := errors.AsType[*acme.Error](err)
	if !ok {
		if _, lost := errors.AsType[*store.DamagedError](err); lost { // without its key it is good for nothing
			return errors.Join(err, v.end(ctx, i, o, namesOf(o)))
		}
		return err // this machine's trouble: the order stays
	}
	switch gone := e.Status == http.StatusNotFound || e.Status != 0 && e.Problem == "accountDoesNotExist"; {
	case v.refetch(o, e):
	case gone:
		return v.heard(ctx, i, errors.Join(v.gone(o, e), v.end(ctx, i, o, nil)))
	case e.Final, e.Kind == acme.Validation, e.Kind == acme.Permanent:
		return v.settle(ctx, i, client, o, e)
	}
	v.r.land(v.name)
	return v.heard(ctx, i, err)
}

// heard tells the issuer how the CA answered and passes the error on.
func (v *visit) heard(ctx context.Context, i *issuer, err error) error {
	var e *acme.Error
	if errors.As(err, &e) && e.Problem == "accountDoesNotExist" && e.Status != 0 && v.account != "" {
		forgot, ferr := v.r.forget(ctx, i, v.account, v.now)
		if forgot || ferr != nil {
			return errors.Join(err, ferr)
		}
	}
	if herr := i.heardOf(err, v.cause(i, err), time.Now().Round(0)); herr != nil {
		return errors.Join(err, herr)
	}
	return err
}

// abandon gives the order in flight up. The CA may find the proofs gone that it was told of, which is a failure.
func (v *visit) abandon(ctx context.Context) error {
	o := *v.in.Order
	i, err := v.r.issuer(o.Issuer)
	if err != nil {
		return err
	}
	v.log.Debug("giving an order up", fieldIssuer(o.Issuer), zap.String("order", o.URL))
	if f := v.r.flight(v.name); i != nil && !f.accepted.IsZero() && !f.resting() {
		if client, err := v.ready(ctx, i); err == nil {
			return v.settle(ctx, i, client, o, nil)
		}
	}
	var spent []string
	if len(o.Proofs) > 0 {
		spent = namesOf(o)
	}
	return v.end(ctx, i, o, spent)
}

// end forgets an order that brought no certificate, and then gives back what it did not use: never twice, whatever
// interrupts it. Spent are the names whose validation failed or may have. An order whose URL never came may have used
// all.
func (v *visit) end(ctx context.Context, i *issuer, o store.Order, spent []string) error {
	v.cleanUp(ctx, &o)
	v.r.land(v.name)
	if err := v.r.store.Drop(v.name); err != nil || i == nil || o.URL == "" {
		return err
	}
	return i.giveBack(o, spent)
}

const (
	// calmCleanUp is how long it may take to take the proofs of an order away: programs that write DNS records may
	// take a minute for each.
	calmCleanUp = 10 * time.Minute
	// lateCleanUp is how long it may still take once the visit is to end.
	lateCleanUp = 30 * time.Second
)

// beyond is ctx, but for its end: that leaves some more time.
func beyond(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithTimeout(context.WithoutCancel(ctx), calmCleanUp)
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(lateCleanUp, cancel) })
	return longer, func() { stop(); cancel() }
}

// cleanUp takes the proofs of an order away, even while the daemon stops, and keeps in o those that it could not.
func (v *visit) cleanUp(ctx context.Context, o *store.Order) {
	ctx, cancel := beyond(ctx)
	defer cancel()
	o.Proofs = slices.DeleteFunc(slices.Clone(o.Proofs), func(p store.Proof) bool {
		err := v.r.hide(ctx, v.name, p)
		if err != nil {
			v.log.Warn("leaving a proof behind", zap.String("domain", p.Identifier), zap.Error(err))
		}
		return err == nil
	})
}
