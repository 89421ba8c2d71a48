package spec

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
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
		at := f.settled(b.path, s, s.touched())
		if err == nil && now.Before(at) && at.Sub(now) <= unclosed { // a file of the future never stands still
			b.again = true
			f.again(at)
			continue
		}
		e.judged, e.edited, e.since = false, true, now
	}
}

// besides returns the files outside the directory on which the specs depend, sorted: those that specs name, those to which
// links lead, and the links on the way.
func (f *folder[T]) besides() (paths []string) {
	for _, e := range f.files.all() {
		if e.beside.path != "" {
			paths = append(paths, e.beside.path)
			paths = append(paths, Leads(e.beside.path)...)
		}
		paths = append(paths, e.leads...)
	}
	slices.Sort(paths)
	return slices.Compact(paths)
}

// named reports whether a spec names the file at path.
func (f *folder[T]) named(path string) bool {
	return slices.ContainsFunc(f.files.all(), func(e *entry[T]) bool { return e.beside.path == path })
}

// mostLeads bounds a chain of links, as the kernel does.
const mostLeads = 40

// Leads returns the links by which path leads somewhere else, in the order in which they are followed, and last where they
// lead to, which need not exist; nil if there is no link on the way.
func Leads(path string) (leads []string) {
	at, rest := "/", splitPath(filepath.Clean(path))
	for len(rest) > 0 {
		next := filepath.Join(at, rest[0])
		rest = rest[1:]
		target, err := os.Readlink(next)
		if err != nil || len(leads) == mostLeads {
			at = next
			continue
		}
		leads = append(leads, next)
		if filepath.IsAbs(target) {
			at = "/"
		}
		rest = append(splitPath(filepath.Clean(target)), rest...)
	}
	if leads == nil {
		return nil
	}
	return append(leads, at)
}

func splitPath(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(part string) bool { return part == "" })
}
