package spec

import (
	"path/filepath"
	"slices"
	"time"
)

// lookBeside has those read again whose file beside them is not the one that was read, once that has stood still.
func (f *folder[T]) lookBeside(now time.Time, changed []string) {
	for _, e := range f.files.all() {
		b := &e.beside
		if b.path == "" || changed != nil && !b.again && !slices.Contains(changed, b.path) {
			continue
		}
		b.again = false
		s, err := stampPath(b.path)
		if err == nil && s == b.stamp || err != nil && b.stamp == (stamp{}) {
			continue
		}
		at := time.Unix(0, max(s.modified, s.changed)).Add(quiet)
		if err == nil && !f.hasty && now.Before(at) && at.Sub(now) <= quiet { // what is of the future never stands still
			b.again = true
			f.again(at)
			continue
		}
		e.judged, e.edited, e.since = false, true, now
	}
}

// besides returns the folders of the files beside those that were read, sorted.
func (f *folder[T]) besides() (dirs []string) {
	for _, e := range f.files.all() {
		if e.beside.path != "" {
			dirs = append(dirs, filepath.Dir(e.beside.path))
		}
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}
