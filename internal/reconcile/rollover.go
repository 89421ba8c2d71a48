package reconcile

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"acmed/internal/acme"
	"acmed/internal/store"
)

const (
	// calmTime is how long a change of an account's key waits for names that are being validated: their proofs hold it.
	calmTime = 2 * time.Minute
	calmLook = time.Second
	// A CA that says that it has changed a key may take a moment until it finds the account by it.
	keyLooks    = 5
	keyLookWait = 2 * time.Second
)

// ErrChanging tells that somebody else changes the account.
var ErrChanging = errors.New("another change of this account is under way")

// Rollover puts a new key in the place of the account's (RFC 8555 §7.3.5). The new one is durable before the CA is asked,
// and takes the old one's place only once the CA finds the account by it. Whatever cuts that short, the account stays
// usable: its next use finds out which key the CA has.
func (r *Reconciler) Rollover(ctx context.Context, issuer string) (acme.Account, store.Account, error) {
	i, have, err := r.registered(issuer)
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	reopen, err := r.calm(ctx, i)
	if err != nil {
		return acme.Account{}, store.Account{}, fmt.Errorf("changing the key of the account at %s: %w", issuer, err)
	}
	err = r.rollover(ctx, i, *have)
	r.proveAgain(i)
	reopen()
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	r.log.Info("changed the key of the account", fieldIssuer(issuer), fieldAccount(have.URL))
	told, now, err := r.Account(ctx, issuer)
	if err != nil {
		return told, now, fmt.Errorf("the key of the account at %s is changed, but the CA does not tell of the account: %w", issuer, err)
	}
	return told, now, nil
}

// calm waits until no order of the issuer depends on the account's key, and keeps others from asking until reopen.
func (r *Reconciler) calm(ctx context.Context, i *issuer) (reopen func(), err error) {
	select {
	case i.change <- struct{}{}:
	default:
		return nil, ErrChanging
	}
	i.gate.pause()
	i.spared.pause()
	give := func() { i.gate.resume(); i.spared.resume(); <-i.change }
	ctx, cancel := context.WithTimeout(ctx, calmTime)
	defer cancel()
	for {
		if err := i.turn.close(ctx); err != nil {
			give()
			return nil, restless(r.proving(i), err)
		}
		names := r.proving(i)
		if len(names) == 0 {
			return func() { i.turn.open(); give() }, nil
		}
		i.turn.open()
		select {
		case <-time.After(calmLook):
		case <-ctx.Done():
			give()
			return nil, restless(names, ctx.Err())
		}
	}
}

// restless says what a change of the key would disturb.
func restless(names []string, err error) error {
	if len(names) == 0 {
		return fmt.Errorf("requests are under way, try again later: %w", err)
	}
	return fmt.Errorf("the CA is validating names of %s by proofs of the present key, try again once it has: %w", strings.Join(names[:min(len(names), 3)], ", "), err)
}

// proving are the certificates whose names are being validated: the proofs are made from the account's key.
func (r *Reconciler) proving(i *issuer) (names []string) {
	for _, name := range slices.Concat(i.gate.holders(), i.spared.holders()) {
		if f := r.flight(name); !f.shown.IsZero() && !f.resting() {
			names = append(names, name)
		}
	}
	return names
}

// proveAgain makes orders whose validation fails begin once more: their challenge responses are made from the key.
func (r *Reconciler) proveAgain(i *issuer) {
	for _, name := range i.gate.holders() {
		if r.flight(name).resting() {
			r.land(name)
			r.wake(name)
		}
	}
}

// rollover changes the key while nobody else asks the CA.
func (r *Reconciler) rollover(ctx context.Context, i *issuer, have store.Account) error {
	client, _, err := r.ready(ctx, i)
	if err != nil {
		return err
	}
	select {
	case i.lock <- struct{}{}:
		defer func() { <-i.lock }()
	case <-ctx.Done():
		return ctx.Err()
	}
	_, key, err := r.store.Account(i.spec.Name)
	if err != nil {
		return err
	}
	next, err := nextAccountKey(i.spec, key)
	if err != nil {
		return err
	}
	i.client = nil // until it is known which key the CA has
	if err := r.store.OfferKey(i.spec.Name, next); err != nil {
		return err
	}
	asked := client.Rollover(ctx, next)
	accepted, err := r.await(ctx, i, keys{have.URL, key, next}, asked)
	if err != nil {
		return &unsettled{i.spec.Name, errors.Join(asked, err)}
	}
	if err := r.store.SettleKey(i.spec.Name, accepted); err != nil || accepted {
		return err
	}
	if asked == nil {
		asked = &acme.Error{Kind: acme.Permanent, Op: acme.OpKeyChange, Problem: "protocol", Detail: "the CA said that it changed the key, and did not",
			Hint: "the account keeps its key and goes on working; ask the CA why"}
	}
	return asked
}

// unsettled tells that the CA did not say which key it has.
type unsettled struct {
	issuer string
	err    error
}

func (e *unsettled) Error() string {
	return fmt.Sprintf("it is not known yet which key the account at %s has: %v; both are kept, and acmed asks before it uses the account next", e.issuer, e.err)
}

func (e *unsettled) Unwrap() error { return e.err }

// keys are those that an account may have.
type keys struct {
	account   string // URL
	old, next crypto.Signer
}

// await finds out which key the CA has after it was asked to change it. It gives a CA time that has not refused to.
func (r *Reconciler) await(ctx context.Context, i *issuer, k keys, asked error) (accepted bool, err error) {
	looks := keyLooks
	if e, ok := errors.AsType[*acme.Error](asked); ok && (e.Kind == acme.Permanent || e.Kind == acme.Validation) {
		looks = 1
	}
	for n := 1; ; n++ {
		if accepted, err = r.inquire(ctx, i, k); accepted || err != nil || n >= looks {
			return accepted, err
		}
		select {
		case <-time.After(keyLookWait):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// inquire asks which key the account has. An answer that could mean either is an error.
func (r *Reconciler) inquire(ctx context.Context, i *issuer, k keys) (accepted bool, err error) {
	byNext, nextErr := r.find(ctx, i, k.next)
	if nextErr == nil && byNext == k.account {
		return true, nil
	}
	byOld, oldErr := r.find(ctx, i, k.old)
	switch {
	case oldErr == nil && byOld == k.account:
		return false, nil
	case acme.NoSuchAccount(nextErr) && acme.NoSuchAccount(oldErr): // it is gone with either
		return false, nil
	}
	if err := errors.Join(nextErr, oldErr); err != nil {
		return false, err
	}
	return false, &acme.Error{Kind: acme.Permanent, Op: acme.OpAccount, Problem: "protocol", Whole: true,
		Detail: fmt.Sprintf("the account %s was found as %s and %s", k.account, byNext, byOld), Hint: "ask the CA which key the account has"}
}

// find is the URL of the account that a key has.
func (r *Reconciler) find(ctx context.Context, i *issuer, key crypto.Signer) (string, error) {
	client, err := r.newClient(i.spec, key, "")
	if err != nil {
		return "", err
	}
	defer client.Close()
	return client.Lookup(ctx)
}

// settle ends a change of the account's key that was cut short, and returns the key in use.
func (r *Reconciler) settle(ctx context.Context, i *issuer, have store.Account, key crypto.Signer) (crypto.Signer, error) {
	if err := r.store.TidyAccount(i.spec.Name); err != nil {
		return nil, err
	}
	next, err := r.store.NextKey(i.spec.Name)
	if err != nil || next == nil {
		return key, err
	}
	accepted, err := r.inquire(ctx, i, keys{have.URL, key, next})
	if err != nil {
		return nil, err
	}
	if err := r.store.SettleKey(i.spec.Name, accepted); err != nil {
		return nil, err
	}
	if accepted {
		r.log.Info("changed the key of the account", fieldIssuer(i.spec.Name), fieldAccount(have.URL))
		return next, nil
	}
	r.log.Warn("the account keeps its key: a change that was cut short did not happen", fieldIssuer(i.spec.Name), fieldAccount(have.URL))
	return key, nil
}
