package spec

import (
	"slices"
	"strings"
)

// entries finds files by name and goes through them in the order of their names, which is sorted anew only after
// one was added or dropped. The zero value is empty.
type entries[T any] struct {
	byName map[string]*entry[T]
	order  []*entry[T]
	stale  bool // order is not that of byName
}

func (s *entries[T]) len() int { return len(s.byName) }

// get returns nil when there is none of that name.
func (s *entries[T]) get(name string) *entry[T] { return s.byName[name] }

func (s *entries[T]) add(e *entry[T]) {
	if s.byName == nil {
		s.byName = map[string]*entry[T]{}
	}
	s.byName[e.name] = e
	s.order, s.stale = append(s.order, e), true
}

func (s *entries[T]) drop(e *entry[T]) {
	delete(s.byName, e.name)
	e.dropped, s.stale = true, true
}

// all returns the entries by name, for reading.
func (s *entries[T]) all() []*entry[T] {
	if s.stale {
		s.order = slices.DeleteFunc(s.order, func(e *entry[T]) bool { return e.dropped })
		slices.SortFunc(s.order, func(a, b *entry[T]) int { return strings.Compare(a.name, b.name) })
		s.stale = false
	}
	return s.order
}

// those returns the entries that are as wanted, by name.
func (s *entries[T]) those(wanted func(*entry[T]) bool) []*entry[T] {
	var out []*entry[T]
	for _, e := range s.all() {
		if wanted(e) {
			out = append(out, e)
		}
	}
	return out
}
