package notify_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"acmed/internal/notify"
	"acmed/internal/store"
)

const day = 24 * time.Hour

// people get messages, and remember what the store would.
type people struct {
	mu       sync.Mutex
	messages []notify.Message
	told     map[string]store.Notice
	broken   bool
}

func (p *people) Send(_ context.Context, m notify.Message) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.broken {
		return errors.New("nobody is there")
	}
	p.messages = append(p.messages, m)
	return nil
}

func (p *people) Notices() (map[string]store.Notice, error) { return p.told, nil }

func (p *people) SaveNotices(told map[string]store.Notice) error {
	p.told = maps.Clone(told)
	return nil
}

func (p *people) set(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.broken = broken
}

// take gives the messages since the last call, each as "CERT event, CERT event".
func (p *people) take() (out []string) {
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range p.messages {
		var news []string
		for _, e := range m.News {
			news = append(news, fmt.Sprint(e.Cert, " ", e.Event))
		}
		out = append(out, strings.Join(news, ", "))
	}
	p.messages = nil
	return out
}

// run has a notifier work for p until the bubble's end, or until stop is called.
func run(t *testing.T, p *people, events ...notify.Event) (n *notify.Notifier, stop func()) {
	t.Helper()
	n, err := notify.New(notify.Config{Senders: []notify.Sender{p}, Memory: p, Events: events, Host: "here", Log: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	return n, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// well is a certificate for 90 days that was issued now.
func well(name string) notify.State {
	now := time.Now()
	return notify.State{Name: name, Issuer: "ca", Committed: now, NotAfter: now.Add(90 * day)}
}

func wantNews(t *testing.T, p *people, when string, want ...string) {
	t.Helper()
	if got := p.take(); !slices.Equal(got, want) {
		t.Errorf("%s: told %q; want %q", when, got, want)
	}
}

func TestTheFirstFailureAndTheRecoveryAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p)
		defer stop()
		s := well("www")
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "all is well")
		s.Problem = "dns: no A record"
		for range 5 {
			n.Observe(s)
			time.Sleep(time.Hour)
		}
		wantNews(t, p, "it fails again and again", "www failing")
		s.Stuck = "reload nginx.service: failed"
		n.Observe(s)
		s.Problem = ""
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "something else is wrong", "www undelivered")
		s.Stuck = ""
		n.Observe(s)
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "nothing is wrong any more", "www recovered")
	})
}

func TestEachShareOfTheLifetimeIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p)
		defer stop()
		s := well("www")
		var got []string
		for range 90 {
			n.Observe(s)
			time.Sleep(day)
			got = append(got, p.take()...)
		}
		if want := slices.Repeat([]string{"www expiring"}, 3); !slices.Equal(got, want) {
			t.Errorf("told %q", got)
		}
		n.Observe(well("www"))
		time.Sleep(day)
		wantNews(t, p, "it was renewed", "www recovered")
	})
}

func TestOneCauseIsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p)
		defer stop()
		for i := range 150 {
			s := well(fmt.Sprintf("c%03d", i))
			s.Problem, s.Hint = "rateLimited: too many", "wait"
			n.Observe(s)
			time.Sleep(50 * time.Millisecond)
		}
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if len(p.messages) != 1 || len(p.messages[0].News) != 100 || p.messages[0].More != 50 {
			t.Fatalf("%d messages", len(p.messages))
		}
		if text := p.messages[0].Text; !strings.HasPrefix(text, "acmed on here: 150 certificates need you\nc000 cannot be issued or renewed") ||
			!strings.Contains(text, "  what to do: wait\n") || !strings.HasSuffix(text, "and 50 more: acmed list --failing\n") {
			t.Errorf("the text is %s", text)
		}
		p.take()
		s := well("late")
		s.Problem = "x"
		n.Observe(s)
		time.Sleep(30 * time.Second)
		wantNews(t, p, "within a minute of the last message")
		time.Sleep(time.Minute)
		wantNews(t, p, "after it", "late failing")
	})
}

func TestWhatCannotBeSentIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{broken: true}
		n, stop := run(t, p)
		defer stop()
		a, b := well("a"), well("b")
		a.Problem, b.Problem = "x", "x"
		n.Observe(a)
		time.Sleep(10 * time.Minute)
		n.Observe(b)
		a.Problem = ""
		n.Observe(a)
		p.set(false)
		time.Sleep(2 * time.Hour)
		wantNews(t, p, "whoever is told can be reached again", "b failing, a recovered")
	})
}

func TestARestartTellsNothingTwice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p)
		s := well("www")
		s.Problem = "x"
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "before", "www failing")
		stop()
		n, stop = run(t, p)
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "after the restart")
		s.Problem = ""
		n.Observe(s)
		stop() // before it was sent
		n, stop = run(t, p)
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "what was not sent", "www recovered")
		n.Observe(notify.State{Name: "www", Gone: true})
		stop()
		if len(p.told) > 0 {
			t.Errorf("still remembered: %v", p.told)
		}
	})
}

func TestOnlyWhatIsWantedIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p, notify.Undelivered)
		defer stop()
		s := well("www")
		s.Problem = "x"
		n.Observe(s)
		s.Stuck = "y"
		n.Observe(s)
		time.Sleep(time.Hour)
		s.Problem, s.Stuck = "", ""
		n.Observe(s)
		time.Sleep(time.Hour)
		wantNews(t, p, "failures and recoveries are not", "www undelivered")
	})
}

// TestAMessageFitsIntoAnEnvironment has a hundred certificates about which the CA says as much as it may.
func TestAMessageFitsIntoAnEnvironment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p)
		defer stop()
		for i := range 100 {
			n.Observe(notify.State{Name: fmt.Sprintf("www%d", i), Problem: strings.Repeat("x", 4096)})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if m := p.messages[0]; len(m.Text) > 100<<10 || len(m.News) < 10 || len(m.News)+m.More != 100 || !strings.Contains(m.Text, "more: acmed list") {
			t.Errorf("got %d bytes, %d news and %d more", len(m.Text), len(m.News), m.More)
		}
	})
}

// TestAMessageHoldsAllThatTheCASays has a URL that the operator must open.
func TestAMessageHoldsAllThatTheCASays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &people{}
		n, stop := run(t, p)
		defer stop()
		problem := "rateLimited: Please visit: https://ca.test/unpause?jwt=" + strings.Repeat("x", 4000)
		n.Observe(notify.State{Name: "www", Problem: problem, Hint: "open the URL"})
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(p.messages) != 1 || p.messages[0].News[0].Problem != problem || !strings.Contains(p.messages[0].Text, problem+"\n") {
			t.Errorf("got %+v", p.messages)
		}
	})
}
