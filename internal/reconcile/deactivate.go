package reconcile

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"acmed/internal/acme"
	"acmed/internal/store"
)

// ErrInUse tells that an account is not to be replaced, since it was not deactivated.
var ErrInUse = errors.New("the account was not deactivated")

// Deactivate has the CA end the account of an issuer, for good (RFC 8555 §7.3.6). That it was asked for is durable before
// the CA is: no other account takes its place unless Register is called. One that the CA has ended already is no error.
func (r *Reconciler) Deactivate(ctx context.Context, issuer string) (acme.Account, store.Account, error) {
	i, have, err := r.registered(issuer)
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	end, err := r.exclusively(ctx, i)
	if err != nil {
		return acme.Account{}, store.Account{}, fmt.Errorf("deactivating the account at %s: %w", issuer, err)
	}
	defer end()
	client, url, _, err := r.clientOf(ctx, i)
	if err != nil {
		return acme.Account{}, store.Account{}, err
	}
	before := *have
	if have.Ended.IsZero() {
		have.Ended = time.Now().Round(0)
		if err := r.store.SaveAccount(issuer, *have); err != nil {
			return acme.Account{}, store.Account{}, err
		}
	}
	r.drop(i)
	told, err := client.Deactivate(ctx)
	if as := EndedAs(before, err); as != "" {
		told, err = acme.Account{URL: url, Status: as}, nil
	}
	if err != nil {
		return acme.Account{}, store.Account{}, fmt.Errorf("acmed uses the account at %s no more, but the CA has not confirmed that it ended: %w", issuer, err)
	}
	r.log.Info("deactivated the account", fieldIssuer(issuer), fieldAccount(url))
	return told, *have, nil
}

// EndedAs is acme.EndedAs, except that an account which acmed deactivated itself is deactivated, whatever the CA calls it.
func EndedAs(have store.Account, err error) string {
	as := acme.EndedAs(err)
	if as != "" && !acme.NoSuchAccount(err) && !have.Ended.IsZero() {
		return "deactivated"
	}
	return as
}

// Register makes an account where there is none, or where the one before was deactivated: that goes into the archive.
func (r *Reconciler) Register(ctx context.Context, issuer string) (acme.Account, store.Account, error) {
	i, have, err := r.registered(issuer)
	if errors.Is(err, fs.ErrNotExist) {
		i, err = r.issuer(issuer)
	}
	if err != nil || i == nil {
		return acme.Account{}, store.Account{}, noAccount(issuer, err)
	}
	if have != nil && have.Ended.IsZero() {
		return acme.Account{}, store.Account{}, fmt.Errorf("registering at %s: %w: %s is in use", issuer, ErrInUse, have.URL)
	}
	end, err := r.exclusively(ctx, i)
	if err != nil {
		return acme.Account{}, store.Account{}, fmt.Errorf("registering at %s: %w", issuer, err)
	}
	if have != nil {
		err = r.store.ArchiveAccount(issuer)
		r.drop(i)
	}
	if err == nil {
		_, _, err = r.ready(ctx, i)
	}
	end()
	if err := errors.Join(err, i.release()); err != nil {
		return acme.Account{}, store.Account{}, err
	}
	return r.Account(ctx, issuer)
}

// exclusively waits until nobody asks an issuer, and keeps others from it until end.
func (r *Reconciler) exclusively(ctx context.Context, i *issuer) (end func(), err error) {
	select {
	case i.change <- struct{}{}:
	default:
		return nil, ErrChanging
	}
	ctx, cancel := context.WithTimeout(ctx, calmTime)
	defer cancel()
	if err := i.turn.close(ctx); err != nil {
		<-i.change
		return nil, restless(nil, err)
	}
	return func() { i.turn.open(); <-i.change }, nil
}

// drop has the account read anew before it is used next. Nobody else is at the issuer.
func (r *Reconciler) drop(i *issuer) {
	i.lock <- struct{}{}
	i.client = nil
	<-i.lock
}
