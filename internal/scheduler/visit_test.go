package scheduler_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/scheduler"
)

func TestVisitsAreBoundInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := start(t, scheduler.Config{Timeout: time.Minute, Visit: func(ctx context.Context, _ string) scheduler.Next {
			<-ctx.Done()
			if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
				t.Errorf("the context ended with %v; want its deadline", ctx.Err())
			}
			return scheduler.Next{}
		}})
		s.Wake("a")
		s.Wake("b")
		time.Sleep(2 * time.Minute)
		j.want("a@0s", "b@1m0s")
	})
}

func TestAPanicCostsNothingButTheVisit(t *testing.T) {
	for name, c := range map[string]struct {
		panicked func(string, any, []byte) scheduler.Next
		want     []string
	}{
		"it comes back after ten minutes": {nil, []string{"bad@0s", "good@0s", "bad@10m0s", "bad@20m0s", "bad@30m0s"}},
		"it comes back as it is told": {func(key string, value any, stack []byte) scheduler.Next {
			if key != "bad" || value != "oops" || !strings.Contains(string(stack), "visit_test.go") {
				panic(fmt.Sprintf("told about %q %v\n%s", key, value, stack))
			}
			return in(25 * time.Minute)
		}, []string{"bad@0s", "good@0s", "bad@25m0s"}},
		"it is forgotten": {func(string, any, []byte) scheduler.Next {
			return scheduler.Next{}
		}, []string{"bad@0s", "good@0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.InfoLevel)
				s, j := start(t, scheduler.Config{
					Log: zap.New(core), Panicked: c.panicked,
					Visit: func(_ context.Context, key string) scheduler.Next {
						if key == "bad" {
							panic("oops")
						}
						return scheduler.Next{}
					},
				})
				s.Wake("bad")
				s.Add("good", scheduler.Next{At: time.Now(), Deadline: time.Now()})
				time.Sleep(30 * time.Minute)
				j.want(c.want...)
				if n := logs.FilterMessage("visit panicked").FilterField(zap.String("cert", "bad")).Len(); n != len(c.want)-1 {
					t.Errorf("%d panics in the log; want %d", n, len(c.want)-1)
				}
			})
		})
	}
}

func TestAVisitThatDoesNotReturnFreesItsWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := start(t, scheduler.Config{Visit: func(_ context.Context, key string) scheduler.Next {
			if key == "a" {
				runtime.Goexit() // as t.FailNow does
			}
			return scheduler.Next{}
		}})
		s.Wake("a")
		synctest.Wait()
		s.Wake("b")
		j.want("a@0s", "b@0s")
	})
}

func TestTheLoopBeatsUnlessAVisitIsStuck(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		var last atomic.Int64
		began := time.Now()
		s, _ := start(t, scheduler.Config{
			Log: zap.New(core), Timeout: time.Minute, Visit: taking(7 * time.Minute),
			Beat: func() { last.Store(int64(time.Since(began))) },
		})
		wantBeat := func(since time.Duration) {
			t.Helper()
			synctest.Wait()
			if got := time.Duration(last.Load()); got != since {
				t.Errorf("at %v the last beat was at %v; want %v", time.Since(began), got, since)
			}
		}
		wantBeat(0)
		time.Sleep(time.Hour)
		wantBeat(time.Hour) // twice a minute while idle
		s.Wake("a")
		time.Sleep(6 * time.Minute)
		wantBeat(time.Hour + 6*time.Minute)
		time.Sleep(time.Minute - 1)
		wantBeat(time.Hour + 6*time.Minute)
		if n := logs.FilterMessage("visit does not end").Len(); n != 1 {
			t.Errorf("the stuck visit is in the log %d times; want once", n)
		}
		time.Sleep(time.Nanosecond)
		wantBeat(time.Hour + 7*time.Minute) // it ended after all
		if got := s.Stats().LastTurn; !got.Equal(time.Now()) {
			t.Errorf("the last turn was at %v; want now", got)
		}
	})
}

func TestStoppingLetsVisitsFinishTheirStep(t *testing.T) {
	for name, c := range map[string]struct {
		takes time.Duration
		stops time.Duration // how long Run goes on
	}{
		"a short step ends by itself":       {takes: 2 * time.Second, stops: time.Second},
		"a long step is cut off":            {takes: time.Hour, stops: 5 * time.Second},
		"a step that ends with the grace":   {takes: 6*time.Second - 1, stops: 5*time.Second - 1},
		"a visit that had ended costs none": {takes: 0, stops: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, j := build(t, scheduler.Config{Visit: func(ctx context.Context, _ string) scheduler.Next {
					select {
					case <-ctx.Done():
					case <-time.After(c.takes):
					}
					return in(time.Minute)
				}})
				s.Wake("a")
				stop := run(t, s)
				time.Sleep(time.Second)
				s.Add("too late", in(time.Millisecond))
				asked := time.Now()
				stop()
				if got := time.Since(asked); got != c.stops {
					t.Errorf("stopping took %v; want %v", got, c.stops)
				}
				j.want("a@0s")
				s.Wake("after the end")
				if got := s.Stats(); got.Waiting != 2 || got.Due != 1 || got.InFlight != 0 {
					t.Errorf("after the end: %+v; want 2 waiting, 1 due", got)
				}
			})
		})
	}
}

func TestRunIsForOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, j := build(t, scheduler.Config{Visit: forget})
		stop := run(t, s)
		synctest.Wait()
		if err := s.Run(t.Context()); err == nil {
			t.Error("it runs twice at once")
		}
		stop()
		s.Wake("a")
		run(t, s) // one after the other
		j.want("a@0s")
	})
}
