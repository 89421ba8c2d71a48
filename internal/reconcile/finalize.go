package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"acmed/internal/acme"
	"acmed/internal/store"
)

// failedFinalizes is how often finalize may fail for one order that stays ready, if that takes long enough.
const failedFinalizes = 3

// hopeless returns why an order that is open can bring no useful certificate; nil: it can.
func (v *visit) hopeless(o store.Order, state *acme.Order) error {
	now := v.now
	if state.Status != acme.StatusPending && state.Status != acme.StatusReady {
		return nil
	}
	if left := state.NotAfter.Sub(now); !state.NotAfter.IsZero() && now.Sub(o.Created) > made(o, state)/2 {
		half := o.Created.Add(made(o, state) / 2)
		return v.stale(o, half, outdated(fmt.Sprintf("the CA fixed the end of the certificate, %s, when the order was made: %s of it would be left",
			state.NotAfter.UTC().Format(time.RFC3339), max(left, 0).Round(time.Second))))
	}
	return nil
}

// made is the lifetime that the certificate would have had when the order was made. Where the clock of this machine
// differs too much from the CA's, the CA's own difference counts.
func made(o store.Order, state *acme.Order) time.Duration {
	span := state.NotAfter.Sub(state.NotBefore)
	if left := state.NotAfter.Sub(o.Created); left > 0 && (left < span || state.NotBefore.IsZero()) {
		return left
	}
	return span
}

// outdated is for an order that is given up although the CA would go on with it.
func outdated(detail string) error {
	return &acme.Error{Kind: acme.Transient, Op: acme.OpOrder, Problem: "outdated", Detail: detail, Final: true,
		Hint: "acmed orders again by itself; look for the reason of the delay in the CA's log"}
}

// finalizeFailed counts a request to finalize that failed. An order that is still ready after several, over some time, is
// given up: the CA does not get on with it.
func (v *visit) finalizeFailed(ctx context.Context, i *issuer, client *acme.Client, o store.Order, err error) error {
	e, ok := errors.AsType[*acme.Error](err)
	if !ok || e.Kind != acme.Transient || ctx.Err() != nil {
		return v.unfinished(ctx, i, client, o, err)
	}
	if o.Finalizes++; o.FinalizeFailed.IsZero() {
		o.FinalizeFailed = v.now
	}
	if err := v.r.store.SaveOrder(v.name, o, store.Durable); err != nil {
		return err
	}
	if o.Finalizes >= failedFinalizes && v.now.Sub(o.FinalizeFailed) >= v.patience() {
		if state, rerr := client.Order(ctx, o.URL); rerr == nil && state.Status == acme.StatusReady {
			given := *e
			given.Final = true
			err = &given
		}
	}
	return v.unfinished(ctx, i, client, o, err)
}
