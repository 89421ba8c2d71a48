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
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"acmed/internal/challenge"
	"acmed/internal/control"
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

// ConfigError is a fault of acmed.yaml, or of the system it describes, that no restart mends.
type ConfigError struct{ Err error }

func (e *ConfigError) Error() string { return e.Err.Error() }

// Unwrap gives the cause.
func (e *ConfigError) Unwrap() error { return e.Err }

// Run is the daemon's life. It returns nil when ctx ends, once every visit has come to rest and every socket is
// closed; a *ConfigError when it cannot start as it is configured; and any other error when it fails on the way.
func Run(ctx context.Context, c Config) error {
	notifier := sd.FromEnv()
	config, err := spec.LoadConfig(c.ConfigFile)
	if err != nil {
		return &ConfigError{err}
	}
	d, err := build(c, config, notifier)
	if err != nil {
		return err
	}
	defer d.close()
	if err := d.start(ctx); err != nil {
		return err
	}
	return d.serve(ctx)
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
	specs      *specs

	http01  *challenge.Server // nil: the daemon does not listen itself
	answers string            // who answers http-01, in a few words
	control net.Listener
	api     *control.Server
	admin   net.Listener // nil: off
	pages   *http.Server
	closers []io.Closer // what was opened, in that order
}

func build(c Config, config *spec.Config, notifier *sd.Notifier) (_ *daemon, err error) {
	d := &daemon{version: cmp.Or(c.Version, "unknown"), started: time.Now(), notifier: notifier, metrics: newMetrics()}
	defer func() {
		if err != nil {
			d.close()
		}
	}()
	if d.log, d.level, err = newLogger(config.Log, cmp.Or[io.Writer](c.Stderr, os.Stderr)); err != nil {
		return nil, &ConfigError{err}
	}
	if err := makeRuntimeDir(config); err != nil {
		return nil, err
	}
	if d.store, err = store.Open(store.Config{Dir: config.StateDir, Log: d.log}); err != nil {
		return nil, err
	}
	d.closers = append(d.closers, d.store)
	if err := d.buildVisits(config); err != nil {
		return nil, err
	}
	if d.specs, err = newSpecs(config, d.store, d.log, d.changed); err != nil {
		return nil, err
	}
	if err := d.buildSockets(config); err != nil {
		return nil, err
	}
	return d, d.register(config.Admin.CertificateMetrics)
}

// buildVisits connects the scheduler with the reconciler, which need each other.
func (d *daemon) buildVisits(config *spec.Config) (err error) {
	m := d.metrics
	if d.solvers, err = newSolvers(config); err != nil {
		return err
	}
	host, _ := os.Hostname() // "": renewals are spread by name only
	d.reconciler, err = reconcile.New(reconcile.Config{
		Store: d.store, Solver: d.solvers.solver, Wake: func(name string) { d.scheduler.Wake(name) },
		Credential: sd.Credential, UserAgent: "acmed/" + d.version, Host: host, Floor: buildTime(),
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

// start reads the specs and what is known of each certificate, so that the daemon is ready before any CA answers.
func (d *daemon) start(ctx context.Context) error {
	d.notifier.Extend(time.Minute)
	d.specs.load(spec.LoadOptions{})
	set := d.specs.set()
	known, err := d.store.Names()
	if err != nil {
		return err
	}
	d.scheduler.AddAll(func(yield func(string, scheduler.Next) bool) {
		n := 0
		each := func(name string) bool {
			if n++; n%1000 == 0 {
				d.notifier.Extend(time.Minute)
			}
			at, deadline := d.reconciler.Adopt(name)
			return at.IsZero() || yield(name, scheduler.Next{At: at, Deadline: deadline})
		}
		for name := range set.Certificates() {
			if !each(name) {
				return
			}
		}
		for _, name := range known {
			if set.Certificate(name) == nil && !each(name) {
				return
			}
		}
	})
	if n, err := d.solvers.folder.Sweep(time.Now(), 8*24*time.Hour); err != nil {
		d.log.Warn("leaving old tokens in place", zap.Error(err))
	} else if n > 0 {
		d.log.Debug("swept old tokens", zap.Int("count", n))
	}
	return ctx.Err()
}

// serve runs everything until ctx ends, and stops it in the reverse order of need: first nothing new is started,
// then visits come to rest while their challenges are still answered, then the sockets close.
func (d *daemon) serve(ctx context.Context) error {
	outer, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	sockets, outer := errgroup.WithContext(outer)
	if d.http01 != nil {
		sockets.Go(func() error { return d.http01.Run(outer) })
	}
	if d.admin != nil {
		sockets.Go(func() error { return serveHTTP(outer, d.pages, d.admin) })
	}
	sockets.Go(func() error { return d.api.Serve(outer, d.control) })

	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	context.AfterFunc(outer, cancel) // a socket that fails ends the rest
	work, inner := errgroup.WithContext(inner)
	work.Go(func() error { return d.scheduler.Run(inner) })
	work.Go(func() error { return d.specs.run(inner) })
	work.Go(func() error { return d.reportStatus(inner) })

	set := d.specs.set()
	d.log.Info("ready", zap.String("version", d.version), zap.Int("certificates", set.Len()), zap.Int("problems", len(set.Problems)))
	d.ready.Store(true)
	d.notifier.Ready(d.statusLine())
	<-inner.Done()
	d.ready.Store(false)
	d.notifier.Stopping("stopping: waiting for open steps")
	err := work.Wait()
	stop()
	err = errors.Join(err, sockets.Wait())
	d.log.Info("stopped", zap.Error(err))
	return err
}

// changed puts a new set of specs in force.
func (d *daemon) changed(set *spec.Set, names []string) {
	d.reconciler.SetSpecs(set)
	for _, name := range names {
		d.scheduler.Wake(name)
	}
}

// close releases what was opened, in reverse.
func (d *daemon) close() {
	for i := len(d.closers) - 1; i >= 0; i-- {
		if err := d.closers[i].Close(); err != nil && !errors.Is(err, net.ErrClosed) {
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
