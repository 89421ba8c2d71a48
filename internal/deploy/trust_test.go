package deploy_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/deploy"
)

// stranger is a user who is not to be trusted.
const stranger = 54321

// land is a folder that nobody else can write, with etc/specs/a.yaml in it.
func land(t *testing.T) (dir string) {
	t.Helper()
	dir = t.TempDir()
	must0(t, os.Chmod(dir, 0o755))
	must0(t, os.MkdirAll(dir+"/etc/specs", 0o755))
	must0(t, os.WriteFile(dir+"/etc/specs/a.yaml", []byte("good"), 0o644))
	return dir
}

func must0(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// estrange gives something to a stranger, which root alone can do.
func estrange(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	must0(t, os.Lchown(path, stranger, stranger))
}

func TestTrustedFilesAreRead(t *testing.T) {
	for sentence, prepare := range map[string]func(t *testing.T, dir string){
		"a plain file": func(*testing.T, string) {},
		"a link in a trusted folder to a trusted file": func(t *testing.T, dir string) {
			must0(t, os.Rename(dir+"/etc/specs/a.yaml", dir+"/a.yaml"))
			must0(t, os.Symlink("../../a.yaml", dir+"/etc/specs/a.yaml"))
		},
		"an absolute link": func(t *testing.T, dir string) {
			must0(t, os.Rename(dir+"/etc/specs", dir+"/specs"))
			must0(t, os.Symlink(dir+"/specs", dir+"/etc/specs"))
		},
		"a chain of links, there and back": func(t *testing.T, dir string) {
			must0(t, os.Rename(dir+"/etc/specs", dir+"/specs"))
			must0(t, os.Symlink("./..//etc/../link/.", dir+"/etc/specs"))
			must0(t, os.Symlink(dir+"/etc/../specs/", dir+"/link"))
		},
		"a folder in one where everybody may make some, like /tmp": func(t *testing.T, dir string) {
			must0(t, os.Chmod(dir+"/etc", 0o777|fs.ModeSticky))
		},
		"a file that others may not even read": func(t *testing.T, dir string) {
			must0(t, os.Chmod(dir+"/etc/specs/a.yaml", 0o600))
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := land(t)
			prepare(t, dir)
			if text, err := deploy.Trusted(uint32(os.Getuid()), dir+"/etc/specs/a.yaml"); err != nil || string(text) != "good" {
				t.Errorf("%q, %v", text, err)
			}
		})
	}
}

func TestWhatOthersCouldChangeIsNotRead(t *testing.T) {
	for sentence, c := range map[string]struct {
		spoil func(t *testing.T, dir string)
		want  string
	}{
		"a file that everybody may write":     {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/etc/specs/a.yaml", 0o646)) }, "a.yaml: others than root may write it"},
		"a file that a group may write":       {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/etc/specs/a.yaml", 0o664)) }, "a.yaml: others than root may write it"},
		"a file of somebody else":             {func(t *testing.T, dir string) { estrange(t, dir+"/etc/specs/a.yaml") }, "a.yaml belongs to uid 54321"},
		"a folder of somebody else":           {func(t *testing.T, dir string) { estrange(t, dir+"/etc/specs") }, "specs belongs to uid 54321"},
		"a folder that a group may write":     {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/etc/specs", 0o775)) }, "specs: others than root may write it"},
		"a folder that everybody may write":   {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/etc/specs", 0o757)) }, "specs: others than root may write it"},
		"a file right in one like /tmp":       {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/etc/specs", 0o777|fs.ModeSticky)) }, "specs: others than root may write it"},
		"a folder further up, of others":      {func(t *testing.T, dir string) { estrange(t, dir+"/etc") }, "etc belongs to uid 54321"},
		"a folder further up that others use": {func(t *testing.T, dir string) { must0(t, os.Chmod(dir+"/etc", 0o775)) }, "etc: others than root may write it"},
		"a link of somebody else":             {func(t *testing.T, dir string) { relinked(t, dir); estrange(t, dir+"/etc/specs/a.yaml") }, "a.yaml belongs to uid 54321"},
		"a link to a file of somebody else":   {func(t *testing.T, dir string) { relinked(t, dir); estrange(t, dir+"/real/a.yaml") }, "real/a.yaml belongs to uid 54321"},
		"a link into a folder of others":      {func(t *testing.T, dir string) { relinked(t, dir); must0(t, os.Chmod(dir+"/real", 0o777)) }, "real: others than root may write it"},
		"a link in a folder like /tmp": {func(t *testing.T, dir string) {
			relinked(t, dir)
			must0(t, os.Chmod(dir+"/etc/specs", 0o777|fs.ModeSticky))
		}, "specs: others than root may write it"},
		"a link by way of a folder of others": {detour, "foreign: others than root may write it"},
		"a link that leads to itself": {func(t *testing.T, dir string) {
			respec(t, dir, func(p string) error { return os.Symlink("a.yaml", p) })
		}, "too many levels"},
		"a link that leads nowhere": {func(t *testing.T, dir string) {
			respec(t, dir, func(p string) error { return os.Symlink("b.yaml", p) })
		}, "no such file"},
		"a file as a folder": {func(t *testing.T, dir string) {
			must0(t, os.RemoveAll(dir+"/etc/specs"))
			must0(t, os.WriteFile(dir+"/etc/specs", nil, 0o644))
		}, "not a directory"},
		"a named pipe": {func(t *testing.T, dir string) {
			respec(t, dir, func(p string) error { return syscall.Mkfifo(p, 0o644) })
		}, "is not a regular file"},
		"a folder": {func(t *testing.T, dir string) { respec(t, dir, func(p string) error { return os.Mkdir(p, 0o755) }) }, "is not a regular file"},
		"a device": {func(t *testing.T, dir string) {
			respec(t, dir, func(p string) error { return os.Symlink("/dev/zero", p) })
		}, "/dev/zero"},
		"more than 64 KiB":                  {func(t *testing.T, dir string) { must0(t, os.Truncate(dir+"/etc/specs/a.yaml", 64<<10+1)) }, "over 64 KiB"},
		"a file that no end is in sight of": {func(t *testing.T, dir string) { must0(t, os.Truncate(dir+"/etc/specs/a.yaml", 1<<40)) }, "over 64 KiB"},
		"a file that is not there":          {func(t *testing.T, dir string) { must0(t, os.Remove(dir+"/etc/specs/a.yaml")) }, "no such file"},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := land(t)
			c.spoil(t, dir)
			text, err := deploy.Trusted(uint32(os.Getuid()), dir+"/etc/specs/a.yaml")
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(string(text), "good") && len(text) < 10 {
				t.Errorf("%.20q, %v", text, err)
			}
		})
	}
}

// relinked makes etc/specs/a.yaml a link to real/a.yaml.
func relinked(t *testing.T, dir string) {
	t.Helper()
	must0(t, os.Mkdir(dir+"/real", 0o755))
	must0(t, os.Rename(dir+"/etc/specs/a.yaml", dir+"/real/a.yaml"))
	must0(t, os.Symlink("../../real/a.yaml", dir+"/etc/specs/a.yaml"))
}

// detour has a trusted link lead to a trusted file by way of a link in a folder of others.
func detour(t *testing.T, dir string) {
	t.Helper()
	relinked(t, dir)
	must0(t, os.Mkdir(dir+"/foreign", 0o755))
	must0(t, os.Symlink("../real", dir+"/foreign/way"))
	must0(t, os.Chmod(dir+"/foreign", 0o777))
	must0(t, os.Remove(dir+"/etc/specs/a.yaml"))
	must0(t, os.Symlink("../../foreign/way/a.yaml", dir+"/etc/specs/a.yaml"))
}

// respec puts something else where etc/specs/a.yaml was.
func respec(t *testing.T, dir string, put func(p string) error) {
	t.Helper()
	must0(t, os.Remove(dir+"/etc/specs/a.yaml"))
	must0(t, put(dir+"/etc/specs/a.yaml"))
}

func TestTrustKnowsNoRelativePath(t *testing.T) {
	if _, err := deploy.Trusted(0, "etc/passwd"); err == nil {
		t.Error("it was read")
	}
}

func TestTrustedFoldersAreFolders(t *testing.T) {
	dir := land(t)
	if _, err := deploy.TrustedFolder(uint32(os.Getuid()), dir+"/etc/specs/a.yaml"); err == nil {
		t.Error("a file was opened as a folder")
	}
	f, err := deploy.TrustedFolder(uint32(os.Getuid()), dir+"/etc/specs")
	must0(t, err)
	defer f.Close()
	if names, err := f.Readdirnames(-1); err != nil || len(names) != 1 {
		t.Errorf("%q, %v", names, err)
	}
}

// TestNobodyIsQuickEnough has somebody swap links and folders as quickly as possible, while the path through them is
// read: what is his is never believed, whatever the moment.
func TestNobodyIsQuickEnough(t *testing.T) {
	dir := land(t)
	must0(t, os.Chmod(filepath.Dir(dir), 0o711))
	must0(t, os.Mkdir(dir+"/evil", 0o777))
	must0(t, os.Chmod(dir+"/evil", 0o777))
	must0(t, os.WriteFile(dir+"/evil/a.yaml", []byte("evil"), 0o644))
	must0(t, os.Symlink("evil", dir+"/way"))
	estrange(t, dir+"/evil")
	estrange(t, dir+"/evil/a.yaml")
	playground := dir + "/play"
	must0(t, os.Mkdir(playground, 0o755))
	must0(t, os.Symlink("../etc/specs", playground+"/way"))
	estrange(t, playground)

	stop := make(chan struct{})
	var swaps int
	var swapping sync.WaitGroup
	swapping.Go(func() {
		as(t, stranger, func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				target := []string{"../etc/specs", "../evil", "/proc/self/cwd"}[i%3]
				_ = os.Remove(playground + "/new")
				if os.Symlink(target, playground+"/new") == nil && os.Rename(playground+"/new", playground+"/way") == nil {
					swaps++
				}
			}
		})
	})
	end := time.Now().Add(300 * time.Millisecond)
	for time.Now().Before(end) {
		if text, err := deploy.Trusted(0, playground+"/way/a.yaml"); err == nil {
			t.Errorf("read %q", text)
		}
		if text, err := deploy.Trusted(0, dir+"/way/a.yaml"); err == nil {
			t.Errorf("read %q", text)
		}
	}
	close(stop)
	swapping.Wait()
	if swaps == 0 {
		t.Error("nothing was swapped")
	}
}

// as does something as another user, as far as files are concerned. It needs root.
func as(t *testing.T, uid int, do func()) {
	runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
	if _, err := unix.SetfsuidRetUid(uid); err != nil {
		t.Error(err)
		return
	}
	if now, err := unix.SetfsuidRetUid(-1); err != nil || now != uid {
		t.Error(errors.Join(err, errors.New("still the old user")))
		return
	}
	do()
}

// TestTheStateFolderIsTheDaemonsAndTheWayToItIsNot asks a helper that looks for the owner.
func TestTheStateFolderIsTheDaemonsAndTheWayToItIsNot(t *testing.T) {
	const request = `{"verb":"accept","orders":[{"name":"` + site + `"}]}`
	for sentence, c := range map[string]struct {
		move func(t *testing.T, r *realm)
		want string
	}{
		"it belongs to another user": {func(t *testing.T, r *realm) { estrange(t, r.path("var/state")) }, `"answers"`},
		"others may write there":     {func(t *testing.T, r *realm) { must0(t, os.Chmod(r.path("var/state"), 0o777)) }, `"answers"`},
		"it is elsewhere": {func(t *testing.T, r *realm) {
			must0(t, os.Rename(r.path("var/state"), r.path("state")))
			r.relink(r.path("var/state"), "../state")
		}, `"answers"`},
		"it lies in the folder of another user": {func(t *testing.T, r *realm) { estrange(t, r.path("var")) }, "belongs to uid 54321"},
		"another user leads there": {func(t *testing.T, r *realm) {
			must0(t, os.Rename(r.path("var/state"), r.path("state")))
			r.relink(r.path("var/state"), "../state")
			estrange(t, r.path("var/state"))
		}, "belongs to uid 54321"},
		"it is a file": {func(t *testing.T, r *realm) {
			must0(t, os.RemoveAll(r.path("var/state")))
			r.write("var/state", "")
		}, "is not a folder"},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			c.move(t, r)
			if answer := r.ask(request); !strings.Contains(answer, c.want) {
				t.Errorf("%s", answer)
			}
		})
	}
}
