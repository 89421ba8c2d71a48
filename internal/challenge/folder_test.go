package challenge_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/acme"
	"acmed/internal/challenge"
)

const (
	token   = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	keyAuth = token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
)

func proof() acme.Proof {
	return acme.Proof{Type: "http-01", Identifier: acme.Identifier{Type: "dns", Value: "example.com"}, Token: token, KeyAuth: keyAuth}
}

func openFolder(t *testing.T) (*challenge.Folder, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "http-01")
	f, err := challenge.OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

func present(t *testing.T, f *challenge.Folder) {
	t.Helper()
	if err := f.Present(t.Context(), proof()); err != nil {
		t.Fatal(err)
	}
}

func expectMode(t *testing.T, path string, want fs.FileMode) {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != want {
		t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
	}
}

// expectOnly fails unless dir holds exactly the files names.
func expectOnly(t *testing.T, dir string, names ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, entry := range entries {
		got = append(got, entry.Name())
	}
	if strings.Join(got, " ") != strings.Join(names, " ") {
		t.Errorf("%s holds %q, want %q", dir, got, names)
	}
}

func TestProofIsVisibleUntilCleanedUp(t *testing.T) {
	f, dir := openFolder(t)
	for range 2 { // both are idempotent
		present(t, f)
	}
	if got, ok := f.KeyAuthorization(token); !ok || got != keyAuth {
		t.Errorf("got %q, %v", got, ok)
	}
	expectOnly(t, dir, token)
	for range 2 {
		if err := f.CleanUp(t.Context(), proof()); err != nil {
			t.Fatal(err)
		}
	}
	if _, ok := f.KeyAuthorization(token); ok {
		t.Error("the token is answered after its clean-up")
	}
	expectOnly(t, dir)
}

func TestEveryoneMayReadWhateverTheUmask(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	dir := t.TempDir()
	f, err := challenge.Webroot(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	present(t, f)
	expectMode(t, filepath.Join(dir, ".well-known"), fs.ModeDir|0o755)
	expectMode(t, filepath.Join(dir, ".well-known/acme-challenge"), fs.ModeDir|0o755)
	expectMode(t, filepath.Join(dir, ".well-known/acme-challenge", token), 0o644)
}

func TestFolderThatIsReplacedIsFollowed(t *testing.T) {
	dir := t.TempDir()
	for _, release := range []string{"1", "2"} {
		if err := os.Mkdir(filepath.Join(dir, release), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	current := filepath.Join(dir, "current")
	if err := os.Symlink("1", current); err != nil {
		t.Fatal(err)
	}
	f, err := challenge.Webroot(current, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(current), os.Symlink("2", current)); err != nil {
		t.Fatal(err)
	}
	present(t, f)
	expectOnly(t, filepath.Join(dir, "2/.well-known/acme-challenge"), token)
	expectOnly(t, filepath.Join(dir, "1/.well-known/acme-challenge"))
}

func TestNoLinkLeadsOutOfTheWebroot(t *testing.T) {
	for sentence, link := range map[string]string{
		"the first folder is a link":  ".well-known",
		"the second folder is a link": ".well-known/acme-challenge",
	} {
		t.Run(sentence, func(t *testing.T) {
			outside, dir := t.TempDir(), t.TempDir()
			path := filepath.Join(dir, link)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, path); err != nil {
				t.Fatal(err)
			}
			_, err := challenge.Webroot(dir, nil)
			if err == nil {
				t.Fatal("a link out of the webroot was followed")
			}
			if want := filepath.Base(link) + " is a symbolic link to " + outside; !strings.Contains(err.Error(), want) {
				t.Errorf("%q does not say %q", err, want)
			}
			expectOnly(t, outside)
		})
	}
}

func TestPresentReplacesALinkInsteadOfFollowingIt(t *testing.T) {
	f, dir := openFolder(t)
	victim := filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, token)); err != nil {
		t.Fatal(err)
	}
	present(t, f)
	expectMode(t, filepath.Join(dir, token), 0o644)
	if got, err := os.ReadFile(victim); err != nil || string(got) != "precious" {
		t.Errorf("the file behind the link holds %q, %v", got, err)
	}
}

func TestReadersSeeTheProofsAndMakeNothing(t *testing.T) {
	f, dir := openFolder(t)
	r, err := challenge.ReadFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.KeyAuthorization(token); ok {
		t.Error("a proof before it is presented")
	}
	present(t, f)
	if got, ok := r.KeyAuthorization(token); !ok || got != keyAuth {
		t.Errorf("got %q, %v", got, ok)
	}
	missing, file := filepath.Join(dir, "missing"), filepath.Join(dir, token)
	for path, want := range map[string]error{missing: fs.ErrNotExist, file: syscall.ENOTDIR} {
		if _, err := challenge.ReadFolder(path); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", path, err, want)
		}
	}
	expectOnly(t, dir, token)
}

func TestFolderNeedsAParent(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "missing")
	if _, err := challenge.OpenFolder(filepath.Join(dir, "http-01")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("token folder: %v", err)
	}
	if _, err := challenge.Webroot(dir, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("webroot: %v", err)
	}
}

func TestFolderThatVanishes(t *testing.T) {
	f, dir := openFolder(t)
	if err := os.RemoveAll(filepath.Dir(dir)); err != nil {
		t.Fatal(err)
	}
	if err := f.Present(t.Context(), proof()); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), dir) {
		t.Errorf("present: %v", err)
	}
	if err := f.CleanUp(t.Context(), proof()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("clean-up: %v", err)
	}
	if _, err := f.Sweep(time.Now(), 0); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("sweep: %v", err)
	}
}

func TestProofsThatAreRefused(t *testing.T) {
	badToken := map[string]func(*acme.Proof){
		"another type":       func(p *acme.Proof) { p.Type = "dns-01" },
		"a path for a token": func(p *acme.Proof) { p.Token = "../../../../etc/cron.d/x"; p.KeyAuth = p.Token + ".abc" },
		"a short token":      func(p *acme.Proof) { p.Token = "abc"; p.KeyAuth = "abc.abc" },
		"a long token":       func(p *acme.Proof) { p.Token = strings.Repeat("a", 129); p.KeyAuth = p.Token + ".abc" },
	}
	badKeyAuth := map[string]func(*acme.Proof){
		"another token's proof":        func(p *acme.Proof) { p.Token = strings.Repeat("a", 16) },
		"a proof without a thumbprint": func(p *acme.Proof) { p.KeyAuth = token + "." },
		"markup in the thumbprint":     func(p *acme.Proof) { p.KeyAuth = token + ".<script>" },
		"an endless thumbprint":        func(p *acme.Proof) { p.KeyAuth = token + "." + strings.Repeat("a", 512) },
	}
	refused := func(t *testing.T, spoil func(*acme.Proof), cleanUp bool) {
		f, dir := openFolder(t)
		p := proof()
		spoil(&p)
		if err := f.Present(t.Context(), p); err == nil {
			t.Error("it was presented")
		}
		if err := f.CleanUp(t.Context(), p); (err != nil) != cleanUp {
			t.Errorf("cleaning up: %v", err)
		}
		expectOnly(t, dir)
	}
	for sentence, spoil := range badToken {
		t.Run(sentence, func(t *testing.T) { refused(t, spoil, true) })
	}
	for sentence, spoil := range badKeyAuth { // cleaning up needs the token alone
		t.Run(sentence, func(t *testing.T) { refused(t, spoil, false) })
	}
}

func TestFailedStepsCanBeRepeated(t *testing.T) {
	broken := errors.New("input/output error")
	for sentence, applied := range map[string]bool{
		"not applied":                    false,
		"applied but reported as failed": true,
	} {
		t.Run("rename "+sentence, func(t *testing.T) {
			f, dir := openFolder(t)
			f.BreakRename(broken, applied)
			if err := f.Present(t.Context(), proof()); !errors.Is(err, broken) {
				t.Errorf("present: %v", err)
			}
			if _, ok := f.KeyAuthorization(token); ok != applied {
				t.Errorf("the token is visible: %v", ok)
			}
			f.Mend()
			present(t, f)
			expectOnly(t, dir, token)
		})
		t.Run("remove "+sentence, func(t *testing.T) {
			f, dir := openFolder(t)
			present(t, f)
			f.BreakRemove(broken, applied)
			if err := f.CleanUp(t.Context(), proof()); !errors.Is(err, broken) {
				t.Errorf("clean-up: %v", err)
			}
			f.Mend()
			if err := f.CleanUp(t.Context(), proof()); err != nil {
				t.Errorf("second clean-up: %v", err)
			}
			expectOnly(t, dir)
		})
		t.Run("rename and remove "+sentence, func(t *testing.T) {
			f, _ := openFolder(t)
			f.BreakRename(broken, applied)
			f.BreakRemove(broken, false)
			if err := f.Present(t.Context(), proof()); !errors.Is(err, broken) {
				t.Errorf("present: %v", err)
			}
			f.Mend()
			present(t, f)
		})
	}
}

func TestSweepRemovesOnlyWhatIsStaleAndOurs(t *testing.T) {
	f, dir := openFolder(t)
	now := time.Now()
	old, young, recent := now.Add(-25*time.Hour), now.Add(-23*time.Hour), now.Add(-time.Second)
	for name, changed := range map[string]time.Time{
		strings.Repeat("a", 43): old,
		".acmed-LEFTBEHIND":     young,
		strings.Repeat("b", 43): young,
		".acmed-INFLIGHT":       recent,
		"robots.txt":            old,
		".htaccess":             old,
		"short":                 old,
	} {
		path := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(path, nil, 0o644), os.Chtimes(path, changed, changed)); err != nil {
			t.Fatal(err)
		}
	}
	folder := filepath.Join(dir, strings.Repeat("c", 43))
	if err := errors.Join(os.Mkdir(folder, 0o755), os.Chtimes(folder, old, old)); err != nil {
		t.Fatal(err)
	}

	n, err := f.Sweep(now, 24*time.Hour)
	if err != nil || n != 2 {
		t.Errorf("swept %d, %v; want 2", n, err)
	}
	expectOnly(t, dir, ".acmed-INFLIGHT", ".htaccess", strings.Repeat("b", 43), strings.Repeat("c", 43), "robots.txt", "short")
}

func TestSweepGoesOnAfterAnError(t *testing.T) {
	f, _ := openFolder(t)
	present(t, f)
	broken := errors.New("input/output error")
	f.BreakRemove(broken, false)
	if n, err := f.Sweep(time.Now().Add(time.Hour), time.Minute); n != 0 || !errors.Is(err, broken) {
		t.Errorf("swept %d, %v", n, err)
	}
	f.Mend()
	if n, err := f.Sweep(time.Now().Add(time.Hour), time.Minute); n != 1 || err != nil {
		t.Errorf("swept %d, %v", n, err)
	}
}

func TestFilesThatAreNeverServed(t *testing.T) {
	write := func(content string) func(path string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o644) }
	}
	for sentence, plant := range map[string]func(path string) error{
		"none":                    func(string) error { return nil },
		"an empty file":           write(""),
		"another file":            write("<?php phpinfo();"),
		"another token's proof":   write(strings.Repeat("a", 43) + ".abc"),
		"a proof with a newline":  write(keyAuth + "\n"),
		"a proof of 513 bytes":    write(token + "." + strings.Repeat("a", 512-len(token))),
		"a gigabyte":              func(path string) error { return errors.Join(write("")(path), os.Truncate(path, 1<<30)) },
		"a folder":                func(path string) error { return os.Mkdir(path, 0o755) },
		"a FIFO without a writer": func(path string) error { return syscall.Mkfifo(path, 0o644) },
		"a device":                func(path string) error { return os.Symlink("/dev/zero", path) },
		"a link to a valid proof": func(path string) error {
			return errors.Join(write(keyAuth)(path+".other"), os.Symlink(path+".other", path))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			f, dir := openFolder(t)
			if err := plant(filepath.Join(dir, token)); err != nil {
				t.Fatal(err)
			}
			if got, ok := f.KeyAuthorization(token); ok {
				t.Errorf("served %q", got)
			}
		})
	}
}

func FuzzKeyAuthorization(f *testing.F) {
	for _, seed := range []string{token, "", ".", "..", "../" + token, token + "/", "./" + token, token + "\x00", token[:16], "/etc/passwd"} {
		f.Add(seed)
	}
	folder, err := challenge.OpenFolder(filepath.Join(f.TempDir(), "http-01"))
	if err != nil {
		f.Fatal(err)
	}
	if err := folder.Present(f.Context(), proof()); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, name string) {
		got, ok := folder.KeyAuthorization(name)
		if ok != (name == token) || ok && got != keyAuth {
			t.Errorf("token %q is answered with %q, %v", name, got, ok)
		}
	})
}

// TestAWebrootIsLookedAtWheneverItIsOpened exchanges it for a link to where nothing must be written.
func TestAWebrootIsLookedAtWheneverItIsOpened(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"site", "state", "state/live"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	current, forbidden := filepath.Join(dir, "current"), errors.New("that is the state directory")
	link := func(to string) {
		if err := errors.Join(os.RemoveAll(current), os.Symlink(to, current)); err != nil {
			t.Fatal(err)
		}
	}
	link("site")
	f, err := challenge.Webroot(current, func(to string) error {
		if strings.HasPrefix(to, filepath.Join(dir, "state")) {
			return forbidden
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"state", "state/live", filepath.Join(dir, "state")} {
		link(to)
		if err := f.Present(t.Context(), proof()); !errors.Is(err, forbidden) {
			t.Errorf("%s: %v", to, err)
		}
		if err := f.CleanUp(t.Context(), proof()); !errors.Is(err, forbidden) {
			t.Errorf("%s: %v", to, err)
		}
	}
	expectOnly(t, filepath.Join(dir, "state"), "live")
	expectOnly(t, filepath.Join(dir, "state/live"))
	link("site")
	present(t, f)
}
