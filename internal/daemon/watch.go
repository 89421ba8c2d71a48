package daemon

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

const (
	// quiet is how long after the last event the files are looked at: as long as they have to stand still, and a
	// moment more.
	quiet = 505 * time.Millisecond
	// patience is how long after the first event they are looked at even if events do not end.
	patience = 5 * time.Second
)

// watch is inotify on folders: one watch each, however many files there are. A folder that is missing is awaited in
// the nearest one above it. Of an event only the place matters: whoever loads looks at what is there.
type watch struct {
	inotify *fsnotify.Watcher // nil: the system has none left
	log     *zap.Logger
	places  map[string]os.FileInfo // the watched folders, as they were when their watch began

	// blind tells that something could happen unseen.
	blind bool

	// Of the events since the last calm.
	first, last time.Time           // zero: there were none
	paths       map[string]struct{} // where they were
	lost        bool                // and elsewhere
}

func newWatch(log *zap.Logger) *watch {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("looking at the specs twice a minute: the system has no inotify left", zap.Error(err))
		w = nil
	}
	return &watch{inotify: w, log: log, places: map[string]os.FileInfo{}}
}

// follow watches the folders of these names and no others. One that was replaced is another folder.
func (w *watch) follow(dirs ...string) {
	w.blind = w.inotify == nil
	if w.blind {
		return
	}
	var wanted []string
	for _, dir := range dirs {
		place, ok := w.watchNearest(dir)
		w.blind = w.blind || !ok
		wanted = append(wanted, place)
	}
	for place := range w.places {
		if !slices.Contains(wanted, place) {
			w.forget(place)
		}
	}
}

// watchNearest watches dir, or what exists of the way to it.
func (w *watch) watchNearest(dir string) (place string, ok bool) {
	for place = filepath.Clean(dir); ; place = filepath.Dir(place) {
		if info, err := os.Stat(place); err == nil && w.watch(place, info) {
			return place, true
		}
		if place == filepath.Dir(place) {
			return place, false
		}
	}
}

// watch reports whether place is watched. Of a folder that was moved away or removed, inotify lets go by itself.
func (w *watch) watch(place string, info os.FileInfo) bool {
	watched := slices.Contains(w.inotify.WatchList(), place)
	if watched && os.SameFile(w.places[place], info) {
		return true
	}
	w.forget(place)
	if err := w.inotify.Add(place); err != nil {
		return false
	}
	w.places[place] = info
	w.noteAll(time.Now()) // of what happened before the watch began
	return true
}

func (w *watch) forget(place string) {
	delete(w.places, place)
	_ = w.inotify.Remove(place) // it may be gone already
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

func (w *watch) close() {
	if w.inotify != nil {
		_ = w.inotify.Close() // nothing was written
	}
}
