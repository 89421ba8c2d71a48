package scheduler_test

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/scheduler"
)

func TestKeyIsVisitedAtItsTimeToTheNanosecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var visited atomic.Int32
		s, err := scheduler.New(scheduler.Config{
			Workers: 1,
			Visit: func(context.Context, string) scheduler.Next {
				visited.Add(1)
				return scheduler.Next{}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		s.Add("a", scheduler.Next{At: time.Now().Add(time.Hour)})
		go s.Run(t.Context())

		time.Sleep(time.Hour - 1)
		synctest.Wait()
		if visited.Load() != 0 {
			t.Fatal("visited a nanosecond too early")
		}
		time.Sleep(1)
		synctest.Wait()
		if visited.Load() != 1 {
			t.Fatalf("visited %d times when due; want once", visited.Load())
		}
	})
}
