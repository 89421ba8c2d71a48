package scheduler_test

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/scheduler"
)

func TestNewRefusesWhatCannotWork(t *testing.T) {
	for want, cfg := range map[string]scheduler.Config{
		"0 workers":        {Visit: forget},
		"-1 workers":       {Visit: forget, Workers: -1},
		"Visit is missing": {Workers: 1},
	} {
		if _, err := scheduler.New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v; want one about %q", err, want)
		}
	}
}

func TestKeysAreVisitedAtTheirTimeToTheNanosecond(t *testing.T) {
	for _, d := range []time.Duration{1, time.Second, 30*time.Second - 1, 30 * time.Second, 30*time.Second + 1, 24 * time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			s, j := start(t, scheduler.Config{Visit: forget})
			s.Add("a", in(d))
			time.Sleep(d - 1)
			j.want()
			time.Sleep(time.Nanosecond)
			j.want(fmt.Sprintf("a@%v", d))
		})
	}
}

// TestWhatIsAskedFor is told as "what is done" to "which visits begin", on one worker whose visits take a minute and
// forget the key.
func TestWhatIsAskedFor(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(*scheduler.Scheduler)
		want []string
	}{
		"a key without a time is not known": {func(s *scheduler.Scheduler) { s.Add("a", scheduler.Next{}) }, nil},
		"a time in the past is now":         {func(s *scheduler.Scheduler) { s.Add("a", in(-time.Hour)) }, []string{"a@0s"}},
		"an earlier time wins": {func(s *scheduler.Scheduler) {
			s.Add("a", in(time.Hour))
			s.Add("a", in(time.Minute))
		}, []string{"a@1m0s"}},
		"a later time loses": {func(s *scheduler.Scheduler) {
			s.Add("a", in(time.Minute))
			s.Add("a", in(time.Hour))
			s.Add("a", scheduler.Next{})
		}, []string{"a@1m0s"}},
		"a removed key is forgotten": {func(s *scheduler.Scheduler) {
			s.Add("a", in(time.Minute))
			s.Remove("a")
			s.Remove("never known")
		}, nil},
		"a removed key can come back": {func(s *scheduler.Scheduler) {
			s.Add("a", in(time.Minute))
			s.Remove("a")
			s.Add("a", in(time.Hour))
		}, []string{"a@1h0m0s"}},
		"waking makes a key due": {func(s *scheduler.Scheduler) {
			s.Add("a", in(time.Hour))
			s.Wake("a")
		}, []string{"a@0s"}},
		"waking makes a key known": {func(s *scheduler.Scheduler) { s.Wake("a") }, []string{"a@0s"}},
		"waking twice is waking once": {func(s *scheduler.Scheduler) {
			s.Wake("a")
			s.Wake("a")
		}, []string{"a@0s"}},
		"woken in flight, a key is visited again right afterwards": {func(s *scheduler.Scheduler) {
			s.Wake("a")
			time.Sleep(time.Second)
			s.Wake("a")
			s.Wake("a")
		}, []string{"a@0s", "a@1m0s"}},
		"added in flight, a key comes back": {func(s *scheduler.Scheduler) {
			s.Wake("a")
			time.Sleep(time.Second)
			s.Add("a", in(time.Hour))
			s.Add("a", in(2*time.Hour))
		}, []string{"a@0s", "a@1h0m1s"}},
		"removed in flight, a key does not come back": {func(s *scheduler.Scheduler) {
			s.Wake("a")
			time.Sleep(time.Second)
			s.Wake("a")
			s.Add("a", in(time.Hour))
			s.Remove("a")
		}, []string{"a@0s"}},
		"removed and woken in flight, a key comes back": {func(s *scheduler.Scheduler) {
			s.Wake("a")
			time.Sleep(time.Second)
			s.Remove("a")
			s.Wake("a")
		}, []string{"a@0s", "a@1m0s"}},
		"removed when due, a key is not visited": {func(s *scheduler.Scheduler) {
			s.Wake("a")
			time.Sleep(time.Second)
			s.Wake("b")
			time.Sleep(time.Second)
			s.Remove("b")
		}, []string{"a@0s"}},
		"many keys at once, some of them known": {func(s *scheduler.Scheduler) {
			s.Add("a", in(time.Hour))
			s.Add("b", in(time.Minute))
			s.AddAll(maps.All(map[string]scheduler.Next{
				"a": in(3 * time.Minute), "b": in(time.Hour), "c": in(5 * time.Minute), "d": {},
			}))
		}, []string{"b@1m0s", "a@3m0s", "c@5m0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, j := start(t, scheduler.Config{Visit: taking(time.Minute)})
				c.do(s)
				time.Sleep(4 * time.Hour)
				j.want(c.want...)
				if got := s.Stats(); got.Waiting+got.Due+got.InFlight != 0 {
					t.Errorf("keys are left: %+v", got)
				}
			})
		})
	}
}

func TestTheVisitSaysWhenToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		visits := 0
		s, j := start(t, scheduler.Config{Visit: func(context.Context, string) scheduler.Next {
			if visits++; visits == 3 {
				return scheduler.Next{}
			}
			return in(time.Hour)
		}})
		s.Wake("a")
		time.Sleep(4 * time.Hour)
		j.want("a@0s", "a@1h0m0s", "a@2h0m0s")
	})
}

func TestRemovedInFlightTheVisitHasNoSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := start(t, scheduler.Config{Visit: func(context.Context, string) scheduler.Next {
			time.Sleep(time.Minute)
			return in(time.Minute)
		}})
		s.Wake("a")
		time.Sleep(time.Second)
		s.Remove("a")
		time.Sleep(time.Hour)
		j.want("a@0s")
	})
}

func TestTheMostUrgentGoesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := build(t, scheduler.Config{Visit: taking(time.Minute)})
		at := func(due, deadline time.Duration) scheduler.Next {
			n := in(due)
			n.Deadline = time.Now().Add(deadline)
			return n
		}
		s.Add("soon", at(-time.Second, time.Hour))
		s.Add("late", at(-3*time.Hour, 90*24*time.Hour))
		s.Add("later", at(-2*time.Hour, 90*24*time.Hour))
		s.Add("never issued", scheduler.Next{At: time.Now()})
		s.Add("not due", at(90*time.Second, time.Minute))
		s.Add("expired", at(-time.Hour, -time.Hour))
		run(t, s)
		time.Sleep(time.Hour)
		// "not due" becomes so while the second visit goes on.
		j.want("never issued@0s", "expired@1m0s", "not due@2m0s", "soon@3m0s", "late@4m0s", "later@5m0s")
	})
}

func TestANewDeadlineReordersWhatIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := build(t, scheduler.Config{Visit: taking(time.Minute)})
		now := time.Now()
		s.Add("a", scheduler.Next{At: now, Deadline: now.Add(time.Hour)})
		s.Add("b", scheduler.Next{At: now, Deadline: now.Add(2 * time.Hour)})
		s.Add("c", scheduler.Next{At: now, Deadline: now.Add(3 * time.Hour)})
		run(t, s)
		time.Sleep(time.Second)
		s.AddAll(maps.All(map[string]scheduler.Next{"c": {At: now, Deadline: now}}))
		time.Sleep(time.Hour)
		j.want("a@0s", "c@1m0s", "b@2m0s")
	})
}

func TestNoMoreThanTheWorkersAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var most, now atomic.Int32
		s, _ := start(t, scheduler.Config{Workers: 16, Visit: func(context.Context, string) scheduler.Next {
			most.Store(max(most.Load(), now.Add(1)))
			time.Sleep(time.Second)
			now.Add(-1)
			return scheduler.Next{}
		}})
		for i := range 160 {
			s.Wake(fmt.Sprint(i))
		}
		time.Sleep(10*time.Second - 1)
		synctest.Wait()
		if got := s.Stats(); got.InFlight != 16 || got.Due != 0 {
			t.Errorf("in the last second: %+v; want 16 in flight, none due", got)
		}
		if got := most.Load(); got != 16 {
			t.Errorf("at most %d visits at once; want 16", got)
		}
	})
}

func TestVisitsMayUseTheScheduler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s *scheduler.Scheduler
		s, j := start(t, scheduler.Config{Visit: func(_ context.Context, key string) scheduler.Next {
			if key == "a" {
				s.Wake("b")
				s.Add("c", in(time.Minute))
				s.Remove("d")
				_ = s.Stats()
			}
			return scheduler.Next{}
		}})
		s.Add("d", in(time.Hour))
		s.Wake("a")
		time.Sleep(2 * time.Hour)
		j.want("a@0s", "b@0s", "c@1m0s")
	})
}
