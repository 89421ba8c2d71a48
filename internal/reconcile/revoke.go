package reconcile

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/store"
)

// Revocation is what the operator wants revoked. Name is required.
type Revocation struct {
	Name     string
	Revision int // zero: the newest
	Reason   acme.RevocationReason
	// ByKey signs with the certificate's own key alone. False: for keyCompromise the certificate's key, else the account,
	// and the other one where the CA refuses that.
	ByKey bool
}

// RevocationResult is what came of it.
type RevocationResult struct {
	Revision   store.Revision
	ByKey      bool      // the certificate's own key signed
	Reasonless bool      // the CA accepted no reason
	Newest     bool      // nothing newer has taken its place
	SameKey    []SameKey // for keyCompromise: the others that have the key
}

// revoked tells whether the newest revision is.
func revoked(in *Input) bool {
	_, is := in.Have.Revocation(in.Have.Issued)
	return is
}

// Revoke has a revision revoked, and writes that down: its successor is due at once, with a new key. A crash between
// the two is made up for by asking again, since what is revoked already is no error.
func (r *Reconciler) Revoke(ctx context.Context, q Revocation) (RevocationResult, error) {
	have, err := r.store.Record(q.Name)
	if err != nil {
		return RevocationResult{}, err
	}
	rev, err := r.revision(q, have)
	if err != nil {
		return RevocationResult{}, err
	}
	out := RevocationResult{Revision: rev, Newest: have.Issued != nil && have.Issued.SHA256 == rev.SHA256}
	if q.Reason == acme.KeyCompromise {
		if out.SameKey, err = r.sameKey(q.Name, rev); err != nil {
			return RevocationResult{}, err
		}
	}
	leaf, err := r.store.Leaf(q.Name, rev.Number)
	if err != nil {
		return RevocationResult{}, err
	}
	if err := r.askRevocation(ctx, q, leaf.Raw, &out); err != nil {
		return RevocationResult{}, err
	}
	why := q.Reason
	if out.Reasonless && rev.CSR == "" && q.Reason != acme.KeyCompromise { // its key may not be certified again
		why = 0
	}
	r.log.Warn("revoked certificate", zap.String("cert", q.Name), fieldIssuer(rev.Issuer), zap.Int("revision", rev.Number),
		zap.String("serial", rev.Serial), zap.String("reason", why.String()))
	rev.SPKI = spkiOf(leaf)
	for _, other := range out.SameKey {
		r.compromise(other, rev.SPKI)
	}
	err = r.wish(ctx, q.Name, func(v *visit) error {
		v.revoked(rev, why.String())
		return nil
	})
	if errors.Is(err, ErrBusy) {
		err = nil // it follows, and what was asked for has happened
	}
	return out, err
}

// ErrNoCertificate is that of what needs one.
var ErrNoCertificate = errors.New("there is no certificate yet")

// revision is the one that is meant.
func (r *Reconciler) revision(q Revocation, have store.Record) (store.Revision, error) {
	switch {
	case q.Revision > 0:
		return r.store.Revision(q.Name, q.Revision)
	case have.Issued == nil:
		return store.Revision{}, fmt.Errorf("revoking %s: %w", q.Name, ErrNoCertificate)
	}
	return *have.Issued, nil
}

// askRevocation has the CA revoke a certificate. It tries the signers in their order; where the CA refuses the reason, none
// is given: the revocation matters more.
func (r *Reconciler) askRevocation(ctx context.Context, q Revocation, leaf []byte, out *RevocationResult) error {
	client, done, err := r.issuing(ctx, out.Revision)
	if err != nil {
		return err
	}
	defer done()
	signers, err := r.signers(q, out.Revision)
	if err != nil {
		return err
	}
	for i, key := range signers {
		request := acme.RevocationRequest{Leaf: leaf, Reason: q.Reason, Key: key}
		err = client.Revoke(ctx, request)
		if acme.WithoutReason(err) && request.Reason != 0 {
			request.Reason, out.Reasonless = 0, true
			err = client.Revoke(ctx, request)
		}
		out.ByKey = key != nil
		if err == nil || i == len(signers)-1 || !refusesSigner(err, key) {
			break
		}
		out.Reasonless = false
	}
	if acme.NotTheAccount(err) && out.Revision.CSR != "" {
		return fmt.Errorf("%w: the certificate's own key could sign, but it is where its CSR was made", err)
	}
	return err
}

// signers are the keys that may sign the revocation of a revision, the first to be tried first; nil stands for the
// account's. Only the certificate's own key proves that it is compromised: a CA such as Boulder blocks it then.
func (r *Reconciler) signers(q Revocation, rev store.Revision) ([]crypto.Signer, error) {
	if rev.CSR != "" {
		if q.ByKey {
			return nil, fmt.Errorf("revoking revision %d of %s with its own key: %w: revoke it without --by-key, on behalf of the account",
				rev.Number, q.Name, store.ErrNoKey)
		}
		return []crypto.Signer{nil}, nil
	}
	own, err := r.store.Key(q.Name, rev.Number)
	_, damaged := errors.AsType[*store.DamagedError](err)
	switch {
	case damaged && !q.ByKey:
		return []crypto.Signer{nil}, nil
	case err != nil:
		return nil, err
	case q.ByKey:
		return []crypto.Signer{own}, nil
	case q.Reason == acme.KeyCompromise:
		return []crypto.Signer{own, nil}, nil
	}
	return []crypto.Signer{nil, own}, nil
}

// refusesSigner reports whether another signer may do better. A CA may refuse a certificate's key for any reason.
func refusesSigner(err error, key crypto.Signer) bool {
	if key == nil {
		return acme.NotTheAccount(err)
	}
	e, ok := errors.AsType[*acme.Error](err)
	return ok && e.Status/100 == 4 && e.Kind != acme.RateLimited
}

// issuing is the client of the CA that issued a revision. Its account keeps its key until done is called.
func (r *Reconciler) issuing(ctx context.Context, rev store.Revision) (client *acme.Client, done func(), err error) {
	i, err := r.issuer(rev.Issuer)
	if err != nil {
		return nil, nil, err
	}
	if i == nil || i.spec.Directory != rev.Directory {
		return nil, nil, fmt.Errorf("revoking revision %d: it is of issuer %s at %s, which no file of issuers.d defines any more: define it again",
			rev.Number, rev.Issuer, rev.Directory)
	}
	if err := i.turn.enter(ctx); err != nil { // the account's key may be changing
		return nil, nil, err
	}
	client, _, _, err = r.clientOf(ctx, i)
	if err != nil {
		i.turn.leave()
		return nil, nil, err
	}
	return client, i.turn.leave, nil
}

// revoked notes that a revision is revoked. What its successor was waiting for counts no more, but for what the CA asked.
func (v *visit) revoked(rev store.Revision, reason string) {
	have := &v.in.Have
	if have.Revoked == nil {
		have.Revoked = map[string]store.Revocation{}
	}
	if rev.SPKI == "" {
		if leaf, err := v.r.store.Leaf(v.name, rev.Number); err == nil { // else its key is lost, and not used again
			rev.SPKI = spkiOf(leaf)
		}
	}
	if _, known := have.Revoked[rev.SHA256]; !known || reason == acme.KeyCompromise.String() {
		have.Revoked[rev.SHA256] = store.Revocation{At: v.now, Reason: reason, NotAfter: rev.NotAfter, SPKI: rev.SPKI}
	}
	if have.Issued != nil && have.Issued.SHA256 == rev.SHA256 && v.in.Want != nil {
		have.Requested = time.Now().Round(0)
	}
	v.changed(durably)
}
