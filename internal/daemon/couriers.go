package daemon

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"go.uber.org/zap"

	"acmed/internal/deploy"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// couriers connect the reconciler with who serves consumers: the helper where systemd starts it, else this process.
type couriers struct {
	socket string
	helper *deploy.Client
	local  *deploy.Local
	sweep  func() // removes what an earlier process has left behind
	queue  *deploy.Queue
	log    *zap.Logger

	mu    sync.Mutex          // guards the following
	news  map[string]struct{} // certificates whose specs the helper is to look at
	asked chan struct{}       // has room for one: there are news
}

// newCouriers makes them for a daemon whose store and specs it looks at when they are needed.
func newCouriers(config *spec.Config, d *daemon) (c *couriers, err error) {
	c = &couriers{socket: config.DeploySocket, log: d.log, news: map[string]struct{}{}, asked: make(chan struct{}, 1)}
	if c.helper, err = deploy.NewClient(deploy.ClientConfig{Socket: config.DeploySocket}); err != nil {
		return nil, err
	}
	executor, err := deploy.NewExecutor(deploy.ExecutorConfig{Units: deploy.Systemd(), Copies: copiesOf(config), Log: d.log})
	if err != nil {
		return nil, err
	}
	c.sweep = executor.Sweep
	c.local, err = deploy.NewLocal(deploy.LocalConfig{
		Certificate: func(name string) *spec.Certificate { return d.specs.set().Certificate(name) },
		Provider:    func(name string) *spec.Provider { return d.specs.set().Provider(name) },
		State:       d.store, StateDir: config.StateDir, Executor: executor,
	})
	if err != nil {
		return nil, err
	}
	c.queue, err = deploy.NewQueue(deploy.QueueConfig{
		Courier: c.courier, Probe: probe(d), Log: d.log,
		Done: func(r deploy.Request, a deploy.Answer) {
			d.metrics.deploy.Observe(a)
			d.reconciler.Delivered(delivery(r), outcomes(a), refused(a))
		},
	})
	return c, err
}

// copiesOf are the directories for the private copies that commands of the daemon's own process read. Without systemd /run
// may be on a disk.
func copiesOf(config *spec.Config) []string {
	return []string{filepath.Join(config.RuntimeDir, "copies"), "/dev/shm/acmed-" + strconv.Itoa(os.Geteuid())}
}

// probe looks for the revision that a request is about.
func probe(d *daemon) func(context.Context, deploy.Request, spec.Target) deploy.Result {
	prober := new(deploy.Prober)
	return func(ctx context.Context, r deploy.Request, t spec.Target) deploy.Result {
		files, err := d.store.Files(r.Name, r.Revision)
		if err != nil {
			return deploy.Result{Key: t.Key, Fingerprint: t.Fingerprint, Problem: err.Error(), Hint: "it is tried again"}
		}
		return prober.Probe(ctx, r.Want, t, files)
	}
}

// courier is the helper where somebody listens on its socket, or should: a socket that is there and does not answer is
// a fault, and no reason to do with the daemon's rights what root is meant to do.
func (c *couriers) courier() deploy.Courier {
	if c.helped() {
		return c.helper
	}
	return c.local
}

// programs are called by the same.
func (c *couriers) programs() deploy.Programs {
	if c.helped() {
		return c.helper
	}
	return c.local
}

func (c *couriers) helped() bool {
	_, err := os.Lstat(c.socket)
	return !errors.Is(err, fs.ErrNotExist)
}

// deliver is for the reconciler.
func (c *couriers) deliver(d reconcile.Delivery) {
	c.queue.Add(deploy.Request{Order: deploy.Order{Name: d.Name, Done: d.Done, Wait: d.Wait, Ended: d.Ended, Again: d.Again}, Want: d.Want, Leaf: d.Leaf, Revision: d.Revision})
}

// delivery is what a request came from.
func delivery(r deploy.Request) reconcile.Delivery {
	return reconcile.Delivery{Name: r.Name, Want: r.Want, Revision: r.Revision, Leaf: r.Leaf, Done: r.Done, Wait: r.Wait, Ended: r.Ended, Again: r.Again}
}

func outcomes(a deploy.Answer) (out []reconcile.Outcome) {
	for _, r := range a.Results {
		out = append(out, reconcile.Outcome{
			Key: r.Key, Fingerprint: r.Fingerprint, OK: r.OK, Ended: r.Ended, Withdrawn: r.Withdrawn, Note: r.Note, Problem: r.Problem, Hint: r.Hint,
			Output: r.Output, Took: r.Took, Served: r.NotAfter,
		})
	}
	return out
}

func refused(a deploy.Answer) *store.Setback {
	if a.Problem == "" {
		return nil
	}
	return &store.Setback{Problem: a.Problem, Hint: a.Hint}
}

// accepted has the helper look at the specs of these certificates: they are in force now, or gone.
func (c *couriers) accepted(names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range names {
		c.news[name] = struct{}{}
	}
	select {
	case c.asked <- struct{}{}:
	default:
	}
}

// acceptAgain is when a helper that could not be asked is asked again.
const acceptAgain = time.Minute

// run delivers, and passes on which specs are in force, until ctx ends.
func (c *couriers) run(ctx context.Context) error {
	c.sweep()
	var accepting sync.WaitGroup
	accepting.Go(func() { c.accept(ctx) })
	defer accepting.Wait()
	return c.queue.Run(ctx)
}

func (c *couriers) accept(ctx context.Context) {
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.asked:
		case <-again.C:
		}
		if names := c.take(); len(names) > 0 && c.helped() {
			if err := c.helper.Accept(ctx, names); err != nil && ctx.Err() == nil {
				c.log.Warn("telling the deploy helper of specs", zap.Int("certificates", len(names)), zap.Error(err))
				if _, unasked := err.(*deploy.Error); unasked { //nolint:errorlint // refusals of single specs are joined
					c.accepted(names)
					<-c.asked // not at once
					again.Reset(acceptAgain)
				}
			}
		}
	}
}

// take gives what the helper has not been told of.
func (c *couriers) take() (names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name := range c.news {
		names = append(names, name)
	}
	clear(c.news)
	return names
}
