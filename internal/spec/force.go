package spec

import (
	"maps"
	"reflect"
	"slices"
	"time"
)

// grace is how long an edit that takes names away waits for second thoughts.
const grace = 30 * time.Second

// recently is how long a removal counts as one with those that follow: a script may remove a file at a time.
const recently = time.Hour

// fewest is how many must have been in force before losing more than half of them looks like an accident.
const fewest = 4

// seed puts into effect what an earlier run had: the file itself if it still is the one that was remembered, else the
// version that the caller kept. That version was valid: no check of this version of acmed, of this machine or of another
// file takes it out of effect. From there on a restart is nothing special.
func (f *folder[T]) seed(recall func(key string) ([]byte, error), out *Loaded) {
	for _, e := range f.files.those(func(e *entry[T]) bool { return e.good == nil && !e.remembered.IsZero() }) {
		if e.next != nil && e.next.modTime.Equal(e.remembered) && f.adopt(e, out) {
			continue
		}
		if text, err := recall(f.key(e.name)); err == nil {
			f.revive(e, f.recall(f.file(e.name), text))
		}
	}
}

// revive puts a last valid version into effect.
func (f *folder[T]) revive(e *entry[T], d draft[T]) {
	if d.value == nil {
		return
	}
	if f.claim(nil, &d) != nil {
		f.concede(&d)
		_ = f.claim(nil, &d) // nothing speaks against it now
	}
	f.enforce(e, &d)
}

// sweep lets go of files that vanished, or holds them when it looks like an accident: an unmounted disk, a bad rsync, a loop
// of rm. It compares with all that was in effect during the last hour.
func (f *folder[T]) sweep(now time.Time, o LoadOptions, out *Loaded) {
	if o.AcceptRemovals {
		f.departed = nil
	}
	maps.DeleteFunc(f.departed, func(name string, at time.Time) bool {
		e := f.files.get(name)
		return now.Sub(at) >= recently || e != nil && e.present
	})
	remaining, lost := 0, len(f.departed)
	for _, e := range f.files.all() {
		switch {
		case e.good == nil:
		case e.present:
			remaining++
		default:
			lost++
		}
	}
	vanished := f.files.those(func(e *entry[T]) bool { return !e.present && (!e.held || o.AcceptRemovals) })
	accident := f.gone || lost+remaining >= fewest && lost > remaining
	still := settledAt(f.self, f.selfAt, unseen) // while files are being removed, nobody knows how many it will be
	switch {
	case len(vanished) == 0:
	case accident && !o.AcceptRemovals:
		f.hold(vanished)
	case now.Before(still) && !o.Now && !o.AcceptRemovals && !f.gone:
		f.again(still)
	default:
		f.drop(vanished, now, out)
	}
}

func (f *folder[T]) hold(vanished []*entry[T]) {
	for _, e := range vanished {
		if e.good == nil && e.remembered.IsZero() {
			f.files.drop(e)
			continue
		}
		f.refuse(e)
		e.held, e.stamp = true, stamp{}
	}
	f.moved = true
}

func (f *folder[T]) drop(vanished []*entry[T], now time.Time, out *Loaded) {
	for _, e := range vanished {
		if e.good != nil {
			f.release(e.good)
			f.depart(e.name, now)
		}
		if !e.remembered.IsZero() {
			out.Gone = append(out.Gone, f.key(e.name))
		}
		f.files.drop(e)
	}
	f.moved = true
}

// depart takes note of a removal, which counts for an hour.
func (f *folder[T]) depart(name string, now time.Time) {
	if f.departed == nil {
		f.departed = map[string]time.Time{}
	}
	f.departed[name] = now
}

// advance puts in force what was read and need not wait. What others claimed already is tried again, the first in the
// alphabet first, whenever an edit may have given something back.
func (f *folder[T]) advance(now time.Time, o LoadOptions, out *Loaded) {
	var blocked []*entry[T]
	for _, e := range f.files.those(func(e *entry[T]) bool { return e.next != nil }) {
		edit := e.good != nil
		switch {
		case f.blanked(e), f.deferred(e, now, o):
		case !f.adopt(e, out):
			blocked = append(blocked, e)
		case edit:
			blocked = f.retry(blocked, out)
		}
	}
}

func (f *folder[T]) retry(blocked []*entry[T], out *Loaded) []*entry[T] {
	for before := -1; before != len(blocked); {
		before = len(blocked)
		blocked = slices.DeleteFunc(blocked, func(e *entry[T]) bool { return f.adopt(e, out) })
	}
	return blocked
}

// blanked refuses a text that lost everything it said, which a crash or a full disk leaves behind.
func (f *folder[T]) blanked(e *entry[T]) bool {
	if !e.next.blank || e.good == nil || e.bare {
		return false
	}
	f.refuse(e, &Problem{File: f.file(e.name), Line: 1, Column: 1, Problem: "empty", Hint: "write {} for defaults"})
	return true
}

// deferred reports whether an edit has to wait because it takes something away.
func (f *folder[T]) deferred(e *entry[T], now time.Time, o LoadOptions) bool {
	u := e.next
	until := time.Time{}
	if e.good != nil && !o.Now && len(f.removes(e.good, u.value)) > 0 && now.Before(e.since.Add(grace)) {
		until = e.since.Add(grace)
		f.again(until)
	}
	if !until.Equal(u.until) {
		u.until, e.problems, f.moved = until, nil, true
	}
	return !until.IsZero()
}

// adopt puts the next version of e in force, unless another file has what it claims.
func (f *folder[T]) adopt(e *entry[T], out *Loaded) bool {
	u := e.next
	if conflict := f.claim(e.good, &u.draft); conflict != nil {
		if !reflect.DeepEqual(e.problems, []*Problem{conflict}) {
			e.problems, f.moved = []*Problem{conflict}, true
		}
		return false
	}
	if u.text != nil && (!u.modTime.Equal(e.remembered) || e.edited && e.good != nil || u.beside.path != "") {
		out.Good = append(out.Good, Source{f.key(e.name), f.keep(u.text, u.value), u.modTime})
		e.remembered = u.modTime
	}
	f.moved = f.moved || len(e.problems) > 0
	e.next, e.problems, e.edited = nil, nil, false
	f.enforce(e, &u.draft)
	return true
}

// enforce makes d the good version of e. A value that is the same stays the same pointer.
func (f *folder[T]) enforce(e *entry[T], d *draft[T]) {
	if e.bare = d.blank; e.good == nil || !reflect.DeepEqual(e.good, d.value) {
		e.good, f.moved = d.value, true
	}
}

// allProblems returns the problems of all files, each marked with whether a last good version stays.
func (f *folder[T]) allProblems() []*Problem {
	out := slices.Clone(f.strays)
	for _, e := range f.files.all() {
		for _, p := range e.problems {
			marked := *p
			marked.Kept = e.good != nil
			out = append(out, &marked)
		}
	}
	return out
}

// inForce returns the good versions, by name.
func (f *folder[T]) inForce() []*T {
	out := make([]*T, 0, f.files.len())
	for _, e := range f.files.all() {
		if e.good != nil {
			out = append(out, e.good)
		}
	}
	return out
}

// names returns the sorted names of what is in force.
func (f *folder[T]) names() []string {
	var out []string
	for _, e := range f.files.those(func(e *entry[T]) bool { return e.good != nil }) {
		out = append(out, e.name)
	}
	return out
}

// held returns the sorted names of what is in force without a file.
func (f *folder[T]) held() []string {
	var out []string
	for _, e := range f.files.those(func(e *entry[T]) bool { return e.held && e.good != nil }) {
		out = append(out, e.name)
	}
	return out
}
