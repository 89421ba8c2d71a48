package scheduler

import "time"

// SetBack tells whether the clock was set back.
var SetBack = setBack

// ClockWasSetBack does what follows once that is noticed.
func (s *Scheduler) ClockWasSetBack(now time.Time) {
	s.change(func() { s.table.wakeAll(now) })
}

// Turn takes one turn of the loop at a time of the test's choosing and returns the keys that are to be visited.
func (s *Scheduler) Turn(now time.Time) (keys []string, wait time.Duration) {
	turn := s.turn(now)
	for _, it := range turn.start {
		keys = append(keys, it.key)
	}
	return keys, turn.wait
}

// Finish ends the visit of key that Turn began.
func (s *Scheduler) Finish(key string, n Next, now time.Time) {
	s.change(func() { s.table.finish(s.table.items[key], n, now) })
}
