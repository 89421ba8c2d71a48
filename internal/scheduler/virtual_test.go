package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/scheduler"
)

// TestVirtualVisitsAsASchedulerDoes has both visit the same keys, whose times depend on the times of their visits.
func TestVirtualVisitsAsASchedulerDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		keys := map[string]scheduler.Next{}
		for n := range 50 {
			at := time.Now().Add(time.Duration(n*7%11) * time.Minute)
			keys[fmt.Sprint("key", n)] = scheduler.Next{At: at, Deadline: at.Add(time.Duration(n%5) * time.Hour)}
		}
		began := time.Now()
		plan := func(log *[]string, wake func(string)) func(string, time.Time) scheduler.Next {
			return func(key string, now time.Time) scheduler.Next {
				*log = append(*log, fmt.Sprint(now.Sub(began), " ", key))
				var n int
				fmt.Sscanf(key, "key%d", &n)
				if n == 3 {
					wake("key4")
				}
				if n%10 == 9 && now.Sub(began) > time.Hour {
					return scheduler.Next{} // it is forgotten
				}
				at := now.Add(time.Duration(20+n%13) * time.Minute)
				return scheduler.Next{At: at, Deadline: at.Add(time.Duration(n%7) * time.Hour)}
			}
		}
		var virtual, real []string
		v, err := scheduler.NewVirtual(1, began)
		if err != nil {
			t.Fatal(err)
		}
		v.AddAll(maps.All(keys))
		if err := v.Run(t.Context(), began.Add(5*time.Hour), plan(&virtual, v.Wake)); err != nil {
			t.Fatal(err)
		}

		var s *scheduler.Scheduler
		var visit func(string, time.Time) scheduler.Next
		s, err = scheduler.New(scheduler.Config{Workers: 1, Visit: func(_ context.Context, key string) scheduler.Next {
			return visit(key, time.Now().Round(0))
		}})
		if err != nil {
			t.Fatal(err)
		}
		visit = plan(&real, s.Wake)
		s.AddAll(maps.All(keys))
		stop := run(t, s)
		time.Sleep(5*time.Hour - time.Second)
		synctest.Wait()
		stop()
		slices.Sort(virtual) // keys of the same deadline come in no order
		slices.Sort(real)
		if !slices.Equal(virtual, real) || len(real) < 400 {
			t.Errorf("virtual: %d visits %v\nreal: %d visits %v", len(virtual), virtual, len(real), real)
		}
	})
}

func TestVirtual(t *testing.T) {
	now := time.Now()
	if _, err := scheduler.NewVirtual(0, now); err == nil {
		t.Error("made without a worker")
	}
	v, err := scheduler.NewVirtual(2, now)
	if err != nil {
		t.Fatal(err)
	}
	visits := 0
	v.Wake("impatient")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	err = v.Run(ctx, now.Add(time.Minute), func(_ string, now time.Time) scheduler.Next {
		visits++
		return scheduler.Next{At: now}
	})
	if err != nil || visits != 60 {
		t.Errorf("a key that wants a visit at once for a minute got %d: %v", visits, err)
	}
	err = v.Run(ctx, now.Add(time.Hour), func(_ string, now time.Time) scheduler.Next {
		cancel()
		return scheduler.Next{At: now}
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("canceled: %v", err)
	}
}
