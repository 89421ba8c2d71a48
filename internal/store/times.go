package store

import (
	"errors"
	"path"
	"slices"
	"time"
)

// Settling is how long it may take until readers meet files whose time has been chosen: they are made durable first. A
// server that looks at the old files until then must find the new ones newer than that look.
const Settling = 250 * time.Millisecond

// Newer returns the time that files get at now when the files that they replace have the time before. Servers compare
// whole seconds, either with the file that they have or with the clock when they last read files. The result is
// therefore in a second that has not begun yet, and at least one whole second after before.
func Newer(now, before time.Time) time.Time {
	next := now.Truncate(time.Second).Add(time.Second)
	after := before.Add(time.Second)
	if whole := after.Truncate(time.Second); !whole.Equal(after) {
		after = whole.Add(time.Second)
	}
	if after.After(next) {
		return after
	}
	return next
}

// freshen gives all files of the directory dir, to which live/NAME is about to point, one time. It is newer than the
// times of the files that live/NAME shows now. The time is durable when freshen returns.
func (s *Store) freshen(name, dir string) error {
	bases := slices.DeleteFunc([]string{privkeyFile, certFile, chainFile, fullchainFile, metaFile}, func(base string) bool {
		return !s.exists(path.Join(dir, base))
	})
	at := Newer(time.Now().Add(Settling), s.latest(liveLink(name)))
	for _, base := range bases {
		// File systems that cannot set times, such as some of FUSE, must not stop a renewal.
		if err := s.disk.chtimes(path.Join(dir, base), at); err != nil && !errors.Is(err, errors.ErrUnsupported) {
			return err
		}
	}
	for _, base := range bases {
		if err := s.disk.syncFile(path.Join(dir, base)); err != nil {
			return err
		}
	}
	return nil
}

// latest returns the newest time of the files in dir; zero if dir cannot be read: live/NAME may point at nothing.
func (s *Store) latest(dir string) (newest time.Time) {
	bases, err := s.list(dir)
	if err != nil {
		return time.Time{}
	}
	for _, base := range bases {
		if info, err := s.root.Lstat(path.Join(dir, base)); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest
}
