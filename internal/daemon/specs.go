package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"acmed/internal/control"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// owner is who lives by the specs. Its methods are called from one goroutine at a time.
type owner interface {
	// apply takes a set that is in force now. changed names the certificates to be looked at.
	apply(set *spec.Set, changed []string)
	// remembered is told of certificates whose files have become the last good ones, or are gone for good.
	remembered(names []string)
	// reloading is told that a reload begins that the operator asked for, reloaded that it is over.
	reloading()
	reloaded(*spec.Config)
}

// specsConfig is what specs works with. Every field is required.
type specsConfig struct {
	Config *spec.Config
	Store  *store.Store
	Owner  owner
	Reload <-chan os.Signal // asks for a reload, like a call
	Log    *zap.Logger
}

// specs keeps what is in force equal to the files. One goroutine at a time loads; everybody may look.
type specs struct {
	store  *store.Store
	owner  owner
	log    *zap.Logger
	hup    <-chan os.Signal
	asked  chan request
	loader *spec.Loader
	again  time.Time // when the loader wants to be called; zero: it does not
	beside []string  // files elsewhere on which specs depend, such as csrFile
	watch  *watch    // begins before the first load, so that no event is missed
	// scannedAt is when every file was looked at last; zero: never.
	scannedAt time.Time
	told      []*spec.Problem

	mu       sync.RWMutex // guards the following
	config   *spec.Config
	current  *spec.Set
	configAt time.Time       // when config was read
	loadedAt time.Time       // zero: never
	loads    int             // so far
	broken   []*spec.Problem // of acmed.yaml: what it says is not, or not wholly, in force
}

// request is a reload that somebody waits for.
type request struct {
	accept bool
	done   chan control.ReloadResult // has room for one
}

func newSpecs(c specsConfig) (*specs, error) {
	known, err := c.Store.Known()
	if err != nil {
		return nil, err
	}
	gone, err := departed(c.Store, known, time.Now().Round(0))
	if err != nil {
		return nil, err
	}
	loader, err := spec.NewLoader(spec.LoaderConfig{Config: c.Config, Recall: c.Store.Recall, Known: known, Departed: gone})
	if err != nil {
		return nil, err
	}
	s := &specs{
		watch: newWatch(c.Log), store: c.Store, owner: c.Owner, log: c.Log, hup: c.Reload, asked: make(chan request), loader: loader,
		config: c.Config, configAt: time.Now().Round(0), current: &spec.Set{},
	}
	s.follow()
	return s, nil
}

// departed returns when the certificates were let go of that have a record and no last good version: now, if the earlier
// run ended before it could take note.
func departed(s *store.Store, known map[string]time.Time, now time.Time) (map[string]time.Time, error) {
	names, err := s.Names()
	if err != nil {
		return nil, err
	}
	at := map[string]time.Time{}
	for _, name := range names {
		if _, kept := known[keyOf(name)]; kept {
			continue
		}
		switch record, _, _, err := s.Look(name); {
		case err != nil: // the first visit of it says so
		case record.Retired.IsZero():
			at[name] = now
		default:
			at[name] = record.Retired
		}
	}
	return at, nil
}

func (s *specs) set() *spec.Set {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// settings is the acmed.yaml that is in force.
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

// lastConfig is when acmed.yaml was read.
func (s *specs) lastConfig() time.Time {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.configAt
}

func (s *specs) countLoads() int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.loads
}

// problems are all that keeps what the operator wrote out of force: those of acmed.yaml first.
func (s *specs) problems() []*spec.Problem {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Concat(s.broken, s.config.Doubts, s.current.Problems)
}

// bad gives the first problem of each certificate whose file has one.
func (s *specs) bad() map[string]*spec.Problem {
	dir, bad := s.settings().SpecDir, map[string]*spec.Problem{}
	for _, p := range s.set().Problems {
		name, ours := strings.CutSuffix(filepath.Base(p.File), ".yaml")
		if ours && filepath.Dir(p.File) == dir && bad[name] == nil {
			bad[name] = p
		}
	}
	return bad
}

// load puts in force what the files say and tells what that changed.
func (s *specs) load(o spec.LoadOptions) control.ReloadResult {
	old, first := s.set(), s.lastLoad().IsZero()
	o.Writing = s.watch.state
	loaded := s.loader.Load(time.Now(), o)
	s.again, s.beside = loaded.Again, loaded.Beside
	if o.Changed == nil {
		s.scannedAt = time.Now()
	}
	s.mu.Lock()
	s.current, s.loadedAt = loaded.Set, time.Now()
	s.loads++
	s.mu.Unlock()

	result, changed := compare(old, loaded.Set)
	if first {
		changed = nil // every certificate is looked at anyway
	}
	s.owner.apply(loaded.Set, changed)
	s.report(old, loaded.Set)
	if len(changed) > 0 {
		s.log.Info("read specs", zap.Int("added", len(result.Added)), zap.Int("edited", len(result.Edited)),
			zap.Int("removed", len(result.Removed)))
	}
	s.remember(loaded) // while the changed ones are visited
	result.Problems, result.Held = wireProblems(s.problems()), wireHeld(loaded.Set.Held)
	return result
}

// compare lists the certificates that differ, by what happened to them and all together.
func compare(old, current *spec.Set) (r control.ReloadResult, all []string) {
	if old == current {
		return r, nil
	}
	for name, change := range spec.Diff(old, current) {
		all = append(all, name)
		switch change {
		case spec.Added:
			r.Added = append(r.Added, name)
		case spec.Edited:
			r.Edited = append(r.Edited, name)
		case spec.Removed:
			r.Removed = append(r.Removed, name)
		}
	}
	return r, all
}

// remember keeps the good files for the next start. A disk that does not take them must not keep them out of force.
func (s *specs) remember(loaded *spec.Loaded) {
	batch := make([]store.Spec, 0, len(loaded.Good))
	for _, g := range loaded.Good {
		batch = append(batch, store.Spec{Key: g.Key, Text: g.Text, ModTime: g.ModTime})
	}
	if err := errors.Join(s.store.Remember(batch), s.store.Forget(loaded.Gone)); err != nil {
		s.log.Error("remembering good specs", zap.Error(err))
	}
	s.owner.remembered(consumed(loaded))
}

// consumed names the certificates of a load that have consumers, and those that are gone and may have had some.
func consumed(loaded *spec.Loaded) (names []string) {
	for _, g := range loaded.Good {
		if name, ours := nameOf(g.Key); ours {
			if c := loaded.Set.Certificate(name); c != nil && c.Deploy.Wanted() {
				names = append(names, name)
			}
		}
	}
	for _, key := range loaded.Gone {
		if name, ours := nameOf(key); ours {
			names = append(names, name)
		}
	}
	return names
}

// keyOf gives the key of the certificate of that name.
func keyOf(name string) string { return "certs/" + name + ".yaml" }

// nameOf gives the name of the certificate that a key of a load is for.
func nameOf(key string) (name string, ours bool) {
	name, ours = strings.CutPrefix(key, "certs/")
	return strings.TrimSuffix(name, ".yaml"), ours
}

// report logs what appeared since the last time, and what went: each once.
func (s *specs) report(old, current *spec.Set) {
	problems := s.problems()
	for _, p := range without(problems, s.told) {
		s.log.Warn("found a problem", zap.String("file", p.File), zap.Int("line", p.Line), zap.Bool("kept", p.Kept), zap.Error(p))
	}
	for _, p := range without(s.told, problems) {
		s.log.Info("problem is gone", zap.String("file", p.File), zap.String("problem", p.Problem))
	}
	s.told = problems
	if h := current.Held; h != nil && (old.Held == nil || old.Held.String() != h.String()) {
		s.log.Warn("holding removals", zap.String("reason", h.String()))
	}
	for _, e := range current.Deferred {
		if !slices.ContainsFunc(old.Deferred, func(d spec.Deferred) bool { return d.Name == e.Name && d.Until.Equal(e.Until) }) {
			s.log.Info("waiting with an edit that takes names away", zap.String("cert", e.Name),
				zap.Strings("domain", e.Removes), zap.Time("next", e.Until))
		}
	}
}

// without are the problems of a that b does not have.
func without(a, b []*spec.Problem) []*spec.Problem {
	known := make(map[string]bool, len(b))
	for _, p := range b {
		known[p.Error()] = true
	}
	return slices.DeleteFunc(slices.Clone(a), func(p *spec.Problem) bool { return known[p.Error()] })
}
