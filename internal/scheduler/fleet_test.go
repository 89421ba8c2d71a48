package scheduler_test

import (
	"context"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/scheduler"
)

// TestAYearOfAFleet visits as many keys as are normal work, each as its certificate of 180 days would have it.
func TestAYearOfAFleet(t *testing.T) {
	keys, day := 100_000, 24*time.Hour
	if testing.Short() || raceDetector {
		keys, day = 1_000, 12*time.Minute // the loop turns twice a minute
	}
	synctest.Test(t, func(t *testing.T) {
		visits := make(map[string]*atomic.Int32, keys)
		s, err := scheduler.New(scheduler.Config{
			Workers: 16,
			Visit: func(_ context.Context, key string) scheduler.Next {
				visits[key].Add(1)
				renewed := time.Now()
				return scheduler.Next{At: renewed.Add(120 * day), Deadline: renewed.Add(180 * day)}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s.AddAll(func(yield func(string, scheduler.Next) bool) {
			for n := range keys {
				at, key := began.Add(time.Duration(n+1)*(120*day/time.Duration(keys))), fmt.Sprintf("www%d.example.com", n)
				visits[key] = new(atomic.Int32)
				if !yield(key, scheduler.Next{At: at, Deadline: at.Add(60 * day)}) {
					return
				}
			}
		})
		stop := run(t, s)
		time.Sleep(360 * day)
		synctest.Wait()
		stop()
		for key, got := range visits {
			if got.Load() != 3 {
				t.Fatalf("%s was visited %d times; want 3", key, got.Load())
			}
		}
		if got := s.Stats(); got.Waiting != keys {
			t.Errorf("at the end: %+v; want %d waiting", got, keys)
		}
	})
}

// fleet returns a scheduler with n keys, due a second apart, and what each of them costs in bytes.
func fleet(b *testing.B, n int) (s *scheduler.Scheduler, bytesPerKey float64) {
	b.Helper()
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("www%d.example.com", i)
	}
	s, err := scheduler.New(scheduler.Config{Workers: 1, Visit: forget})
	if err != nil {
		b.Fatal(err)
	}
	began, before := time.Now(), allocated()
	s.AddAll(func(yield func(string, scheduler.Next) bool) {
		for i, name := range names {
			at := began.Add(time.Duration(i*7919%n) * time.Second) // in no order
			if !yield(name, scheduler.Next{At: at, Deadline: at}) {
				return
			}
		}
	})
	bytesPerKey = float64(allocated()-before) / float64(n)
	runtime.KeepAlive(names)
	return s, bytesPerKey
}

func allocated() uint64 {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// BenchmarkTurn is one visit's share of the loop among 100,000 keys: taken when due, and filed again.
func BenchmarkTurn(b *testing.B) {
	const keys = 100_000
	s, bytesPerKey := fleet(b, keys)
	now := time.Now()
	for b.Loop() {
		now = now.Add(time.Second)
		taken, _ := s.Turn(now)
		s.Finish(taken[0], scheduler.Next{At: now.Add((keys - 2) * time.Second), Deadline: now}, now)
	}
	b.ReportMetric(bytesPerKey, "B/key")
}

func BenchmarkAddAll(b *testing.B) {
	for b.Loop() {
		fleet(b, 100_000)
	}
}

// BenchmarkStats looks at 100,000 keys that are all due.
func BenchmarkStats(b *testing.B) {
	const keys = 100_000
	s, _ := fleet(b, keys)
	s.Turn(time.Now().Add(keys * time.Second))
	for b.Loop() {
		s.Stats()
	}
}
