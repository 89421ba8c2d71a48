package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// Notices returns what people were told, by certificate; nothing when nobody was told anything. A damaged file is moved
// into the archive, and reported as *DamagedError.
func (s *Store) Notices() (map[string]Notice, error) {
	var notices map[string]Notice
	err := s.readSealed(noticesFile, &notices)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return notices, nil
	}
	return nil, fmt.Errorf("reading what was notified: %w", s.advise(s.replaceDamaged(noticesFile, err)))
}

// SaveNotices replaces what people were told. A power cut may bring back what was there before.
func (s *Store) SaveNotices(notices map[string]Notice) error {
	data, err := seal(notices)
	if err != nil {
		return fmt.Errorf("saving what was notified: %w", err)
	}
	return s.serially("saving", "notices", func(*stripe) error {
		return s.disk.replace(noticesFile, secretMode, data, Lazy)
	})
}

func (r *Reader) checkNotices(p string) error {
	var notices map[string]Notice
	return r.readSealed(p, &notices)
}
