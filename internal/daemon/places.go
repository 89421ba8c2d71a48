package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"acmed/internal/spec"
)

// place is a watched directory.
type place struct {
	info    os.FileInfo     // as it was when its watch began
	writers bool            // so is who writes its files
	whole   bool            // every event in it matters
	only    map[string]bool // else the paths in it that matter
	aliases map[string]bool // other paths of the same directory
	wanted  bool            // by the running follow
}

// follow watches these directories, these files and all links on the way to them, and nothing else. A directory that was
// replaced is another one.
func (w *watch) follow(dirs, files []string) {
	w.blind = w.inotify == nil || w.writers == nil
	if w.inotify == nil {
		return
	}
	for _, p := range w.places {
		p.whole, p.only, p.aliases, p.wanted = false, map[string]bool{}, map[string]bool{}, false
	}
	for _, dir := range dirs {
		if p, _ := w.enter(filepath.Clean(dir), true); p != nil {
			p.whole = true
		} else {
			w.await(filepath.Clean(dir), nil)
		}
	}
	known := map[string]string{} // the places of directories that were entered
	for _, dir := range dirs {
		for _, lead := range spec.Leads(dir) {
			w.await(lead, known)
		}
	}
	for _, file := range files {
		w.await(file, known)
	}
	for at, p := range w.places {
		if !p.wanted {
			w.forget(at)
		}
	}
}

// await watches the directory of path for changes at path, or the nearest one above it for the next step on the way.
func (w *watch) await(path string, known map[string]string) {
	for dir := filepath.Dir(path); ; path, dir = dir, filepath.Dir(dir) {
		at, entered := known[dir]
		if !entered {
			var p *place
			p, at = w.enter(dir, isFile(path))
			if entered = p != nil; entered && known != nil {
				known[dir] = at
			}
		}
		if entered {
			w.places[at].only[filepath.Join(at, filepath.Base(path))] = true
			return
		}
		if dir == filepath.Dir(dir) {
			w.blind = true
			return
		}
	}
}

// isFile reports whether somebody may write the file at path, or make one.
func isFile(path string) bool {
	info, err := os.Lstat(path)
	return err != nil || info.Mode().IsRegular()
}

// enter has dir watched, if it is a directory, and returns under which path; nil if that is not possible. A directory has
// one watch, whatever paths lead to it.
func (w *watch) enter(dir string, writers bool) (p *place, at string) {
	info, err := os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, ""
	case err != nil || !info.IsDir():
		w.blind = w.blind || err != nil
		return nil, ""
	}
	at = dir
	for other, q := range w.places {
		if q.wanted && other != dir && os.SameFile(q.info, info) {
			at = other
			q.aliases[dir] = true
		}
	}
	if !w.watch(at, info, writers) {
		w.blind = true
		return nil, ""
	}
	p = w.places[at]
	p.wanted = true
	return p, at
}

// watch reports whether the directory at path is watched. Of a directory that was moved away or removed, inotify lets go by
// itself.
func (w *watch) watch(path string, info os.FileInfo, writers bool) bool {
	p := w.places[path]
	if p == nil || !os.SameFile(p.info, info) || !slices.Contains(w.inotify.WatchList(), path) {
		w.forget(path)
		if w.inotify.Add(path) != nil {
			return false
		}
		p = &place{info: info, only: map[string]bool{}, aliases: map[string]bool{}}
		w.places[path] = p
		w.noteAll(time.Now()) // of what happened before the watch began
	}
	if writers && !p.writers {
		p.writers = w.writers.watch(path) == nil
		w.blind = w.blind || !p.writers
	}
	return true
}

func (w *watch) forget(path string) {
	delete(w.places, path)
	_ = w.inotify.Remove(path) // it may be gone already
	w.writers.forget(path)
}
