package notify

import (
	"fmt"
	"strings"
	"time"

	"acmed/internal/store"
)

// Event is a kind of news.
type Event string

// The events.
const (
	Failing     Event = "failing"     // it could not be issued or renewed
	Undelivered Event = "undelivered" // a consumer has not accepted it
	Expiring    Event = "expiring"    // little of its lifetime is left
	Recovered   Event = "recovered"   // none of that is so any longer
)

// Events are all of them.
func Events() []Event { return []Event{Failing, Undelivered, Expiring, Recovered} }

// News is one thing to tell.
type News struct {
	Cert     string    `json:"cert"`
	Event    Event     `json:"event"`
	Issuer   string    `json:"issuer,omitempty"`
	NotAfter time.Time `json:"notAfter,omitzero"` // zero: there is no certificate
	Problem  string    `json:"problem,omitempty"`
	Hint     string    `json:"hint,omitempty"`
}

// judge compares what is so with what was told. thresholds are sorted, the smallest first.
func judge(s State, told store.Notice, thresholds []float64, now time.Time) (news []News, knows store.Notice) {
	if s.Gone {
		return nil, store.Notice{}
	}
	is := store.Notice{Failing: s.Problem != "", Undelivered: s.Stuck != "", Expiring: crossed(s, thresholds, now)}
	one := News{Cert: s.Name, Issuer: s.Issuer, NotAfter: s.NotAfter}
	tell := func(e Event, problem, hint string) {
		one.Event, one.Problem, one.Hint = e, problem, hint
		news = append(news, one)
	}
	if is.Failing && !told.Failing {
		tell(Failing, s.Problem, s.Hint)
	}
	if is.Undelivered && !told.Undelivered {
		tell(Undelivered, s.Stuck, "see acmed status "+s.Name)
	}
	if is.Expiring > 0 && (told.Expiring == 0 || is.Expiring < told.Expiring) {
		tell(Expiring, s.Problem, s.Hint)
	}
	if is == (store.Notice{}) && told != (store.Notice{}) {
		tell(Recovered, "", "")
	}
	if is != (store.Notice{}) { // until all is well again, what was wrong in between is not news once more
		is.Failing, is.Undelivered = is.Failing || told.Failing, is.Undelivered || told.Undelivered
	}
	return news, is
}

// crossed is the smallest of thresholds that what is left of the lifetime has fallen below; zero: none.
func crossed(s State, thresholds []float64, now time.Time) float64 {
	life := s.NotAfter.Sub(s.Committed)
	if s.Committed.IsZero() || life <= 0 {
		return 0
	}
	left := float64(s.NotAfter.Sub(now)) / float64(life)
	for _, share := range thresholds {
		if left < share {
			return share
		}
	}
	return 0
}

// line is the news for people.
func (e News) line() string {
	end := ""
	if !e.NotAfter.IsZero() {
		end = ", its certificate ends on " + e.NotAfter.UTC().Format("2006-01-02 15:04 UTC")
	}
	words := map[Event]string{
		Failing:     "cannot be issued or renewed" + end,
		Undelivered: "is not served as it should be" + end,
		Expiring:    "is not renewed" + end,
		Recovered:   "is well again" + end,
	}
	s := fmt.Sprintf("%s %s\n", e.Cert, words[e.Event])
	if e.Problem != "" {
		s += "  " + strings.ReplaceAll(e.Problem, "\n", "\n  ") + "\n"
	}
	if e.Hint != "" {
		s += "  what to do: " + strings.ReplaceAll(e.Hint, "\n", "\n  ") + "\n"
	}
	return s
}
