package scheduler

import (
	"cmp"
	"container/heap"
	"iter"
	"math"
	"time"
)

// table knows each key and where it stands: it waits, is due, or is in flight. It is pure: what depends on the time
// takes the time.
type table struct {
	items    map[string]*item
	waiting  queue               // the earliest first
	due      queue               // the most urgent first
	inFlight map[*item]time.Time // since when, with the monotonic reading
}

// item is one key. There may be 100,000: an item is kept within 80 bytes.
type item struct {
	key     string
	next    Next   // in flight: what was asked for since the visit began, At zero when nothing was
	queue   *queue // that holds it; nil: in flight
	index   int32  // in queue
	flying  bool
	woken   bool // in flight: visit it once more
	removed bool // in flight: what the visit asks for does not count
}

func newTable() table {
	return table{
		items:    make(map[string]*item),
		waiting:  queue{before: earlier},
		due:      queue{before: moreUrgent},
		inFlight: make(map[*item]time.Time),
	}
}

func earlier(a, b *item) bool { return a.next.At.Before(b.next.At) }

func moreUrgent(a, b *item) bool {
	return cmp.Or(a.next.Deadline.Compare(b.next.Deadline), a.next.At.Compare(b.next.At)) < 0
}

// add lets an earlier time win over the known one.
func (t *table) add(key string, n Next) {
	if n.At.IsZero() {
		return
	}
	it := t.item(key)
	it.next = Next{At: sooner(it.next.At, n.At.Round(0)), Deadline: n.Deadline.Round(0)}
	if !it.flying {
		it.moveTo(cmp.Or(it.queue, &t.waiting))
	}
}

// addAll adds without order first and makes the heap once.
func (t *table) addAll(keys iter.Seq2[string, Next]) {
	for key, n := range keys {
		if t.items[key] != nil || n.At.IsZero() {
			t.add(key, n)
			continue
		}
		it := t.item(key)
		it.next = Next{At: n.At.Round(0), Deadline: n.Deadline.Round(0)}
		t.waiting.Push(it)
	}
	heap.Init(&t.waiting)
}

func (t *table) wake(key string, now time.Time) {
	it := t.item(key)
	if it.flying {
		it.woken = true
		return
	}
	it.next.At = sooner(it.next.At, now)
	it.moveTo(&t.due)
}

// wakeAll makes every key that waits due.
func (t *table) wakeAll(now time.Time) {
	for _, it := range t.waiting.items {
		it.next.At = now
	}
}

func (t *table) remove(key string) {
	it := t.items[key]
	switch {
	case it == nil:
	case it.flying:
		it.next, it.woken, it.removed = Next{}, false, true
	default:
		t.forget(it)
	}
}

// promote moves the keys whose time has come from waiting to due.
func (t *table) promote(now time.Time) {
	for len(t.waiting.items) > 0 && !t.waiting.items[0].next.At.After(now) {
		t.waiting.items[0].moveTo(&t.due)
	}
}

// take puts the most urgent keys in flight until n are.
func (t *table) take(n int, now time.Time) []*item {
	var taken []*item
	for len(t.inFlight) < n && len(t.due.items) > 0 {
		it := heap.Pop(&t.due).(*item)
		it.next.At = time.Time{}
		it.flying, it.woken, it.removed = true, false, false
		t.inFlight[it] = now
		taken = append(taken, it)
	}
	return taken
}

// finish files what a visit asks for, together with what was asked for while it lasted.
func (t *table) finish(it *item, n Next, now time.Time) {
	delete(t.inFlight, it)
	it.flying = false
	if !it.removed && !n.At.IsZero() {
		it.next = Next{At: sooner(n.At.Round(0), it.next.At), Deadline: n.Deadline.Round(0)}
	}
	switch {
	case it.woken:
		it.next.At = sooner(it.next.At, now)
		it.moveTo(&t.due)
	case it.next.At.IsZero():
		t.forget(it)
	default:
		it.moveTo(&t.waiting)
	}
}

// untilNext is how long to wait until a key becomes due, at most for ever.
func (t *table) untilNext(now time.Time) time.Duration {
	if len(t.waiting.items) == 0 {
		return math.MaxInt64
	}
	return t.waiting.items[0].next.At.Sub(now)
}

// longerThan returns a key whose visit lasts longer than d, if there is one.
func (t *table) longerThan(d time.Duration, now time.Time) string {
	for it, began := range t.inFlight {
		if now.Sub(began) > d {
			return it.key
		}
	}
	return ""
}

func (t *table) stats(now time.Time) Stats {
	s := Stats{Waiting: len(t.waiting.items), Due: len(t.due.items), InFlight: len(t.inFlight)}
	for _, it := range t.due.items {
		s.Lag = max(s.Lag, now.Sub(it.next.At))
	}
	return s
}

// item returns the item of key; a new one stands nowhere yet.
func (t *table) item(key string) *item {
	it := t.items[key]
	if it == nil {
		it = &item{key: key}
		t.items[key] = it
	}
	return it
}

func (t *table) forget(it *item) {
	if it.queue != nil {
		heap.Remove(it.queue, int(it.index))
	}
	delete(t.items, it.key)
}

// moveTo puts it into its place in q.
func (it *item) moveTo(q *queue) {
	switch it.queue {
	case q:
		heap.Fix(q, int(it.index))
		return
	case nil:
	default:
		heap.Remove(it.queue, int(it.index))
	}
	heap.Push(q, it)
}

// sooner returns the earlier of two times, of which zero is never.
func sooner(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// queue is a heap of items, used through container/heap.
type queue struct {
	items  []*item
	before func(a, b *item) bool
}

func (q *queue) Len() int           { return len(q.items) }
func (q *queue) Less(i, j int) bool { return q.before(q.items[i], q.items[j]) }

func (q *queue) Swap(i, j int) {
	q.items[i], q.items[j] = q.items[j], q.items[i]
	q.items[i].index, q.items[j].index = int32(i), int32(j)
}

func (q *queue) Push(x any) {
	it := x.(*item)
	it.queue, it.index = q, int32(len(q.items))
	q.items = append(q.items, it)
}

func (q *queue) Pop() any {
	last := len(q.items) - 1
	it := q.items[last]
	q.items[last] = nil // so that it can be collected
	q.items = q.items[:last]
	it.queue = nil
	return it
}
