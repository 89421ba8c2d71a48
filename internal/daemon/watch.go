package daemon

import (
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"
	"go.uber.org/zap"
)

// watch is inotify on folders, one watch each however many files there are.
type watch struct {
	inotify *fsnotify.Watcher // nil: the system has no inotify left, rescans must do
	since   time.Time         // of the first event that no load has followed; zero: none
	// complete tells whether every folder is watched.
	complete bool
}

func newWatch(log *zap.Logger) *watch {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("reading the specs every ten minutes only: no inotify", zap.Error(err))
		w = nil
	}
	return &watch{inotify: w}
}

// follow watches the folders, again after one was replaced.
func (w *watch) follow(dirs ...string) {
	w.complete = w.inotify != nil
	if w.inotify == nil {
		return
	}
	for _, dir := range dirs {
		if slices.Contains(w.inotify.WatchList(), dir) {
			continue
		}
		err := w.inotify.Add(dir)
		w.complete = w.complete && err == nil
		if err == nil {
			w.note(time.Now()) // what happened before the watch began
		}
	}
}

func (w *watch) note(now time.Time) {
	if w.since.IsZero() {
		w.since = now
	}
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
		w.inotify.Close()
	}
}
