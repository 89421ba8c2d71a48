package reconcile

import (
	"context"
	"fmt"
	"io/fs"

	"acmed/internal/acme"
	"acmed/internal/store"
)

// Account asks the CA what it knows of the account of an issuer. It registers none: without one, the error is
// fs.ErrNotExist.
func (r *Reconciler) Account(ctx context.Context, issuer string) (acme.Account, store.Account, error) {
	return r.askAccount(ctx, issuer, (*acme.Client).Account)
}

// UpdateAccount gives the CA the contact that the issuer has now, and writes down that it did.
func (r *Reconciler) UpdateAccount(ctx context.Context, issuer string) (acme.Account, store.Account, error) {
	i, err := r.issuer(issuer)
	if err != nil || i == nil {
		return acme.Account{}, store.Account{}, noAccount(issuer, err)
	}
	told, have, err := r.askAccount(ctx, issuer, func(c *acme.Client, ctx context.Context) (acme.Account, error) {
		return c.UpdateContact(ctx, i.spec.Contact)
	})
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	have.Contact = i.spec.Contact
	return told, have, r.store.SaveAccount(issuer, have)
}

func (r *Reconciler) askAccount(ctx context.Context, issuer string, ask func(*acme.Client, context.Context) (acme.Account, error)) (acme.Account, store.Account, error) {
	i, have, err := r.registered(issuer)
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	if err := i.turn.enter(ctx); err != nil {
		return acme.Account{}, store.Account{}, err
	}
	defer i.turn.leave()
	client, _, _, err := r.clientOf(ctx, i)
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	told, err := ask(client, ctx)
	return told, *have, err
}

// registered is the account of an issuer, which is there.
func (r *Reconciler) registered(name string) (*issuer, *store.Account, error) {
	have, _, err := r.store.Account(name)
	if err != nil || have == nil || have.URL == "" {
		return nil, nil, noAccount(name, err)
	}
	i, err := r.issuer(name)
	if err != nil || i == nil || i.spec.Directory != have.Directory {
		return nil, nil, noAccount(name, err)
	}
	return i, have, nil
}

func noAccount(issuer string, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("asking for the account at %s: none is registered: %w", issuer, fs.ErrNotExist)
}
