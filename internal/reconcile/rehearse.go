package reconcile

import (
	"cmp"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/store"
)

// rehearsal is an order at the staging side of an issuer, of which nothing is kept but the account.
type rehearsal struct {
	*visit
	issuer *issuer
	client *acme.Client
	order  store.Order
	report func(message string)
}

// longestRehearsal is when a CA that has not come to an end is given up.
const longestRehearsal = 10 * time.Minute

// Rehearse orders the certificate of name from the staging twin of its first issuer, with the solver of its spec, and
// throws it away. It keeps to the limits and holds of the twin, and touches nothing of the certificate itself.
func (r *Reconciler) Rehearse(ctx context.Context, name string, report func(message string)) error {
	ctx, cancel := context.WithTimeout(ctx, longestRehearsal)
	defer cancel()
	set := r.specs.Load()
	want := set.Certificate(name)
	if want == nil {
		return fmt.Errorf("rehearsing %s: its spec is gone", name)
	}
	twin := set.Twin(want.Issuers[0])
	if twin == nil {
		return fmt.Errorf("rehearsing %s: issuer %s has no staging twin: write one to issuers.d/%[2]s-staging.yaml", name, want.Issuers[0])
	}
	i, err := r.issuer(twin.Name)
	if err != nil || i == nil {
		return errors.Join(err, errGone(twin.Name))
	}
	v := &visit{r: r, name: name, now: time.Now().Round(0), in: Input{Want: want}, log: r.log.With(zap.String("cert", name))}
	defer v.leave()
	h := &rehearsal{visit: v, issuer: i, report: report}
	if err := h.begin(ctx); err != nil {
		return fmt.Errorf("rehearsing %s at %s: %w", name, twin.Name, err)
	}
	err = h.run(ctx)
	if herr := i.heardOf(err, v.cause(i, err), time.Now().Round(0)); herr != nil {
		err = errors.Join(err, herr)
	}
	if err != nil {
		return fmt.Errorf("rehearsing %s at %s: %w", name, twin.Name, err)
	}
	return nil
}

// begin sees that the twin may be asked, with an account, and has written down what it costs.
func (h *rehearsal) begin(ctx context.Context) (err error) {
	var until time.Time
	var why string
	h.issuer.ledger.View(func(s *store.IssuerState) { until, why = Left(s, h.now) })
	if !until.IsZero() {
		return fmt.Errorf("it is left alone until %s: %s", until.Format(time.RFC3339), why)
	}
	if h.client, err = h.ready(ctx, h.issuer); err != nil {
		return h.heard(ctx, h.issuer, err)
	}
	want := h.in.Want
	h.order = store.Order{Issuer: h.issuer.spec.Name, Account: h.account, DNSNames: want.DNSNames, IPAddresses: addresses(want),
		Profile: want.Profile, Created: h.now, Charged: true}
	if until, err = h.charge(h.issuer, h.order); err != nil || !until.After(h.now) {
		return err
	}
	return fmt.Errorf("acmed's own limit there lets it through at %s: wait until then", until.Format(time.RFC3339))
}

// run takes an order from its first to its last step.
func (h *rehearsal) run(ctx context.Context) error {
	ids := acmeIdentifiers(h.order)
	o, err := h.client.NewOrder(ctx, acme.OrderRequest{Identifiers: ids, Profile: h.order.Profile})
	if err != nil {
		return err
	}
	h.report("ordered from " + h.order.Issuer)
	if o, err = h.validate(ctx, o); err != nil {
		return err
	}
	h.issuer.ledger.Note(func(s *store.IssuerState) { refund(s, failureBuckets(namesOf(h.order), h.issuer.spec.Limits)) })
	h.report("the names are validated")
	key, csr, err := h.request(ids)
	if err != nil {
		return err
	}
	if o.Status == acme.StatusReady {
		if o, err = h.client.Finalize(ctx, o, csr); err != nil {
			return err
		}
	}
	if o, err = h.poll(ctx, o, acme.StatusReady, acme.StatusProcessing); err != nil {
		return err
	}
	chain, _, err := h.client.Fetch(ctx, o, h.in.Want.PreferredChain)
	if err != nil {
		return err
	}
	_, err = acme.Verify(chain, key, ids, time.Now())
	return err
}

// request is the CSR of the spec, or one of a key that nobody keeps, and its public key.
func (h *rehearsal) request(ids []acme.Identifier) (key crypto.PublicKey, csr []byte, err error) {
	if own := h.in.Want.CSR; own != nil {
		req, err := x509.ParseCertificateRequest(own.DER)
		if err != nil {
			return nil, nil, err
		}
		return req.PublicKey, own.DER, nil
	}
	signer, err := newKey(h.in.Want.PrivateKey)
	if err != nil {
		return nil, nil, err
	}
	csr, err = acme.CSR(signer, ids)
	return signer.Public(), csr, err
}

// validate proves control of the names, and takes the proofs away whatever comes of it.
func (h *rehearsal) validate(ctx context.Context, o *acme.Order) (*acme.Order, error) {
	challenges, err := h.client.Challenges(ctx, o, h.in.Want.Challenge.Type)
	if err != nil || len(challenges) == 0 {
		return o, err
	}
	solver, err := h.r.solver(h.name, h.in.Want.Challenge)
	if err != nil {
		return nil, err
	}
	proofs := make([]store.Proof, len(challenges))
	for i, c := range challenges {
		proofs[i] = proofOf(c, h.in.Want.Challenge)
	}
	if err := h.r.rehearsalShows(h.name, proofs); err != nil {
		return nil, err
	}
	defer h.hideAll(ctx, proofs)
	for _, c := range challenges {
		if err := solver.Present(ctx, c.Proof); err != nil {
			return nil, fmt.Errorf("presenting the proof for %s: %w", c.Proof.Identifier.Value, err)
		}
	}
	if err := seen(ctx, solver, challenges); err != nil {
		return nil, err
	}
	answers, err := h.client.AcceptAll(ctx, challenges)
	if err != nil {
		return nil, err
	}
	if failed := failed(answers); failed != nil {
		return nil, failed
	}
	return h.poll(ctx, o, acme.StatusPending)
}

// failed is why the CA could not validate, also where it would let that be tried again; nil: it could, or is at it.
func failed(all []acme.Authorization) error {
	if _, lost := acme.Remaining(all); lost != nil {
		return lost
	}
	if failing := acme.Failing(all); failing != nil {
		return failing
	}
	return nil
}

// seen waits until proofs that take a while are visible to everybody.
func seen(ctx context.Context, solver acme.Solver, challenges []acme.Challenge) error {
	s, ok := solver.(slow)
	since := time.Now()
	for n := 0; ok && n < len(challenges); {
		lacking, err := s.Visible(ctx, challenges[n].Proof, since)
		if err != nil {
			return err
		}
		if lacking == "" {
			n++
		} else if err := pause(ctx, pollEvery); err != nil {
			return fmt.Errorf("waiting for %s to see the proof: %w", lacking, err)
		}
	}
	return nil
}

func (h *rehearsal) hideAll(ctx context.Context, proofs []store.Proof) {
	ctx, cancel := beyond(ctx)
	defer cancel()
	if err := h.r.hideRehearsal(ctx, h.name, proofs); err != nil {
		h.log.Warn("leaving a proof behind", zap.Error(err))
	}
}

// pollEvery is how often a CA is asked that does not say.
const pollEvery = time.Second

// poll asks for the order again, at the pace that the CA wants, while it is in one of these states.
func (h *rehearsal) poll(ctx context.Context, o *acme.Order, while ...acme.OrderStatus) (*acme.Order, error) {
	since := time.Now()
	for {
		over := o.Status != acme.StatusInvalid
		for _, s := range while {
			over = over && o.Status != s
		}
		if over {
			return o, nil
		}
		if o.Status == acme.StatusInvalid {
			return nil, h.client.Failure(ctx, o)
		}
		if err := pause(ctx, max(o.RetryAfter, pollEvery)); err != nil {
			return nil, fmt.Errorf("waiting for the CA: %w", err)
		}
		next, err := h.client.Order(ctx, o.URL)
		if err != nil {
			return nil, err
		}
		if o = next; o.Status != acme.StatusPending || time.Since(since) < doubtAfter {
			continue
		}
		all, err := h.client.Authorizations(ctx, o, h.in.Want.Challenge.Type)
		if err := cmp.Or(err, failed(all)); err != nil {
			return nil, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
