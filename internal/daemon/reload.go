package daemon

import (
	"context"
	"errors"
	"io/fs"
	"reflect"
	"time"

	"acmed/internal/control"
	"acmed/internal/spec"
)

const (
	// rescan is how often the files are looked at without a sign: a network file system gives none.
	rescan = 10 * time.Minute
	// blindRescan is the same while a folder has no watch.
	blindRescan = 30 * time.Second
)

// run loads on every sign that something may have changed, until ctx ends.
func (s *specs) run(ctx context.Context) error {
	w := s.watch
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		if w.idle() {
			s.follow()
		}
		timer.Reset(time.Until(s.next()))
		select {
		case <-ctx.Done():
			return nil
		case e := <-w.events():
			w.take(time.Now(), e.Name)
			continue
		case <-w.closed():
			for _, path := range w.writers.take() {
				w.take(time.Now(), path)
			}
			continue
		case err := <-w.errors():
			w.failed(err)
			continue
		case q := <-s.asked:
			q.done <- s.reload(ctx, q.accept)
		case <-s.hup:
			s.reload(ctx, false)
		case now := <-timer.C:
			s.loadChanged(now)
		}
		w.calm()
		w.writers.tidy(time.Now())
	}
}

// next is when to load at the latest.
func (s *specs) next() time.Time {
	next := s.rescanAt()
	for _, t := range []time.Time{s.again, s.watch.due()} {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	return next
}

// rescanAt is when to look at every file, whatever the watch says.
func (s *specs) rescanAt() time.Time {
	if s.watch.blind {
		return s.scannedAt.Add(blindRescan)
	}
	return s.scannedAt.Add(rescan)
}

// follow watches the files as they are now.
func (s *specs) follow() {
	s.watch.follow([]string{s.settings().SpecDir, s.settings().IssuerDir, s.settings().DNSDir}, s.beside)
}

// loadChanged loads what changed.
func (s *specs) loadChanged(now time.Time) {
	changed := s.watch.changed()
	if !now.Before(s.rescanAt()) {
		changed = nil
	}
	s.load(spec.LoadOptions{Changed: changed})
}

// reload reads everything again, acmed.yaml included, because the operator says so.
func (s *specs) reload(ctx context.Context, accept bool) control.ReloadResult {
	s.owner.reloading()
	s.reloadConfig()
	result := s.settle(ctx, spec.LoadOptions{Now: true, AcceptRemovals: accept})
	s.owner.reloaded(s.settings())
	return result
}

// settle loads until no file is too fresh to be read, but not for long: some are always being written.
func (s *specs) settle(ctx context.Context, o spec.LoadOptions) control.ReloadResult {
	result := s.load(o)
	for range 3 {
		wait := time.Until(s.again)
		if s.again.IsZero() || wait > 2*quiet {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return result
		}
		more := s.load(o)
		more.Added = append(result.Added, more.Added...)
		more.Edited = append(result.Edited, more.Edited...)
		more.Removed = append(result.Removed, more.Removed...)
		result = more
	}
	return result
}

// reloadConfig puts in force what acmed.yaml says, as far as that is possible without a start. While the file is bad,
// its last good version stays.
func (s *specs) reloadConfig() {
	running := s.settings()
	began := time.Now().Round(0)
	wanted, err := spec.LoadConfig(running.File)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.configAt = began
	if err != nil {
		s.broken = keptProblems(running.File, err)
		return
	}
	s.config, s.broken = reconfigure(running, wanted)
	s.loader.SetConfig(s.config)
}

// keptProblems are those of a file, as in err, whose last good version stays in force.
func keptProblems(file string, err error) []*spec.Problem {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var out []*spec.Problem
		for _, e := range joined.Unwrap() {
			out = append(out, keptProblems(file, e)...)
		}
		return out
	}
	kept := spec.Problem{File: file, Problem: err.Error()}
	if p, ok := errors.AsType[*spec.Problem](err); ok {
		kept = *p
	} else if errors.Is(err, fs.ErrNotExist) {
		kept.Problem, kept.Hint = "is gone", "write it again: without it acmed does not start"
	}
	kept.Kept = true
	return []*spec.Problem{&kept}
}

// reconfigure gives what is in force once wanted was read while running was: what only a start reads stays, and is a
// problem. So a reload without problems means that everything is in force as it is written.
func reconfigure(running, wanted *spec.Config) (*spec.Config, []*spec.Problem) {
	c := *wanted
	var out []*spec.Problem
	for _, f := range []struct {
		name    string
		differs bool
	}{
		{"admin", restore(&c.Admin, running.Admin)},
		{"control", restore(&c.Control, running.Control)},
		{"deploySocket", restore(&c.DeploySocket, running.DeploySocket)},
		{"http", restore(&c.HTTP, running.HTTP)},
		{"labelNames", restore(&c.LabelNames, running.LabelNames)},
		{"log.format", restore(&c.Log.Format, running.Log.Format)},
		{"notify", restore(&c.Notify, running.Notify)},
		{"revocationPoll", restore(&c.RevocationPoll, running.RevocationPoll)},
		{"runtimeDir", restore(&c.RuntimeDir, running.RuntimeDir)},
		{"stateDir", restore(&c.StateDir, running.StateDir)},
		{"tlsALPN", restore(&c.TLSALPN, running.TLSALPN)},
		{"workers", restore(&c.Workers, running.Workers)},
	} {
		if f.differs {
			out = append(out, &spec.Problem{File: wanted.File, Field: f.name, Problem: "the new value is not in force before a restart",
				Hint: "systemctl restart acmed"})
		}
	}
	return &c, out
}

// restore sets *field to the value that is in force and tells whether it was another one.
func restore[T any](field *T, inForce T) (differs bool) {
	differs = !reflect.DeepEqual(*field, inForce)
	*field = inForce
	return differs
}
