package daemon

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"acmed/internal/deploy"
	"acmed/internal/reconcile"
)

const (
	retiredEvery = 15 * time.Minute // from one probe of a retired certificate to the next
	retiredTick  = 10 * time.Second // from one look for retired certificates to the next
	retiredLooks = 4                // probes at once
)

// watchRetired probes whether servers still serve certificates whose specs are gone, until ctx ends. Nobody renews those.
func (d *daemon) watchRetired(ctx context.Context) error {
	tick := time.NewTicker(retiredTick)
	defer tick.Stop()
	probed := map[string]time.Time{} // by name
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			d.probeRetired(ctx, now, probed)
		}
	}
}

func (d *daemon) probeRetired(ctx context.Context, now time.Time, probed map[string]time.Time) {
	var group errgroup.Group
	group.SetLimit(retiredLooks)
	there := map[string]bool{}
	for _, v := range d.reconciler.Retired() {
		there[v.Name] = true
		if v.Retirement == nil || len(v.Retirement.Probes) == 0 || now.Sub(probed[v.Name]) < retiredEvery {
			continue
		}
		probed[v.Name] = now
		group.Go(func() error {
			served := serves(ctx, v.Retirement)
			if ctx.Err() == nil {
				d.reconciler.Sighted(v.Name, v.Retirement.Leaf, served)
			}
			return nil
		})
	}
	_ = group.Wait() // no probe returns an error
	for name := range probed {
		if !there[name] {
			delete(probed, name)
		}
	}
}

func serves(ctx context.Context, r *reconcile.Retirement) bool {
	for _, p := range r.Probes {
		if new(deploy.Prober).Serves(ctx, p, r.Key, r.Leaf) {
			return true
		}
	}
	return false
}
