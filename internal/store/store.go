// Package store owns the state directory: accounts, keys, revisions, orders in flight, ledgers and the last good
// specs. docs/state-directory.md is its contract, and Check is that document in Go.
//
// Every change is atomic: whoever looks, and whenever the machine stops, sees the old state or the new one. What a
// method calls durable outlives a power cut once it has returned. Recovery is the normal path: what an interrupted
// change left behind is found by the next change of the same thing.
//
// The package never decides anything about a certificate, never talks to a CA, and never deletes what live points
// at. It changes nothing outside its folder.
package store

import (
	"cmp"
	"errors"
	"fmt"
	"hash/maphash"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"

	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Config is what Open needs.
type Config struct {
	Dir string      // the state directory; required. It is created when only the last element is missing.
	Log *zap.Logger // what Open could not clean up; nil: nothing is logged
}

// Durability says what a change must outlive.
type Durability uint8

// The durabilities.
const (
	Durable Durability = iota // a power cut: the call returns once the disk has it
	// Whole outlives the end of the process. A power cut within the next seconds may undo it.
	Whole
	// Lazy is Whole without any fsync. On filesystems that do not order data before a rename (XFS), a power cut may
	// also leave a file that is recognised as damaged: with it goes what was durable before.
	Lazy
)

// Store is the owner of a state directory, and the only one: it holds the lock. It is safe for concurrent use;
// changes of one certificate wait for each other.
type Store struct {
	*Reader
	disk ops
	log  *zap.Logger
	lock *os.File

	seed    maphash.Seed
	stripes [64]stripe // by certificate name

	mu      sync.Mutex // guards ledgers
	ledgers map[string]*Ledger
}

// stripe serialises the changes of the certificates whose names hash to it.
type stripe struct {
	mu    sync.Mutex
	swept map[string]struct{} // the certificates without leftovers of interrupted changes
}

// Open locks the state directory, lays it out when it is empty, and checks its format, modes and owners. It does
// not look at single certificates: Sweep does, or the first change of each.
func Open(c Config) (*Store, error) {
	return open(c, func(_, _ string, do func() error) error { return do() })
}

func open(c Config, step stepper) (*Store, error) {
	if c.Dir == "" {
		return nil, errors.New("opening the state directory: Dir is required")
	}
	if err := create(c.Dir); err != nil {
		return nil, fmt.Errorf("creating the state directory: %w; create its parent, or set stateDir in acmed.yaml", err)
	}
	reader, err := newReader(c.Dir)
	if err != nil {
		return nil, err
	}
	s := &Store{
		Reader:  reader,
		disk:    ops{root: reader.root, step: step},
		log:     cmp.Or(c.Log, zap.NewNop()),
		seed:    maphash.MakeSeed(),
		ledgers: map[string]*Ledger{},
	}
	if err := s.start(); err != nil {
		return nil, errors.Join(fmt.Errorf("opening the state directory %s: %w", c.Dir, s.advise(err)), s.Close())
	}
	return s, nil
}

// create makes the folder if there is none. Its contents are made by ops, which begin below it.
func create(dir string) error {
	err := os.Mkdir(dir, folderMode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	return cmp.Or(err, os.Chmod(dir, folderMode))
}

// start takes the folder into possession.
func (s *Store) start() error {
	if uid := os.Geteuid(); uid != int(s.uid) {
		return fmt.Errorf("it belongs to uid %d and acmed runs as uid %d: run acmed as its owner, or chown -R -h %d %s", s.uid, uid, uid, s.dir)
	}
	if err := s.checkFixed("."); err != nil {
		return err
	}
	fresh, err := s.fresh()
	if err != nil {
		return err
	}
	if err := s.acquire(); err != nil {
		return err
	}
	if fresh {
		if err := s.layOut(); err != nil {
			return err
		}
	}
	if err := s.checkFormat(); err != nil {
		return err
	}
	if err := s.extend(); err != nil {
		return err
	}
	if err := s.checkLayout(); err != nil {
		return err
	}
	return s.settle()
}

// extend makes the folder that those laid out by an older acmed lack. It holds nothing that the older one would miss.
func (s *Store) extend() error {
	if s.exists(dnsSpecs) {
		return nil
	}
	if err := s.disk.mkdir(dnsSpecs, privateMode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return s.disk.syncDir("specs")
}

// acquire takes the lock, which the kernel gives back when the process ends.
func (s *Store) acquire() error {
	err := s.disk.put(lockFile, secretMode, nil, Lazy)
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.lock, err = s.root.Open(lockFile); err != nil {
		return err
	}
	err = unix.Flock(int(s.lock.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return errors.New("another acmed runs there: stop it first, or give this one a stateDir of its own")
	}
	return err
}

// layOut makes the folders, then FORMAT, which says that they are all there.
func (s *Store) layOut() error {
	for _, r := range rules() {
		if !r.fixed() || !r.mode.IsDir() || r.pattern == "." {
			continue
		}
		if err := s.disk.mkdir(r.pattern, r.mode.Perm()); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	if err := s.disk.syncDir("specs"); err != nil { // the other folders hold nothing yet
		return err
	}
	return s.disk.replace(formatFile, publicMode, []byte(strconv.Itoa(format)+"\n"), Durable)
}

func (s *Store) checkFormat() error {
	data, err := s.read(formatFile)
	if err != nil {
		return err
	}
	version, err := strconv.Atoi(strings.TrimSpace(string(data)))
	switch {
	case err != nil || version < 1:
		return fmt.Errorf("%s holds %.20q and not a version: restore it from a backup", formatFile, data)
	case version > format:
		return &FormatError{Found: version, Known: format}
	}
	return nil
}

// checkLayout checks what belongs to every state directory, however many certificates it holds.
func (s *Store) checkLayout() error {
	var errs []error
	for _, r := range rules() {
		if r.fixed() {
			errs = append(errs, s.checkFixed(r.pattern))
		}
	}
	return errors.Join(errs...)
}

func (s *Store) checkFixed(p string) error {
	r := find(rules(), p)
	info, err := s.root.Lstat(p)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is missing: restore it from a backup, or create it with mode %#o for uid %d when nothing of it is to be kept", s.abs(p), r.mode.Perm(), s.uid)
	}
	if err != nil {
		return err
	}
	return s.inspect(r, p, info)
}

// settle removes what interrupted changes left in the shared folders, and makes what they completed durable
// before anything builds on it.
func (s *Store) settle() error {
	for _, r := range rules() {
		if !r.fixed() || !r.mode.IsDir() {
			continue
		}
		if r.pattern != "certs" { // whose temporary folders lie in those of the certificates
			if err := s.disk.sweep(s.Reader, r.pattern); err != nil {
				s.log.Warn("leaving interrupted writes in place", zap.String("reason", r.pattern), zap.Error(s.advise(err)))
			}
		}
		if err := s.disk.syncDir(r.pattern); err != nil {
			return err
		}
	}
	return nil
}

// Close writes what was noted and gives the lock back.
func (s *Store) Close() error {
	var errs []error
	s.mu.Lock()
	for _, l := range s.ledgers {
		errs = append(errs, l.settle())
	}
	s.mu.Unlock()
	if s.lock != nil {
		errs = append(errs, s.lock.Close())
	}
	return errors.Join(append(errs, s.Reader.Close())...)
}

// Sweep removes what an interrupted change of the certificate left behind. Every change does so first.
func (s *Store) Sweep(name string) error {
	return s.change("sweeping", name, func() error { return nil })
}

// change runs f, which changes the files of the certificate, after those who change them now.
func (s *Store) change(doing, name string, f func() error) error {
	return s.serially(doing, name, func(p *stripe) error {
		if _, ok := p.swept[name]; !ok {
			if err := s.sweep(name); err != nil {
				return err
			}
		}
		if err := f(); err != nil {
			delete(p.swept, name) // what f left behind is for the next sweep
			return err
		}
		p.swept[name] = struct{}{}
		return nil
	})
}

// serially runs f while no other change of the certificate runs, and says what an error is about.
func (s *Store) serially(doing, name string, f func(*stripe) error) error {
	if err := valid(name); err != nil {
		return err
	}
	p := &s.stripes[maphash.String(s.seed, name)%uint64(len(s.stripes))]
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.swept == nil {
		p.swept = map[string]struct{}{}
	}
	if err := f(p); err != nil {
		return fmt.Errorf("%s %s: %w", doing, name, s.advise(err))
	}
	return nil
}

// sweep removes the leftovers of the certificate. An order that is pending although it became the newest revision
// belongs to a Commit that was cut short. Whichever it is, it is made durable before anything builds on it.
func (s *Store) sweep(name string) error {
	for _, dir := range []string{certDir(name), revDir(name), placeholderDir(name)} {
		if err := s.disk.sweep(s.Reader, dir); err != nil {
			return err
		}
	}
	if err := s.dropPlaceholder(name); err != nil {
		return err
	}
	p, err := s.pending(name)
	if p == nil || err != nil {
		return err
	}
	for _, dir := range []string{revDir(name), certDir(name)} {
		if err := s.disk.syncDir(dir); err != nil {
			return err
		}
	}
	if s.committed(p) {
		return s.disk.removeDir(pendingDir(name))
	}
	return nil
}

// present makes sure that the state directory still is where it was opened. A new order or account in a folder
// that was moved away would be lost with it.
func (s *Store) present() error {
	opened, err := s.root.Stat(".")
	if err != nil {
		return err
	}
	if there, err := os.Stat(s.dir); err != nil || !os.SameFile(opened, there) {
		return fmt.Errorf("the state directory %s was moved or replaced: put it back, or restart acmed", s.dir)
	}
	return nil
}

// setAside moves a thing into the archive and returns its new path.
func (s *Store) setAside(from string) (string, error) {
	to := path.Join("archive", stamp()+"-"+strings.ReplaceAll(from, "/", "-"))
	return to, s.disk.rename(from, to)
}

// replaceDamaged sets a damaged thing aside, so that it starts anew. Other errors pass.
func (s *Store) replaceDamaged(thing string, err error) error {
	damaged, ok := errors.AsType[*DamagedError](err)
	if !ok {
		return err
	}
	to, err := s.setAside(thing)
	if err != nil {
		return errors.Join(damaged, err)
	}
	damaged.Archived = s.abs(to)
	return damaged
}
