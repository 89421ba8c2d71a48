package reconcile

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// issuer is one CA at work: the account there, what may be asked of it and when.
type issuer struct {
	spec   *spec.Issuer
	ledger *store.Ledger
	gate   *gate
	spared *gate         // for renewals that a hold spares, while those for whom it holds keep their places in gate
	turn   *turnstile    // for all who ask with the account's key
	change chan struct{} // is sent to while somebody changes the account: one at a time

	// lock is held, by sending to it, while the account is looked up or made; it guards the following. A channel,
	// because whoever waits must be able to give up.
	lock    chan struct{}
	client  *acme.Client // nil until the account is known
	account string       // its URL
	ended   time.Time    // when the operator had it deactivated; zero: not
}

// issuer gives the issuer of the current specs with this name; nil when there is none any more. What the one before
// an edit was left alone for, the operator may have mended.
func (r *Reconciler) issuer(name string) (*issuer, error) {
	i, edited, err := r.known(name)
	if err != nil || !edited {
		return i, err
	}
	return i, i.release()
}

// known is issuer without the consequences of an edit, of which it tells once.
func (r *Reconciler) known(name string) (i *issuer, edited bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, want := r.issuers[name], r.specs.Load().Issuer(name)
	switch {
	case want == nil:
		return nil, false, nil
	case have != nil && have.spec == want:
		return have, false, nil
	}
	ledger, err := r.store.Issuer(name)
	if err != nil {
		return nil, false, err
	}
	i = &issuer{spec: want, ledger: ledger, lock: make(chan struct{}, 1)}
	if have != nil {
		i.gate = have.gate
		i.turn, i.change = have.turn, have.change
		i.gate.resize(want.Limits.OrdersInFlight)
		i.spared = have.spared
		i.spared.resize(want.Limits.OrdersInFlight)
	} else {
		i.gate = newGate(want.Limits.OrdersInFlight, r.wake)
		i.spared = newGate(want.Limits.OrdersInFlight, r.wake)
		i.turn, i.change = &turnstile{}, make(chan struct{}, 1)
	}
	r.issuers[name] = i
	return i, have != nil, nil
}

// ready gives the client of the account that the CA is asked on behalf of.
// The account's key does not change before leave.
func (v *visit) ready(ctx context.Context, i *issuer) (client *acme.Client, err error) {
	if v.within != i.turn {
		v.leave()
		if err := i.turn.enter(ctx); err != nil {
			return nil, err
		}
		v.within = i.turn
	}
	client, v.account, err = v.r.ready(ctx, i)
	return client, err
}

// leave lets the account's key change again.
func (v *visit) leave() {
	if v.within != nil {
		v.within.leave()
		v.within = nil
	}
}

// ready gives the client with an account that exists: the one on disk, or a new one. The account's key is durable
// before the CA sees it, and an account is made at most once: a key that may have been used is looked up first.
func (r *Reconciler) ready(ctx context.Context, i *issuer) (*acme.Client, string, error) {
	client, account, ended, err := r.clientOf(ctx, i)
	if err == nil && !ended.IsZero() {
		return nil, "", errEnded(i.spec.Name, ended)
	}
	return client, account, err
}

// errEnded is for an account that no other takes the place of by itself.
func errEnded(issuer string, at time.Time) error {
	return &acme.Error{Kind: acme.Permanent, Op: acme.OpAccount, Problem: "accountDeactivated", Whole: true,
		Detail: "the account was deactivated by acmed account deactivate at " + at.UTC().Format(time.RFC3339),
		Hint:   "acmed account register " + issuer + " makes another one"}
}

// clientOf is ready for those who may ask on behalf of an account that was deactivated, and tells when it was.
func (r *Reconciler) clientOf(ctx context.Context, i *issuer) (client *acme.Client, url string, ended time.Time, err error) {
	select {
	case i.lock <- struct{}{}:
		defer func() { <-i.lock }()
	case <-ctx.Done():
		return nil, "", ended, ctx.Err()
	}
	if i.client != nil {
		return i.client, i.account, i.ended, nil
	}
	account, key, existing, err := r.accountKey(ctx, i)
	if err != nil {
		return nil, "", ended, err
	}
	if client, err = r.newClient(i.spec, key, account.URL); err != nil {
		return nil, "", ended, err
	}
	if account.URL == "" {
		if client, err = r.enroll(ctx, i, client, &account, key, existing); err != nil {
			return nil, "", ended, err
		}
	}
	i.client, i.account, i.ended = client, account.URL, account.Ended
	return client, account.URL, account.Ended, nil
}

// accountKey reads the account from disk, or makes its key. An account of another directory is put aside. A change of
// the key that was cut short comes to its end first.
func (r *Reconciler) accountKey(ctx context.Context, i *issuer) (a store.Account, key crypto.Signer, existing bool, err error) {
	have, key, err := r.store.Account(i.spec.Name)
	if err != nil {
		return a, nil, false, err
	}
	if have != nil && have.Directory != i.spec.Directory {
		if err := r.store.ArchiveAccount(i.spec.Name); err != nil {
			return a, nil, false, err
		}
		have = nil
	}
	if have != nil {
		key, err = r.settle(ctx, i, *have, key)
		return *have, key, true, err
	}
	if key, err = newAccountKey(i.spec); err != nil {
		return a, nil, false, err
	}
	a = store.Account{Directory: i.spec.Directory, Contact: i.spec.Contact, Created: time.Now()}
	return a, key, false, r.store.CreateAccount(i.spec.Name, a, key)
}

func (r *Reconciler) register(ctx context.Context, i *issuer, client *acme.Client, a *store.Account, existing bool) error {
	reg := acme.Registration{Contact: i.spec.Contact, TermsOfServiceAgreed: i.spec.TermsOfServiceAgreed, Existing: existing}
	if b := i.spec.Binding; b != nil {
		key, err := r.bindingKey(b)
		if err != nil && !existing {
			return err
		}
		if err == nil {
			reg.Binding = &acme.ExternalAccountBinding{KID: b.KID, Key: key, Algorithm: b.Algorithm}
			a.KID = b.KID
		}
	}
	url, err := client.Register(ctx, reg)
	if err != nil {
		return unbound(err, i.spec)
	}
	a.URL = url
	r.log.Info("registered account", fieldIssuer(i.spec.Name), fieldAccount(url))
	return r.store.SaveAccount(i.spec.Name, *a)
}

// unbound says where a CA that makes accounts only for those it knows hands out what it wants to see.
func unbound(err error, s *spec.Issuer) error {
	e, ok := errors.AsType[*acme.Error](err)
	if !ok || e.Problem != "externalAccountRequired" {
		return err
	}
	told := *e // the client may share the error
	told.Hint = s.BindingHint()
	return &told
}

// bindingKey reads the HMAC key, which CAs hand out in base64url, on use.
func (r *Reconciler) bindingKey(b *spec.ExternalAccountBinding) ([]byte, error) {
	file := b.HMACKeyFile
	if b.HMACKeyCredential != "" {
		var err error
		if file, err = r.credential(b.HMACKeyCredential); err != nil {
			return nil, bindingError(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, bindingError(err)
	}
	key, err := spec.ParseHMACKey(text)
	if err != nil {
		return nil, bindingError(fmt.Errorf("reading %s: %w", file, err))
	}
	return key, nil
}

func bindingError(err error) error {
	return &acme.Error{Kind: acme.Permanent, Op: acme.OpNewAccount, Problem: "externalAccountBinding", Detail: err.Error(), Whole: true,
		Hint: "put the HMAC key that the CA gave you there, readable by acmed, and run acmed reload", Err: err}
}

func (r *Reconciler) newClient(s *spec.Issuer, key crypto.Signer, account string) (*acme.Client, error) {
	c, err := ClientConfig(s)
	if err != nil {
		return nil, err
	}
	c.Key, c.KID, c.UserAgent, c.Transport, c.Metrics, c.Log = key, account, r.userAgent, r.transport, r.acmeMetrics, r.log
	return acme.New(c)
}

// forget drops an account that the CA says does not exist, and tells whether it did: it is put aside, and the next
// order makes another one. At most twice a day: a CA that forgets without end is not given accounts without end.
func (r *Reconciler) forget(ctx context.Context, i *issuer, account string, now time.Time) (forgot bool, err error) {
	select {
	case i.lock <- struct{}{}:
		defer func() { <-i.lock }()
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if i.client == nil || i.account != account {
		return true, nil // somebody else was faster, and there may be a new one already
	}
	b := []bucket{accountBucket()}
	err = i.ledger.Update(func(s *store.IssuerState) {
		if at, _ := firstFree(s, b, now); !at.After(now) {
			charge(s, b, now)
			forgot = true
		}
	})
	if err != nil || !forgot {
		return false, err
	}
	i.client = nil
	r.log.Warn("putting an account aside that the CA does not know", fieldIssuer(i.spec.Name), fieldAccount(i.account))
	return true, r.store.ArchiveAccount(i.spec.Name)
}

// claim is asked before the CA is: while it is unreachable, one certificate probes for all. It reports until when
// the probe is somebody else's; zero when it is the caller's, or no probe is needed.
func (i *issuer) claim(now time.Time) (until time.Time, err error) {
	if !i.out() {
		return time.Time{}, nil
	}
	err = i.ledger.Update(func(s *store.IssuerState) {
		if until = believable(s.Hold, now); s.Outage > 0 && !until.After(now) {
			until = time.Time{}
			s.Outage++
			s.Hold, s.Promised = now.Add(outageRetry(s.Outage, share(i.spec.Name))), false
		}
	})
	return until, err
}

// out tells whether the CA could not be reached last.
func (i *issuer) out() (out bool) {
	i.ledger.View(func(s *store.IssuerState) { out = s.Outage > 0 })
	return out
}

// heard is heardOf without the order of a certificate.
func (i *issuer) heard(err error, now time.Time) error { return i.heardOf(err, cause{}, now) }

// heardOf takes note of how the CA answered: a hold for all of its certificates, which an order may have caused, or the
// end of one.
func (i *issuer) heardOf(err error, by cause, now time.Time) error {
	e, ok := errors.AsType[*acme.Error](err)
	switch {
	case err != nil && !ok:
		return nil // not the CA's doing
	case ok && e.Kind == acme.RateLimited && e.Whole:
		return i.hold(e.RetryAt, e.Detail, true, by.sparing(e, i.spec.Limits), now)
	case ok && e.Kind == acme.Permanent && e.Whole:
		return i.hold(now.Add(dailyRetry), e.Detail, false, by, now)
	case ok && e.Kind == acme.Transient && e.Whole: // it cannot be reached
		return i.unreachable(e, now)
	case !i.out():
		return nil
	}
	err = i.ledger.Update(func(s *store.IssuerState) {
		if s.Outage = 0; !s.Promised {
			s.Hold, s.HoldWhy = time.Time{}, ""
		}
	})
	i.gate.wakeInside()
	return err
}

// unreachable leaves a CA that cannot be reached alone, longer and longer, and as long as it asked for. The others
// whose orders were under way need not find out for themselves.
func (i *issuer) unreachable(e *acme.Error, now time.Time) error {
	return i.ledger.Update(func(s *store.IssuerState) {
		held := believable(s.Hold, now).After(now)
		if held && s.Outage == 0 {
			s.HoldNew = false // renewals that it spares do not work either
			return            // for another reason, which stands
		}
		s.HoldWhy = outageWhy(e)
		if !held {
			s.Outage++
			s.Hold, s.Promised = now.Add(outageRetry(s.Outage, share(i.spec.Name))), false
		}
		if e.RetryAt.After(s.Hold) {
			s.Hold, s.Promised = e.RetryAt, true
		}
	})
}

// outageWhy distinguishes a CA that does not answer from a CA that answers with an error.
func outageWhy(e *acme.Error) string {
	if e.Status == 0 {
		return "cannot be reached: " + acme.Brief(e.Detail)
	}
	return fmt.Sprintf("answered HTTP %d: %s", e.Status, acme.Brief(e.Detail))
}

// hold leaves the CA alone: because it asked for it, or because nothing can work there until the operator acts.
func (i *issuer) hold(until time.Time, why string, promised bool, by cause, now time.Time) error {
	until = later(until, now.Add(firstRetry))
	return i.ledger.Update(func(s *store.IssuerState) {
		full := believable(s.Hold, now).After(now) && !s.HoldNew
		if until.After(believable(s.Hold, now)) || !s.Promised {
			s.Hold, s.HoldWhy, s.Promised, s.Outage = until, acme.Brief(why), promised, 0
			s.HoldBy, s.HoldSpec = by.certificate, by.spec
		}
		s.HoldNew = by.spares && !full
	})
}

// release ends a hold that the CA did not ask for: the operator has acted.
func (i *issuer) release() error {
	held := false
	i.ledger.View(func(s *store.IssuerState) { held = !s.Promised && !s.Hold.IsZero() })
	if !held {
		return nil
	}
	err := i.ledger.Update(func(s *store.IssuerState) {
		if !s.Promised {
			s.Hold, s.HoldWhy, s.Outage = time.Time{}, "", 0
		}
	})
	i.gate.wakeInside()
	return err
}
