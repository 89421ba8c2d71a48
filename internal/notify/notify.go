// Package notify tells people when a certificate needs them, and when it does no longer: by a command or a webhook of
// theirs.
//
// It owns what counts as news, which news go together into one message, how often messages may be sent, and the memory
// of what was told. It never decides about a certificate, never makes one wait, and never tells the same twice.
package notify

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"acmed/internal/store"
)

const (
	// gather is how long the first news wait for others, so that one cause is one message.
	gather = 15 * time.Second
	// atMost is the least time from one message to the next.
	atMost = time.Minute
	// mostRetry is the longest time from one try of a message that could not be sent to the next; the first is gather.
	mostRetry = time.Hour
)

// State is what is known of one certificate, as far as it may be news.
type State struct {
	Name      string
	Issuer    string
	Committed time.Time // when the certificate in use was issued; zero: there is none
	NotAfter  time.Time // its end; zero: there is none
	Problem   string    // why the last try to issue or renew failed; "": it did not
	Hint      string    // what to do about Problem
	Stuck     string    // why a consumer has not accepted it; "": all have, or it is under way
	Gone      bool      // nobody wants it any more
}

// Sender brings one message to whom it is for. It must end with ctx.
type Sender interface {
	Send(ctx context.Context, m Message) error
}

// Memory keeps what was told, so that a restart tells nothing twice.
type Memory interface {
	Notices() (map[string]store.Notice, error)
	SaveNotices(map[string]store.Notice) error
}

// Config is what a Notifier needs. Every field without a stated zero value is required.
type Config struct {
	Senders  []Sender
	Memory   Memory
	Events   []Event   // that are told; nil: all
	Expiring []float64 // shares of the lifetime left at which an end is told of; nil: DefaultExpiring
	Host     string    // this machine, for people
	Metrics  *Metrics  // nil: not counted
	Log      *zap.Logger
}

// DefaultExpiring is when people want to know that a renewal, which begins at a third, does not work out.
func DefaultExpiring() []float64 { return []float64{0.2, 0.1, 0.05} }

// Notifier collects news and sends them. Observe may be called at any time.
type Notifier struct {
	cfg Config

	mu    sync.Mutex // guards the following
	told  map[string]store.Notice
	news  []News // not sent yet, the oldest first; one for each certificate and event
	ready chan struct{}
}

// New reads what was told before.
func New(c Config) (*Notifier, error) {
	if c.Memory == nil || len(c.Senders) == 0 || c.Log == nil {
		return nil, errors.New("notify: Senders, Memory and Log are required")
	}
	c.Expiring = slices.Sorted(slices.Values(cmpNil(c.Expiring, DefaultExpiring())))
	c.Metrics = cmp.Or(c.Metrics, NewMetrics())
	told, err := c.Memory.Notices()
	if damaged, ok := errors.AsType[*store.DamagedError](err); err != nil && (!ok || damaged.Archived == "") {
		return nil, err
	} else if err != nil {
		c.Log.Error("telling some things again", zap.Error(err))
	}
	n := &Notifier{cfg: c, told: map[string]store.Notice{}, ready: make(chan struct{}, 1)}
	maps.Copy(n.told, told)
	return n, nil
}

func cmpNil(a, b []float64) []float64 {
	if a != nil {
		return a
	}
	return b
}

// Observe takes note of a certificate. It never blocks.
func (n *Notifier) Observe(s State) {
	now := time.Now()
	n.mu.Lock()
	defer n.mu.Unlock()
	news, told := judge(s, n.told[s.Name], n.cfg.Expiring, now)
	if told == (store.Notice{}) {
		delete(n.told, s.Name)
	} else {
		n.told[s.Name] = told
	}
	for _, e := range news {
		if n.cfg.Events == nil || slices.Contains(n.cfg.Events, e.Event) {
			n.add(e)
		}
	}
}

// add replaces news of the same kind, and what a recovery makes old.
func (n *Notifier) add(e News) {
	n.news = slices.DeleteFunc(n.news, func(old News) bool {
		return old.Cert == e.Cert && (old.Event == e.Event || e.Event == Recovered)
	})
	n.news = append(n.news, e)
	select {
	case n.ready <- struct{}{}:
	default:
	}
}

// Run sends what is news until ctx ends. What could not be sent by then is news again after a restart.
func (n *Notifier) Run(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	waiting, failed := false, 0
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-n.ready:
			if !waiting {
				waiting = true
				timer.Reset(gather)
			}
			continue
		case <-timer.C:
		}
		if !waiting {
			continue
		}
		var again time.Duration
		failed, again = n.flush(ctx, failed)
		waiting = again > 0
		timer.Reset(cmp.Or(again, atMost))
	}
}

// flush sends all news in one message and tells how often that has failed in a row, and in how long there may be more
// to send; zero: there is nothing.
func (n *Notifier) flush(ctx context.Context, failed int) (int, time.Duration) {
	n.mu.Lock()
	news, told := n.news, maps.Clone(n.told)
	n.news = nil
	n.mu.Unlock()
	if len(news) == 0 {
		return 0, 0
	}
	if err := n.send(ctx, newMessage(n.cfg.Host, news, time.Now())); err != nil {
		if ctx.Err() != nil {
			return failed, 0
		}
		again := min(gather<<min(failed, 10), mostRetry)
		n.cfg.Metrics.sent.WithLabelValues("failed").Inc()
		n.cfg.Log.Warn("notifying failed", zap.Int("count", len(news)), zap.Duration("retryIn", again), zap.Error(err))
		n.keep(news)
		return failed + 1, again
	}
	n.cfg.Metrics.sent.WithLabelValues("sent").Inc()
	n.cfg.Log.Info("notified", zap.Int("count", len(news)))
	if err := n.cfg.Memory.SaveNotices(told); err != nil {
		n.cfg.Log.Warn("remembering what was told", zap.Error(err))
	}
	return 0, atMost
}

// keep puts news back before those that have come since, unless these make them old.
func (n *Notifier) keep(old []News) {
	n.mu.Lock()
	defer n.mu.Unlock()
	since := n.news
	n.news = old
	for _, e := range since {
		n.add(e)
	}
}

// send gives the message to all. Who has got it gets it again when another one has not.
func (n *Notifier) send(ctx context.Context, m Message) error {
	var errs []error
	for _, s := range n.cfg.Senders {
		errs = append(errs, s.Send(ctx, m))
	}
	return errors.Join(errs...)
}

// text is what news say, one line each.
func text(news []News) string {
	var b strings.Builder
	for _, e := range news {
		b.WriteString(e.line())
	}
	return b.String()
}
