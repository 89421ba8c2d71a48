package store

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"sync"
	"time"
)

// Ledger is the IssuerState of one issuer, in memory and on disk. Its methods are safe for concurrent use.
type Ledger struct {
	store *Store
	name  string

	mu    sync.Mutex // guards the following; held for moments only
	state IssuerState
	next  *batch // the updates that no write has taken up yet; nil: none
	noted bool   // no write has taken up a Note yet

	writing sync.Mutex // held by the one that writes
}

// batch is the updates that share a write. Its fields belong to the holder of Ledger.writing.
type batch struct {
	done bool
	err  error
}

// Issuer returns the ledger of an issuer, the same for every caller. A damaged one is moved into the archive and
// reported as *DamagedError; the next call starts it anew.
func (s *Store) Issuer(name string) (*Ledger, error) {
	if err := valid(name); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if l, ok := s.ledgers[name]; ok {
		return l, nil
	}
	l := &Ledger{store: s, name: name}
	if err := s.readSealed(issuerFile(name), &l.state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the ledger of issuer %s: %w", name, s.advise(s.replaceDamaged(issuerFile(name), err)))
	}
	if l.state.Budgets == nil {
		l.state.Budgets = map[string]time.Time{}
	}
	s.ledgers[name] = l
	return l, nil
}

// IssuerState returns what is known of an issuer as it is on disk; nothing when nothing is.
func (r *Reader) IssuerState(name string) (state IssuerState, err error) {
	if err := valid(name); err != nil {
		return state, err
	}
	if err := r.readSealed(issuerFile(name), &state); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return IssuerState{}, fmt.Errorf("reading the ledger of issuer %s: %w", name, r.advise(err))
	}
	return state, nil
}

// View shows f the state, which f must neither change nor keep. Budgets is not nil.
func (l *Ledger) View(f func(*IssuerState)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.state)
}

// Update lets f change the state, for all to see at once, and returns when that is durable. Updates that wait for
// the disk share one write of two fsyncs, and its error. After an error the state stays as f left it, and the next
// Update writes all of it again. Budgets is not nil.
func (l *Ledger) Update(f func(*IssuerState)) error {
	b := l.apply(f)
	l.writing.Lock()
	defer l.writing.Unlock()
	if !b.done { // else someone wrote it while we waited
		b.done, b.err = true, l.write()
	}
	return b.err
}

// Note lets f change the state, for all to see at once. The disk has it with the next Update, at the latest when the
// store is closed: it is for what may be forgotten in a crash.
func (l *Ledger) Note(f func(*IssuerState)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.state)
	l.noted = true
}

// settle writes what was noted.
func (l *Ledger) settle() error {
	l.mu.Lock()
	noted := l.noted
	l.mu.Unlock()
	if !noted {
		return nil
	}
	return l.Update(func(*IssuerState) {})
}

// apply changes the state and returns the batch that the change belongs to.
func (l *Ledger) apply(f func(*IssuerState)) *batch {
	l.mu.Lock()
	defer l.mu.Unlock()
	f(&l.state)
	if l.next == nil {
		l.next = new(batch)
	}
	return l.next
}

// write makes the state durable, with all changes up to now. The caller holds writing.
func (l *Ledger) write() error {
	data, err := seal(l.take(time.Now()))
	if err == nil {
		err = l.store.disk.replace(issuerFile(l.name), secretMode, data, Durable)
	}
	if err != nil {
		return fmt.Errorf("saving the ledger of issuer %s: %w", l.name, l.store.advise(err))
	}
	return nil
}

// take closes the batch and returns the state without the budgets that are over.
func (l *Ledger) take(now time.Time) IssuerState {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next, l.noted = nil, false
	maps.DeleteFunc(l.state.Budgets, func(_ string, arrival time.Time) bool { return !arrival.After(now) })
	state := l.state
	state.Budgets = maps.Clone(state.Budgets)
	return state
}
