package daemon

import (
	"errors"
	"maps"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"

	"acmed/internal/spec"
)

const (
	// quiet is how long after the last event the files are looked at: as long as they have to stand still, and a
	// moment more.
	quiet = 505 * time.Millisecond
	// patience is how long after the first event they are looked at even if events do not end.
	patience = 5 * time.Second
)

// watch is inotify on directories: one watch each, however many files there are. A directory that is missing is awaited in
// the nearest one above it. Of an event only the place matters: a load looks at what is there.
type watch struct {
	inotify *fsnotify.Watcher // nil: the system has none left
	writers *writers          // nil: likewise
	log     *zap.Logger
	places  map[string]*place // the watched directories

	// blind tells that something could happen unseen.
	blind bool

	// Of the events since the last calm.
	first, last time.Time           // zero: there were none
	paths       map[string]struct{} // where they were
	lost        bool                // and elsewhere
}

func newWatch(log *zap.Logger) *watch {
	w := &watch{log: log, places: map[string]*place{}}
	inotify, err := fsnotify.NewWatcher()
	if err == nil {
		w.inotify = inotify
		w.writers, err = newWriters()
	}
	if err != nil {
		log.Warn("looking at the specs twice a minute: the system has no inotify left", zap.Error(err))
	}
	return w
}

// take notes an event, if it is at a place that matters.
func (w *watch) take(now time.Time, path string) {
	p := w.places[filepath.Dir(path)]
	if p == nil || p.whole || p.only[path] || w.places[path] != nil {
		w.note(now, path)
	}
}

// state is that of the writers, by any path that leads to a watched directory.
func (w *watch) state(path string, changed time.Time) spec.Writing {
	if w.writers == nil {
		return spec.Unseen
	}
	dir, base := filepath.Split(path)
	for at, p := range w.places {
		if p.aliases[filepath.Clean(dir)] {
			path = filepath.Join(at, base)
		}
	}
	return w.writers.state(path, changed)
}

// note that something may have changed at path.
func (w *watch) note(now time.Time, path string) {
	if w.last = now; w.first.IsZero() {
		w.first = now
		w.paths = map[string]struct{}{}
	}
	w.paths[path] = struct{}{}
}

// noteAll notes that something may have changed anywhere.
func (w *watch) noteAll(now time.Time) {
	w.note(now, "")
	w.lost = true
}

// failed takes an error of inotify. When events were lost, something has changed.
func (w *watch) failed(err error) {
	if !errors.Is(err, fsnotify.ErrEventOverflow) {
		w.log.Warn("watching the specs", zap.Error(err))
	}
	w.noteAll(time.Now())
}

// calm forgets the events so far: a load has followed them.
func (w *watch) calm() { w.first, w.last, w.paths, w.lost = time.Time{}, time.Time{}, nil, false }

// changed returns where something may have changed, for the options of a load; nil: anywhere.
func (w *watch) changed() []string {
	if w.blind || w.lost {
		return nil
	}
	return slices.AppendSeq([]string{}, maps.Keys(w.paths))
}

func (w *watch) idle() bool { return w.first.IsZero() }

// due is when a load has to follow the events: once they end, but soon enough. Zero: there are none.
func (w *watch) due() time.Time {
	if w.idle() {
		return time.Time{}
	}
	at, limit := w.last.Add(quiet), w.first.Add(patience)
	if limit.Before(at) {
		return limit
	}
	return at
}

func (w *watch) events() <-chan fsnotify.Event {
	if w.inotify == nil {
		return nil
	}
	return w.inotify.Events
}

func (w *watch) errors() <-chan error {
	if w.inotify == nil {
		return nil
	}
	return w.inotify.Errors
}

// closed returns a channel that is ready when files were closed.
func (w *watch) closed() <-chan struct{} {
	if w.writers == nil {
		return nil
	}
	return w.writers.news
}

// Close implements io.Closer.
func (w *watch) Close() error {
	w.writers.close()
	if w.inotify != nil {
		_ = w.inotify.Close() // nothing was written
	}
	return nil
}
