package reconcile_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"acmed/internal/acme"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

func TestRetryAfter(t *testing.T) {
	for sentence, c := range map[string]struct {
		kind     string
		count    int
		life     time.Duration
		min, max time.Duration
	}{
		"the first failure costs a minute":                  {"validation", 1, 90 * day, time.Minute, time.Minute},
		"the second ten minutes":                            {"validation", 2, 90 * day, 10 * time.Minute, 10 * time.Minute},
		"the third a hundred minutes":                       {"validation", 3, 90 * day, 80 * time.Minute, 120 * time.Minute},
		"any further one a day":                             {"validation", 4, 90 * day, 19 * time.Hour, 29 * time.Hour},
		"the thousandth a day as well":                      {"validation", 1000, 90 * day, 19 * time.Hour, 29 * time.Hour},
		"trouble of the network never more than an hour":    {"transient", 1000, 90 * day, 48 * time.Minute, 72 * time.Minute},
		"local trouble never more than an hour":             {"local", 3, 90 * day, 48 * time.Minute, 72 * time.Minute},
		"a refusal a day at once":                           {"permanent", 1, 90 * day, 19 * time.Hour, 29 * time.Hour},
		"a twelfth of a short lifetime at most":             {"validation", 9, 6 * day, 12 * time.Hour, 12 * time.Hour},
		"a minute at least, however short the lifetime":     {"validation", 9, time.Minute, time.Minute, time.Minute},
		"a lifetime that is not known shortens nothing":     {"validation", 9, 0, 19 * time.Hour, 29 * time.Hour},
		"a long lifetime shortens nothing":                  {"validation", 9, 10 * day, 19 * time.Hour, 29 * time.Hour},
		"a count that makes no sense is that of a first":    {"validation", -1, 0, time.Minute, time.Minute},
		"a kind that is not known is that of a validation":  {"", 9, 0, 19 * time.Hour, 29 * time.Hour},
		"a rate limit without a time passes within an hour": {"rateLimited", 9, 0, 48 * time.Minute, 72 * time.Minute},
	} {
		t.Run(sentence, func(t *testing.T) {
			for _, spread := range []float64{0, 0.25, 0.5, 0.999} {
				if got := reconcile.RetryAfter(c.kind, c.count, c.life, spread); got < c.min || got > c.max {
					t.Errorf("spread %v: got %v, want within [%v, %v]", spread, got, c.min, c.max)
				}
			}
		})
	}
}

func TestOutageRetryGrowsToAnHour(t *testing.T) {
	last := time.Duration(0)
	for count := range 100 {
		got := reconcile.OutageRetry(count, 0)
		if got < last || got < time.Minute || got > time.Hour {
			t.Fatalf("probe %d: got %v after %v", count, got, last)
		}
		last = got
	}
	if last != time.Hour {
		t.Errorf("got %v in the end, want an hour", last)
	}
}

func TestPollAfter(t *testing.T) {
	if got := reconcile.PollAfter(0, 7*time.Second); got != 7*time.Second {
		t.Errorf("the CA's wish: got %v", got)
	}
	last := time.Duration(0)
	for polls := range 1000 {
		got := reconcile.PollAfter(polls, 0)
		if got < last || got > 5*time.Minute {
			t.Fatalf("poll %d: got %v after %v", polls, got, last)
		}
		last = got
	}
}

func TestNewFailure(t *testing.T) {
	now := start
	promise := now.Add(5 * time.Hour)
	for sentence, c := range map[string]struct {
		err   error
		last  store.Failure
		check func(store.Failure) bool
	}{
		"an error of this machine is local": {errors.New("disk full"), store.Failure{},
			func(f store.Failure) bool {
				return f.Kind == "local" && f.Detail == "disk full" && f.Count == 1 && f.RetryAt.Equal(now.Add(time.Minute))
			}},
		"a failure of the same request counts up": {errors.New("x"), store.Failure{Request: "r", Count: 1},
			func(f store.Failure) bool { return f.Count == 2 }},
		"a failure of another request is the first": {errors.New("x"), store.Failure{Request: "other", Count: 9},
			func(f store.Failure) bool { return f.Count == 1 }},
		"the CA's words are kept, wrapped as they may be": {fmt.Errorf("a: %w", &acme.Error{Kind: acme.Validation, Problem: "dns", Detail: "no A record",
			Identifier: "a.example", Hint: "add one", Subproblems: []acme.Subproblem{{Identifier: "a.example", Problem: "dns", Detail: "no"}}}), store.Failure{},
			func(f store.Failure) bool {
				return f.Kind == "validation" && f.Problem == "dns" && f.Detail == "no A record" && f.Name == "a.example" && f.Hint == "add one" && len(f.Subs) == 1
			}},
		"the CA's time is obeyed when it is later": {&acme.Error{Kind: acme.Validation, RetryAt: promise}, store.Failure{},
			func(f store.Failure) bool { return f.RetryAt.Equal(promise) && f.Promised.Equal(promise) }},
		"the CA's time counts for a rate limit, and not that of the ladder": {&acme.Error{Kind: acme.RateLimited, RetryAt: now.Add(100 * time.Second)},
			store.Failure{Request: "r", Count: 5, Kind: "validation"}, func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(100 * time.Second)) }},
		"a CA that refuses again when its time is over is asked half as often": {&acme.Error{Kind: acme.RateLimited, RetryAt: now.Add(100 * time.Second)},
			store.Failure{Request: "r", Count: 5, Kind: "rateLimited", At: now.Add(-100 * time.Second)},
			func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(200 * time.Second)) }},
		"but once an hour": {&acme.Error{Kind: acme.RateLimited, RetryAt: now.Add(100 * time.Second)},
			store.Failure{Request: "r", Count: 5, Kind: "rateLimited", At: now.Add(-50 * time.Minute)},
			func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(time.Hour)) }},
		"a rate limit long ago does not count": {&acme.Error{Kind: acme.RateLimited, RetryAt: now.Add(100 * time.Second)},
			store.Failure{Request: "r", Count: 5, Kind: "rateLimited", At: now.Add(-5 * day)},
			func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(100 * time.Second)) }},
		"a rate limit of some days is waited for": {&acme.Error{Kind: acme.RateLimited, RetryAt: now.Add(6 * day)}, store.Failure{},
			func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(6*day)) && f.Promised.Equal(f.RetryAt) }},
		"a minute passes, however short the CA's time": {&acme.Error{Kind: acme.RateLimited, RetryAt: now.Add(time.Second)},
			store.Failure{}, func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(time.Minute)) }},
		"a limit of the whole account is the issuer's to wait for": {&acme.Error{Kind: acme.RateLimited, RetryAt: promise, Whole: true}, store.Failure{},
			func(f store.Failure) bool { return f.RetryAt.Equal(now.Add(time.Minute)) && f.Promised.IsZero() }},
	} {
		t.Run(sentence, func(t *testing.T) {
			if f := reconcile.NewFailure(c.err, "www", "r", c.last, 90*day, now); !c.check(f) {
				t.Errorf("got %+v", f)
			}
		})
	}
}

func TestBudgets(t *testing.T) {
	limits := spec.Limits{OrdersPer3h: 10, PerDomainPerWeek: 5, PerNameSetPerWeek: 2, FailuresPerNamePerHour: 4}
	names := []string{"a.example.com", "b.example.com"}

	t.Run("as many as the limit go through at once, and no more", func(t *testing.T) {
		state := &store.IssuerState{}
		for range 2 {
			if free, _ := reconcile.Spend(state, names, limits, false, start); free.After(start) {
				t.Fatalf("within the limit, got %v", free)
			}
		}
		free, why := reconcile.Spend(state, []string{"b.example.com", "a.example.com"}, limits, false, start)
		if want := start.Add(7 * day / 2); !free.Equal(want) || why != "certificates of these very names" {
			t.Errorf("got %v for %q, want %v", free, why, want)
		}
	})
	t.Run("the registered domain counts, whatever the names", func(t *testing.T) {
		state := &store.IssuerState{}
		for i := range 5 {
			reconcile.Spend(state, []string{fmt.Sprintf("n%d.example.com", i)}, limits, false, start)
		}
		if free, why := reconcile.Spend(state, []string{"x.example.com"}, limits, false, start); !free.After(start) || why != "certificates of example.com" {
			t.Errorf("got %v for %q", free, why)
		}
		if free, _ := reconcile.Spend(state, []string{"x.example.org"}, limits, false, start); free.After(start) {
			t.Errorf("another domain: got %v", free)
		}
	})
	t.Run("what is given back can be spent again", func(t *testing.T) {
		state := &store.IssuerState{}
		for range 20 {
			if free, _ := reconcile.Spend(state, names, limits, false, start); free.After(start) {
				t.Fatalf("got %v", free)
			}
			reconcile.Refund(state, names, limits)
		}
	})
	t.Run("in no hour does a name fail more often than twice the limit, in the long run the limit", func(t *testing.T) {
		state := &store.IssuerState{}
		var spent []time.Time
		for now := start; now.Before(start.Add(100 * time.Hour)); now = now.Add(time.Minute) {
			if free, _ := reconcile.Spend(state, names[:1], limits, true, now); !free.After(now) {
				spent = append(spent, now)
			}
		}
		if got := len(spent); got < 400 || got > 404 {
			t.Errorf("got %d in 100 hours, want 400 and a burst of 4", got)
		}
	})
	t.Run("what a clock that was ahead has written is not believed", func(t *testing.T) {
		state := &store.IssuerState{}
		reconcile.Spend(state, names, limits, false, start.Add(1000*day))
		for range 2 {
			if free, _ := reconcile.Spend(state, names, limits, false, start); free.After(start) {
				t.Fatalf("got %v", free)
			}
		}
		if free, _ := reconcile.Spend(state, names, limits, false, start); !free.After(start) {
			t.Error("nothing was written since")
		}
	})
	t.Run("no limit, no budget", func(t *testing.T) {
		state := &store.IssuerState{}
		for range 1000 {
			if free, _ := reconcile.Spend(state, names, spec.Limits{}, false, start); free.After(start) {
				t.Fatalf("got %v", free)
			}
		}
		if len(state.Budgets) != 0 {
			t.Errorf("got %d buckets", len(state.Budgets))
		}
	})
}

func TestRegisteredDomains(t *testing.T) {
	got := reconcile.RegisteredDomains([]string{"a.b.example.co.uk", "*.example.co.uk", "example.com", "com", "localhost", "192.0.2.1", "x.github.io"})
	want := []string{"example.co.uk", "example.com", "com", "localhost", "192.0.2.1", "x.github.io"}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestTurnsAreByUrgency(t *testing.T) {
	expires := func(in time.Duration) store.Record {
		return store.Record{Issued: &store.Revision{NotAfter: start.Add(in)}}
	}
	var last time.Time
	for _, c := range []struct {
		what string
		have store.Record
	}{
		{"one that has expired", expires(-day)},
		{"one that is about to", expires(14 * day)},
		{"a new one", store.Record{}},
		{"one that is due", expires(30 * day)},
	} {
		at := reconcile.Turn(c.have, start)
		if !at.After(last) {
			t.Errorf("%s is not behind those before", c.what)
		}
		last = at
	}
}

func TestGate(t *testing.T) {
	at := func(n int) time.Time { return start.Add(time.Duration(n) * day) }
	open := func(limit int) (*reconcile.Gate, *[]string) {
		var called []string
		return reconcile.NewGate(limit, func(name string) { called = append(called, name) }), &called
	}
	t.Run("who is inside stays inside", func(t *testing.T) {
		g, _ := open(1)
		for range 2 {
			if !g.Enter("a", at(1)) {
				t.Error("a was sent away")
			}
		}
		if g.Enter("b", at(0)) {
			t.Error("b came in")
		}
	})
	t.Run("the one that expires first is called first and has a place", func(t *testing.T) {
		g, called := open(1)
		g.Enter("a", at(1))
		for n, name := range []string{"e", "c", "d"} {
			g.Enter(name, at([]int{5, 3, 4}[n]))
		}
		g.Enter("e", at(2)) // its deadline has changed
		g.Leave("a")
		if !slices.Equal(*called, []string{"e"}) || g.Enter("a", at(0)) || !g.Enter("e", at(2)) {
			t.Errorf("called %v", *called)
		}
	})
	t.Run("who left the queue is not called", func(t *testing.T) {
		g, called := open(1)
		g.Enter("a", at(1))
		g.Enter("b", at(2))
		g.Enter("c", at(3))
		g.Leave("b")
		g.Leave("a")
		if !slices.Equal(*called, []string{"c"}) {
			t.Errorf("called %v", *called)
		}
	})
	t.Run("leaving twice frees one place", func(t *testing.T) {
		g, called := open(1)
		g.Enter("a", at(1))
		g.Enter("b", at(2))
		g.Enter("c", at(3))
		g.Leave("a")
		g.Leave("a")
		if !slices.Equal(*called, []string{"b"}) {
			t.Errorf("called %v", *called)
		}
	})
	t.Run("a gate that was made smaller calls nobody until it has room", func(t *testing.T) {
		g, called := open(2)
		g.Enter("a", at(1))
		g.Enter("b", at(2))
		g.Enter("c", at(3))
		g.Resize(1)
		g.Leave("a")
		if len(*called) != 0 {
			t.Errorf("called %v", *called)
		}
		if g.Leave("b"); !slices.Equal(*called, []string{"c"}) {
			t.Errorf("called %v", *called)
		}
	})
}
