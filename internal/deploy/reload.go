package deploy

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"acmed/internal/spec"
)

// reload changes each distinct unit once, one after the other, and then waits for them all.
func (e *Executor) reload(ctx context.Context, works []*work) {
	groups := grouped(works, spec.StageReload, func(w *work, t spec.Target) string {
		unit, _ := w.deploy.Unit(t)
		return unit
	})
	began := make([]time.Time, len(groups))
	settle := make([]func() Result, len(groups))
	for i, group := range groups {
		if ctx.Err() != nil {
			return
		}
		began[i], settle[i] = time.Now(), e.change(ctx, changeFor(group))
	}
	for i, group := range groups {
		r := settle[i]()
		if !r.OK && ctx.Err() != nil {
			continue // nobody knows what came of it
		}
		for _, m := range group {
			m.w.took(m.t, time.Since(began[i]), r)
		}
	}
}

// change begins one change. The function that it returns waits for its end.
func (e *Executor) change(ctx context.Context, c UnitChange) func() Result {
	limited, cancel := context.WithTimeout(ctx, reloadLimit)
	settle := e.units.Change(limited, c)
	return func() Result {
		defer cancel()
		note, err := settle(limited)
		if err == nil {
			return Result{OK: true, Note: note}
		}
		r := failed(err)
		_, r.Ended = errors.AsType[*endedUnit](err)
		return r
	}
}

// changeFor is what a unit has to do for all who share it: a restart, if one of them needs it.
func changeFor(group []member) UnitChange {
	again := true
	var c UnitChange
	for _, m := range group {
		unit, restart := m.w.deploy.Unit(m.t)
		c.Unit, c.Restart = unit, c.Restart || restart
		c.Ended = c.Ended || slices.Contains(m.w.job.Ended, m.t.Fingerprint)
		again = again && slices.Contains(m.w.job.Again, m.t.Fingerprint)
		if at := liveSince(m.w.job.Live); at.After(c.Live) {
			c.Live = at
		}
	}
	c.Again = again // who has not tried it yet has something that the unit has not read
	return c
}

// liveSince is when live was switched; zero: nobody knows.
func liveSince(live string) time.Time {
	info, err := os.Lstat(live)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}
