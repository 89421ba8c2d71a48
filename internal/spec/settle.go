package spec

import "time"

// How long a file must have stood still before it is read, so that nobody is still writing it.
const (
	quiet    = 500 * time.Millisecond // a file whose writer is done
	unseen   = 5 * time.Second        // a file whose writer nobody has seen: on a network file system, or before the start
	unclosed = 30 * time.Second       // a file that is open for writing, or that is empty and whose writer nobody has seen
)

// path is where the file of e is, behind all links.
func (e *entry[T]) path(f *folder[T]) string {
	if len(e.leads) > 0 {
		return e.leads[len(e.leads)-1]
	}
	return f.file(e.name)
}

// settled returns when the file at path has stood still for long enough.
func (f *folder[T]) settled(path string, s stamp, since time.Time) time.Time {
	if f.hasty || f.now {
		return time.Time{}
	}
	return settledAt(s, since, patience(f.written(path, s), s))
}

// written returns what is known about the writer of a file.
func (f *folder[T]) written(path string, s stamp) Writing {
	if f.writing == nil {
		return Unseen
	}
	return f.writing(path, s.touched())
}

// patience is how long a file must stand still.
func patience(w Writing, s stamp) time.Duration {
	switch {
	case w == Whole:
		return quiet
	case w == Open, s.size == 0:
		return unclosed
	default:
		return unseen
	}
}

// settledAt returns when something with that stamp, seen since then, has stood still for so long. A clock that was set back
// must not keep a file from being read, hence the second way.
func settledAt(s stamp, since time.Time, still time.Duration) time.Time {
	return earliest(s.touched(), since).Add(still)
}

// reopened reports whether somebody has begun to write a file that was read as a whole one. The text may be a part of it.
func (f *folder[T]) reopened(e *entry[T], now time.Time) bool {
	if f.hasty || f.now || f.written(e.path(f), e.stamp) != Open || !now.Before(settledAt(e.stamp, e.since, unclosed)) {
		return false
	}
	e.judged, e.next = false, nil
	return true
}

// awaited returns the keys of the new files that have to stand still before they are read.
func (f *folder[T]) awaited() (keys []string) {
	for _, e := range f.files.all() {
		if e.present && !e.judged && e.good == nil && e.next == nil {
			keys = append(keys, f.key(e.name))
		}
	}
	return keys
}
