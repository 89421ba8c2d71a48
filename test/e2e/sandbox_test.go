//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/deploy"
	"acmed/test/pebble"
)

// intrude does something where the main process of a running unit lives: as its user, without capabilities, with its
// view of files and of the network. That is more than the process can do, which system call filters bind as well.
func (m *machine) intrude(pid string, do func() error) error {
	m.t.Helper()
	ids := map[string]int{}
	for line := range strings.Lines(m.run("cat", "/proc/"+pid+"/status")) {
		var id int
		if _, err := fmt.Sscanf(line[strings.Index(line, ":")+1:], "%d", &id); err == nil {
			ids[line[:strings.Index(line, ":")]] = id
		}
	}
	namespaces := m.path("/proc/" + pid + "/ns")
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock it: the thread ends with the goroutine
		err := enter(namespaces, "net", "mnt")
		if err == nil {
			err = become(ids["Uid"], ids["Gid"])
		}
		if err == nil {
			err = do()
		}
		done <- err
	}()
	return <-done
}

// enter moves the calling thread into namespaces.
func enter(folder string, names ...string) error {
	if err := unix.Unshare(unix.CLONE_FS); err != nil { // threads share their root folder otherwise
		return fmt.Errorf("leaving the root folder of the process: %w", err)
	}
	for _, name := range names {
		ns, err := os.Open(filepath.Join(folder, name))
		if err != nil {
			return err
		}
		if err := errors.Join(unix.Setns(int(ns.Fd()), 0), ns.Close()); err != nil {
			return fmt.Errorf("entering %s: %w", ns.Name(), err)
		}
	}
	return nil
}

// become makes the calling thread, and no other, another user's. Root keeps the capabilities that it has.
func become(uid, gid int) error {
	for _, call := range [][4]uintptr{
		{unix.SYS_SETGROUPS},
		{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
		{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
	} {
		if _, _, errno := unix.RawSyscall(call[0], call[1], call[2], call[3]); errno != 0 {
			return fmt.Errorf("becoming user %d and group %d: %w", uid, gid, errno)
		}
	}
	return nil
}

// writable finds where the calling thread may make or open files for writing, below some folders: the topmost places.
// Where it may not even look it cannot write.
func writable(roots ...string) (places []string, err error) {
	visit := func(path string, entry fs.DirEntry, denied error) error {
		intruder := filepath.Join(path, "e2e-intruder")
		switch {
		case path == "/proc" || path == "/sys":
			return fs.SkipDir
		case denied == nil && entry.IsDir() && opens(intruder, os.O_CREATE|os.O_EXCL):
			places = append(places, path)
			if err := os.Remove(intruder); err != nil {
				return err
			}
			return fs.SkipDir
		case denied == nil && entry.Type().IsRegular() && opens(path, 0):
			places = append(places, path)
		}
		return nil
	}
	for _, root := range roots {
		err = errors.Join(err, filepath.WalkDir(root, visit))
	}
	slices.Sort(places)
	return places, err
}

func opens(path string, flags int) bool {
	file, err := os.OpenFile(path, os.O_WRONLY|flags, 0o600)
	if err != nil {
		return false
	}
	file.Close()
	return true
}

// fenced holds the daemon to its folders.
func fenced(t *testing.T, m *machine, _ *pebble.Server) {
	err := m.intrude(m.show("acmed.service", "MainPID"), func() error {
		places, err := writable("/")
		if want := []string{"/run/acmed/control", "/run/acmed/copies", "/run/acmed/http-01", "/var/lib/acmed"}; !slices.Equal(places, want) {
			t.Errorf("it may write to %v, want %v", places, want)
		}
		reads(t, "/var/lib/acmed/live/www.example.com/privkey.pem", true)
		connects(t, "127.0.0.1:9402", true)
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

// walled sees to it that the responder has neither a network nor a key, and nowhere to write.
func walled(t *testing.T, m *machine, _ *pebble.Server) {
	const token = "/run/acmed/http-01/evaGxfADs6pSRb2LAv9IZf17"
	m.write(token, "")
	err := m.intrude(m.show("acmed-http.service", "MainPID"), func() error {
		places, err := writable("/")
		if len(places) > 0 {
			t.Errorf("it may write to %v", places)
		}
		for _, path := range []string{"/var/lib/acmed/live/www.example.com/privkey.pem", "/var/lib/acmed/live/www.example.com/fullchain.pem", bindingFile} {
			reads(t, path, false)
		}
		reads(t, token, true)
		for _, address := range []string{"127.0.0.1:9402", "127.0.0.1:80", "192.0.2.1:443"} {
			connects(t, address, false)
		}
		interfaces, failed := net.Interfaces()
		if len(interfaces) != 1 || interfaces[0].Flags&(net.FlagLoopback|net.FlagUp) != net.FlagLoopback|net.FlagUp {
			t.Errorf("it has the interfaces %+v", interfaces)
		}
		return errors.Join(err, failed)
	})
	if err != nil {
		t.Error(err)
	}
	m.run("rm", token)
}

// powerlessProcess is what the kernel says of a process without any capability, now or later.
func powerlessProcess() []string {
	lines := []string{"NoNewPrivs:\t1", "Seccomp:\t2"}
	for _, set := range []string{"Inh", "Prm", "Eff", "Bnd", "Amb"} {
		lines = append(lines, "Cap"+set+":\t0000000000000000")
	}
	return lines
}

func holds(t *testing.T, text string, wanted ...string) {
	t.Helper()
	for _, want := range wanted {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}

// bounded looks at the deploy helper while a check of the operator's makes it wait.
func bounded(t *testing.T, m *machine) {
	m.script("/usr/local/bin/check", "echo $PPID >/srv/helper; until test -e /srv/go; do sleep 0.1; done")
	asked := make(chan error)
	go func() {
		_, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: delivered}})
		asked <- err
	}()
	var pid string
	m.eventually(patience, "the check runs", func() (err error) { pid, err = m.try("grep", ".", "/srv/helper"); return err })
	proc := m.run("cat", "/proc/"+pid+"/status")
	// CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FOWNER, CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_NET_BIND_SERVICE
	holds(t, proc, "CapEff:\t00000000000004eb", "CapBnd:\t00000000000004eb", "NoNewPrivs:\t1", "Seccomp:\t2")
	err := m.intrude(pid, func() error {
		places, err := writable("/usr", "/boot", "/bin/", "/lib/", "/sbin/", "/etc", "/srv")
		if want := []string{"/etc", "/srv", "/usr/local"}; !slices.Equal(places, want) {
			t.Errorf("it may write to %v, want %v", places, want)
		}
		return err
	})
	m.write("/srv/go", "")
	if err := errors.Join(err, <-asked); err != nil {
		t.Error(err)
	}
}

func reads(t *testing.T, path string, want bool) {
	t.Helper()
	if _, err := os.ReadFile(path); (err == nil) != want {
		t.Errorf("reading %s: %v", path, err)
	}
}

func connects(t *testing.T, address string, want bool) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if (err == nil) != want {
		t.Errorf("connecting to %s: %v", address, err)
	}
	if err == nil {
		conn.Close()
	}
}
