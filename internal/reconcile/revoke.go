package reconcile

import (
	"context"
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
	ByKey    bool // sign with the certificate's own key; false: the account's, and the certificate's where that is refused
}

// RevocationResult is what came of it.
type RevocationResult struct {
	Revision   store.Revision
	ByKey      bool // the certificate's own key signed
	Reasonless bool // the CA accepted no reason
	Newest     bool // nothing newer has taken its place
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
	out := RevocationResult{Revision: rev, ByKey: q.ByKey, Newest: have.Issued != nil && have.Issued.SHA256 == rev.SHA256}
	if err := r.askRevocation(ctx, q, &out); err != nil {
		return RevocationResult{}, err
	}
	why := q.Reason
	if out.Reasonless && rev.CSR == "" { // that of a CSR decides on whether its key may be certified again
		why = 0
	}
	r.log.Warn("revoked certificate", zap.String("cert", q.Name), fieldIssuer(rev.Issuer), zap.Int("revision", rev.Number),
		zap.String("serial", rev.Serial), zap.String("reason", why.String()))
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

// askRevocation asks the CA. Where it refuses the account, the certificate's own key signs; where it refuses the
// reason, none is given: that it is revoked matters more.
func (r *Reconciler) askRevocation(ctx context.Context, q Revocation, out *RevocationResult) error {
	rev := out.Revision
	client, done, err := r.issuing(ctx, rev)
	if err != nil {
		return err
	}
	defer done()
	if q.ByKey && rev.CSR != "" {
		return fmt.Errorf("revoking revision %d of %s with its own key: %w: revoke it without --by-key, on behalf of the account",
			rev.Number, q.Name, store.ErrNoKey)
	}
	leaf, err := r.store.Leaf(q.Name, rev.Number)
	if err != nil {
		return err
	}
	request := acme.RevocationRequest{Leaf: leaf.Raw, Reason: q.Reason}
	for {
		if out.ByKey && request.Key == nil {
			if request.Key, err = r.store.Key(q.Name, rev.Number); err != nil {
				return err
			}
		}
		switch err = client.Revoke(ctx, request); {
		case acme.WithoutReason(err) && request.Reason != 0:
			request.Reason, out.Reasonless = 0, true
		case acme.NotTheAccount(err) && rev.CSR != "":
			return fmt.Errorf("%w: the certificate's own key could sign, but it is where its CSR was made", err)
		case acme.NotTheAccount(err) && !out.ByKey:
			out.ByKey = true
		default:
			return err
		}
	}
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
	if _, known := have.Revoked[rev.SHA256]; !known {
		have.Revoked[rev.SHA256] = store.Revocation{At: v.now, Reason: reason, NotAfter: rev.NotAfter, SPKI: rev.SPKI}
	}
	if have.Issued != nil && have.Issued.SHA256 == rev.SHA256 && v.in.Want != nil {
		have.Requested = time.Now().Round(0)
	}
	v.changed(durably)
}
