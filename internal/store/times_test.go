package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/store"
)

// TestServersFindEveryActivatedRevisionNewer is about servers that compare the time of a file, in whole seconds, with
// that of their last look or of the file that they have: ocserv, RabbitMQ, hitch, ejabberd.
func TestServersFindEveryActivatedRevisionNewer(t *testing.T) {
	for sentence, change := range map[string]func(t *testing.T, s *store.Store, dir string){
		"a renewal whose key is as old as its order": func(t *testing.T, s *store.Store, dir string) {
			next := newPair(t)
			must(t, s.Begin(name, next.key, store.Order{}))
			age(t, dir+"/certs/"+name+"/pending/key.pem", -time.Hour)
			rev, err := s.Commit(name, next.chain, store.Revision{})
			must(t, err)
			must(t, s.Activate(name, rev.Number))
		},
		"a renewal that waited for its window": func(t *testing.T, s *store.Store, dir string) {
			rev := commit(t, s, newPair(t))
			age(t, dir+"/certs/"+name+"/rev/0003", -4*time.Hour)
			must(t, s.Activate(name, rev.Number))
		},
		"a rollback": func(t *testing.T, s *store.Store, dir string) {
			age(t, dir+"/certs/"+name+"/rev/0001", -90*24*time.Hour)
			must(t, s.Activate(name, 1))
		},
		"the newest again after a rollback": func(t *testing.T, s *store.Store, _ string) {
			must(t, s.Activate(name, 1))
			must(t, s.Activate(name, 2))
		},
		"a renewal after the clock went back": func(t *testing.T, s *store.Store, dir string) {
			age(t, dir+"/certs/"+name+"/rev/0002", time.Hour)
			issue(t, s, name, newPair(t))
		},
		"a renewal after the clock went back, where one file alone is from the future": func(t *testing.T, s *store.Store, dir string) {
			age(t, dir+"/certs/"+name+"/rev/0002/chain.pem", time.Hour)
			issue(t, s, name, newPair(t))
		},
		"a renewal after an administrator has pointed live at another revision": func(t *testing.T, s *store.Store, dir string) {
			age(t, dir+"/certs/"+name+"/rev/0001", time.Hour)
			must(t, os.Remove(dir+"/live/"+name))
			must(t, os.Symlink("../certs/"+name+"/rev/0001", dir+"/live/"+name))
			must(t, s.Activate(name, 2))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, dir := newStore(t)
			issue(t, s, name, newPair(t))
			issue(t, s, name, newPair(t))
			for number := range 2 {
				age(t, filepath.Join(dir, "certs", name, "rev", []string{"0001", "0002"}[number]), time.Duration(number-9)*time.Minute)
			}
			began := time.Now()
			change(t, s, dir)
			live := timesOf(t, dir+"/live/"+name)
			if at := only(t, live); at.Before(began) {
				t.Errorf("its time is %v, and a server may have looked at %v", at, began)
			}
			healthy(t, dir)
			for _, n := range s.Numbers(name) {
				if now, _ := s.Live(name); n != now {
					wantLater(t, live, timesOf(t, filepath.Join(dir, "certs", name, "rev", numberedRevision(n))))
				}
			}
		})
	}
}

func TestAPlaceholderAndWhatFollowsItAreNewerThanWhatWasLive(t *testing.T) {
	s, dir := newStore(t)
	for range 2 {
		p := newPair(t)
		must(t, s.SetPlaceholder(name, p.key, p.chain[0]))
		only(t, timesOf(t, dir+"/live/"+name))
		age(t, dir+"/live/"+name+"/", time.Hour)
	}
	before := timesOf(t, dir+"/live/"+name)
	p := newPair(t)
	must(t, s.SetPlaceholder(name, p.key, p.chain[0]))
	second := timesOf(t, dir+"/live/"+name)
	wantLater(t, second, before)
	issue(t, s, name, newPair(t))
	wantLater(t, timesOf(t, dir+"/live/"+name), second)
}

func TestTheTimeOfARevisionIsInASecondThatHasNotBegun(t *testing.T) {
	at := func(text string) time.Time {
		parsed, err := time.Parse("15:04:05.9", text)
		must(t, err)
		return parsed
	}
	for sentence, c := range map[string]struct{ now, before, want string }{
		"a server that looked in the same second before it finds it newer": {"10:00:00.3", "09:00:00", "10:00:01"},
		"also on the second":                            {"10:00:00", "09:00:00", "10:00:01"},
		"a second after what was live":                  {"10:00:00.3", "10:00:01", "10:00:02"},
		"more than that where what was live has a part": {"10:00:00.3", "10:00:01.2", "10:00:03"},
		"far from a clock that went back":               {"10:00:00.3", "12:00:00", "12:00:01"},
	} {
		if got := store.Newer(at(c.now), at(c.before)); !got.Equal(at(c.want)) {
			t.Errorf("%s: got %v, want %s", sentence, got, c.want)
		}
	}
}

func TestWhatIsLiveAlreadyKeepsItsTimes(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	age(t, dir+"/live/"+name+"/", -time.Hour)
	before := only(t, timesOf(t, dir+"/live/"+name))
	must(t, s.Activate(name, 1))
	if after := only(t, timesOf(t, dir+"/live/"+name)); !after.Equal(before) {
		t.Errorf("they went from %v to %v", before, after)
	}
}

func TestALiveLinkThatLeadsNowhereIsNoObstacle(t *testing.T) {
	for _, target := range []string{"../certs/" + name + "/rev/0009", "/etc", "../../../../.."} {
		s, dir := newStore(t)
		issue(t, s, name, newPair(t))
		must(t, os.Remove(dir+"/live/"+name))
		must(t, os.Symlink(target, dir+"/live/"+name))
		must(t, s.Activate(name, 1))
		only(t, timesOf(t, dir+"/live/"+name))
	}
}

// TestTimesAreDurableBeforeTheLink has a power cut show, through the new link, nothing but the new times; the crash
// tests do so at every operation.
func TestTimesAreDurableBeforeTheLink(t *testing.T) {
	s, d := traced(t)
	rev := commit(t, s, newPair(t))
	d.trace = nil
	must(t, s.Activate(name, rev.Number))
	set, synced := map[string]bool{}, map[string]bool{}
	for _, line := range d.trace {
		switch op, path, _ := cut(line); op {
		case "chtimes":
			set[path] = true
		case "sync":
			synced[path] = synced[path] || set[path]
		case "symlink":
			if len(set) != 5 || len(synced) != 5 {
				t.Errorf("it is switched after:\n%s", numbered(d.trace))
			}
			return
		}
	}
	t.Error("it is not switched")
}

// TestAFileSystemWithoutTimesServesAllTheSame is for those of FUSE that cannot set any.
func TestAFileSystemWithoutTimesServesAllTheSame(t *testing.T) {
	dir := newDir(t)
	s, err := store.OpenWith(store.Config{Dir: dir}, func(op, path string, do func() error) error {
		if op == "chtimes" {
			return &fs.PathError{Op: op, Path: path, Err: errors.ErrUnsupported}
		}
		return unsynced(op, path, do)
	})
	must(t, err)
	defer s.Close()
	if rev := issue(t, s, name, newPair(t)); rev.Number != 1 {
		t.Errorf("revision %d is live", rev.Number)
	}
}
