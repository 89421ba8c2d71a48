package store_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/store"
)

var errStopped = errors.New("the process was stopped")

// fault is what goes wrong at one operation.
type fault struct {
	err     error // what the operation returns
	applied bool  // although it was done
	lasting bool  // nothing works from then on
	power   bool  // and what was not synced is lost
}

// faults returns all that is tried at every operation.
func faults() map[string]fault {
	return map[string]fault{
		"killed before":                      {err: errStopped, lasting: true},
		"killed after":                       {err: errStopped, lasting: true, applied: true},
		"power cut before":                   {err: errStopped, lasting: true, power: true},
		"power cut after":                    {err: errStopped, lasting: true, applied: true, power: true},
		"no space, not applied":              {err: syscall.ENOSPC},
		"I/O error, applied":                 {err: syscall.EIO, applied: true},
		"I/O error, applied, then power cut": {err: syscall.EIO, applied: true, power: true},
		"read-only from then on":             {err: syscall.EROFS, lasting: true},
	}
}

// disk stands between a store and its folder. It counts and fails operations, and keeps a platter.
type disk struct {
	*platter
	fault
	at      int // the operation that fails, from 1; 0: none
	count   int
	trace   []string
	unclean map[string]bool // files whose fsync failed
	dated   map[string]bool // those of them of which only the times were not durable
}

func (d *disk) step(op, path string, do func() error) error {
	d.count++
	d.trace = append(d.trace, op+" "+path)
	switch {
	case d.at == 0 || d.count < d.at || d.count > d.at && !d.lasting:
		return d.perform(op, path, do)
	case d.count == d.at && d.applied:
		if err := d.perform(op, path, do); err != nil {
			return err
		}
	}
	if op == "sync" && d.isFile(path) {
		d.unclean[path] = true
		d.dated[path] = d.holds(path)
	}
	return &fs.PathError{Op: op, Path: path, Err: d.err}
}

// perform does it, and sees to it that a file whose fsync failed is never given another chance.
func (d *disk) perform(op, path string, do func() error) error {
	if (op == "sync" || op == "write") && d.unclean[path] {
		d.t.Errorf("%s of %s, whose fsync failed before", op, path)
	}
	switch op {
	case "sync":
		d.sync(path)
		return nil
	case "syncfs":
		d.syncAll()
		return nil
	}
	err := do()
	switch op {
	case "chtimes": // which are set again: what is to be synced is no longer what the failed fsync was about
		if err == nil && d.dated[path] {
			delete(d.unclean, path)
		}
	case "create", "mkdir", "symlink":
		if err == nil {
			d.made(path)
			delete(d.unclean, path)
		}
	case "rename":
		if err == nil && d.unclean[path] {
			d.t.Errorf("a file whose fsync failed became %s", path)
		}
	}
	return err
}

func (d *disk) isFile(path string) bool {
	info, err := os.Lstat(filepath.Join(d.root, path))
	return err == nil && info.Mode().IsRegular()
}

// scenario is a change that is tried with everything going wrong.
type scenario interface {
	// prepare makes the state before the change.
	prepare(t *testing.T, s *store.Store)
	// run makes the change, or carries on with it, as reconcile does: it looks first.
	run(s *store.Store) error
	// verify checks that the state is the old or the new one, and the new one wherever a call returned no error.
	verify(t *testing.T, s *store.Store)
	// finished checks that it is the new one.
	finished(t *testing.T, s *store.Store)
}

// everywhere tries each fault at each operation of a scenario; with -short at every fifth, from a random one on.
func everywhere(t *testing.T, start func() scenario) {
	base := prepared(t, start())
	first, stride := 1, 1
	if testing.Short() {
		first, stride = 1+rand.N(5), 5
	}
	for sentence, f := range faults() {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			for n := first; strike(t, base, start(), f, n); n += stride {
			}
		})
	}
}

// prepared returns the state before the change.
func prepared(t *testing.T, sc scenario) *platter {
	dir := newDir(t)
	s := openAt(t, dir)
	sc.prepare(t, s)
	must(t, s.Close())
	return newPlatter(t, dir)
}

// strike runs a scenario with a fault at operation n, and reports whether there was such an operation.
func strike(t *testing.T, base *platter, sc scenario, f fault, n int) bool {
	dir := newDir(t)
	base.restore(dir)
	d := &disk{platter: newPlatter(t, dir), unclean: map[string]bool{}, dated: map[string]bool{}}
	s, err := store.OpenWith(store.Config{Dir: dir}, d.step)
	must(t, err)
	d.fault, d.at, d.count, d.trace = f, n, 0, nil
	err = sc.run(s)
	if d.count < n {
		must(t, err)
		must(t, s.Close())
		return false
	}
	if !f.lasting && !f.power {
		// The same process carries on.
		sc.verify(t, s)
		finish(t, dir, s, sc)
		must(t, s.Close())
		return !t.Failed()
	}
	must(t, s.Close())
	if f.power {
		dir = newDir(t)
		d.restore(dir)
	}
	restart(t, dir, sc)
	if t.Failed() {
		t.Fatalf("operation %d:\n%s", n, numbered(d.trace))
	}
	return true
}

// restart opens what a fault left and carries on without faults.
func restart(t *testing.T, dir string, sc scenario) {
	t.Helper()
	s, err := store.OpenWith(store.Config{Dir: dir}, unsynced)
	must(t, err)
	healthy(t, dir)
	sc.verify(t, s)
	finish(t, dir, s, sc)
	must(t, s.Close())
}

// strikeTwice kills a scenario at operation first and cuts the power at operation second of the next process. It
// reports whether there was a first.
func strikeTwice(t *testing.T, base *platter, sc scenario, first, second int) bool {
	dir := newDir(t)
	base.restore(dir)
	d := &disk{platter: newPlatter(t, dir), unclean: map[string]bool{}, dated: map[string]bool{}}
	s, err := store.OpenWith(store.Config{Dir: dir}, d.step)
	must(t, err)
	d.fault, d.at, d.count, d.trace = fault{err: errStopped, applied: true, lasting: true}, first, 0, nil
	_ = sc.run(s)
	must(t, s.Close())
	if d.count < first {
		return false
	}
	d.at, d.count = second, 0
	if s, err = store.OpenWith(store.Config{Dir: dir}, d.step); err == nil {
		_ = sc.run(s)
		must(t, s.Close())
	}
	dir = newDir(t)
	d.restore(dir)
	restart(t, dir, sc)
	if t.Failed() {
		t.Fatalf("killed at operation %d, power cut %d later:\n%s", first, second, numbered(d.trace))
	}
	return true
}

// finish runs the scenario without faults.
func finish(t *testing.T, dir string, s *store.Store, sc scenario) {
	t.Helper()
	must(t, sc.run(s))
	sc.verify(t, s)
	sc.finished(t, s)
	healthy(t, dir)
	if left := leftovers(t, dir); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func numbered(trace []string) string {
	var b strings.Builder
	for i, line := range trace {
		fmt.Fprintf(&b, "%3d %s\n", i+1, line)
	}
	return b.String()
}
