//go:build e2e

package e2e

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// machine is a container with a systemd of its own.
type machine struct {
	t *testing.T
	*container
}

// container is what all subtests of a machine share.
type container struct {
	files   string // its root: a throw-away layer over rootfs
	process *exec.Cmd
	leader  int // pid of the container's init, 0 before it is known
	console *bytes.Buffer
}

const bootTimeout = 2 * time.Minute

// boot starts a machine, which takes a second or two.
func boot(t *testing.T, release string) *machine {
	t.Helper()
	m := &machine{t, &container{files: layer(t, release), console: new(bytes.Buffer)}}
	t.Cleanup(m.shutdown)
	t.Cleanup(m.keepSecrets)
	m.start()
	return m
}

// layer is a folder with the files of a release. What is written to it is kept in memory, until the test ends.
func layer(t *testing.T, release string) string {
	t.Helper()
	dir := t.TempDir()
	mount(t, "tmpfs", dir, "")
	root, upper, work := filepath.Join(dir, "root"), filepath.Join(dir, "upper"), filepath.Join(dir, "work")
	for _, folder := range []string{root, upper, work} {
		if err := os.Mkdir(folder, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	mount(t, "overlay", root, "lowerdir="+rootfs(release)+",upperdir="+upper+",workdir="+work)
	return root
}

func mount(t *testing.T, kind, dir, options string) {
	t.Helper()
	if err := unix.Mount(kind, dir, kind, 0, options); err != nil {
		t.Fatalf("mounting %s with %q: %v", kind, options, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmounting %s: %v", dir, err)
		}
	})
}

// start boots what lies in the machine's files.
func (m *machine) start() {
	m.t.Helper()
	// Without CAP_NET_ADMIN newer versions of systemd give services no network of their own.
	m.process = exec.Command("systemd-nspawn", "--capability=CAP_NET_ADMIN", "--quiet", "--directory="+m.files, "--boot",
		"--register=no", "--keep-unit", "--console=pipe", "--machine=acmed-e2e", "--resolv-conf=off", "--timezone=off")
	m.process.Stdout, m.process.Stderr = m.console, m.console
	m.process.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
	m.eventually(bootTimeout, "the container boots", func() error {
		pid := strconv.Itoa(m.process.Process.Pid)
		children, err := os.ReadFile(filepath.Join("/proc", pid, "task", pid, "children"))
		if err != nil {
			return err
		}
		if _, err := fmt.Sscan(string(children), &m.leader); err != nil {
			return fmt.Errorf("no leader yet: %w", err)
		}
		_, err = m.try("systemctl", "is-system-running")
		return err
	})
}

// reboot ends the machine in order and starts it again: its disk stays, its memory does not.
func (m *machine) reboot() {
	m.t.Helper()
	m.run("systemctl", "--no-block", "reboot")
	hung := time.AfterFunc(bootTimeout, func() { _ = m.process.Process.Kill() })
	_ = m.process.Wait() // its status asks whoever keeps the unit to start it again
	if !hung.Stop() {
		m.t.Fatalf("the container has not ended after %s:\n%s", bootTimeout, m.console)
	}
	m.leader = 0
	m.start()
}

// with is the same machine in a subtest.
func (m *machine) with(t *testing.T) *machine { return &machine{t, m.container} }

func (m *machine) shutdown() {
	if m.t.Failed() && m.leader != 0 {
		journal, err := m.try("journalctl", "--no-pager", "--lines=80", "--unit=acmed*")
		m.t.Logf("journal (%v):\n%s", err, journal)
	}
	if m.process.Process == nil {
		return
	}
	// With its init everything in the container ends, and nspawn waits for that.
	doomed := cmp.Or(m.leader, m.process.Process.Pid)
	_ = syscall.Kill(doomed, syscall.SIGKILL)
	_ = m.process.Wait() // the status of a killed process
	if m.t.Failed() && m.leader == 0 {
		m.t.Logf("console:\n%s", m.console)
	}
}

// try runs a command in the container, for a minute at most.
func (m *machine) try(command ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.t.Context()), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", append([]string{fmt.Sprint("--target=", m.leader), "--all", "--"}, command...)...)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8", "SYSTEMD_PAGER=", "DEBIAN_FRONTEND=noninteractive"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%s: %w\n%s", strings.Join(command, " "), err, out)
	}
	return strings.TrimSpace(string(out)), err
}

func (m *machine) run(command ...string) string {
	m.t.Helper()
	out, err := m.try(command...)
	if err != nil {
		m.t.Fatal(err)
	}
	return out
}

// path is where the host sees a file of the container.
func (m *machine) path(name string) string {
	return filepath.Join("/proc", strconv.Itoa(m.leader), "root", name)
}

func (m *machine) write(name, content string) {
	m.t.Helper()
	if err := errors.Join(
		os.MkdirAll(filepath.Dir(m.path(name)), 0o755),
		os.WriteFile(m.path(name), []byte(content), 0o644)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) copyIn(from, to string) {
	m.t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(to, string(data))
}

// show returns one property of a unit.
func (m *machine) show(unit, property string) string {
	m.t.Helper()
	return m.run("systemctl", "show", "--value", "--property="+property, unit)
}

// eventually polls until the condition holds.
func (m *machine) eventually(timeout time.Duration, what string, condition func() error) {
	m.t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			m.t.Fatalf("%s: not after %s: %v", what, timeout, err)
		case <-tick.C:
		}
	}
}

// built is the package that `make deb` has made.
func built(t *testing.T) string {
	t.Helper()
	file, err := packageIn(filepath.Join("..", "..", "dist"))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// packageIn finds the package in a folder.
func packageIn(dir string) (string, error) {
	packages, err := filepath.Glob(filepath.Join(dir, "acmed_*.deb"))
	if err == nil && len(packages) != 1 {
		err = fmt.Errorf("want one package in %s, have %v; run `make deb`", dir, packages)
	}
	return strings.Join(packages, ""), err
}

// install puts today's package into the container, and leaves the daemon stopped, as the package does. It returns what
// the package says.
func (m *machine) install() string {
	m.t.Helper()
	return m.installPackage(built(m.t))
}

func (m *machine) installPackage(file string) string {
	m.t.Helper()
	m.copyIn(file, "/tmp/acmed.deb")
	return m.run("dpkg", "--install", "/tmp/acmed.deb")
}
