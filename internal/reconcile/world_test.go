package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest"

	"acmed/internal/acme"
	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
	"acmed/internal/scheduler"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// world is acmed's own scheduler, reconciler and store in a bubble, with CAs that mind its manners.
type world struct {
	t        *testing.T
	dir      string
	cas      map[string]*acmetest.CA // by issuer
	set      *spec.Set
	proofs   proofs
	workers  int
	quiet    bool         // warnings are not logged: they are part of the game
	core     zapcore.Core // gets the log as well; nil: nothing does
	floor    time.Time
	panics   atomic.Int64
	visits   sync.Map                  // the certificates that are being visited
	before   func(name string)         // is called before each visit; nil: nothing is
	requests atomic.Int64              // to all CAs, down or not
	cut      func(*request) error      // lets requests fail before they reach a CA; nil: none does
	meddle   func(*request, *response) // changes what a CA answers; nil: nothing does
	deliver  func(reconcile.Delivery)  // serves consumers; nil: nobody does
	crowded  func() string             // what a proof would wait for; nil: nothing

	store      *store.Store
	metrics    *reconcile.Metrics
	reconciler *reconcile.Reconciler
	scheduler  *scheduler.Scheduler
	stop       func()
}

// proofs are what is visible of all solvers, by webroot and token.
type proofs struct{ m sync.Map }

func (p *proofs) fetch(_ context.Context, _, token string) (keyAuth string, err error) {
	err = errors.New("404 page not found")
	p.m.Range(func(at, v any) bool {
		if at.(place).token == token {
			keyAuth, err = v.(string), nil
		}
		return err != nil
	})
	return keyAuth, err
}

func (p *proofs) count() (n int) {
	p.m.Range(func(any, any) bool { n++; return true })
	return n
}

type place struct{ webroot, token string }

// solver shows proofs in one webroot.
type solver struct {
	proofs  *proofs
	webroot string
	crowded func() string
}

func (s solver) Busy() string {
	if s.crowded == nil {
		return ""
	}
	return s.crowded()
}

func (s solver) Present(_ context.Context, proof acme.Proof) error {
	s.proofs.m.Store(place{s.webroot, proof.Token}, proof.KeyAuth)
	return nil
}

func (s solver) CleanUp(_ context.Context, proof acme.Proof) error {
	s.proofs.m.Delete(place{s.webroot, proof.Token})
	return nil
}

func (w *world) solver(_ string, c spec.Challenge) (acme.Solver, error) {
	if c.Type != "http-01" {
		return nil, &acme.Error{Kind: acme.Permanent, Op: "challenge", Problem: "noSolver", Detail: "nothing answers " + c.Type}
	}
	return solver{&w.proofs, c.Webroot, w.crowded}, nil
}

// newWorld has one issuer, "ca", and no certificate yet. It does not run.
func newWorld(t *testing.T, cfg acmetest.Config) *world {
	w := &world{t: t, dir: filepath.Join(memory(t), "state"), cas: map[string]*acmetest.CA{}, workers: 8}
	w.addCA("ca", cfg)
	w.set = spec.NewSet(nil, []*spec.Issuer{w.issuer("ca", spec.Limits{OrdersInFlight: 8})})
	return w
}

func (w *world) addCA(name string, cfg acmetest.Config) *acmetest.CA {
	cfg.Fetch = w.proofs.fetch
	cfg.BaseURL = "https://" + name + ".test"
	w.cas[name] = acmetest.New(w.t, cfg)
	return w.cas[name]
}

func (w *world) ca() *acmetest.CA { return w.cas["ca"] }

func (w *world) issuer(name string, l spec.Limits) *spec.Issuer {
	return &spec.Issuer{Name: name, Directory: w.cas[name].DirectoryURL(), TermsOfServiceAgreed: true, Limits: l}
}

// cert is a certificate named name of issuers, or of "ca".
func cert(name string, issuers ...string) *spec.Certificate {
	if issuers == nil {
		issuers = []string{"ca"}
	}
	return &spec.Certificate{
		Name: name, DNSNames: []string{name + ".example.com"}, Issuers: issuers,
		Challenge:  spec.Challenge{Type: "http-01"},
		PrivateKey: spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
		Renew:      spec.Renew{ARI: true},
	}
}

// want puts these certificates in force, of the issuers that are known, and wakes what changed.
func (w *world) want(certs ...*spec.Certificate) {
	var issuers []*spec.Issuer
	for _, i := range w.set.Issuers() {
		issuers = append(issuers, i)
	}
	w.put(spec.NewSet(certs, issuers))
}

func (w *world) put(set *spec.Set) {
	old := w.set
	w.set = set
	if w.reconciler == nil {
		return
	}
	w.reconciler.SetSpecs(set)
	for name := range spec.Diff(old, set) {
		w.scheduler.Wake(name)
	}
}

// transport sends each request to the CA that it is for.
func (w *world) transport() roundTripper {
	return func(r *request) (*response, error) {
		for name, ca := range w.cas {
			if r.URL.Host != name+".test" {
				continue
			}
			w.requests.Add(1)
			if w.cut != nil {
				if err := w.cut(r); err != nil {
					return nil, err
				}
			}
			res, err := ca.RoundTrip(r)
			if err == nil && w.meddle != nil {
				w.meddle(r, res)
			}
			return res, err
		}
		return nil, fmt.Errorf("dialing %s: no such host", r.URL.Host)
	}
}

// open readies acmed on the state folder as it is. Nothing is visited by itself.
func (w *world) open() {
	w.t.Helper()
	log := zaptest.NewLogger(w.t, zaptest.Level(w.logLevel()))
	if w.core != nil {
		log = log.WithOptions(zap.WrapCore(func(c zapcore.Core) zapcore.Core { return zapcore.NewTee(c, w.core) }))
	}
	var err error
	if w.store, err = store.Open(store.Config{Dir: w.dir}); err != nil {
		w.t.Fatal(err)
	}
	w.metrics = reconcile.NewMetrics()
	w.reconciler, err = reconcile.New(reconcile.Config{
		Store: w.store, Solver: w.solver, Floor: w.floor, Metrics: w.metrics,
		Wake: func(name string) { w.scheduler.Wake(name) }, Deploy: w.deliver, Transport: w.transport(), Host: "test", Log: log,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.scheduler, err = scheduler.New(scheduler.Config{Workers: w.workers, Log: log,
		Visit: func(ctx context.Context, name string) scheduler.Next {
			if _, twice := w.visits.LoadOrStore(name, true); twice {
				w.t.Errorf("%s is visited twice at once", name)
			}
			defer w.visits.Delete(name)
			if w.before != nil {
				w.before(name)
			}
			at, deadline := w.reconciler.Visit(ctx, name)
			return scheduler.Next{At: at, Deadline: deadline}
		},
		Panicked: func(name string, _ any, _ []byte) scheduler.Next {
			at, deadline := w.reconciler.Panicked(name)
			return scheduler.Next{At: at, Deadline: deadline}
		}})
	if err != nil {
		w.t.Fatal(err)
	}
	w.reconciler.SetSpecs(w.set)
	w.stop = func() {
		if err := w.store.Close(); err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
}

// run starts acmed on the state folder as it is.
func (w *world) run() {
	w.t.Helper()
	w.open()
	names, err := w.store.Names()
	if err != nil {
		w.t.Fatal(err)
	}
	for name := range w.set.Certificates() {
		names = append(names, name)
	}
	for _, name := range names {
		if at, deadline := w.reconciler.Adopt(name); !at.IsZero() {
			w.scheduler.Add(name, scheduler.Next{At: at, Deadline: deadline})
		}
	}
	ctx, cancel := context.WithCancel(w.t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.scheduler.Run(ctx) }()
	closeStore := w.stop
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		closeStore()
	}
}

// visit visits name as the scheduler would, and tells in how long it wants to be visited again.
func (w *world) visit(name string) time.Duration {
	w.t.Helper()
	at, _ := w.reconciler.Visit(w.t.Context(), name)
	if at.IsZero() {
		return never
	}
	return time.Until(at)
}

// settle visits name until it rests for an hour or more.
func (w *world) settle(name string) {
	w.t.Helper()
	for range 50 {
		wait := w.visit(name)
		if wait >= time.Hour {
			return
		}
		time.Sleep(wait)
	}
	w.t.Errorf("%s does not come to rest: %+v", name, w.view(name))
}

const never = time.Duration(1<<63 - 1)

// check stops the world and looks at every file that it wrote.
func (w *world) check() {
	w.t.Helper()
	w.stop()
	for _, err := range store.Check(w.dir) {
		w.t.Errorf("state folder: %v", err)
	}
}

// serial is that of the certificate that is live, "" for none.
func (w *world) serial(name string) string {
	if n, err := w.store.Live(name); err == nil && n > 0 {
		if rev, err := w.store.Revision(name, n); err == nil {
			return rev.Serial
		}
	}
	return ""
}

func (w *world) view(name string) reconcile.View { return w.reconciler.View(name) }

// record is what the disk knows of name.
func (w *world) record(name string) store.Record {
	w.t.Helper()
	rec, err := w.store.Record(name)
	if err != nil {
		w.t.Fatal(err)
	}
	return rec
}

// orders are how many the CA was asked for.
func (w *world) orders() int {
	synctest.Wait()
	return w.ca().Count("newOrder")
}

// expect fails unless name is in the phase for that reason.
func (w *world) expect(name string, phase reconcile.Phase, why reconcile.Reason) {
	w.t.Helper()
	synctest.Wait()
	if v := w.view(name); v.Phase != phase || v.Why != why {
		w.t.Errorf("at %v: %s is %s because %s (%s), want %s because %s", time.Now(), name, v.Phase, v.Why, v.Error, phase, why)
	}
}

// bubble runs f in a bubble in a world that is checked in the end.
func bubble(t *testing.T, cfg acmetest.Config, f func(*world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, cfg)
		f(w)
		w.check()
	})
}

func (w *world) damage(name, file string, change func([]byte) []byte) {
	w.t.Helper()
	path := filepath.Join(w.dir, "live", name, file)
	data, err := os.ReadFile(path)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := os.WriteFile(path, change(data), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) logLevel() zapcore.Level {
	switch {
	case os.Getenv("ACMED_TEST_LOG") != "":
		return zapcore.DebugLevel
	case w.quiet:
		return zapcore.ErrorLevel
	default:
		return zapcore.WarnLevel
	}
}
