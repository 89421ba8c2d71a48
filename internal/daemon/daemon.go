// Package daemon is the composition root: it builds the parts from acmed.yaml, hands them to each other, watches the
// specs, serves the sockets, tells systemd how it is, and stops in order.
//
// It owns the goroutines and the wiring. It never decides anything about a certificate and never touches one.
package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"acmed/internal/challenge"
	"acmed/internal/control"
	"acmed/internal/notify"
	"acmed/internal/reconcile"
	"acmed/internal/scheduler"
	"acmed/internal/sd"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Config says what to run.
type Config struct {
	ConfigFile string    // path of acmed.yaml; required
	Version    string    // shown by status and sent to CAs; "": unknown
	Stderr     io.Writer // of the log where the journal does not take it; nil: os.Stderr
}

// ConfigError is a fault of acmed.yaml, or of the system it describes, that no restart mends: a state directory of a
// newer acmed, for one.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Run is the daemon's life. It returns nil when ctx ends, once every visit has come to rest and every socket is
// closed; a *ConfigError when it cannot start as it is configured; and any other error when it fails on the way.
// SIGHUP makes it read its files again.
func Run(ctx context.Context, c Config) error {
	notifier := sd.FromEnv()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP) // from the start: nobody's SIGHUP may end it
	defer signal.Stop(hup)
	config, err := spec.LoadConfig(c.ConfigFile)
	if err != nil {
		return &ConfigError{err}
	}
	d, err := build(c, config, notifier, hup)
	if err != nil {
		return err
	}
	defer d.close()
	return d.run(ctx)
}

// daemon is the parts and what connects them.
type daemon struct {
	version  string
	started  time.Time
	notifier *sd.Notifier
	log      *zap.Logger
	level    zap.AtomicLevel
	metrics  *metrics
	ready    atomic.Bool

	store      *store.Store
	reconciler *reconcile.Reconciler
	scheduler  *scheduler.Scheduler
	solvers    *solvers
	couriers   *couriers
	specs      *specs
	news       *notify.Notifier // nil: nobody is told

	http01  *challenge.Server     // nil: the daemon does not listen itself
	alpn    *challenge.ALPNServer // nil: nobody shows proofs of tls-alpn-01
	answers atomic.Pointer[answering]
	control net.Listener
	api     *control.Server
	admin   *admin      // nil: off
	closers []io.Closer // what was opened, in that order
}

func build(c Config, config *spec.Config, notifier *sd.Notifier, hup <-chan os.Signal) (_ *daemon, err error) {
	d := &daemon{version: cmp.Or(c.Version, "unknown"), started: time.Now(), notifier: notifier, metrics: newMetrics()}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.log, d.level, err = newLogger(config.Log, cmp.Or[io.Writer](c.Stderr, os.Stderr)); err != nil {
		return nil, &ConfigError{err}
	}
	if foreign := spec.Foreign(config); foreign != "" {
		d.log.Warn("leaving alone the configuration of another program of this name", zap.String("file", foreign))
	}
	if err := makeRuntimeDir(config); err != nil {
		return nil, err
	}
	if d.store, err = store.Open(store.Config{Dir: config.StateDir, Log: d.log}); err != nil {
		if _, newer := errors.AsType[*store.FormatError](err); newer {
			err = &ConfigError{err}
		}
		return nil, err
	}
	d.closers = append(d.closers, d.store)
	if err := d.buildVisits(config); err != nil {
		return nil, err
	}
	if d.specs, err = newSpecs(specsConfig{Config: config, Store: d.store, Owner: d, Reload: hup, Log: d.log}); err != nil {
		return nil, err
	}
	d.closers = append(d.closers, d.specs.watch)
	if err := d.buildSockets(config); err != nil {
		return nil, err
	}
	return d, d.register(config.Admin.CertificateMetrics, config.LabelNames)
}

// buildVisits connects the scheduler with the reconciler, which need each other.
func (d *daemon) buildVisits(config *spec.Config) (err error) {
	m := d.metrics
	if d.solvers, err = newSolvers(config, func() *spec.Set { return d.specs.set() }, programs{d}); err != nil {
		return err
	}
	if d.couriers, err = newCouriers(config, d); err != nil {
		return err
	}
	host, _ := os.Hostname() // "": renewals are spread by name only
	if d.news, err = newNotifier(config, d, host); err != nil {
		return err
	}
	d.reconciler, err = reconcile.New(reconcile.Config{
		Store: d.store, Solver: d.solvers.solver, Wake: func(name string) { d.scheduler.Wake(name) },
		Deploy: d.couriers.deliver, Seen: d.seen, Credential: sd.Credential, UserAgent: "acmed/" + d.version, Host: host, Floor: buildTime(),
		Metrics: m.reconcile, ACMEMetrics: m.acme, Log: d.log,
	})
	if err != nil {
		return err
	}
	d.scheduler, err = scheduler.New(scheduler.Config{
		Workers: config.Workers,
		Visit: func(ctx context.Context, name string) scheduler.Next {
			at, deadline := d.reconciler.Visit(ctx, name)
			return scheduler.Next{At: at, Deadline: deadline}
		},
		Panicked: func(name string, _ any, _ []byte) scheduler.Next {
			at, deadline := d.reconciler.Panicked(name)
			return scheduler.Next{At: at, Deadline: deadline}
		},
		Beat: d.notifier.Watchdog, Metrics: m.scheduler, Log: d.log,
	})
	return err
}

// run has three layers and ends them from the inside: the pages for machines, which say whether the daemon is ready;
// the sockets; and the work, which comes to rest while its challenges are still answered.
func (d *daemon) run(ctx context.Context) error {
	outer, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	sockets, outer := errgroup.WithContext(outer)
	if d.admin != nil {
		sockets.Go(func() error { return d.admin.run(outer) })
	}
	err := d.start()
	if err == nil {
		if d.http01 != nil {
			sockets.Go(func() error { return d.http01.Run(outer) })
		}
		if d.alpn != nil {
			sockets.Go(func() error { return d.alpn.Run(outer) })
		}
		sockets.Go(func() error { return d.api.Serve(outer, d.control) })
		err = d.work(ctx, outer)
	}
	stop()
	return errors.Join(err, sockets.Wait())
}

// start reads the specs and what is known of each certificate, so that the daemon is ready before any CA answers.
func (d *daemon) start() error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(garbage)
	}
	d.notifier.Extend(startStep)
	d.specs.load(spec.LoadOptions{})
	known, err := d.store.Names()
	if err != nil {
		return err
	}
	d.scheduler.AddAll(d.adopt(d.specs.set(), known))
	if n, err := d.solvers.folder.Sweep(time.Now(), staleToken); err != nil {
		d.log.Warn("leaving old tokens in place", zap.Error(err))
	} else if n > 0 {
		d.log.Debug("swept old tokens", zap.Int("count", n))
	}
	return nil
}

const (
	startStep  = time.Minute        // what systemd is asked to grant for each step of a start
	adoptStep  = 1000               // certificates in such a step
	adopters   = 16                 // that read at once: the disk may be slower than they are
	garbage    = 40                 // percent of what is kept that may be garbage: much is kept, little thrown away
	staleToken = 8 * 24 * time.Hour // authorizations live for a week at most
)

// adopt gives the time of the first visit for every certificate of set, and for those of known whose spec is gone.
func (d *daemon) adopt(set *spec.Set, known []string) iter.Seq2[string, scheduler.Next] {
	names := slices.Collect(keys(set.Certificates()))
	for _, name := range known {
		if set.Certificate(name) == nil {
			names = append(names, name)
		}
	}
	return func(yield func(string, scheduler.Next) bool) {
		for batch := range slices.Chunk(names, adoptStep) {
			d.notifier.Extend(startStep)
			for i, next := range d.adoptAll(batch) {
				if !next.At.IsZero() && !yield(batch[i], next) {
					return
				}
			}
		}
	}
}

// adoptAll reads what is known of these certificates, many at once.
func (d *daemon) adoptAll(names []string) []scheduler.Next {
	out := make([]scheduler.Next, len(names))
	var taken atomic.Int64
	var readers sync.WaitGroup
	for range min(adopters, len(names)) {
		readers.Go(func() {
			for i := taken.Add(1) - 1; int(i) < len(names); i = taken.Add(1) - 1 {
				out[i].At, out[i].Deadline = d.reconciler.Adopt(names[i])
			}
		})
	}
	readers.Wait()
	return out
}

// work visits certificates and follows the specs until ctx ends, or outer because a socket failed. It returns when
// the last visit has come to rest.
func (d *daemon) work(ctx, outer context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(outer, cancel)()
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return d.scheduler.Run(ctx) })
	group.Go(func() error { return d.specs.run(ctx) })
	group.Go(func() error { return d.couriers.run(ctx) })
	group.Go(func() error { return d.reportStatus(ctx) })
	group.Go(func() error { return d.tidy(ctx) })
	group.Go(func() error { return d.watchRetired(ctx) })
	if every := d.specs.settings().RevocationPoll; every > 0 {
		group.Go(func() error { return d.reconciler.WatchRevocations(ctx, every) })
	}
	if d.news != nil {
		group.Go(func() error { return d.news.Run(ctx) })
	}
	if d.http01 == nil && d.solvers.config.Solver != "off" {
		group.Go(func() error { return d.selfCheck().run(ctx) })
	}

	d.log.Info("ready", d.readyFields()...)
	d.ready.Store(true)
	d.notifier.Ready(d.statusLine())
	<-ctx.Done()
	d.ready.Store(false)
	d.notifier.Stopping("stopping: waiting for open steps")
	err := group.Wait()
	d.log.Info("stopped")
	return err
}

func (d *daemon) readyFields() []zap.Field {
	fields := []zap.Field{
		zap.String("version", d.version), zap.Int("certificates", d.specs.set().Len()),
		zap.Int("problems", len(d.specs.problems())), zap.String("http01", d.answers.Load().text),
	}
	if d.admin != nil {
		fields = append(fields, zap.String("admin", d.admin.address))
	}
	return fields
}

// apply implements owner.
func (d *daemon) apply(set *spec.Set, changed []string) {
	d.reconciler.SetSpecs(set)
	for _, name := range changed {
		d.scheduler.Wake(name)
	}
	if d.ready.Load() {
		d.notifier.Status(d.statusLine())
	}
}

// remembered implements owner.
func (d *daemon) remembered(names []string) { d.couriers.accepted(names) }

// selfCheck is for a daemon that does not answer http-01 itself.
func (d *daemon) selfCheck() *selfCheck {
	return &selfCheck{
		solver: d.solvers.folder, dir: d.solvers.dir, hosts: port80, report: d.answered, log: d.log,
		wanted: func() (string, bool) { return needsHTTP01(d.specs.set()) },
	}
}

// answered takes note of who answers http-01.
func (d *daemon) answered(a answering) { d.answers.Store(&a) }

// reloading implements owner.
func (d *daemon) reloading() { d.notifier.Reloading() }

// reloaded implements owner. What issuers were left alone for, the operator may just have mended.
func (d *daemon) reloaded(config *spec.Config) {
	if level, err := zapcore.ParseLevel(config.Log.Level); err == nil {
		d.level.SetLevel(level)
	}
	if err := d.reconciler.Release(); err != nil {
		d.log.Error("keeping issuers on hold", zap.Error(err))
	}
	if d.ready.Load() {
		d.notifier.Ready(d.statusLine())
	}
}

// close releases what was opened, in reverse.
func (d *daemon) close() {
	for _, c := range slices.Backward(d.closers) {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			d.log.Warn("closing", zap.Error(err))
		}
	}
}

// makeRuntimeDir makes the folders that tmpfiles.d makes on a system with systemd.
func makeRuntimeDir(config *spec.Config) error {
	for _, dir := range []string{filepath.Join(config.RuntimeDir, "http-01"), filepath.Dir(config.Control.Socket)} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("making the runtime folder: %w; make it, or set runtimeDir in %s", err, config.File)
		}
	}
	return nil
}

// keys are the first values of a sequence of pairs.
func keys[K, V any](pairs iter.Seq2[K, V]) iter.Seq[K] {
	return func(yield func(K) bool) {
		for k := range pairs {
			if !yield(k) {
				return
			}
		}
	}
}

// tidy ends what an earlier daemon has left. That it does not work stops nobody.
func (d *daemon) tidy(ctx context.Context) error {
	if err := d.reconciler.TidyRehearsals(ctx); err != nil {
		d.log.Warn("leaving a proof behind", zap.Error(err))
	}
	return nil
}
