package daemon

import (
	"context"
	"errors"
	"io/fs"
	"slices"

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

// DeactivateAccount implements control.Registrations.
func (a api) DeactivateAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	ended, err := a.account(req, func() (acme.Account, store.Account, error) { return a.d.reconciler.Deactivate(ctx, req.Issuer) })
	return ended, busy(err)
}

// RegisterAccount implements control.Registrations.
func (a api) RegisterAccount(ctx context.Context, req control.AccountRequest) (control.Account, error) {
	made, err := a.account(req, func() (acme.Account, store.Account, error) { return a.d.reconciler.Register(ctx, req.Issuer) })
	if errors.Is(err, reconcile.ErrInUse) {
		return made, &control.Error{Code: control.Conflict, Message: err.Error(), Hint: "acmed account deactivate ends it, for good"}
	}
	for name, want := range a.d.specs.set().Certificates() {
		if err == nil && slices.Contains(want.Issuers, req.Issuer) {
			a.d.scheduler.Wake(name)
		}
	}
	return made, busy(err)
}

// busy says that somebody else changes the account.
func busy(err error) error {
	if errors.Is(err, reconcile.ErrChanging) {
		return &control.Error{Code: control.Conflict, Message: err.Error(), Hint: "try again later"}
	}
	return err
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
	detail := ""
	if as := reconcile.EndedAs(have, err); as != "" && have.URL != "" {
		told, detail, err = acme.Account{URL: have.URL, Status: as}, err.Error(), nil
	}
	if e, ok := errors.AsType[*acme.Error](err); ok {
		return control.Account{}, &control.Error{Code: control.Conflict, Message: err.Error(), Hint: e.Hint}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return control.Account{}, &control.Error{Code: control.NotFound, Message: err.Error(),
			Hint: "the first order of a certificate of " + req.Issuer + " registers one"}
	}
	out := control.Account{Issuer: req.Issuer, URL: told.URL, Status: told.Status, Detail: detail, Contact: told.Contact,
		Terms: told.Terms, Agreed: a.d.specs.set().Issuer(req.Issuer).TermsOfServiceAgreed,
		Thumbprint: told.Thumbprint, KID: have.KID, Created: have.Created, Ended: have.Ended}
	if out.Status != "valid" {
		out.Dependents = a.dependents(req.Issuer)
	}
	return out, err
}

// dependents are the certificates whose specs name an issuer.
func (a api) dependents(issuer string) (names []string) {
	for name, want := range a.d.specs.set().Certificates() {
		if slices.Contains(want.Issuers, issuer) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
