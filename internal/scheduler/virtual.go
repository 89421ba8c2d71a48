package scheduler

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// moment is what passes at least until a key that asks for another visit at once gets it.
const moment = time.Second

// Virtual makes the choices of a Scheduler in a time of its own, which jumps from one visit to the next: no clock, no
// goroutine, and visits take no time. It is for one goroutine, from inside a visit too.
type Virtual struct {
	workers int
	table   table
	now     time.Time
}

// NewVirtual returns a Virtual whose time is now and whose scheduler has so many workers; fewer than one are refused.
func NewVirtual(workers int, now time.Time) (*Virtual, error) {
	if workers < 1 {
		return nil, fmt.Errorf("making a virtual scheduler: cannot work with %d workers; at least 1 is needed", workers)
	}
	return &Virtual{workers: workers, table: newTable(), now: now.Round(0)}, nil
}

// AddAll is that of Scheduler.
func (v *Virtual) AddAll(keys iter.Seq2[string, Next]) { v.table.addAll(keys) }

// Wake is that of Scheduler.
func (v *Virtual) Wake(key string) { v.table.wake(key, v.now) }

// Run visits the keys that become due before until, and then it is until. It returns the error of ctx when that ends.
func (v *Virtual) Run(ctx context.Context, until time.Time, visit func(key string, now time.Time) Next) error {
	for ctx.Err() == nil {
		v.table.promote(v.now)
		taken := v.table.take(v.workers, v.now)
		if len(taken) == 0 {
			wait := v.table.untilNext(v.now)
			if wait >= until.Sub(v.now) {
				v.now = until
				return nil
			}
			v.now = v.now.Add(wait)
		}
		for _, it := range taken {
			next := visit(it.key, v.now)
			if !next.At.IsZero() && !next.At.After(v.now) {
				next.At = v.now.Add(moment)
			}
			v.table.finish(it, next, v.now)
		}
	}
	return ctx.Err()
}
