package scheduler_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/scheduler"
)

// journal notes visits, and fails the test when a key is visited twice at once or too many keys are.
type journal struct {
	t     *testing.T
	limit int
	began time.Time

	mu       sync.Mutex
	inFlight map[string]bool
	lines    []string
}

func newJournal(t *testing.T, limit int) *journal {
	return &journal{t: t, limit: limit, began: time.Now(), inFlight: make(map[string]bool)}
}

// wrap returns visit with notes taken.
func (j *journal) wrap(visit func(context.Context, string) scheduler.Next) func(context.Context, string) scheduler.Next {
	return func(ctx context.Context, key string) scheduler.Next {
		j.enter(key)
		defer j.leave(key)
		return visit(ctx, key)
	}
}

func (j *journal) enter(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.inFlight[key] {
		j.t.Errorf("%s is visited twice at once", key)
	}
	j.inFlight[key] = true
	if len(j.inFlight) > j.limit {
		j.t.Errorf("%d visits in flight; want at most %d", len(j.inFlight), j.limit)
	}
	j.lines = append(j.lines, fmt.Sprintf("%s@%v", key, time.Since(j.began)))
}

func (j *journal) leave(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.inFlight, key)
}

// want fails the test unless exactly these visits began, as "KEY@SINCE-START", in this order.
func (j *journal) want(lines ...string) {
	j.t.Helper()
	synctest.Wait()
	j.mu.Lock()
	defer j.mu.Unlock()
	if !slices.Equal(j.lines, lines) {
		j.t.Errorf("visits are %v; want %v", j.lines, lines)
	}
}

// start runs a scheduler until the test ends, and returns it with the journal of its visits.
func start(t *testing.T, cfg scheduler.Config) (*scheduler.Scheduler, *journal) {
	t.Helper()
	s, j := build(t, cfg)
	run(t, s)
	return s, j
}

func build(t *testing.T, cfg scheduler.Config) (*scheduler.Scheduler, *journal) {
	t.Helper()
	if cfg.Workers == 0 {
		cfg.Workers = 1
	}
	j := newJournal(t, cfg.Workers)
	cfg.Visit = j.wrap(cfg.Visit)
	s, err := scheduler.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s, j
}

// run runs s until the test ends or stop is called.
func run(t *testing.T, s *scheduler.Scheduler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func forget(context.Context, string) scheduler.Next { return scheduler.Next{} }

// taking returns a visit that takes d, whatever its context says, and forgets the key.
func taking(d time.Duration) func(context.Context, string) scheduler.Next {
	return func(context.Context, string) scheduler.Next {
		time.Sleep(d)
		return scheduler.Next{}
	}
}

// in is a time from now.
func in(d time.Duration) scheduler.Next { return scheduler.Next{At: time.Now().Add(d)} }
