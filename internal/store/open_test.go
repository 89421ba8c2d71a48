package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/store"
)

func TestModesDoNotDependOnTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o022, 0o077} {
		old := syscall.Umask(umask)
		s, dir := newStore(t)
		rev := issue(t, s, name, newPair(t))
		must(t, s.Begin(name, newKey(t), store.Order{}))
		must(t, s.SaveRecord(name, store.Record{Issued: &rev}, store.Durable))
		must(t, s.CreateAccount("ca", store.Account{}, newKey(t)))
		must(t, s.OfferKey("ca", newKey(t)))
		must(t, s.Remember([]store.Spec{{Key: "certs/a.yaml"}, {Key: "dns/c.yaml"}, {Key: "issuers/b.yaml"}}))
		l, err := s.Issuer("ca")
		must(t, err)
		must(t, l.Update(func(*store.IssuerState) {}))
		must(t, s.SaveNotices(nil))
		must(t, s.SaveRehearsals(nil))
		p := newPair(t)
		must(t, s.SetPlaceholder("new.example.com", p.key, p.chain[0]))
		syscall.Umask(old)

		seen := map[string]bool{}
		must(t, filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
			must(t, err)
			rel, _ := filepath.Rel(dir, p)
			info, err := e.Info()
			must(t, err)
			for pattern, mode := range store.Rules() {
				if ok, _ := filepath.Match(pattern, rel); ok {
					seen[pattern] = true
					if got := info.Mode().String(); got != mode && e.Type() != fs.ModeSymlink {
						t.Errorf("umask %#o: %s has mode %s, want %s", umask, rel, got, mode)
					}
				}
			}
			return nil
		}))
		for pattern := range store.Rules() {
			if !seen[pattern] {
				t.Errorf("nothing is %s", pattern)
			}
		}
		healthy(t, dir)
	}
}

func TestOpenRefuses(t *testing.T) {
	for sentence, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  []string
	}{
		"a folder without FORMAT that holds something else": {
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir+"/FORMAT"))
				must(t, os.WriteFile(dir+"/letter.txt", nil, 0o600))
			}, []string{"it holds letter.txt but no FORMAT file", "set stateDir to an empty folder"}},
		"a folder without FORMAT that holds state": {
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir+"/FORMAT"))
				must(t, os.WriteFile(dir+"/ledger/a.json", nil, 0o600))
			}, []string{"it holds ledger but no FORMAT file", "restore a whole backup"}},
		"a newer format": {
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/FORMAT", []byte("2\n"), 0o644)) },
			[]string{"it has format 2 and this acmed knows 1", "install the newer acmed again"}},
		"a damaged FORMAT": {
			func(t *testing.T, dir string) { must(t, os.WriteFile(dir+"/FORMAT", []byte("\x00\x00"), 0o644)) },
			[]string{"not a version", "restore it from a backup"}},
		"a missing folder": {
			func(t *testing.T, dir string) { must(t, os.Remove(dir+"/accounts")) },
			[]string{"/accounts is missing", "restore it from a backup"}},
		"a folder that others may list": {
			func(t *testing.T, dir string) { must(t, os.Chmod(dir+"/accounts", 0o755)) },
			[]string{"/accounts has mode 0755", "looser than 0700", "chmod 700 /"}},
		"a state directory that others may list": {
			func(t *testing.T, dir string) { must(t, os.Chmod(dir, 0o755)) },
			[]string{"has mode 0755", "looser than 0711", "chmod 711 /"}},
		"a folder of somebody else": {
			func(t *testing.T, dir string) { chown(t, dir+"/ledger") },
			[]string{"/ledger belongs to uid 4242", "chown -h 0 /"}},
		"a state directory of somebody else": {
			func(t *testing.T, dir string) { chown(t, dir) },
			[]string{"it belongs to uid 4242 and acmed runs as uid 0", "run acmed as its owner"}},
		"a link in place of a folder": {
			func(t *testing.T, dir string) {
				must(t, os.Remove(dir+"/certs"))
				must(t, os.Symlink("live", dir+"/certs"))
			}, []string{"/certs is not a folder", "move it"}},
		"a file": {
			func(t *testing.T, dir string) {
				must(t, os.RemoveAll(dir))
				must(t, os.WriteFile(dir, nil, 0o600))
			}, []string{"not a directory", "stateDir"}},
		"a folder whose parent is missing": {
			func(t *testing.T, dir string) { must(t, os.RemoveAll(filepath.Dir(dir))) },
			[]string{"no such file", "create its parent"}},
	} {
		t.Run(sentence, func(t *testing.T) {
			s, dir := newStore(t)
			must(t, s.Close())
			c.spoil(t, dir)
			_, err := store.Open(store.Config{Dir: dir})
			wantError(t, err, append(c.want, dir)...)
		})
	}
}

func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	must(t, os.Chown(path, 4242, -1))
}

func TestOpenRefusesNoDir(t *testing.T) {
	_, err := store.Open(store.Config{})
	wantError(t, err, "Dir is required")
}

func TestOpenAcceptsStricterModes(t *testing.T) {
	s, dir := newStore(t)
	must(t, s.Close())
	must(t, os.Chmod(dir, 0o700))
	must(t, os.Chmod(dir+"/certs", 0o700))
	openAt(t, dir)
	healthy(t, dir)
}

func TestOneStateDirectoryHasOneOwner(t *testing.T) {
	s, dir := newStore(t)
	_, err := store.Open(store.Config{Dir: dir})
	wantError(t, err, dir, "another acmed runs there", "stop it")
	must(t, s.Close())
	openAt(t, dir)
}

func TestOpenSweepsInterruptedWrites(t *testing.T) {
	s, dir := newStore(t)
	issue(t, s, name, newPair(t))
	must(t, s.Close())
	for _, p := range []string{"ledger/.a.json.tmp", "live/.a.tmp", "accounts/.ca.tmp/key.pem", "specs/certs/.a.yaml.tmp", ".FORMAT.tmp", "lost+found/x",
		"certs/" + name + "/.pending.tmp/key.pem", "certs/" + name + "/rev/.0002.tmp/cert.pem"} {
		must(t, os.MkdirAll(filepath.Join(dir, filepath.Dir(p)), 0o700))
		must(t, os.WriteFile(filepath.Join(dir, p), nil, 0o600))
	}
	healthy(t, dir)
	s = openAt(t, dir)
	if got := len(leftovers(t, dir)); got != 2 {
		t.Errorf("%d leftovers after Open, want those of the certificate", got)
	}
	must(t, s.Sweep(name))
	if left := leftovers(t, dir); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestOpenReportsWhatItCannotSweep(t *testing.T) {
	s, dir := newStore(t)
	must(t, s.Close())
	must(t, os.WriteFile(dir+"/ledger/.a.json.tmp", nil, 0o600))
	core, logs := observer.New(zap.WarnLevel)
	s, err := store.OpenWith(store.Config{Dir: dir, Log: zap.New(core)}, func(op, path string, do func() error) error {
		if op == "remove" {
			return &fs.PathError{Op: op, Path: path, Err: syscall.EROFS}
		}
		return unsynced(op, path, do)
	})
	must(t, err)
	must(t, s.Close())
	if logs.Len() != 1 {
		t.Errorf("got %v", logs.All())
	}
}

func TestNothingBeginsInAFolderThatWasMovedAway(t *testing.T) {
	s, dir := newStore(t)
	must(t, os.Rename(dir, dir+".moved"))
	for range 2 {
		wantError(t, s.Begin(name, newKey(t), store.Order{}), dir, "was moved or replaced", "restart acmed")
		wantError(t, s.CreateAccount("ca", store.Account{}, newKey(t)), "was moved or replaced")
		must(t, os.MkdirAll(dir, 0o711)) // and replaced
	}
	if left := leftovers(t, dir+".moved"); left != nil {
		t.Errorf("left behind: %q", left)
	}
}

func TestNamesThatAreNoNamesAreRefused(t *testing.T) {
	s, _ := newStore(t)
	for _, bad := range []string{"", ".", "..", "a/b", "../a", "a..b", ".a", "-a", "_a", "A", "ä", "a\x00", "a b", string(make([]byte, 129))} {
		wantError(t, s.Begin(bad, newKey(t), store.Order{}), "refusing the name", "use up to 128 of")
		wantError(t, s.SaveRecord(bad, store.Record{}, store.Lazy), "refusing the name")
		wantError(t, s.CreateAccount(bad, store.Account{}, newKey(t)), "refusing the name")
		wantError(t, s.Forget([]string{"certs/" + bad + ".yaml"}), "refusing the")
		_, err := s.Record(bad)
		wantError(t, err, "refusing the name")
		_, err = s.Live(bad)
		wantError(t, err, "refusing the name")
		_, err = s.Newest(bad)
		wantError(t, err, "refusing the name")
		_, err = s.Revision(bad, 1)
		wantError(t, err, "refusing the name")
		_, err = s.Files(bad, 1)
		wantError(t, err, "refusing the name")
		_, err = s.Issuer(bad)
		wantError(t, err, "refusing the name")
		_, _, err = s.Account(bad)
		wantError(t, err, "refusing the name")
		if errs := s.Check(bad); len(errs) != 1 {
			t.Errorf("Check: %v", errs)
		}
	}
}

func TestErrorsOfTheDiskSayWhatToDo(t *testing.T) {
	for errno, want := range map[syscall.Errno]string{
		syscall.ENOSPC: "free space or inodes on the filesystem of",
		syscall.EDQUOT: "free space or inodes on the filesystem of",
		syscall.EROFS:  "make the filesystem of",
		syscall.EIO:    "see the kernel's log",
		syscall.EMFILE: "raise LimitNOFILE=",
		syscall.EACCES: "belongs to uid",
	} {
		dir := newDir(t)
		must(t, openAt(t, dir).Close())
		armed := false
		s, err := store.OpenWith(store.Config{Dir: dir}, func(op, path string, do func() error) error {
			if armed {
				return &fs.PathError{Op: op, Path: path, Err: errno}
			}
			return unsynced(op, path, do)
		})
		must(t, err)
		armed = true
		wantError(t, s.SaveRecord(name, store.Record{}, store.Durable), "saving the record of "+name, want)
		must(t, s.Close())
	}
}
