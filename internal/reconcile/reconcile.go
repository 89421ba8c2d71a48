// Package reconcile keeps one certificate as its spec asks: it gathers the facts, decides on the next step, performs
// it, persists the outcome and says when to come back.
//
// It owns the rules: when to renew, what a failure costs, which issuer is asked, how much may be asked of it. Decide
// is pure and lists them. Nothing remembers that something happened: every visit looks at what is, so that a crash
// between two steps is an ordinary visit later on.
//
// It never sleeps for the future, never keeps a certificate in memory beyond a line for the list, and never calls a
// CA without having written down that it will.
package reconcile

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Config is what a Reconciler works with. Every field without a stated zero value is required.
type Config struct {
	Store *store.Store
	// Solver gives what answers a challenge of that certificate, or an error that says why nothing does.
	Solver func(certificate string, c spec.Challenge) (acme.Solver, error)
	// Wake asks for a visit of name as soon as possible.
	Wake func(name string)
	// Deploy takes a certificate that its consumers are to accept, and sees to it that Delivered is called with what
	// came of it, once. It never blocks. nil: nobody serves consumers.
	Deploy func(Delivery)
	// Seen is told of every View that is new or has changed. It never blocks. nil: nobody is told.
	Seen func(View)
	// Credential finds a systemd credential; nil: there are none.
	Credential  func(name string) (path string, err error)
	Transport   http.RoundTripper // to every CA; nil: the network
	UserAgent   string            // "": "acmed"
	Host        string            // spreads renewals over machines that share specs; "": it does not
	Floor       time.Time         // the clock cannot be before it; zero: unknown
	Keep        int               // revisions kept beside the live one; zero: 5
	Metrics     *Metrics          // nil: not counted
	ACMEMetrics *acme.Metrics     // nil: not counted
	Log         *zap.Logger       // nil: silent
}

// Reconciler is the state of all certificates, the disk apart.
type Reconciler struct {
	store       *store.Store
	solver      func(string, spec.Challenge) (acme.Solver, error)
	wake        func(string)
	deploy      func(Delivery)
	credential  func(string) (string, error)
	transport   http.RoundTripper
	userAgent   string
	started     time.Time
	host        string
	floor       time.Time
	keep        int
	metrics     *Metrics
	acmeMetrics *acme.Metrics
	log         *zap.Logger

	specs      atomic.Pointer[spec.Set]
	rehearsals rehearsals

	mu         sync.Mutex // guards the following
	issuers    map[string]*issuer
	flights    map[string]flight
	requests   map[string]request
	deliveries map[string]*delivered // under way; with what came of them once it is known
	wishes     map[string][]wish
	edits      map[string]time.Time // when specs were edited since the start

	board   board
	watcher watcher
}

// request is a renewal that the operator asked for and that no visit has written down yet.
type request struct {
	at    time.Time
	force bool
}

// request is a renewal of name that was asked for, if there is one.
func (r *Reconciler) request(name string) (q request, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q, ok = r.requests[name]
	return q, ok
}

// taken forgets the request q, unless another one has come meanwhile.
func (r *Reconciler) taken(name string, q request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.requests[name] == q {
		delete(r.requests, name)
	}
}

// New makes a Reconciler without specs.
func New(c Config) (*Reconciler, error) {
	if c.Store == nil || c.Solver == nil || c.Wake == nil {
		return nil, errors.New("reconcile: Store, Solver and Wake are required")
	}
	r := &Reconciler{
		store: c.Store, solver: c.Solver, wake: c.Wake, deploy: c.Deploy, credential: c.Credential, transport: c.Transport,
		started: time.Now().Round(0), userAgent: c.UserAgent, host: c.Host, floor: c.Floor, keep: c.Keep,
		metrics: c.Metrics, acmeMetrics: c.ACMEMetrics, log: c.Log,
		issuers: map[string]*issuer{}, flights: map[string]flight{}, requests: map[string]request{},
		deliveries: map[string]*delivered{}, wishes: map[string][]wish{}, edits: map[string]time.Time{},
		board:   board{seen: c.Seen, views: map[string]View{}, retired: map[string]View{}, counts: map[Phase]int{}, watchers: map[string][]chan View{}},
		watcher: watcher{turn: make(chan struct{}, 1), lists: map[string]*watched{}, known: map[string]RevocationList{}},
	}
	if r.log == nil {
		r.log = zap.NewNop()
	}
	if r.metrics == nil {
		r.metrics = NewMetrics()
	}
	if r.credential == nil {
		r.credential = func(string) (string, error) { return "", errors.New("systemd passed no credentials") }
	}
	if r.userAgent == "" {
		r.userAgent = "acmed"
	}
	if r.keep <= 0 {
		r.keep = 5
	}
	r.specs.Store(&spec.Set{})
	return r, nil
}

// SetSpecs makes set take effect, and ends holds that an order of an earlier spec caused. The caller wakes the certificates
// that changed.
func (r *Reconciler) SetSpecs(set *spec.Set) {
	r.noteEdits(r.specs.Swap(set), set)
	if err := r.pardonAll(); err != nil {
		r.log.Error("keeping issuers on hold", zap.Error(err))
	}
}

// Renew asks for a renewal of name at its next visit, which it wakes. It clears the back-off, never what the CA
// asked for; force passes acmed's own budgets as well, except the budget of failures.
func (r *Reconciler) Renew(name string, force bool) {
	r.mu.Lock()
	r.requests[name] = request{time.Now().Round(0), force}
	r.mu.Unlock()
	r.wake(name)
}

// Release ends the holds of issuers that the operator may have mended: all but those that the CA asked for.
func (r *Reconciler) Release() error {
	r.mu.Lock()
	var all []*issuer
	for _, i := range r.issuers {
		all = append(all, i)
	}
	r.mu.Unlock()
	var errs []error
	for _, i := range all {
		errs = append(errs, i.release())
	}
	return errors.Join(errs...)
}

// Adopt reads what is known about name at start-up and tells when to visit it first, without touching its files.
func (r *Reconciler) Adopt(name string) (at, deadline time.Time) {
	v := &visit{r: r, name: name, log: r.log.With(zap.String("cert", name)), now: time.Now().Round(0), known: true}
	err := v.gatherRecord()
	if serving := v.in.Have.Serving(); serving != nil {
		v.in.Live = serving.Number
	}
	if err := errors.Join(err, v.gather()); err != nil {
		return v.broken(err)
	}
	d := Decide(v.in, v.now)
	if d.Do == Wait {
		d = v.admit(d) // so that it is called when what all wait for is over
	} else {
		d.At = v.now
	}
	r.board.set(newView(name, v.in, d, v.now))
	return d.At, expiry(v.in.Have)
}

// maxSteps bounds the steps of one visit, and with them how long it may keep others waiting.
const maxSteps = 8

// Visit does what is due for name and tells when to come back, and by when it has to be served. A zero at means
// never, unless somebody wakes it.
func (r *Reconciler) Visit(ctx context.Context, name string) (at, deadline time.Time) {
	v := &visit{r: r, name: name, log: r.log.WithLazy(zap.String("cert", name))}
	var d Decision
	for range maxSteps {
		v.now = time.Now().Round(0)
		if err := v.gather(); err != nil {
			return v.broken(err)
		}
		if err := errors.Join(v.takeRequest(), v.takeDelivery()); err != nil {
			return v.broken(err)
		}
		v.takeWishes()
		if d = v.admit(Decide(v.in, v.now)); d.Do == Wait {
			return v.rest(d)
		}
		err := v.perform(ctx, d)
		v.known = d.Do == PollARI // which changes nothing but the record, at hand
		if ctx.Err() != nil {
			return v.interrupted(ctx, err)
		}
		if err != nil {
			err = v.setBack(d, err)
		}
		if err := errors.Join(err, v.save()); err != nil {
			return v.broken(err)
		}
	}
	v.log.Warn("there is more to do than fits into one visit", zap.String("reason", string(d.Why)))
	return v.rest(Decision{Do: Wait, Why: d.Why, Issuer: d.Issuer, At: time.Now().Round(0).Add(firstRetry), Detail: d.Detail})
}

// Panicked takes note that a visit of name panicked, and tells when to try again.
func (r *Reconciler) Panicked(name string) (at, deadline time.Time) {
	return r.fault(name, "a visit panicked: this is a fault of acmed, the log has its stack", hourlyRetry)
}

// fault shows what no record can hold, a fault of this machine, and tells when to try again. Others may go ahead.
func (r *Reconciler) fault(name, what string, wait time.Duration) (at, deadline time.Time) {
	r.leaveGates(name, "")
	now := time.Now().Round(0)
	v := r.board.get(name)
	v.Name, v.Phase, v.Do, v.Why, v.Detail = name, cmp.Or(v.Phase, PhaseMissing), Wait, Disconnected, ""
	v.Error, v.Hint, v.ErrorAt, v.Next = what, "", now, now.Add(wait)
	r.board.set(v)
	return v.Next, v.NotAfter
}

// expiry is when consumers need another certificate; zero: they have none.
func expiry(have store.Record) time.Time {
	if is := have.Serving(); is != nil {
		return is.NotAfter
	}
	return time.Time{}
}
