package daemon

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"go.uber.org/zap"

	"acmed/internal/control"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	// settle is how long after an event the files are looked at: as long as they have to stand still.
	settle = 505 * time.Millisecond
	// rescan is how often they are looked at without an event: a network file system sends none.
	rescan = 10 * time.Minute
	// blindRescan is the same while a folder cannot be watched, because it is missing for example.
	blindRescan = 30 * time.Second
)

// specs keeps the specs in force equal to the files. Its loop alone loads.
type specs struct {
	store   *store.Store
	log     *zap.Logger
	changed func(*spec.Set, []string)
	asked   chan reloading

	loader *spec.Loader // owned by the loop
	again  time.Time    // when the loader asked to be called; owned by the loop

	mu       sync.RWMutex // guards the following
	config   *spec.Config
	current  *spec.Set
	loadedAt time.Time
	broken   []*spec.Problem // of acmed.yaml: its last good version is in force
}

// reloading is a reload that somebody waits for.
type reloading struct {
	accept bool
	done   chan control.ReloadResult
}

func newSpecs(config *spec.Config, s *store.Store, log *zap.Logger, changed func(*spec.Set, []string)) (*specs, error) {
	known, err := s.Known()
	if err != nil {
		return nil, err
	}
	loader, err := spec.NewLoader(spec.LoaderConfig{Config: config, Recall: s.Recall, Known: known})
	if err != nil {
		return nil, err
	}
	return &specs{store: s, log: log, changed: changed, asked: make(chan reloading), loader: loader, config: config, current: &spec.Set{}}, nil
}

func (s *specs) set() *spec.Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

func (s *specs) settings() *spec.Config {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.config
}

func (s *specs) lastLoad() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.loadedAt
}

// problems are those of acmed.yaml and of the specs.
func (s *specs) problems() []*spec.Problem {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Concat(s.broken, s.current.Problems)
}

// problem is the first one of the file of a certificate; nil when it is good.
func (s *specs) problem(name string) *spec.Problem {
	for _, p := range s.set().Problems {
		if p.File == filepath.Join(s.settings().SpecDir, name+".yaml") {
			return p
		}
	}
	return nil
}

// load reads what has changed and puts it in force. It is called by the loop, and before the loop runs.
func (s *specs) load(o spec.LoadOptions) control.ReloadResult {
	old := s.set()
	loaded := s.loader.Load(time.Now(), o)
	s.again = loaded.Again
	s.remember(loaded)
	var result control.ReloadResult
	var names []string
	if loaded.Set != old {
		for name, change := range spec.Diff(old, loaded.Set) {
			names = append(names, name)
			switch change {
			case spec.Added:
				result.Added = append(result.Added, name)
			case spec.Edited:
				result.Edited = append(result.Edited, name)
			case spec.Removed:
				result.Removed = append(result.Removed, name)
			}
		}
	}
	s.mu.Lock()
	first := s.loadedAt.IsZero()
	s.current, s.loadedAt = loaded.Set, time.Now()
	problems := slices.Concat(s.broken, loaded.Set.Problems)
	s.mu.Unlock()
	s.report(old, loaded.Set, result, first)
	s.changed(loaded.Set, onlyIf(!first, names)) // at start-up every certificate is scheduled anyway
	result.Problems, result.Held = wireProblems(problems), wireHeld(loaded.Set.Held)
	return result
}

func onlyIf(ok bool, names []string) []string {
	if ok {
		return names
	}
	return nil
}

// remember keeps the good files for the next run. A disk that does not take them must not keep them out of force.
func (s *specs) remember(loaded *spec.Loaded) {
	batch := make([]store.Spec, 0, len(loaded.Good))
	for _, g := range loaded.Good {
		batch = append(batch, store.Spec{Key: g.Key, Text: g.Text, ModTime: g.ModTime})
	}
	if err := errors.Join(s.store.Remember(batch), s.store.Forget(loaded.Gone)); err != nil {
		s.log.Error("remembering good specs", zap.Error(err))
	}
}

// report logs what a load changed: each problem once, when it appears.
func (s *specs) report(old, current *spec.Set, r control.ReloadResult, first bool) {
	if n := len(r.Added) + len(r.Edited) + len(r.Removed); n > 0 && !first {
		s.log.Info("read specs", zap.Int("added", len(r.Added)), zap.Int("edited", len(r.Edited)), zap.Int("removed", len(r.Removed)))
	}
	was := map[string]bool{}
	for _, p := range old.Problems {
		was[p.Error()] = true
	}
	for _, p := range current.Problems {
		if !was[p.Error()] {
			s.log.Warn("found a bad file", zap.String("file", p.File), zap.Int("line", p.Line), zap.Bool("kept", p.Kept), zap.Error(p))
		}
	}
	if current.Held != nil && (old.Held == nil || old.Held.String() != current.Held.String()) {
		s.log.Warn("holding removals", zap.String("reason", current.Held.String()))
	}
}

// reload reads everything again, acmed.yaml included, because the operator says so. Files that are being written
// get the time to settle.
func (s *specs) reload(ctx context.Context, accept bool) control.ReloadResult {
	s.reloadConfig()
	o := spec.LoadOptions{Now: true, AcceptRemovals: accept}
	result := s.load(o)
	for range 3 {
		wait := time.Until(s.again)
		if s.again.IsZero() || wait > 2*settle {
			break
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return result
		}
		more := s.load(o)
		result.Added, result.Edited = append(result.Added, more.Added...), append(result.Edited, more.Edited...)
		result.Removed = append(result.Removed, more.Removed...)
		result.Problems, result.Held = more.Problems, more.Held
	}
	return result
}

func (s *specs) reloadConfig() {
	s.mu.RLock()
	old := s.config
	s.mu.RUnlock()
	config, err := spec.LoadConfig(old.File)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.broken = problemsOf(old.File, err)
		s.log.Warn("keeping the last good configuration", zap.Error(err))
		return
	}
	s.broken = restartNeeded(old, config)
	s.config = config
	s.loader.SetConfig(config)
}

// run loads on every sign that something may have changed, until ctx ends.
func (s *specs) run(ctx context.Context) error {
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	w := newWatch(s.log)
	defer w.close()
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		w.follow(s.dirs()...)
		timer.Reset(s.wait(w))
		select {
		case <-ctx.Done():
			return nil
		case <-w.events():
			w.note(time.Now())
			continue
		case err := <-w.errors():
			s.log.Warn("watching the specs", zap.Error(err))
			w.note(time.Now())
			continue
		case q := <-s.asked:
			q.done <- s.reload(ctx, q.accept)
		case <-hup:
			s.reload(ctx, false)
		case <-tick.C:
			s.load(spec.LoadOptions{})
		case <-timer.C:
			s.load(spec.LoadOptions{})
		}
		w.since = time.Time{}
	}
}

// wait is the time until the next load: when files may have settled since the first event, when the loader asked,
// or soon while there is a folder without a watch.
func (s *specs) wait(w *watch) time.Duration {
	wait := rescan
	if !w.complete {
		wait = blindRescan
	}
	if !s.again.IsZero() {
		wait = min(wait, time.Until(s.again))
	}
	if !w.since.IsZero() {
		wait = min(wait, time.Until(w.since.Add(settle)))
	}
	return max(wait, 0)
}

func (s *specs) dirs() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return []string{s.config.SpecDir, s.config.IssuerDir}
}
