package scheduler_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"acmed/internal/scheduler"
)

func TestStats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := build(t, scheduler.Config{Visit: taking(time.Hour)})
		if got := s.Stats(); got != (scheduler.Stats{}) {
			t.Errorf("before anything: %+v; want nothing", got)
		}
		run(t, s)
		s.Wake("a")
		synctest.Wait()
		s.Add("b", in(-time.Minute))
		s.Add("c", in(time.Minute))
		s.Add("d", in(2*time.Hour))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		want := scheduler.Stats{Waiting: 1, Due: 2, InFlight: 1, Lag: 11 * time.Minute, LastTurn: time.Now()}
		if got := s.Stats(); got != want {
			t.Errorf("got %+v; want %+v", got, want)
		}
	})
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, registry := scheduler.NewMetrics(), prometheus.NewPedanticRegistry()
		registry.MustRegister(m.Collectors()...)
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v %v", problems, err)
		}
		s, _ := start(t, scheduler.Config{
			Metrics: m, Timeout: time.Minute, Panicked: func(string, any, []byte) scheduler.Next { return scheduler.Next{} },
			Visit: func(ctx context.Context, key string) scheduler.Next {
				switch key {
				case "panics":
					panic("oops")
				case "too long", "stays":
					<-ctx.Done()
				}
				return scheduler.Next{}
			},
		})
		for _, key := range []string{"panics", "too long", "quick"} {
			s.Wake(key)
			time.Sleep(time.Minute)
		}
		s.Wake("stays")
		synctest.Wait()
		s.Wake("due")
		s.Add("waits", in(time.Hour))
		time.Sleep(30 * time.Second)
		const want = `
# HELP acmed_panics_total Visits that panicked; each is a bug in acmed.
# TYPE acmed_panics_total counter
acmed_panics_total 1
# HELP acmed_scheduler_keys Keys by state: waiting, due or inflight.
# TYPE acmed_scheduler_keys gauge
acmed_scheduler_keys{state="due"} 1
acmed_scheduler_keys{state="inflight"} 1
acmed_scheduler_keys{state="waiting"} 1
# HELP acmed_scheduler_lag_seconds By how much the most overdue key is late.
# TYPE acmed_scheduler_lag_seconds gauge
acmed_scheduler_lag_seconds 30
# HELP acmed_scheduler_visits_total Visits that ended, by result: done, timeout or panic.
# TYPE acmed_scheduler_visits_total counter
acmed_scheduler_visits_total{result="done"} 1
acmed_scheduler_visits_total{result="panic"} 1
acmed_scheduler_visits_total{result="timeout"} 1
`
		if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "acmed_panics_total",
			"acmed_scheduler_keys", "acmed_scheduler_lag_seconds", "acmed_scheduler_visits_total"); err != nil {
			t.Error(err)
		}
	})
}
