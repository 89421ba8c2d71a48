package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

const (
	// lifeAfter is how long a unit has to live after its reload. A server that cannot load its files may end a moment later.
	lifeAfter = 5 * time.Second
	lookEvery = 250 * time.Millisecond
	// longestRest is how long a change waits for the start limit of a unit. What takes longer is tried again later.
	longestRest = 30 * time.Second
)

// notRunning is the note on a unit that has nothing to read again: it reads its files when it starts.
const notRunning = "not running"

// endedUnit is the error on a unit that ended with a change.
type endedUnit struct{ *blocked }

func (e *endedUnit) Unwrap() error { return e.blocked }

// unitWatch is one change of a unit on its way.
type unitWatch struct {
	manager
	change     UnitChange
	restarting bool                 // it is restarted
	asked      bool                 // systemd has taken the job
	begun      time.Time            // when what is watched began
	units      []string             // that do the work, and are judged
	before     map[string]unitState // of those that run
}

// begin changes the unit. over: there is nothing to wait for.
func (w *unitWatch) begin(ctx context.Context) (over bool, note string, err error) {
	unit := w.change.Unit
	state, err := w.look(ctx, unit)
	if err != nil {
		return true, "", err
	}
	if err := state.loaded(unit); err != nil {
		return true, "", err
	}
	if state.neverRuns() {
		return true, "never running, as a oneshot unit; to run it, write run: [{command: [systemctl, start, " + unit + "]}]", nil
	}
	w.restarting = w.change.Restart || !state.CanReload
	if err := w.gather(ctx, unit, state); err != nil {
		return true, "", err
	}
	switch down, err := w.down(ctx); {
	case err != nil:
		return true, "", err
	case down:
		return true, notRunning, nil
	case w.change.Again:
		return false, "", nil
	}
	return w.do(ctx)
}

// look wraps the error.
func (w *unitWatch) look(ctx context.Context, unit string) (unitState, error) {
	s, err := w.Look(ctx, unit)
	if err != nil {
		err = fmt.Errorf("asking systemd about %s: %w", unit, err)
	}
	return s, err
}

// gather finds the units that do the work: this one, and those to which systemd passes its job.
func (w *unitWatch) gather(ctx context.Context, unit string, state unitState) error {
	w.before = map[string]unitState{}
	seen := map[string]bool{unit: true}
	states := map[string]unitState{unit: state}
	for queue := []string{unit}; len(queue) > 0; queue = queue[1:] {
		s := states[queue[0]]
		if queue[0] == unit || !s.empty() {
			w.units = append(w.units, queue[0])
		}
		for _, next := range w.passesTo(s) {
			if seen[next] {
				continue
			}
			seen[next] = true
			below, err := w.look(ctx, next)
			if err != nil {
				return err
			}
			if below.Load == "loaded" && strings.HasSuffix(next, ".service") {
				states[next], queue = below, append(queue, next)
			}
		}
	}
	if state.empty() && len(w.units) > 1 {
		w.units = w.units[1:]
	} else if state.empty() && w.change.Ended {
		return &endedUnit{&blocked{"the units for which " + unit + " stands ended with an earlier " + w.verb() + " and do not run", startHint(unit)}}
	}
	for _, name := range w.units {
		if states[name].runs() && state.runs() {
			w.before[name] = states[name]
		}
	}
	return nil
}

// passesTo are the units to which systemd passes the job.
func (w *unitWatch) passesTo(s unitState) []string {
	if w.restarting {
		return s.RestartsTo
	}
	return s.ReloadsTo
}

// down reports whether nothing runs that would have to read anything. A unit that ended with an earlier change, and that
// nobody has stopped since, is an error: it has not accepted what it would read.
func (w *unitWatch) down(ctx context.Context) (bool, error) {
	for _, name := range w.units {
		if _, runs := w.before[name]; runs {
			continue
		}
		s, err := w.look(ctx, name)
		if err != nil {
			return false, err
		}
		if w.endedBefore(name, s) {
			return false, &endedUnit{&blocked{name + " ended with an earlier " + w.verb() + " and does not run", startHint(name)}}
		}
	}
	return len(w.before) == 0, nil
}

// endedBefore reports whether a unit that is down ended with an earlier change. systemd forgets a unit that is down and
// that no other one wants: it may seem never to have run.
func (w *unitWatch) endedBefore(name string, s unitState) bool {
	switch {
	case s.runs() || s.stopped():
		return false
	case s.ran():
		return w.change.Ended || s.endedBy(w.change.Live)
	}
	return w.change.Ended && name == w.change.Unit
}

func startHint(unit string) string {
	return "journalctl -u " + unit + " says why it ended; fix that, then systemctl start " + unit
}

func (w *unitWatch) verb() string { return w.change.verb() }

func (c UnitChange) verb() string {
	if c.Restart {
		return "restart"
	}
	return "reload"
}

// do has systemd change the unit.
func (w *unitWatch) do(ctx context.Context) (over bool, note string, err error) {
	if w.restarting {
		if err := w.rest(ctx); err != nil {
			return true, "", err
		}
	}
	unit := w.change.Unit
	result, err := w.Change(ctx, unit, w.change.Restart)
	w.asked = err == nil || errors.Is(err, errJobEndless)
	switch {
	case errors.Is(err, errJobEndless):
		return true, "", w.endless(unit)
	case err != nil:
		return true, "", &blocked{"asking systemd to " + w.verb() + " " + unit + ": " + err.Error(), jobHint(w.verb(), unit, err)}
	}
	if result == "done" && w.restarting {
		return false, "", w.takeUp(ctx)
	}
	if result == "done" {
		return false, "", nil
	}
	return w.unfinished(ctx, result)
}

// rest waits until no start limit is in the way of a restart.
func (w *unitWatch) rest(ctx context.Context) error {
	for name, s := range w.before {
		wait := s.rest()
		if wait > longestRest {
			return &blocked{fmt.Sprintf("%s was started %s ago; its start limit is %d in %s", name, s.Age.Round(time.Second), s.LimitBurst, s.LimitEvery),
				"acmed restarts it when the limit lets it; see StartLimitIntervalSec= in systemd.unit(5)"}
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// takeUp takes what runs after a restart for what ran before it.
func (w *unitWatch) takeUp(ctx context.Context) error {
	for _, name := range w.names() {
		s, err := w.idle(ctx, name)
		switch {
		case err != nil:
			return err
		case s.stopped():
			delete(w.before, name)
			continue
		case !s.runs() || s.Restarts > 0:
			return w.gone(name)
		}
		w.before[name] = s
	}
	return nil
}

// idle looks at a unit once no job of it is left but one that stops it: what systemd passes on may end after what it was
// passed on from.
func (w *unitWatch) idle(ctx context.Context, name string) (unitState, error) {
	for {
		s, err := w.look(ctx, name)
		if err != nil || s.Job == "" || s.Job == "stop" {
			return s, err
		}
		if pause(ctx, lookEvery) != nil {
			return s, w.endless(name)
		}
	}
}

func (w *unitWatch) endless(unit string) error {
	return &blocked{"the " + w.verb() + " of " + unit + " does not end", "systemctl status " + unit + "; journalctl -u " + unit}
}

// unfinished judges a job that was not done.
func (w *unitWatch) unfinished(ctx context.Context, result string) (over bool, note string, err error) {
	unit := w.change.Unit
	for name, before := range w.before {
		s, err := w.idle(ctx, name)
		if err != nil {
			return true, "", err
		}
		switch fate := s.since(before); {
		case result == "canceled" && !s.runs(): // another job took its place, and it was one to stop the unit
			delete(w.before, name)
		case fate == fateEnded && (!s.runs() || !w.restarting): // what runs after a restart is not what ran before
			return true, "", &endedUnit{&blocked{fmt.Sprintf("the %s of %s ended with %q, and %s ended with it", w.verb(), unit, result, name), startHint(name)}}
		case fate == fateStopped:
			delete(w.before, name)
		}
	}
	if len(w.before) == 0 || result == "skipped" {
		return true, notRunning, nil
	}
	return true, "", &blocked{fmt.Sprintf("the %s of %s ended with %q", w.verb(), unit, result), "journalctl -u " + unit + " shows why"}
}

// settle looks at the units until each has lived for a while after systemd has finished with it.
func (w *unitWatch) settle(ctx context.Context) (note string, err error) {
	until := w.begun.Add(lifeAfter)
	for {
		busy, err := w.judge(ctx)
		switch {
		case err != nil:
			return "", err
		case len(w.before) == 0:
			return notRunning, nil
		case busy:
			until = time.Now().Add(lifeAfter)
		case !time.Now().Before(until):
			return "", nil
		}
		if pause(ctx, lookEvery) != nil {
			return "", w.endless(w.change.Unit)
		}
	}
}

// names are the units that are watched.
func (w *unitWatch) names() []string {
	return slices.DeleteFunc(slices.Clone(w.units), func(name string) bool { _, watched := w.before[name]; return !watched })
}

// judge looks at each unit once. busy: systemd has not finished with one of them.
func (w *unitWatch) judge(ctx context.Context) (busy bool, err error) {
	for _, name := range w.names() {
		s, err := w.look(ctx, name)
		if err != nil {
			return false, err
		}
		switch s.since(w.before[name]) {
		case fateStopped:
			delete(w.before, name)
			continue
		case fateEnded:
			return false, w.gone(name)
		}
		busy = busy || s.busy() || s.Active == "activating"
		if !s.busy() && name != w.change.Unit && !w.change.Restart && s.ReloadResult != "success" && s.ReloadResult != "" {
			return false, &blocked{fmt.Sprintf("the reload of %s ended with %q", name, s.ReloadResult), "journalctl -u " + name + " shows why"}
		}
	}
	return busy, nil
}

// gone is the error on a unit that ended within a few seconds of its change.
func (w *unitWatch) gone(name string) error {
	hint := "journalctl -u " + name + " says why; acmed accepts it once it runs"
	if !w.change.Restart {
		hint += ". If every reload ends it, name it under deploy.restart in place of deploy.reload"
	}
	return &endedUnit{&blocked{fmt.Sprintf("%s ended within %s of its %s", name, lifeAfter, w.verb()), hint}}
}
