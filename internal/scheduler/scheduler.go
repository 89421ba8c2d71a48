// Package scheduler visits keys when they ask for it: never one key twice at once, never more than a given number
// at a time, and the most urgent first.
//
// It owns the order of visits and the time between them. It never knows what a key stands for, never decides when
// a key is due, and never touches the disk or the network.
//
// Times are those of the wall clock, because that is what certificates expire by: no wait is longer than half a
// minute, so that a suspended machine or a clock set forward is noticed soon, and a clock set back makes every key
// due once, because the times they asked for came from a clock that was wrong.
package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"runtime/debug"
	"sync"
	"time"

	"go.uber.org/zap"
)

const (
	maxWait        = 30 * time.Second // between two turns of the loop
	overrun        = 5 * time.Minute  // by which a visit may outlive its timeout before the scheduler counts as stuck
	clockTolerance = time.Minute      // by which the clock may be set back unnoticed
)

// Next says when a key wants to be visited.
type Next struct {
	// At is the earliest time; zero: never, the key is forgotten.
	At time.Time
	// Deadline orders the keys that are due, the earliest first; zero comes before all others: nothing is served yet.
	Deadline time.Time
}

// Config is what a Scheduler is made from.
type Config struct {
	// Workers is how many visits may be in flight; zero or less: refused.
	Workers int
	// Visit does what is due for key and says when to come back. It ends soon after ctx does. nil: refused.
	Visit func(ctx context.Context, key string) Next
	// Timeout bounds the context of one visit; zero: 15 min.
	Timeout time.Duration
	// Grace is how long visits in flight may go on after Run was asked to end, before their contexts end too;
	// zero: 5 s.
	Grace time.Duration
	// Beat is called on every turn of the loop, at least every 30 s, unless a visit outlives its timeout by more
	// than 5 min; nil: nothing is called.
	Beat func()
	// Panicked says what follows a visit that panicked; nil: another one in 10 min.
	Panicked func(key string, value any, stack []byte) Next
	// Metrics counts; nil: nobody sees the counts.
	Metrics *Metrics
	// Log gets panics and overruns; nil: nothing is logged.
	Log *zap.Logger
}

// Scheduler visits keys. Its methods may be called from any goroutine, from inside a visit too, and before Run as
// well as after it; none of them waits for a visit.
type Scheduler struct {
	cfg     Config
	changed chan struct{} // has room for one: the table changed since the last turn
	running sync.Mutex    // held by Run

	mu       sync.Mutex // guards the following; never held over a call to the outside
	table    table
	lastTurn time.Time // with its monotonic reading; zero: Run has not begun
}

// Stats describe a Scheduler at one moment.
type Stats struct {
	Waiting  int           // keys whose time has not come
	Due      int           // keys that wait for a worker
	InFlight int           // keys that are being visited
	Lag      time.Duration // by how much the most overdue of the due keys is late
	LastTurn time.Time     // when the loop last went round, good for time.Since over clock steps; zero: never
}

// New returns a Scheduler that knows no key yet.
func New(cfg Config) (*Scheduler, error) {
	switch {
	case cfg.Workers < 1:
		return nil, fmt.Errorf("making a scheduler: cannot work with %d workers; at least 1 is needed", cfg.Workers)
	case cfg.Visit == nil:
		return nil, errors.New("making a scheduler: Visit is missing")
	}
	cfg.Timeout = cmp.Or(cfg.Timeout, 15*time.Minute)
	cfg.Grace = cmp.Or(cfg.Grace, 5*time.Second)
	cfg.Metrics = cmp.Or(cfg.Metrics, NewMetrics())
	cfg.Log = cmp.Or(cfg.Log, zap.NewNop())
	if cfg.Beat == nil {
		cfg.Beat = func() {}
	}
	if cfg.Panicked == nil {
		cfg.Panicked = func(string, any, []byte) Next { return Next{At: time.Now().Add(10 * time.Minute)} }
	}
	s := &Scheduler{cfg: cfg, changed: make(chan struct{}, 1), table: newTable()}
	cfg.Metrics.observe(s)
	return s, nil
}

// Run visits keys until ctx ends, and returns when the visits in flight have ended. It returns an error only when
// it runs already.
func (s *Scheduler) Run(ctx context.Context) error {
	if !s.running.TryLock() {
		return errors.New("running the scheduler: it runs already")
	}
	defer s.running.Unlock()
	visits, abort := context.WithCancel(context.WithoutCancel(ctx))
	defer abort()
	var workers sync.WaitGroup
	due := make(chan *item, s.cfg.Workers) // never full: no more visits than that are in flight
	for range s.cfg.Workers {
		workers.Go(func() { s.work(visits, due, &workers) })
	}
	timer := time.NewTimer(maxWait)
	defer timer.Stop()

	stuck := "" // the key whose visit outlives its timeout
	for ctx.Err() == nil {
		turn := s.turn(time.Now())
		for _, it := range turn.start {
			due <- it
		}
		if turn.setBack {
			s.cfg.Log.Warn("clock was set back", zap.String("next", "everything is looked at again"))
		}
		stuck = s.beat(stuck, turn.stuck)
		timer.Reset(turn.wait)
		select {
		case <-s.changed:
		case <-timer.C:
		case <-ctx.Done():
		}
	}

	defer time.AfterFunc(s.cfg.Grace, abort).Stop()
	close(due)
	workers.Wait()
	return nil
}

// Wake makes key due now, and known if it was not. When it is being visited, it is visited once more afterwards.
func (s *Scheduler) Wake(key string) {
	s.change(func() { s.table.wake(key, now()) })
}

// Add makes key known, or due earlier than it was; a known key never becomes due later by it. The deadline replaces
// the known one.
func (s *Scheduler) Add(key string, n Next) {
	s.change(func() { s.table.add(key, n) })
}

// AddAll is Add for many keys at once, faster when they are a large part of all.
func (s *Scheduler) AddAll(keys iter.Seq2[string, Next]) {
	s.change(func() { s.table.addAll(keys) })
}

// Remove forgets key. When it is being visited, it does not come back, whatever the visit asks for.
func (s *Scheduler) Remove(key string) {
	s.change(func() { s.table.remove(key) })
}

// Stats looks at all keys that are due, for Lag.
func (s *Scheduler) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := s.table.stats(now())
	stats.LastTurn = s.lastTurn
	return stats
}

// change applies f to the table and lets the loop see what came of it.
func (s *Scheduler) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	select {
	case s.changed <- struct{}{}:
	default: // the loop will look anyway
	}
}

// turn is what one turn of the loop found.
type turn struct {
	start   []*item       // keys to visit now
	wait    time.Duration // until the next turn, if nothing happens before
	stuck   string        // the key whose visit outlives its timeout by far; "": none
	setBack bool          // the clock was, since the last turn
}

// turn takes the current time with its monotonic reading.
func (s *Scheduler) turn(now time.Time) turn {
	s.mu.Lock()
	defer s.mu.Unlock()
	wall, last := now.Round(0), s.lastTurn
	s.lastTurn = now
	back := !last.IsZero() && setBack(wall.Sub(last.Round(0)), now.Sub(last))
	if back {
		s.table.wakeAll(wall)
	}
	s.table.promote(wall)
	return turn{
		start:   s.table.take(s.cfg.Workers, now),
		wait:    min(s.table.untilNext(wall), maxWait),
		stuck:   s.table.longerThan(s.cfg.Timeout+overrun, now),
		setBack: back,
	}
}

// beat beats unless a visit is stuck, and says so once for each.
func (s *Scheduler) beat(before, stuck string) string {
	switch stuck {
	case "":
		s.cfg.Beat()
	case before:
	default:
		s.cfg.Log.Error("visit does not end", zap.String("cert", stuck), zap.Duration("took", s.cfg.Timeout+overrun))
	}
	return stuck
}

// setBack tells whether the clock was set back while so much time passed by the wall clock and by the monotonic one.
func setBack(wall, monotonic time.Duration) bool {
	return wall < monotonic-clockTolerance
}

// work makes the visits that are due until there will be no more. It goes from one to the next, so that the stack that
// one has grown is there for the other.
func (s *Scheduler) work(ctx context.Context, due <-chan *item, workers *sync.WaitGroup) {
	over := false
	defer func() {
		if !over { // a visit has ended its goroutine
			workers.Go(func() { s.work(ctx, due, workers) })
		}
	}()
	for it := range due {
		s.visit(ctx, it)
	}
	over = true
}

// visit visits it and files what it asks for. Whatever happens, its worker becomes free.
func (s *Scheduler) visit(ctx context.Context, it *item) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
	defer cancel()
	var next Next
	defer func() { s.change(func() { s.table.finish(it, next, now()) }) }()

	began := time.Now()
	next, panicked := s.protected(ctx, it.key)
	s.cfg.Metrics.visited(time.Since(began), ctx.Err(), panicked)
}

// protected calls Visit and survives its panic.
func (s *Scheduler) protected(ctx context.Context, key string) (next Next, panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			stack := debug.Stack()
			s.cfg.Log.Error("visit panicked", zap.String("cert", key),
				zap.String("problem", fmt.Sprint(v)), zap.ByteString("stack", stack))
			next, panicked = s.cfg.Panicked(key, v, stack), true
		}
	}()
	return s.cfg.Visit(ctx, key), false
}

// now is the wall clock's time: without its monotonic reading, so that suspension and clock steps count.
func now() time.Time { return time.Now().Round(0) }
