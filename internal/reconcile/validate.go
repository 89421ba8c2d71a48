package reconcile

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/store"
)

const (
	// doubtAfter is how long a CA may take to validate before authorizations are read: most answer in seconds, and the
	// order is enough.
	doubtAfter = 5 * time.Second
	// readsAtOnce bounds the authorizations that one poll reads.
	readsAtOnce = 4
	// attemptTime is how long validation may fail until the order is given up. A CA that leaves challenges pending
	// would let it be tried for a day.
	attemptTime = 10 * time.Minute
	// settleTime is how long the challenge responses of an order that is over stay for the names that the CA may still be
	// validating: the first failure makes an order invalid, and the CA goes on with the others (Boulder).
	settleTime = time.Minute
)

// prove makes the challenge responses of an order visible, once, tells the CA of them, and waits until it has validated.
func (v *visit) prove(ctx context.Context, client *acme.Client, o *store.Order, state *acme.Order) error {
	if !state.Expires.IsZero() && v.now.After(state.Expires) {
		return v.stale(*o, state.Expires, errExpired(state))
	}
	if !v.r.flight(v.name).accepted.IsZero() {
		return v.pursue(ctx, client, o, state)
	}
	read, err := client.Authorizations(ctx, state, v.in.Want.Challenge.Type)
	if err != nil {
		return err
	}
	v.know(validations(read))
	open, lost := acme.Remaining(read)
	if lost != nil {
		return lost
	}
	if len(open) == 0 {
		v.wait(state)
		return nil
	}
	lacking, err := v.present(ctx, o, open)
	if err != nil {
		return err
	}
	if lacking != "" {
		v.look(lacking)
		return nil
	}
	return v.accept(ctx, client, o, state, open)
}

// know keeps what was read of the order's authorizations.
func (v *visit) know(all []validation) {
	f := v.r.flight(v.name)
	f.all = all
	v.r.setFlight(v.name, f)
}

// accept tells the CA of all challenges. Its answers count: some CAs validate before they answer.
func (v *visit) accept(ctx context.Context, client *acme.Client, o *store.Order, state *acme.Order, open []acme.Challenge) error {
	f := v.r.flight(v.name)
	answers, err := client.AcceptAll(ctx, open)
	now := time.Now().Round(0)
	all := slices.Clone(f.all)
	for _, a := range answers {
		k := slices.IndexFunc(all, func(x validation) bool { return x.URL == a.URL })
		all[k] = all[k].seen(a, now)
	}
	f.all, f.accepted, f.since, f.polls, f.lacking = all, now, time.Time{}, 0, ""
	v.r.setFlight(v.name, f)
	if err != nil {
		return err
	}
	return v.judge(client, o, state)
}

// retries are the pauses after which a challenge is accepted again.
func retries() []time.Duration {
	return []time.Duration{5 * time.Second, 15 * time.Second, time.Minute, 5 * time.Minute}
}

// seen is x after the CA has shown it as a.
func (x validation) seen(a acme.Authorization, now time.Time) validation {
	if a.Challenge.URL == "" {
		a.Challenge = x.Challenge
	}
	x.Authorization = a
	if a.Error != nil {
		x.last = a.Error
	}
	switch pauses := retries(); {
	case !x.failing(), x.tries >= len(pauses) && a.RetryAfter == 0:
		x.again = time.Time{}
	case a.RetryAfter > 0: // the CA tries again by itself
		x.again = now.Add(a.RetryAfter)
	case x.again.IsZero() || !x.again.After(now):
		x.again = now.Add(pauses[x.tries])
	}
	return x
}

// pursue reads what holds up an order that stays pending, a few authorizations at a time, and accepts once more the
// challenges that failed and may be.
func (v *visit) pursue(ctx context.Context, client *acme.Client, o *store.Order, state *acme.Order) error {
	f := v.r.flight(v.name)
	doubtful := o.Failure != nil || !v.now.Before(f.accepted.Add(doubtAfter))
	f.all = slices.Clone(f.all)
	for reads, n := 0, len(f.all); doubtful && reads < readsAtOnce && n > 0; n-- {
		x := &f.all[f.next%len(f.all)]
		f.next = (f.next + 1) % len(f.all)
		if x.State != acme.Open {
			continue
		}
		reads++
		if err := v.read(ctx, client, state, x); err != nil {
			return err
		}
	}
	v.r.setFlight(v.name, f)
	return v.judge(client, o, state)
}

// read asks the CA for one authorization, and to validate it once more when it is time.
func (v *visit) read(ctx context.Context, client *acme.Client, state *acme.Order, x *validation) error {
	due := !x.again.IsZero() && !v.now.Before(x.again)
	got, err := client.Authorizations(ctx, only(state, x.URL), v.in.Want.Challenge.Type)
	if err != nil || len(got) == 0 {
		return err
	}
	*x = x.seen(got[0], v.now)
	if !due || !x.failing() || got[0].RetryAfter > 0 {
		return nil
	}
	lacking, err := v.presentAgain(ctx, x.Challenge)
	if err != nil || lacking != "" {
		return err
	}
	answer, err := client.Accept(ctx, x.Challenge)
	if err != nil {
		return err
	}
	x.tries, x.again = x.tries+1, time.Time{}
	*x = x.seen(answer, time.Now().Round(0))
	return nil
}

// only is the order as if it had one authorization.
func only(state *acme.Order, url string) *acme.Order {
	return &acme.Order{Status: state.Status, Identifiers: state.Identifiers, Authorizations: []string{url}}
}

// presentAgain makes sure that a challenge response is still visible, and reports who does not see it; "": everybody does.
func (v *visit) presentAgain(ctx context.Context, c acme.Challenge) (lacking string, err error) {
	solver, err := v.r.solver(v.name, v.in.Want.Challenge)
	if err != nil {
		return "", err
	}
	if err := solver.Present(ctx, c.Proof); err != nil {
		return "", err
	}
	if s, ok := solver.(slow); ok {
		return s.Visible(ctx, c.Proof, v.r.flight(v.name).shown)
	}
	return "", nil
}

// judge decides whether an order that is pending is worth waiting for. The reason why its validation fails is shown
// while it lasts.
func (v *visit) judge(client *acme.Client, o *store.Order, state *acme.Order) error {
	f := v.r.flight(v.name)
	if _, lost := acme.Remaining(authorizations(f.all)); lost != nil {
		return lost
	}
	reason := acme.Failing(troubles(f.all))
	if err := v.noteFailing(client, o, reason); err != nil {
		return err
	}
	if reason != nil && v.now.Sub(o.Failing) >= v.patience() {
		return v.giveUp()
	}
	v.wait(state)
	v.hasten(state, o)
	return nil
}

// giveUp takes what fails for lost.
func (v *visit) giveUp() error {
	f := v.r.flight(v.name)
	f.all = slices.Clone(f.all)
	for k := range f.all {
		if x := &f.all[k]; x.State == acme.Open && x.last != nil {
			x.State, x.Error = acme.Lost, x.last
		}
	}
	v.r.setFlight(v.name, f)
	_, lost := acme.Remaining(authorizations(f.all))
	return lost
}

// patience is how long validation may fail: ten minutes, but less where certificates are shorter-lived than two hours.
func (v *visit) patience() time.Duration {
	if is := v.in.Have.Issued; is != nil {
		return min(attemptTime, max(lifetime(is)/12, firstRetry))
	}
	return attemptTime
}

// hasten makes the next visit as soon as a challenge is to be accepted again, or the order is to be given up.
func (v *visit) hasten(state *acme.Order, o *store.Order) {
	f := v.r.flight(v.name)
	if state.RetryAfter > 0 {
		return
	}
	for _, x := range f.all {
		if !x.again.IsZero() && x.again.Before(f.pollAt) {
			f.pollAt = x.again
		}
	}
	if !o.Failing.IsZero() {
		f.pollAt = earlier(f.pollAt, o.Failing.Add(v.patience()))
	}
	v.r.setFlight(v.name, f)
}

// noteFailing writes down why validation fails, or that it no longer does.
func (v *visit) noteFailing(client *acme.Client, o *store.Order, reason *acme.Error) error {
	if reason == nil {
		if o.Failure == nil || slices.ContainsFunc(v.r.flight(v.name).all, func(x validation) bool { return x.State == acme.Open && concerns(*o.Failure, x.Name) }) {
			return nil // the CA tries again
		}
		o.Failing, o.Failure = time.Time{}, nil
		return v.r.store.SaveOrder(v.name, *o, store.Whole)
	}
	now := time.Now().Round(0)
	f := newFailure(reason, v.name, attempt(v.in.Want), store.Failure{}, 0, now)
	f.RetryAt = now
	if old := o.Failure; old != nil && Describe(*old) == Describe(f) && len(old.Subs) == len(f.Subs) {
		return nil
	}
	o.Failure = &f
	if o.Failing.IsZero() {
		o.Failing = now
	}
	client.Count(reason)
	v.log.Warn("domain validation failed, the order stays pending", fieldIssuer(o.Issuer), zap.String("domain", f.Name),
		zap.String("problem", f.Problem), zap.Time("until", o.Failing.Add(v.patience())), zap.String("err", f.Detail), zap.String("hint", f.Hint))
	return v.r.store.SaveOrder(v.name, *o, store.Whole)
}

// concerns reports whether a failure is of name.
func concerns(f store.Failure, name string) bool {
	return slices.ContainsFunc(f.Subs, func(s store.Sub) bool { return s.Identifier == name })
}

// settle ends an order that is over, once the CA has finished validating the names that it was told of, or after a
// minute: until then their challenge responses stay. Each name that failed is reported, and no other is charged. If reason
// is nil, the order is no longer wanted.
func (v *visit) settle(ctx context.Context, i *issuer, client *acme.Client, o store.Order, reason *acme.Error) error {
	f := v.r.flight(v.name)
	if f.over.IsZero() {
		f.over, f.reason, f.polls = time.Now().Round(0), reason, 0
		f.told = len(o.Proofs) > 0 && (!f.accepted.IsZero() || f.all == nil) // f.all is nil after a restart
	}
	if read, err := v.reread(ctx, client, o, f); err == nil {
		f.all = read
	} else if ctx.Err() != nil {
		return err
	}
	busy := f.all == nil && !o.Validated || slices.ContainsFunc(f.all, validation.validating)
	if f.told && busy && time.Since(f.over) < settleTime {
		f.pause(pollAfter(f.polls, 0))
		v.r.setFlight(v.name, f)
		return i.heard(nil, time.Now().Round(0))
	}
	if f.reason == nil { // the order is no longer wanted: why it is over does not matter
		return v.end(ctx, i, o, spent(o, f))
	}
	final := f.reason
	if final.Problem != problemExpired { // else the authorizations have expired, too, and say no more
		final = acme.Reason(&acme.Order{Error: f.reason}, authorizations(f.all))
	}
	client.Count(final)
	return v.heard(ctx, i, errors.Join(final, v.end(ctx, i, o, spent(o, f))))
}

// reread reads the authorizations of an order that is over, as far as they may have changed.
func (v *visit) reread(ctx context.Context, client *acme.Client, o store.Order, f flight) ([]validation, error) {
	if o.Validated || len(o.Proofs) == 0 && f.all != nil {
		return f.all, nil
	}
	typ := "" // the spec may want another type by now
	if len(o.Proofs) > 0 {
		typ = o.Proofs[0].Type
	}
	order := &acme.Order{Identifiers: acmeIdentifiers(o), Authorizations: o.Authorizations}
	if f.all == nil {
		read, err := client.Authorizations(ctx, order, typ)
		return validations(read), err
	}
	all := slices.Clone(f.all)
	order.Authorizations = nil
	for _, x := range all {
		if x.validating() {
			order.Authorizations = append(order.Authorizations, x.URL)
		}
	}
	read, err := client.Authorizations(ctx, order, typ)
	for _, a := range read {
		k := slices.IndexFunc(all, func(x validation) bool { return x.URL == a.URL })
		all[k].Authorization = a
	}
	return all, err
}

// spent are the names of an order whose validation failed, or may have.
func spent(o store.Order, f flight) (names []string) {
	if f.all == nil && f.told {
		return namesOf(o)
	}
	for _, x := range f.all {
		if x.State == acme.Lost && x.Error.Kind != acme.Permanent || x.State == acme.Open && f.told {
			names = append(names, x.Name)
		}
	}
	return names
}
