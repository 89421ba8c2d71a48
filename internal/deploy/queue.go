package deploy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"

	"acmed/internal/spec"
)

// Request is a delivery that the daemon wants.
type Request struct {
	Order
	Want     *spec.Certificate
	Revision int    // that live points at
	Leaf     string // SHA-256 checksum of its leaf, hex
}

// QueueConfig is what a Queue needs.
type QueueConfig struct {
	// Courier gives who delivers; it is asked before each batch. Required.
	Courier func() Courier
	// Probe looks whether a certificate is served at a target of stage probe. Required.
	Probe func(ctx context.Context, r Request, t spec.Target) Result
	// Done is told what came of each request, once. Required.
	Done  func(Request, Answer)
	Quiet time.Duration // for which nothing new has come when a batch begins; zero: 1 s
	Gap   time.Duration // between the beginnings of two batches, at least; zero: 3 s
	Log   *zap.Logger   // panics of the courier; nil: silent
}

const (
	longestQuiet = 5 * time.Second // that the first of a batch waits for others
	probesAtOnce = 32
)

// Queue hands certificates over in batches, so that what many of them share is reloaded once. Batches begin so far
// apart that units which can only be restarted stay below systemd's limit of five starts in ten seconds.
type Queue struct {
	c      QueueConfig
	added  chan struct{} // has room for one
	probes chan struct{} // holds a value for each probe that is under way

	mu      sync.Mutex // guards the following
	waiting []Request  // in the order in which they came
	first   time.Time  // when the first of waiting came
	last    time.Time  // when the last did
}

// NewQueue returns a queue that does nothing until Run.
func NewQueue(c QueueConfig) (*Queue, error) {
	if c.Courier == nil || c.Probe == nil || c.Done == nil {
		return nil, errors.New("making a deploy queue: Courier, Probe and Done are required")
	}
	c.Quiet, c.Gap, c.Log = cmp.Or(c.Quiet, time.Second), cmp.Or(c.Gap, 3*time.Second), cmp.Or(c.Log, zap.NewNop())
	return &Queue{c: c, added: make(chan struct{}, 1), probes: make(chan struct{}, probesAtOnce)}, nil
}

// Add asks for a delivery. One for a certificate that waits already takes its place.
func (q *Queue) Add(r Request) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	if i := slices.IndexFunc(q.waiting, func(w Request) bool { return w.Name == r.Name }); i >= 0 {
		q.waiting[i] = r
		return
	}
	if len(q.waiting) == 0 {
		q.first = now
	}
	q.waiting, q.last = append(q.waiting, r), now
	select {
	case q.added <- struct{}{}:
	default: // the loop will look anyway
	}
}

// Run delivers until ctx ends. What has not come to an end by then is dropped without a word: the daemon stops, and
// delivers it when it starts again.
func (q *Queue) Run(ctx context.Context) error {
	var looking sync.WaitGroup
	defer looking.Wait()
	var began time.Time // the last batch
	for {
		batch, wait := q.next(time.Now(), began)
		if len(batch) > 0 {
			began = time.Now()
			for _, o := range q.deliver(ctx, batch) {
				looking.Go(func() { q.finish(ctx, o) })
			}
			continue
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-q.added:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// next gives the batch that is due, or how long to wait for one at most.
func (q *Queue) next(now, began time.Time) (batch []Request, wait time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.waiting) == 0 {
		return nil, time.Hour
	}
	due := q.last.Add(q.c.Quiet)
	if late := q.first.Add(longestQuiet); late.Before(due) {
		due = late
	}
	if len(q.waiting) >= MaxOrders {
		due = now
	}
	if gap := began.Add(q.c.Gap); !began.IsZero() && gap.After(due) {
		due = gap
	}
	if wait = due.Sub(now); wait > 0 {
		return nil, wait
	}
	n := min(len(q.waiting), MaxOrders)
	batch = slices.Clone(q.waiting[:n])
	q.waiting = slices.Delete(q.waiting, 0, n)
	q.first, q.last = now, now
	return batch, 0
}

// outcome is a request with what came of it so far.
type outcome struct {
	Request
	answer Answer
}

// deliver has a batch delivered, as far as the courier is needed.
func (q *Queue) deliver(ctx context.Context, batch []Request) []outcome {
	out := make([]outcome, len(batch))
	index := map[string]int{}
	var orders []Order
	for i, r := range batch {
		out[i] = outcome{r, Answer{Name: r.Name}}
		if r.needsCourier() {
			index[r.Name] = i
			orders = append(orders, r.Order)
			out[i].answer.Problem, out[i].answer.Hint = "there was no answer", "it is tried again"
		}
	}
	if len(orders) == 0 {
		return out
	}
	answers, err := q.ask(ctx, orders)
	for _, a := range answers {
		if i, ok := index[a.Name]; ok {
			out[i].answer = a
		}
	}
	if err != nil {
		for _, i := range index {
			out[i].answer.Problem, out[i].answer.Hint = parts(err)
		}
	}
	return out
}

// ask survives a panic of the courier.
func (q *Queue) ask(ctx context.Context, orders []Order) (answers []Answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			q.c.Log.Error("delivery panicked", zap.Any("problem", v), zap.Stack("stack"))
			err = fmt.Errorf("delivering: %v: this is a fault of acmed, the log has its stack", v)
		}
	}()
	return q.c.Courier().Deploy(ctx, orders)
}

// needsCourier tells whether anything but probes is to be done.
func (r *Request) needsCourier() bool {
	return slices.ContainsFunc(r.Want.Deploy.Targets(r.Leaf), func(t spec.Target) bool {
		return t.Stage != spec.StageProbe && !slices.Contains(r.Done, t.Fingerprint) && !slices.Contains(r.Wait, t.Fingerprint)
	})
}

// finish probes what has been delivered, and tells what came of it all: nothing, when the end comes first.
func (q *Queue) finish(ctx context.Context, o outcome) {
	probes := o.due()
	results := make([]Result, len(probes))
	var all sync.WaitGroup
	for i, t := range probes {
		all.Go(func() {
			q.probes <- struct{}{}
			defer func() { <-q.probes }()
			results[i] = q.c.Probe(ctx, o.Request, t)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return
	}
	o.answer.Results = append(o.answer.Results, results...)
	q.c.Done(o.Request, o.answer)
}

// due are the probes to be made: those that are not done and do not wait, once all that comes before has worked.
func (o *outcome) due() (probes []spec.Target) {
	accepted := map[string]bool{}
	for _, f := range o.Done {
		accepted[f] = true
	}
	for _, r := range o.answer.Results {
		accepted[r.Fingerprint] = accepted[r.Fingerprint] || r.OK
	}
	for _, t := range o.Want.Deploy.Targets(o.Leaf) {
		switch {
		case accepted[t.Fingerprint]:
		case t.Stage != spec.StageProbe:
			return nil
		case !slices.Contains(o.Wait, t.Fingerprint):
			probes = append(probes, t)
		}
	}
	return probes
}
