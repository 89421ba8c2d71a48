package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// courier takes note of what it is asked, and does it.
type courier struct {
	mu      sync.Mutex
	batches [][]string
	began   []time.Time
	takes   time.Duration
	answer  func([]deploy.Order) ([]deploy.Answer, error) // nil: all is accepted
}

func (c *courier) Deploy(ctx context.Context, orders []deploy.Order) ([]deploy.Answer, error) {
	var names []string
	for _, o := range orders {
		names = append(names, o.Name)
	}
	c.mu.Lock()
	c.batches, c.began = append(c.batches, names), append(c.began, time.Now())
	answer, takes := c.answer, c.takes
	c.mu.Unlock()
	if last(ctx, takes); ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if answer != nil {
		return answer(orders)
	}
	return accepted(orders), nil
}

func (c *courier) slow(takes time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.takes = takes
}

// accepted answers that every unit was reloaded.
func accepted(orders []deploy.Order) (answers []deploy.Answer) {
	for _, o := range orders {
		t := wanted(o.Name).Deploy.Targets("leaf")[0]
		answers = append(answers, deploy.Answer{Name: o.Name, Results: []deploy.Result{{Key: t.Key, Fingerprint: t.Fingerprint, OK: true}}})
	}
	return answers
}

func wanted(name string) *spec.Certificate {
	return &spec.Certificate{Name: name, Deploy: spec.Deploy{Reload: []string{"a.service"}, Probe: []spec.Probe{{Address: "127.0.0.1:1"}}}}
}

func request(name string) deploy.Request {
	return deploy.Request{Order: deploy.Order{Name: name}, Want: wanted(name), Leaf: "leaf"}
}

// station is a queue with all that it needs.
type station struct {
	*deploy.Queue
	courier courier
	mu      sync.Mutex
	done    map[string][]deploy.Answer
	probes  int
	takes   time.Duration // a probe
	stop    func()
}

// last waits for d, or the end of ctx. It makes no timer that is due at once: many in one bubble run where they are
// selected, side by side with one context of the race detector, which crashes.
func last(ctx context.Context, d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// inBubble runs f with a queue that runs.
func inBubble(t *testing.T, f func(*station)) {
	synctest.Test(t, func(t *testing.T) {
		s := &station{done: map[string][]deploy.Answer{}}
		var err error
		s.Queue, err = deploy.NewQueue(deploy.QueueConfig{
			Courier: func() deploy.Courier { return &s.courier },
			Probe: func(ctx context.Context, _ deploy.Request, target spec.Target) deploy.Result {
				s.mu.Lock()
				s.probes++
				takes := s.takes
				s.mu.Unlock()
				last(ctx, takes)
				return deploy.Result{Key: target.Key, Fingerprint: target.Fingerprint, OK: true}
			},
			Done: func(r deploy.Request, a deploy.Answer) {
				s.mu.Lock()
				defer s.mu.Unlock()
				s.done[r.Name] = append(s.done[r.Name], a)
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		s.stop = sync.OnceFunc(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
		f(s)
		s.stop()
	})
}

// once fails for every name that was not answered exactly once, without a problem, by so many results.
func (s *station) once(t *testing.T, results int, names ...string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range names {
		if a := s.done[name]; len(a) != 1 || a[0].Problem != "" || len(a[0].Results) != results {
			t.Errorf("%s was answered %+v", name, a)
		}
	}
	if len(s.done) != len(names) {
		t.Errorf("%d names were answered, want %d", len(s.done), len(names))
	}
}

// asked are the batches so far.
func (s *station) asked() [][]string {
	s.courier.mu.Lock()
	defer s.courier.mu.Unlock()
	return slices.Clone(s.courier.batches)
}

// times are when they began.
func (s *station) times() []time.Time {
	s.courier.mu.Lock()
	defer s.courier.mu.Unlock()
	return slices.Clone(s.courier.began)
}

// answers are those for a name; "": for all.
func (s *station) answers(name string) (all []deploy.Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n, a := range s.done {
		if name == "" || n == name {
			all = append(all, a...)
		}
	}
	return all
}

func (s *station) probed() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.probes
}

func TestAThousandAtOnceCostAHandfulOfBatches(t *testing.T) {
	inBubble(t, func(s *station) {
		s.courier.slow(2 * time.Second)
		var all []string
		for i := range 1000 {
			all = append(all, fmt.Sprint("host", i))
			s.Add(request(all[i]))
			time.Sleep(5 * time.Millisecond) // as fast as a CA issues
		}
		time.Sleep(time.Minute)
		s.once(t, 2, all...)
		if n := len(s.asked()); n > 6 {
			t.Errorf("%d batches", n)
		}
		began := s.times()
		for i := 1; i < len(began); i++ {
			if gap := began[i].Sub(began[i-1]); gap < 3*time.Second {
				t.Errorf("batch %d began %v after the one before", i, gap)
			}
		}
		if got := slices.Concat(s.asked()...); !slices.Equal(got, all) {
			t.Error("they were not served in the order in which they came")
		}
	})
}

func TestOneAloneIsServedSoon(t *testing.T) {
	inBubble(t, func(s *station) {
		s.Add(request("a"))
		time.Sleep(time.Second)
		synctest.Wait()
		s.once(t, 2, "a")
	})
}

func TestManyThatTrickleInDoNotWaitForTheLast(t *testing.T) {
	inBubble(t, func(s *station) {
		for i := range 25 {
			s.Add(request(fmt.Sprint("host", i)))
			time.Sleep(500 * time.Millisecond)
		}
		if n := len(s.asked()); n < 2 {
			t.Errorf("%d batches in twelve seconds", n)
		}
	})
}

func TestTheNewerRequestCounts(t *testing.T) {
	inBubble(t, func(s *station) {
		old, late := request("a"), request("a")
		old.Leaf = "older"
		s.Add(old)
		s.Add(late)
		time.Sleep(10 * time.Second)
		s.once(t, 2, "a")
		s.courier.slow(10 * time.Second)
		s.Add(request("b"))
		time.Sleep(5 * time.Second) // the courier is under way
		s.Add(request("b"))
		time.Sleep(time.Minute)
		if n := len(s.answers("b")); n != 2 || len(s.asked()) != 3 {
			t.Errorf("answered %d times in %v", n, s.asked())
		}
	})
}

func TestWhatACourierMayDo(t *testing.T) {
	for sentence, c := range map[string]struct {
		answer  func([]deploy.Order) ([]deploy.Answer, error)
		problem string
	}{
		"fail":   {func([]deploy.Order) ([]deploy.Answer, error) { return nil, errors.New("nobody is there") }, "nobody is there"},
		"forget": {func([]deploy.Order) ([]deploy.Answer, error) { return nil, nil }, "there was no answer"},
		"panic":  {func([]deploy.Order) ([]deploy.Answer, error) { panic("oops") }, "delivering: oops: this is a fault of acmed, the log has its stack"},
		"tell of more": {func(o []deploy.Order) ([]deploy.Answer, error) {
			return append(accepted(o), deploy.Answer{Name: "c"}), nil
		}, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, func(s *station) {
				s.courier.mu.Lock()
				s.courier.answer = c.answer
				s.courier.mu.Unlock()
				s.Add(request("a"))
				s.Add(request("b"))
				time.Sleep(time.Minute)
				for _, name := range []string{"a", "b"} {
					if a := s.answers(name); len(a) != 1 || a[0].Problem != c.problem {
						t.Errorf("%s was answered %+v", name, a)
					}
				}
				if all := s.answers(""); len(all) != 2 || c.problem != "" && s.probed() > 0 {
					t.Errorf("answered %v after %d probes", all, s.probed())
				}
			})
		})
	}
}

func TestProbesComeAfterAllElse(t *testing.T) {
	targets := wanted("a").Deploy.Targets("leaf")
	for sentence, c := range map[string]struct {
		done, wait []string
		probes     int
		batches    int
	}{
		"with what was accepted before": {done: []string{targets[0].Fingerprint}, probes: 1},
		"not while a unit waits":        {wait: []string{targets[0].Fingerprint}},
		"not before its own time":       {wait: []string{targets[1].Fingerprint}, batches: 1},
		"not twice":                     {done: []string{targets[1].Fingerprint}, batches: 1},
	} {
		inBubble(t, func(s *station) {
			r := request("a")
			r.Done, r.Wait = c.done, c.wait
			s.Add(r)
			time.Sleep(time.Minute)
			if s.probed() != c.probes || len(s.asked()) != c.batches || len(s.answers("a")) != 1 {
				t.Errorf("%s: %d probes, %d batches, answered %+v", sentence, s.probed(), len(s.asked()), s.answers("a"))
			}
		})
	}
}

func TestSlowProbesHoldNobodyUp(t *testing.T) {
	inBubble(t, func(s *station) {
		s.mu.Lock()
		s.takes = time.Minute
		s.mu.Unlock()
		s.Add(request("a"))
		time.Sleep(5 * time.Second)
		s.Add(request("b"))
		time.Sleep(5 * time.Second)
		if len(s.asked()) != 2 {
			t.Errorf("the batches were %v", s.asked())
		}
	})
}

func TestAStopDropsWhatIsUnderWay(t *testing.T) {
	for sentence, late := range map[string]time.Duration{"what waits": 0, "what is with the courier": 5 * time.Second, "what is probed": 15 * time.Second} {
		inBubble(t, func(s *station) {
			s.courier.slow(10 * time.Second)
			s.mu.Lock()
			s.takes = 10 * time.Second
			s.mu.Unlock()
			s.Add(request("a"))
			time.Sleep(late)
			s.stop()
			if all := s.answers(""); len(all) != 0 {
				t.Errorf("%s was answered %+v", sentence, all)
			}
		})
	}
}
