package scheduler_test

import (
	"maps"
	"slices"
	"testing"
	"time"

	"acmed/internal/scheduler"
)

func TestASetBackClockIsNoticed(t *testing.T) {
	for name, c := range map[string]struct {
		wall, monotonic time.Duration
		want            bool
	}{
		"both agree":                       {30 * time.Second, 30 * time.Second, false},
		"set forward":                      {10 * 365 * 24 * time.Hour, time.Second, false},
		"suspended":                        {10 * 24 * time.Hour, time.Second, false},
		"slewed":                           {29 * time.Second, 30 * time.Second, false},
		"set back by a minute":             {-30 * time.Second, 30 * time.Second, false},
		"set back by more than a minute":   {-30*time.Second - 1, 30 * time.Second, true},
		"set back by ten years":            {-10 * 365 * 24 * time.Hour, time.Second, true},
		"set back by less than has passed": {10 * time.Second, 30 * time.Second, false},
	} {
		if got := scheduler.SetBack(c.wall, c.monotonic); got != c.want {
			t.Errorf("%s: %t; want %t", name, got, c.want)
		}
	}
}

// TestTheClockIsObeyed takes turns at wall-clock times that no timer could bring about.
func TestTheClockIsObeyed(t *testing.T) {
	noon := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	fresh := func(keys map[string]scheduler.Next) *scheduler.Scheduler {
		s, err := scheduler.New(scheduler.Config{Workers: 9, Visit: forget})
		if err != nil {
			t.Fatal(err)
		}
		s.AddAll(maps.All(keys))
		return s
	}
	want := func(step string, s *scheduler.Scheduler, now time.Time, wantWait time.Duration, wantKeys ...string) {
		t.Helper()
		if keys, wait := s.Turn(now); !slices.Equal(keys, wantKeys) || wait != wantWait {
			t.Errorf("%s: visits %v, waits %v; want %v, %v", step, keys, wait, wantKeys, wantWait)
		}
	}
	in10days := scheduler.Next{At: noon.AddDate(0, 0, 10)}

	s := fresh(map[string]scheduler.Next{"a": in10days})
	want("the wait is short, for timers stand still in suspend", s, noon, 30*time.Second)
	want("woken from suspend, or set forward, what is due is visited", s, in10days.At, 30*time.Second, "a")

	s = fresh(map[string]scheduler.Next{"a": in10days, "b": {At: noon.Add(time.Second)}})
	want("the wait is for the next key", s, noon, time.Second)
	want("the wait is to the nanosecond", s, noon.Add(time.Second-1), 1)
	s.ClockWasSetBack(noon.AddDate(-10, 0, 0))
	want("set back, all is due", s, noon.AddDate(-10, 0, 0), 30*time.Second, "b", "a")

	s = fresh(map[string]scheduler.Next{"a": {At: noon}})
	want("visited at noon", s, noon, 30*time.Second, "a")
	s.Wake("a")
	s.Finish("a", scheduler.Next{At: noon.Add(time.Hour)}, noon.AddDate(-10, 0, 0))
	want("what was woken is due, whatever the clock says", s, noon.AddDate(-10, 0, 0), 30*time.Second, "a")
}
