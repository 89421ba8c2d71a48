package store_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/store"
)

// TestFilesFollowsNoLink puts something else where the files of a revision are expected: a caller with more rights than
// the owner of the folder must not be led anywhere, not even within it, nor be kept waiting, nor fill its memory.
func TestFilesFollowsNoLink(t *testing.T) {
	for sentence, spoil := range map[string]func(dir, rev string) error{
		"a file is a link beside it":        func(_, rev string) error { return relink(rev+"/cert.pem", rev+"/leaf.pem") },
		"the revision is a link to another": func(_, rev string) error { return relink(rev, rev+"9") },
		"the revisions are elsewhere":       func(_, rev string) error { return relink(filepath.Dir(rev), filepath.Dir(rev)+"9") },
		"the certificate is elsewhere":      func(dir, _ string) error { return relink(dir+"/certs/"+name, dir+"/archive/"+name) },
		"all certificates are elsewhere":    func(dir, _ string) error { return relink(dir+"/certs", dir+"/archive/certs") },
		"a link leads to itself":            func(_, rev string) error { return relink(rev+"/cert.pem", rev+"/cert.pem") },
		"a file is a named pipe": func(_, rev string) error {
			return replace(rev, func(p string) error { return syscall.Mkfifo(p, 0o644) })
		},
		"a file is a folder":                      func(_, rev string) error { return replace(rev, func(p string) error { return os.Mkdir(p, 0o755) }) },
		"a file has a terabyte that it claims":    func(_, rev string) error { return os.Truncate(rev+"/chain.pem", 1<<40) },
		"a file is a byte larger than any may be": func(_, rev string) error { return os.Truncate(rev+"/fullchain.pem", 256<<10+1) },
	} {
		s, dir := newStore(t)
		issue(t, s, name, newPair(t))
		must(t, spoil(dir, dir+"/certs/"+name+"/rev/0001"))
		files, err := s.Files(name, 1)
		damaged, ok := errors.AsType[*store.DamagedError](err)
		if !ok || !strings.HasPrefix(damaged.Path, dir+"/certs/") || len(files.Privkey) > 0 {
			t.Errorf("%s: %v", sentence, err)
		}
	}
}

// TestKernelsWithoutOpenat2 reads as on a kernel before Linux 5.6.
func TestKernelsWithoutOpenat2(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	must(t, s.SaveRecord(name, store.Record{Forced: true}, store.Lazy))
	must(t, s.Begin(name, newKey(t), store.Order{URL: "https://ca.test/order/1"}))
	must(t, s.Age())
	if good, err := s.Good(name); good.Number != 1 || err != nil {
		t.Errorf("good: %d, %v", good.Number, err)
	}
	if rec, err := s.Record(name); !rec.Forced || err != nil {
		t.Errorf("record: %+v, %v", rec, err)
	}
	if p, err := s.Pending(name); p == nil || p.Order.URL == "" || err != nil {
		t.Errorf("pending: %+v, %v", p, err)
	}
	if names, err := s.Names(); len(names) != 1 || err != nil {
		t.Errorf("names: %v, %v", names, err)
	}
	must(t, s.Drop(name))
	if p, err := s.Pending(name); p != nil || err != nil {
		t.Errorf("pending: %+v, %v", p, err)
	}
	if rec, err := s.Record("other"); rec.Forced || err != nil {
		t.Errorf("record: %+v, %v", rec, err)
	}
	healthy(t, dir)
}

func TestNothingIsReadOutsideTheFolder(t *testing.T) {
	for kernel, age := range map[string]func(*store.Store) error{
		"with openat2": func(*store.Store) error { return nil }, "without": func(s *store.Store) error { return s.Age() },
	} {
		s, dir := newStore(t)
		issue(t, s, name, newPair(t))
		must(t, age(s))
		cert, outside := dir+"/certs/"+name+"/rev/0001/cert.pem", t.TempDir()+"/cert.pem"
		text, err := os.ReadFile(cert)
		must(t, err)
		must(t, os.WriteFile(outside, text, 0o600))
		for _, target := range []string{outside, "../../../../../.." + outside, "/proc/self/root" + outside} {
			must(t, os.Remove(cert))
			must(t, os.Symlink(target, cert))
			if good, err := s.Good(name); good.Number != 0 || err == nil {
				t.Errorf("%s: a link to %s was followed: revision %d, %v", kernel, target, good.Number, err)
			}
		}
		must(t, os.Remove(cert))
		must(t, os.Symlink("cert9.pem", cert))
		must(t, os.WriteFile(filepath.Dir(cert)+"/cert9.pem", text, 0o600))
		if good, err := s.Good(name); good.Number != 1 || err != nil {
			t.Errorf("%s: a link within was not followed: %v", kernel, err)
		}
	}
}

// relink moves what is at p, and makes p a link to it.
func relink(p, to string) error {
	if err := os.Rename(p, to); err != nil {
		return err
	}
	if p == to {
		if err := os.Remove(p); err != nil {
			return err
		}
	}
	target, err := filepath.Rel(filepath.Dir(p), to)
	if err != nil {
		return err
	}
	return os.Symlink(target, p)
}

// replace makes something else of a file of a revision.
func replace(rev string, with func(p string) error) error {
	if err := os.Remove(rev + "/privkey.pem"); err != nil {
		return err
	}
	return with(rev + "/privkey.pem")
}
