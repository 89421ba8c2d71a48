package store

import (
	"errors"
	"fmt"
	"io/fs"
)

// Names returns the names of the certificates that have a record, in no order.
func (r *Reader) Names() ([]string, error) { return r.listNames("ledger", ".json") }

// Record returns what is known about a certificate; the zero Record when that is nothing. A damaged record is moved
// into the archive and reported as *DamagedError beside the zero Record, with which it starts anew.
func (s *Store) Record(name string) (Record, error) {
	var rec Record
	if err := valid(name); err != nil {
		return rec, err
	}
	err := s.readSealed(recordFile(name), &rec)
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		return rec, nil
	}
	return Record{}, fmt.Errorf("reading the record of %s: %w", name, s.advise(s.replaceDamaged(recordFile(name), err)))
}

// SaveRecord replaces the record. Durable costs two fsyncs: of the file, and of the folder for its name. The checksums
// of revisions are left to their own meta.json.
func (s *Store) SaveRecord(name string, rec Record, d Durability) error {
	rec.Issued, rec.Live = summary(rec.Issued), summary(rec.Live)
	data, err := seal(rec)
	if err != nil {
		return fmt.Errorf("saving the record of %s: %w", name, err)
	}
	return s.serially("saving the record of", name, func(*stripe) error {
		return s.disk.replace(recordFile(name), secretMode, data, d)
	})
}

// summary is rev without the checksums of its files.
func summary(rev *Revision) *Revision {
	if rev == nil {
		return nil
	}
	short := *rev
	short.Sums = nil
	return &short
}

// Look returns what is known about a certificate, the number of its live revision and the order in flight, nil when
// there is none. It changes nothing, damaged or not: what is damaged counts as unknown, as it does when it starts anew.
func (r *Reader) Look(name string) (rec Record, live int, order *Order, err error) {
	if live, err = r.Live(name); err != nil {
		return rec, 0, nil, err
	}
	if err := r.readSealed(recordFile(name), &rec); err != nil {
		rec = Record{}
		if _, damaged := errors.AsType[*DamagedError](err); !damaged && !errors.Is(err, fs.ErrNotExist) {
			return rec, live, nil, fmt.Errorf("reading the record of %s: %w", name, r.advise(err))
		}
	}
	p, err := r.readPending(name)
	if _, damaged := errors.AsType[*DamagedError](err); damaged || errors.Is(err, fs.ErrNotExist) {
		return rec, live, nil, nil
	}
	if err != nil {
		return rec, live, nil, fmt.Errorf("reading the order of %s: %w", name, r.advise(err))
	}
	return rec, live, &p.Order, nil
}
