package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/deploy"
	"acmed/internal/store"
)

// The tests of this file play a daemon that was taken over. It may say whatever it likes and do with its state folder
// what it wants; root's files are out of its reach. Nothing must come of it that no file of root's names.

func TestNoRequestNamesAFile(t *testing.T) {
	r := newRealm(t)
	r.write("etc/evil.yaml", "deploy: {run: [{command: [/bin/evil]}]}\n")
	for _, name := range []string{"../evil", r.path("etc/evil"), "./evil", "x/../../evil", "..", "evil.yaml/../../evil", "evil\\u0000", ""} {
		if answer := r.ask(`{"verb":"deploy","orders":[{"name":"` + name + `"}]}`); !strings.Contains(answer, "is not the name of a certificate") {
			t.Errorf("%q: %s", name, answer)
		}
	}
	if len(r.hands.jobs) > 0 {
		t.Errorf("delivered %d", len(r.hands.jobs))
	}
}

func TestEveryRequestIsAnswered(t *testing.T) {
	r := newRealm(t)
	good := `{"verb":"deploy","orders":[{"name":"` + site + `"}]}`
	for sentence, c := range map[string]struct {
		send func(conn *net.UnixConn)
		want string
	}{
		"nothing is said":                     {func(*net.UnixConn) {}, "timeout"},
		"half is said":                        {func(conn *net.UnixConn) { _, _ = conn.Write([]byte(good[:20])) }, "timeout"},
		"all is said, but not that it is all": {func(conn *net.UnixConn) { _, _ = conn.Write([]byte(good)) }, "timeout"},
		"it never ends": {func(conn *net.UnixConn) {
			for {
				if _, err := conn.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, "over 1048576 bytes"},
		"nonsense":             {func(conn *net.UnixConn) { _, _ = conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")); _ = conn.CloseWrite() }, "decoding the request"},
		"nothing, and its end": {func(conn *net.UnixConn) { _ = conn.CloseWrite() }, "decoding the request"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if r.t, r.wait = t, 0; c.want == "timeout" {
				r.wait = 50 * time.Millisecond
			}
			if answer := r.serve(c.send); !strings.Contains(answer, `"problem"`) || !strings.Contains(answer, c.want) {
				t.Errorf("%s", answer)
			}
		})
	}
	if len(r.hands.jobs) > 0 {
		t.Errorf("delivered %d", len(r.hands.jobs))
	}
}

// TestSomebodyWhoDoesNotListenCostsNothing has the answer go nowhere.
func TestSomebodyWhoDoesNotListenCostsNothing(t *testing.T) {
	r := newRealm(t)
	client, server := connect(t)
	_, err := client.Write([]byte(`{"verb":"deploy","orders":[{"name":"` + site + `"}]}`))
	r.no(err)
	client.Close()
	h, err := deploy.NewHelper(r.config)
	r.no(err)
	if err := h.Serve(t.Context(), server); err == nil {
		t.Error("an answer was written to nobody")
	}
	if len(r.hands.jobs) != 1 {
		t.Error("what was asked for was not done")
	}
}

func TestOnlyRootAndTheDaemonMayAsk(t *testing.T) {
	r := newRealm(t)
	estrange(t, r.path("var/state"))
	for uid, want := range map[int]string{0: `"answers"`, stranger: `"answers"`, stranger + 1: "uid 54322 may not ask"} {
		answer := r.serveTo(uid, `{"verb":"accept","orders":[{"name":"`+site+`"}]}`)
		if !strings.Contains(answer, want) {
			t.Errorf("uid %d: %s", uid, answer)
		}
	}
}

// serveTo sends a request as another user.
func (r *realm) serveTo(uid int, request string) (answer string) {
	r.t.Helper()
	socket := listen(r.t, r.help)
	for _, path := range []string{socket, filepath.Dir(socket)} {
		r.no(os.Chmod(path, 0o777))
	}
	var asking sync.WaitGroup
	asking.Go(func() {
		become(r.t, uid, func() {
			fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
			if err != nil {
				r.t.Error(err)
				return
			}
			f := os.NewFile(uintptr(fd), "socket")
			defer f.Close()
			if err := unix.Connect(fd, &unix.SockaddrUnix{Name: socket}); err != nil {
				r.t.Error(err)
				return
			}
			_, _ = f.WriteString(request)
			_ = unix.Shutdown(fd, unix.SHUT_WR)
			buf := make([]byte, 64<<10)
			n, _ := f.Read(buf)
			answer = string(buf[:n])
		})
	})
	asking.Wait()
	return answer
}

// become does something as another user in every way, in this thread alone.
func become(t *testing.T, uid int, do func()) {
	if os.Geteuid() != 0 {
		t.Error("this needs root")
		return
	}
	as(t, uid, func() { // which keeps the thread
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			t.Error(errno)
			return
		}
		do()
	})
}

func TestLiveLeadsNowhereElse(t *testing.T) {
	for sentence, target := range map[string]func(r *realm) string{
		"another certificate":     func(*realm) string { return "../certs/other.example.com/rev/0001" },
		"an absolute path":        func(r *realm) string { return r.revision(site) },
		"a path with dots":        func(*realm) string { return "../certs/" + site + "/rev/../rev/0001" },
		"out of the folder":       func(*realm) string { return "../../elsewhere/certs/" + site + "/rev/0001" },
		"a folder that is none":   func(*realm) string { return "../certs/" + site + "/rev/0002" },
		"the number zero":         func(*realm) string { return "../certs/" + site + "/rev/0000" },
		"a number that wraps":     func(*realm) string { return "../certs/" + site + "/rev/18446744073709551617" },
		"with a slash at its end": func(*realm) string { return "../certs/" + site + "/rev/0001/" },
		"/proc":                   func(*realm) string { return "/proc/self/cwd" },
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			r.issue("other.example.com", mint(t, site))
			link := r.path("var/state/live/" + site)
			r.no(os.Remove(link))
			r.no(os.Symlink(target(r), link))
			r.refuses(site, site)
		})
	}
}

// TestTheRevisionIsNotBelieved puts into the live revision what does not belong there.
func TestTheRevisionIsNotBelieved(t *testing.T) {
	for sentence, forge := range map[string]func(r *realm, rev string, other minted){
		"a key that is a link to a file of root's": func(r *realm, rev string, _ minted) { r.relink(rev+"/privkey.pem", r.path("etc/secret")) },
		"a key that is a link within": func(r *realm, rev string, _ minted) {
			r.relink(rev+"/privkey.pem", "../../../other.example.com/rev/0001/privkey.pem")
		},
		"a revision that is a link": func(r *realm, rev string, _ minted) { r.relink(rev, "../../other.example.com/rev/0001") },
		"a named pipe": func(r *realm, rev string, _ minted) {
			r.no(os.Remove(rev + "/chain.pem"))
			r.no(syscall.Mkfifo(rev+"/chain.pem", 0o644))
		},
		"a file of a terabyte":          func(r *realm, rev string, _ minted) { r.no(os.Truncate(rev+"/fullchain.pem", 1<<40)) },
		"a file that is missing":        func(r *realm, rev string, _ minted) { r.no(os.Remove(rev + "/cert.pem")) },
		"another key":                   func(r *realm, rev string, _ minted) { r.swap(rev, "privkey.pem") },
		"another leaf beside the chain": func(r *realm, rev string, _ minted) { r.swap(rev, "cert.pem") },
		"another chain beside the leaf": func(r *realm, rev string, _ minted) { r.swap(rev, "fullchain.pem") },
		"the chain of another CA":       func(r *realm, rev string, _ minted) { r.rechain(rev) },
		"no PEM":                        func(r *realm, rev string, _ minted) { r.overwrite(rev+"/fullchain.pem", "root:x:0:0::/root:/bin/sh\n") },
		"nothing":                       func(r *realm, rev string, _ minted) { r.overwrite(rev+"/fullchain.pem", "") },
		"something behind the chain":    func(r *realm, rev string, _ minted) { r.appendTo(rev, "* * * * * root /bin/evil\n") },
		"something behind the key":      func(r *realm, rev string, _ minted) { r.appendKey(rev, "* * * * * root /bin/evil\n") },
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			r.write("etc/secret", "secret\n")
			other := mint(t, site)
			r.issue("other.example.com", other)
			forge(r, r.revision(site), other)
			a := r.deploy(site)
			if a.Problem == "" || len(r.hands.jobs) > 0 {
				t.Errorf("delivered %d", len(r.hands.jobs))
			}
			if strings.Contains(a.Problem, "secret\n") {
				t.Errorf("it tells: %s", a.Problem)
			}
		})
	}
}

// relink makes p a link.
func (r *realm) relink(p, target string) {
	r.t.Helper()
	r.no(os.RemoveAll(p))
	r.no(os.Symlink(target, p))
}

func (r *realm) overwrite(p, text string) {
	r.t.Helper()
	r.no(os.WriteFile(p, []byte(text), 0o600))
}

// swap takes a file from the other certificate, which is good for the same name.
func (r *realm) swap(rev, base string) {
	r.t.Helper()
	text, err := os.ReadFile(r.revision("other.example.com") + "/" + base)
	r.no(err)
	r.overwrite(rev+"/"+base, string(text))
}

// rechain puts the chain of the other certificate behind the leaf.
func (r *realm) rechain(rev string) {
	r.t.Helper()
	r.swap(rev, "chain.pem")
	leaf, err := os.ReadFile(rev + "/cert.pem")
	r.no(err)
	chain, err := os.ReadFile(rev + "/chain.pem")
	r.no(err)
	r.overwrite(rev+"/fullchain.pem", string(leaf)+string(chain))
}

func (r *realm) appendTo(rev, text string) {
	r.t.Helper()
	for _, base := range []string{"chain.pem", "fullchain.pem"} {
		old, err := os.ReadFile(rev + "/" + base)
		r.no(err)
		r.overwrite(rev+"/"+base, string(old)+text)
	}
}

func (r *realm) appendKey(rev, text string) {
	r.t.Helper()
	old, err := os.ReadFile(rev + "/privkey.pem")
	r.no(err)
	r.overwrite(rev+"/privkey.pem", string(old)+text)
}

func TestTheCertificateIsTheOneAskedFor(t *testing.T) {
	for sentence, c := range map[string]minted{
		"another name":      mint(t, "evil.example.com"),
		"one name more":     mint(t, site, "evil.example.com"),
		"a name with a dot": mint(t, "www.example.com."),
		"expired":           mintUntil(t, time.Now().Add(-time.Minute), site),
		"not valid yet":     mintUntil(t, time.Now().Add(72*time.Hour), site),
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			r.no(os.RemoveAll(r.path("var/state")))
			r.issue(site, c)
			r.refuses(site, "revision 1 is not what the spec asks for", "acmed renew")
		})
	}
}

// TestFilesOfSomebodyElseInTheStateFolder: a link to a file of root's needs no symbolic link.
func TestFilesOfSomebodyElseAreNotDelivered(t *testing.T) {
	r := newRealm(t)
	estrange(t, r.revision(site)+"/privkey.pem")
	r.refuses(site, "not a regular file of uid")
}

// TestTheHelpersFolderIsNotBelievedBlindly tampers with what only root can reach; a backup may have done it.
func TestTheHelpersFolderIsNotBelievedBlindly(t *testing.T) {
	kept := "memory/specs/" + site + ".yaml"
	const evil = "deploy: {run: [{command: [/bin/evil]}]}\n"
	for sentence, c := range map[string]struct {
		tamper func(r *realm)
		want   string // in the answer to a request about a bad spec
	}{
		"untouched":                 {func(*realm) {}, "file /srv/site.pem"},
		"open to all":               {func(r *realm) { r.no(os.Chmod(r.path("memory"), 0o755)) }, "is open to others"},
		"writable for all":          {func(r *realm) { r.no(os.Chmod(r.path("memory"), 0o777)) }, "others than root may write it"},
		"of somebody else":          {func(r *realm) { estrange(r.t, r.path("memory")) }, "belongs to uid 54321"},
		"a link":                    {func(r *realm) { r.relink(r.path("memory"), r.path("etc")) }, "is open to others"},
		"a file":                    {func(r *realm) { r.no(os.RemoveAll(r.path("memory"))); r.write("memory", "") }, "is not a folder"},
		"in a folder of all":        {func(r *realm) { r.no(os.Chmod(r.dir, 0o777)) }, "others than root may write it"},
		"a copy of somebody else":   {func(r *realm) { r.write(kept, evil); estrange(r.t, r.path(kept)) }, site + ".yaml:1"},
		"a copy that all may write": {func(r *realm) { r.write(kept, evil); r.no(os.Chmod(r.path(kept), 0o666)) }, site + ".yaml:1"},
		"a copy that is a link":     {func(r *realm) { r.write("evil", evil); r.relink(r.path(kept), r.path("evil")) }, site + ".yaml:1"},
		"a copy that is a pipe":     {func(r *realm) { r.no(os.Remove(r.path(kept))); r.no(syscall.Mkfifo(r.path(kept), 0o600)) }, site + ".yaml:1"},
		"a copy that is a folder":   {func(r *realm) { r.no(os.Remove(r.path(kept))); r.no(os.Mkdir(r.path(kept), 0o700)) }, site + ".yaml:1"},
		"a copy that is torn":       {func(r *realm) { r.write(kept, "deploy: {files") }, site + ".yaml:1"},
		"a copy that is huge":       {func(r *realm) { r.no(os.Truncate(r.path(kept), 1<<40)) }, site + ".yaml:1"},
		"copies elsewhere": {func(r *realm) {
			r.no(os.Mkdir(r.path("x"), 0o755))
			r.write("x/"+site+".yaml", evil)
			r.relink(r.path("memory/specs"), r.path("x"))
		}, site + ".yaml:1"},
		"no lock":                 {func(r *realm) { r.no(os.Remove(r.path("memory/lock"))) }, "file /srv/site.pem"},
		"a lock that is a folder": {func(r *realm) { r.no(os.Remove(r.path("memory/lock"))); r.no(os.Mkdir(r.path("memory/lock"), 0o700)) }, "file /srv/site.pem"},
		"a lock that is a pipe": {func(r *realm) {
			r.no(os.Remove(r.path("memory/lock")))
			r.no(syscall.Mkfifo(r.path("memory/lock"), 0o600))
		}, "file /srv/site.pem"},
		"leftovers": {func(r *realm) { r.no(os.MkdirAll(r.path("memory/specs/."+site+".yaml.tmp/x"), 0o700)) }, "file /srv/site.pem"},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			r.delivers(site)
			r.spec(site, "[")
			c.tamper(r)
			answer := r.ask(`{"verb":"deploy","orders":[{"name":"` + site + `"}]}`)
			if !strings.Contains(answer, c.want) || strings.Contains(answer, "evil") {
				t.Errorf("%s", answer)
			}
		})
	}
}

// TestNothingOfSomebodyElsesIsObeyed has the daemon's user own what the helper reads.
func TestNothingOfSomebodyElsesIsObeyed(t *testing.T) {
	for sentence, c := range map[string]struct{ what, want string }{
		"the spec":               {"etc/certs.d/" + site + ".yaml", "belongs to uid 54321"},
		"the folder of specs":    {"etc/certs.d", "belongs to uid 54321"},
		"acmed.yaml":             {"etc/acmed.yaml", "belongs to uid 54321"},
		"the folder of all that": {"etc", "belongs to uid 54321"},
	} {
		t.Run(sentence, func(t *testing.T) {
			r := newRealm(t)
			estrange(t, r.path(c.what))
			answer := r.ask(`{"verb":"deploy","orders":[{"name":"` + site + `"}]}`)
			if !strings.Contains(answer, c.want) || len(r.hands.jobs) > 0 {
				t.Errorf("%s", answer)
			}
		})
	}
}

// TestTheDaemonIsNotQuickEnough has the owner of the state folder change everything there as quickly as possible, while
// root delivers: each time one whole certificate is delivered, or none.
func TestTheDaemonIsNotQuickEnough(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	r := newRealm(t)
	r.issue(site, mint(t, site)) // revision 2
	r.write("etc/secret", "secret\n")
	r.no(os.Chmod(filepath.Dir(r.dir), 0o711))
	pairs := r.pairs(1, 2)
	r.no(filepath.WalkDir(r.path("var/state"), func(p string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(p, stranger, stranger))
	}))
	delivered := 0
	r.hands.do = func(_ context.Context, jobs []deploy.Job) []deploy.Answer {
		for _, j := range jobs {
			delivered++
			if pairs[string(j.Files.Privkey)] != string(j.Files.Fullchain) {
				t.Errorf("a mixture was delivered, of %.60q and %.60q", j.Files.Privkey, j.Files.Fullchain)
			}
		}
		return nil
	}
	stop := make(chan struct{})
	var cheating sync.WaitGroup
	cheating.Go(func() { as(t, stranger, func() { r.cheat(stop) }) })
	end := time.Now().Add(time.Second)
	for time.Now().Before(end) || delivered == 0 {
		if answer := r.ask(`{"verb":"deploy","orders":[{"name":"` + site + `"}]}`); strings.Contains(answer, "secret") {
			t.Errorf("it tells: %s", answer)
		}
		if time.Since(end) > time.Minute {
			t.Fatal("nothing was ever delivered")
		}
	}
	close(stop)
	cheating.Wait()
}

// pairs returns the full chains of revisions by their keys.
func (r *realm) pairs(numbers ...int) map[string]string {
	r.t.Helper()
	state, err := store.OpenReader(r.path("var/state"))
	r.no(err)
	defer state.Close()
	pairs := map[string]string{}
	for _, n := range numbers {
		files, err := state.Files(site, n)
		r.no(err)
		pairs[string(files.Privkey)] = string(files.Fullchain)
	}
	return pairs
}

// cheat goes on until stop: it links, swaps and replaces what a revision is made of.
func (r *realm) cheat(stop <-chan struct{}) {
	state := r.path("var/state")
	rev := func(n int, base string) string { return fmt.Sprintf("%s/certs/%s/rev/%04d/%s", state, site, n, base) }
	put := func(target, at string) {
		_ = os.Remove(at + ".new")
		if os.Symlink(target, at+".new") == nil {
			_ = os.Rename(at+".new", at)
		}
	}
	exchange := func(a, b string) { _ = unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE) }
	live := state + "/live/" + site
	for i := 0; ; i++ {
		select {
		case <-stop:
			return
		default:
		}
		put(fmt.Sprintf("../certs/%s/rev/%04d", site, 1+i%2), live)
		switch i % 16 {
		case 3, 7:
			exchange(rev(1, "privkey.pem"), rev(2, "privkey.pem"))
		case 9, 11:
			exchange(rev(1, ""), rev(2, ""))
		case 13:
			exchange(rev(1, "fullchain.pem"), r.path("etc/secret"))
		case 14:
			put(r.path("etc"), live)
		case 15:
			_ = os.Link(r.path("etc/secret"), rev(1, "chain.pem.new"))
		}
	}
}
