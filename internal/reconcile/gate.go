package reconcile

import (
	"container/heap"
	"maps"
	"slices"
	"sync"
	"time"
)

// gate bounds the orders that are open at one issuer. Whoever finds it full queues and is called when a place is
// free, the certificate that expires first before the others, so that a hundred thousand that wait cost nothing.
type gate struct {
	max  int
	call func(name string) // wakes the certificate that got a place; called without the lock

	mu      sync.Mutex
	paused  bool // nobody gets a place
	inside  map[string]bool
	parked  map[string]bool // open, without a place: they wait for others
	waiting queue
	index   map[string]*waiter
}

// waiter is one certificate in the queue.
type waiter struct {
	name     string
	deadline time.Time
	at       int // position in the heap
}

func newGate(limit int, call func(string)) *gate {
	return &gate{max: limit, call: call, inside: map[string]bool{}, parked: map[string]bool{}, index: map[string]*waiter{}}
}

// enter takes a place for name, or queues it by its deadline and returns false.
func (g *gate) enter(name string, deadline time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.inside[name] {
		return true
	}
	delete(g.parked, name)
	if len(g.inside) < g.max && !g.paused {
		g.unqueue(name)
		g.inside[name] = true
		return true
	}
	if w := g.index[name]; w != nil {
		w.deadline = deadline
		heap.Fix(&g.waiting, w.at)
		return false
	}
	w := &waiter{name: name, deadline: deadline}
	g.index[name] = w
	heap.Push(&g.waiting, w)
	return false
}

// parkedPerPlace bounds the orders that wait for others without a place: so many for each place.
const parkedPerPlace = 64

// park gives name's place to the next although its order stays open, because that waits for others and not for us. It
// reports false when too many are parked: then name keeps what it has.
func (g *gate) park(name string) bool {
	g.mu.Lock()
	if !g.parked[name] && len(g.parked) >= parkedPerPlace*g.max {
		g.mu.Unlock()
		return false
	}
	g.parked[name] = true
	g.mu.Unlock()
	if next := g.vacate(name); next != "" {
		g.call(next)
	}
	return true
}

// leave gives name's place, or its position in the queue, up. The most urgent of the queue gets the place and is
// called.
func (g *gate) leave(name string) {
	g.mu.Lock()
	delete(g.parked, name)
	g.mu.Unlock()
	if next := g.vacate(name); next != "" {
		g.call(next)
	}
}

func (g *gate) vacate(name string) (next string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unqueue(name)
	if !g.inside[name] {
		return ""
	}
	delete(g.inside, name)
	if len(g.waiting) == 0 || len(g.inside) >= g.max || g.paused {
		return ""
	}
	return g.pop()
}

// pop gives the most urgent of the queue a place.
func (g *gate) pop() string {
	w := heap.Pop(&g.waiting).(*waiter)
	delete(g.index, w.name)
	g.inside[w.name] = true
	return w.name
}

// pause gives nobody a place until resume; those who are inside stay.
func (g *gate) pause() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.paused = true
}

// resume calls all those who would have got a place meanwhile.
func (g *gate) resume() {
	g.mu.Lock()
	g.paused = false
	var called []string
	for len(g.waiting) > 0 && len(g.inside) < g.max {
		called = append(called, g.pop())
	}
	g.mu.Unlock()
	for _, name := range called {
		g.call(name)
	}
}

// holders are whose orders may be open: who has a place, and who is parked.
func (g *gate) holders() []string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := slices.AppendSeq(slices.Collect(maps.Keys(g.inside)), maps.Keys(g.parked))
	slices.Sort(all)
	return slices.Compact(all)
}

// resize changes how many may be inside; those who are stay.
func (g *gate) resize(limit int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.max = limit
}

// wakeInside calls everyone who has a place or is parked: what they all waited for is over.
func (g *gate) wakeInside() {
	for _, name := range g.holders() {
		g.call(name)
	}
}

// ahead is how many certificates are served before name.
func (g *gate) ahead() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return len(g.inside) + max(0, len(g.waiting)-1)
}

func (g *gate) unqueue(name string) {
	if w := g.index[name]; w != nil {
		heap.Remove(&g.waiting, w.at)
		delete(g.index, name)
	}
}

// queue is a heap of waiters, the earliest deadline first.
type queue []*waiter

func (q queue) Len() int           { return len(q) }
func (q queue) Less(i, j int) bool { return q[i].deadline.Before(q[j].deadline) }
func (q queue) Swap(i, j int)      { q[i], q[j] = q[j], q[i]; q[i].at, q[j].at = i, j }
func (q *queue) Push(x any)        { w := x.(*waiter); w.at = len(*q); *q = append(*q, w) }
func (q *queue) Pop() any {
	old := *q
	w := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	return w
}
