package reconcile

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"acmed/internal/store"
)

// wish is a change of one certificate that the operator asks for. A visit carries it out, for nobody else may touch
// the certificate meanwhile.
type wish struct {
	do   func(*visit) error
	done chan error // has room for one
}

// ErrBusy tells that a wish is noted in memory, and that a visit which is under way comes first.
var ErrBusy = errors.New("a step of this certificate is under way and comes first")

// patience is how long who wishes for something waits for a visit that is under way.
const patience = 10 * time.Second

// wish has do performed by a visit of name, and waits for it.
func (r *Reconciler) wish(ctx context.Context, name string, do func(*visit) error) error {
	select {
	case err := <-r.wishFor(name, do):
		return err
	case <-time.After(patience):
		return ErrBusy
	case <-ctx.Done():
		return ctx.Err()
	}
}

// wishFor has do performed by a visit of name, and tells what came of it.
func (r *Reconciler) wishFor(name string, do func(*visit) error) <-chan error {
	w := wish{do, make(chan error, 1)}
	r.mu.Lock()
	r.wishes[name] = append(r.wishes[name], w)
	r.mu.Unlock()
	r.wake(name)
	return w.done
}

// takeWishes carries out what was wished for, durably, and tells those who wait.
func (v *visit) takeWishes() {
	v.r.mu.Lock()
	wishes := v.r.wishes[v.name]
	delete(v.r.wishes, v.name)
	v.r.mu.Unlock()
	for _, w := range wishes {
		v.now = time.Now().Round(0)
		err := w.do(v)
		if err == nil {
			err = v.save()
		}
		w.done <- err
	}
}

// Deploy has every consumer of name served again; hurry lets a revision that waits for its window go live at once.
func (r *Reconciler) Deploy(ctx context.Context, name string, hurry bool) error {
	return r.wish(ctx, name, func(v *visit) error {
		v.forgetAccepted()
		if hurry {
			v.in.Have.Hurried = v.now
		}
		return nil
	})
}

// Hold leaves name as it is until then: nothing is ordered, and no new revision goes live. It ends before the
// certificate expires by it. The zero time ends a hold.
func (r *Reconciler) Hold(ctx context.Context, name string, until time.Time) error {
	return r.wish(ctx, name, func(v *visit) error {
		v.in.Have.Held = until.Round(0)
		v.changed(durably)
		v.log.Info("hold changed", zap.Time("next", until))
		return nil
	})
}

// ErrNoOlder is returned by Rollback when no older revision can be active.
var ErrNoOlder = errors.New("no older revision")

// noOlder says why there is nothing to roll back to.
func (v *visit) noOlder() error {
	all, err := v.r.store.Revisions(v.name)
	if _, damaged := errors.AsType[*store.DamagedError](err); err != nil && !damaged {
		return err
	}
	older := 0
	for _, rev := range all {
		if rev.Number < v.in.Live {
			older++
		}
	}
	switch {
	case v.in.Live == 0:
		return fmt.Errorf("rolling back %s: %w: there is no certificate yet", v.name, ErrNoOlder)
	case older == 0:
		return fmt.Errorf("rolling back %s: %w: revision %d is the only one", v.name, ErrNoOlder, v.in.Live)
	default:
		return fmt.Errorf("rolling back %s: %w than revision %d is usable: each has expired, is revoked or is damaged", v.name, ErrNoOlder, v.in.Live)
	}
}

// Rollback makes the revision before the live one live again, holds name until then, and gives the number of the
// revision that is live now.
func (r *Reconciler) Rollback(ctx context.Context, name string, until time.Time) (revision int, err error) {
	back := make(chan int, 1)
	err = r.wish(ctx, name, func(v *visit) error {
		rev, err := v.before(v.in.Live)
		if err == nil && rev == nil {
			err = v.noOlder()
		}
		if err != nil {
			return err
		}
		v.in.Have.Held, v.in.Have.RolledBack = until.Round(0), v.now
		from := v.in.Live
		if err := v.goBack(rev); err != nil {
			return err
		}
		v.log.Warn("rolled back", zap.Int("from", from), zap.Int("revision", rev.Number), zap.Time("next", until))
		back <- rev.Number
		return nil
	})
	select {
	case revision = <-back:
	default:
	}
	return revision, err
}
