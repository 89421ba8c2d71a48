package spec

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// A folder is one directory of files that each describe one T, with the last good version of each.
type folder[T any] struct {
	dir      string
	prefix   string // of the keys
	optional bool   // dir need not exist
	hasty    bool   // read files at once, for a linter
	rules[T]

	writing func(path string, changed time.Time) Writing // of the running load; nil: nothing is known
	now     bool                                         // likewise: read files at once

	files  entries[T]
	strays []*Problem // files that are none of ours, sorted; and dir itself
	moved  bool       // something that a Set shows is not as it was at the last build
	// departed holds when certificates that were in effect were let go of, for an hour; an accepted removal ends it.
	departed map[string]time.Time

	// Of the running scan.
	gone    bool  // dir could not be listed
	self    stamp // of dir
	selfAt  time.Time
	unread  []*entry[T]
	pending time.Time // when to look again
}

// rules are what certificates and issuers do differently. None may be nil.
type rules[T any] struct {
	parse   func(file string, text []byte) draft[T]
	recall  func(file string, kept []byte) draft[T] // parses what keep returned, without regard to other files and the machine
	keep    func(text []byte, t *T) []byte          // what is to be remembered of a good text
	removes func(old, new *T) []string              // what an edit takes away that had better wait
	share   func(t, like *T)                        // lets t use the memory of like where both say the same
	claim   func(old *T, d *draft[T]) *Problem      // takes what only one may have, in exchange for what old had
	concede func(d *draft[T])                       // makes claim succeed for a last valid version
	release func(old *T)                            // gives back what claim took
}

// An entry is what is known of one file.
type entry[T any] struct {
	name       string
	stamp      stamp     // zero: never seen
	since      time.Time // when stamp was first seen
	present    bool      // in the latest scan
	dropped    bool      // nobody knows it any more
	judged     bool      // next, problems and good are about what stamp stands for
	edited     bool      // stamp is not that of the text which good comes from
	held       bool      // vanished, but kept in force
	bare       bool      // good comes from a blank text
	good       *T        // in force; nil: nothing
	next       *upcoming[T]
	problems   []*Problem
	remembered time.Time // modification time of the text that the caller remembers; zero: none
	beside     beside    // of the text that was read last
	leads      []string  // where name is a link: that link, those behind it, and the file; nil: it is none
}

// upcoming is a text that was read and is not in force yet.
type upcoming[T any] struct {
	draft[T]
	text    []byte // nil: it is the one that the caller remembers
	modTime time.Time
	until   time.Time // deferred until then; zero: not deferred
}

func (u *upcoming[T]) deferred() bool { return u != nil && !u.until.IsZero() }

func newFolder[T any](prefix string, known map[string]time.Time, r rules[T]) *folder[T] {
	f := &folder[T]{prefix: prefix, rules: r}
	for key, modTime := range known {
		if name, ours := strings.CutPrefix(key, prefix); ours && strings.HasSuffix(name, suffix) {
			name = strings.TrimSuffix(name, suffix)
			f.files.add(&entry[T]{name: name, remembered: modTime})
		}
	}
	return f
}

func (f *folder[T]) file(name string) string { return filepath.Join(f.dir, name+suffix) }

func (f *folder[T]) key(name string) string { return f.prefix + name + suffix }

// recheck makes the next scan read everything again.
func (f *folder[T]) recheck() {
	for _, e := range f.files.all() {
		e.judged = false
	}
}

// again asks for another load at t.
func (f *folder[T]) again(t time.Time) {
	f.pending = earliest(f.pending, t)
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// scan looks at the files that may have changed, and reads those that did and stand still.
func (f *folder[T]) scan(now time.Time, o LoadOptions) {
	f.writing, f.now = o.Writing, o.Now
	f.pending, f.unread = time.Time{}, f.unread[:0]
	strays, err := f.list(now, o.Changed)
	if f.gone = err != nil; f.gone {
		f.absent()
		f.self = stamp{}
		if !f.optional || !os.IsNotExist(err) || f.files.len() > 0 {
			strays = []*Problem{f.unlisted(err)}
		}
	}
	sortProblems(strays)
	if !reflect.DeepEqual(strays, f.strays) {
		f.strays, f.moved = strays, true
	}
	f.readAll(now)
}

// absent forgets which files there were.
func (f *folder[T]) absent() {
	for _, e := range f.files.all() {
		e.present = false
	}
}

// unlisted words why dir cannot be listed.
func (f *folder[T]) unlisted(err error) *Problem {
	p := fileProblem(f.dir, err)
	if os.IsNotExist(err) {
		p.Problem, p.Hint = "does not exist", "create the folder, or mount what holds it"
	}
	return p
}

// list looks at every name in dir, or at those alone that can be other than at the last time. It returns what is
// wrong with files that are none of ours.
func (f *folder[T]) list(now time.Time, changed []string) (strays []*Problem, err error) {
	d, err := os.OpenFile(f.dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	self, err := stampFile(d)
	if err != nil {
		return nil, err
	}
	f.lookBeside(now, changed)
	bases, enough := f.suspects(changed)
	if !enough || self.device != f.self.device || self.inode != f.self.inode {
		if bases, err = d.Readdirnames(-1); err != nil {
			return nil, err
		}
		f.absent()
	}
	if self != f.self {
		f.self, f.selfAt = self, now
	}
	for _, base := range bases {
		if name, ours := nameIn(base); ours {
			f.look(int(d.Fd()), name, base, now)
		} else if problem := f.stray(base); problem != nil {
			strays = append(strays, problem)
		}
	}
	return strays, nil
}

// suspects returns the files to be looked at when no others have changed. That is not enough when something has that
// is none of ours, such as a link that ours lead through.
func (f *folder[T]) suspects(changed []string) (bases []string, enough bool) {
	if changed == nil || len(f.strays) > 0 {
		return nil, false
	}
	for _, path := range changed {
		if filepath.Dir(path) != f.dir {
			continue
		}
		base := filepath.Base(path)
		if name, ours := nameIn(base); !ours {
			info, err := os.Lstat(path)
			if !os.IsNotExist(err) && (err != nil || !info.Mode().IsRegular() || f.stray(base) != nil) {
				return nil, false
			}
		} else if e := f.files.get(name); e != nil {
			e.present, e.judged = false, false
		} else {
			bases = append(bases, base)
		}
	}
	for _, e := range f.files.all() {
		if !e.judged {
			e.present = false
			bases = append(bases, e.name+suffix)
		}
	}
	return bases, true
}

// nameIn returns the name that a file called base is for.
func nameIn(base string) (name string, ours bool) {
	name, ours = strings.CutSuffix(base, suffix)
	return name, ours && ValidName(name)
}

// stray returns what is wrong with the name of a file that somebody may have meant for us.
func (f *folder[T]) stray(base string) *Problem {
	p := &Problem{File: filepath.Join(f.dir, base)}
	name, ours := strings.CutSuffix(base, suffix)
	stem, yml := strings.CutSuffix(base, ".yml")
	switch {
	case base[0] == '.', ours && ValidName(name):
		return nil
	case yml:
		p.Problem, p.Hint = "is not read", "rename it to "+stem+suffix
	case ours:
		p.Problem = "is not read: its name is not fit for a name"
		p.Hint = "rename it: " + NameRule
	default:
		return nil
	}
	return p
}

// look compares one file with what is known of it.
func (f *folder[T]) look(dir int, name, base string, now time.Time) {
	var st unix.Stat_t
	if unix.Fstatat(dir, base, &st, unix.AT_SYMLINK_NOFOLLOW) == unix.ENOENT {
		return // removed since it was listed
	}
	var err error
	var leads []string
	if st.Mode&unix.S_IFMT == unix.S_IFLNK {
		leads = Leads(f.file(name))
		err = unix.Fstatat(dir, base, &st, 0)
	}
	e := f.files.get(name)
	if e == nil {
		e = &entry[T]{name: name}
		f.files.add(e)
	}
	if e.present {
		return // it was named twice
	}
	e.present, e.leads = true, leads
	if e.held {
		e.held, f.moved = false, true
	}
	if err != nil {
		e.stamp, e.judged = stamp{}, false
		f.refuse(e, fileProblem(f.file(name), err))
		return
	}
	if s := stampOf(&st); s != e.stamp {
		e.stamp, e.since, e.judged, e.edited = s, now, false, true
		f.moved = f.moved || e.next.deferred()
		e.next = nil
	}
	if !e.judged {
		f.consider(e, now)
	}
}

// consider decides whether a changed file may be read.
func (f *folder[T]) consider(e *entry[T], now time.Time) {
	if err := e.stamp.check(); err != nil {
		e.judged = true
		f.refuse(e, fileProblem(f.file(e.name), err))
		return
	}
	if at := f.settled(e.path(f), e.stamp, e.since); now.Before(at) {
		f.again(at)
		return
	}
	f.unread = append(f.unread, e)
}

// refuse replaces the problems of a file. What was read of it before and is not in force yet goes.
func (f *folder[T]) refuse(e *entry[T], problems ...*Problem) {
	if e.next.deferred() || !reflect.DeepEqual(problems, e.problems) {
		f.moved = true
	}
	e.next, e.problems = nil, problems
}

// readAll reads and parses the unread files on all cores and puts the outcome into their next.
func (f *folder[T]) readAll(now time.Time) {
	var taken atomic.Int64
	var readers sync.WaitGroup
	failed := make([]error, len(f.unread))
	for range min(runtime.GOMAXPROCS(0), len(f.unread)) {
		readers.Go(func() {
			var like *T // the one before: most of many are alike
			for i := taken.Add(1) - 1; int(i) < len(f.unread); i = taken.Add(1) - 1 {
				failed[i] = f.read(f.unread[i], &like)
			}
		})
	}
	readers.Wait()
	for i, e := range f.unread {
		if failed[i] == nil && f.reopened(e, now) {
			failed[i] = errUnsteady
		}
		switch {
		case errors.Is(failed[i], errUnsteady), errors.Is(failed[i], fs.ErrNotExist):
			f.again(now.Add(quiet))
		case failed[i] != nil:
			f.refuse(e, fileProblem(f.file(e.name), failed[i]))
		case e.next.waits:
			e.judged, e.next = false, nil
		case e.next.value == nil:
			f.refuse(e, e.next.problems...)
		}
	}
}

// read parses one file, if it still is the one that was looked at.
func (f *folder[T]) read(e *entry[T], like **T) error {
	file := f.file(e.name)
	text, s, err := openText(file)
	if err == nil && s != e.stamp {
		err = errUnsteady
	}
	if err != nil {
		return err
	}
	e.judged = true
	e.next = &upcoming[T]{draft: f.parse(file, text), text: text, modTime: s.modTime()}
	if e.beside = e.next.beside; e.good == nil && e.next.modTime.Equal(e.remembered) && e.beside.path == "" {
		e.next.text = nil
	}
	if t := e.next.value; t != nil {
		if *like != nil {
			f.share(t, *like)
		}
		*like = t
	}
	return nil
}
