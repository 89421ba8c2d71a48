package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// Rehearsals returns the proofs that rehearsals of renewals show, by certificate, as far as they were not taken away;
// nothing when there are none. A damaged file is moved into the archive, and reported as *DamagedError.
func (s *Store) Rehearsals() (map[string][]Proof, error) {
	var proofs map[string][]Proof
	err := s.readSealed(rehearsalsFile, &proofs)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return proofs, nil
	}
	return nil, fmt.Errorf("reading what rehearsals show: %w", s.advise(s.replaceDamaged(rehearsalsFile, err)))
}

// SaveRehearsals replaces the proofs that rehearsals show, durably.
func (s *Store) SaveRehearsals(proofs map[string][]Proof) error {
	data, err := seal(proofs)
	if err != nil {
		return fmt.Errorf("saving what rehearsals show: %w", err)
	}
	return s.serially("saving", "rehearsals", func(*stripe) error {
		return s.disk.replace(rehearsalsFile, secretMode, data, Durable)
	})
}

func (r *Reader) checkRehearsals(p string) error {
	var proofs map[string][]Proof
	return r.readSealed(p, &proofs)
}
