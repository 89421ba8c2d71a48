package daemon

import (
	"context"
	"errors"
	"io/fs"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/store"
)

// Account implements control.Accounts.
func (a api) Account(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return a.account(req, func() (acme.Account, store.Account, error) { return a.d.reconciler.Account(ctx, req.Issuer) })
}

// UpdateAccount implements control.Accounts.
func (a api) UpdateAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	return a.account(req, func() (acme.Account, store.Account, error) { return a.d.reconciler.UpdateAccount(ctx, req.Issuer) })
}

// RolloverAccount implements control.Accounts.
func (a api) RolloverAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	changed, err := a.account(req, func() (acme.Account, store.Account, error) { return a.d.reconciler.Rollover(ctx, req.Issuer) })
	if errors.Is(err, reconcile.ErrChanging) || errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = &control.Error{Code: control.Conflict, Message: err.Error(), Hint: "nothing was changed: acmed account rollover " + req.Issuer + " again later"}
	}
	return changed, err
}

func (a api) account(req control.AccountRequest, ask func() (acme.Account, store.Account, error)) (control.Account, error) {
	if a.d.specs.set().Issuer(req.Issuer) == nil {
		e := control.Errorf(control.NotFound, "there is no issuer %q", req.Issuer)
		e.Hint = "acmed issuer list shows them"
		return control.Account{}, e
	}
	told, have, err := ask()
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return control.Account{}, &control.Error{Code: control.Conflict, Message: err.Error(), Hint: e.Hint}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return control.Account{}, &control.Error{Code: control.NotFound, Message: err.Error(),
			Hint: "the first order of a certificate of " + req.Issuer + " registers one"}
	}
	return control.Account{Issuer: req.Issuer, URL: told.URL, Status: told.Status, Contact: told.Contact,
		Thumbprint: told.Thumbprint, KID: have.KID, Created: have.Created}, err
}
