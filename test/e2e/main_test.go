//go:build e2e

package e2e

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/test/pebble"
)

// isolated marks the process that runs in a network namespace of its own.
const isolated = "ACMED_E2E_ISOLATED"

// TestMain runs the tests in a network namespace that holds nothing but a
// loopback device. The container and Pebble share it: port 80 is free there,
// and nothing reaches the world. What they mount ends with them.
func TestMain(m *testing.M) {
	if os.Getenv(isolated) != "" {
		if err := raiseLoopback(); err != nil {
			fmt.Fprintln(os.Stderr, "raising the loopback device:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "preparing the end-to-end tests:", err)
		os.Exit(1)
	}
	os.Exit(isolate())
}

func isolate() int {
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNET, Unshareflags: unix.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.Exited() {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "running the tests in isolation:", err)
		return 1
	}
	return 0
}

func raiseLoopback() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// prepare does what needs the network: the programs that the tests run, and
// the container's files, which stay in the cache.
func prepare() error {
	if os.Geteuid() != 0 {
		return errors.New("this needs root: run it as root, or leave it to CI")
	}
	if _, err := pebble.Build(); err != nil {
		return err
	}
	if err := aptInstall(); err != nil {
		return err
	}
	return bootstrap()
}

func aptInstall() error {
	var errs []error
	for _, tool := range []string{"systemd-nspawn", "debootstrap", "nsenter", "systemd-analyze", "mkfs.ext4", "mkfs.xfs"} {
		_, err := exec.LookPath(tool)
		errs = append(errs, err)
	}
	if errors.Join(errs...) == nil {
		return nil
	}
	install := []string{"install", "systemd-container", "debootstrap", "util-linux", "e2fsprogs", "xfsprogs"}
	return errors.Join(
		host("apt-get", "update", "-q"),
		// When this brings a newer systemd, dpkg may stop half-way; the second run ends it.
		firstSuccess(
			func() error { return apt(install...) },
			func() error { return apt("-f", "install") },
		),
		apt(install...))
}

func apt(args ...string) error {
	return host("apt-get", append([]string{"-qy", "--no-install-recommends"}, args...)...)
}

func firstSuccess(attempts ...func() error) (err error) {
	for _, attempt := range attempts {
		if err = attempt(); err == nil {
			return nil
		}
	}
	return err
}

func debian() string { return cmp.Or(os.Getenv("DEBIAN"), "bookworm") }

// packages are what the container has beside the minimal system: what systemd needs, and the servers that consume
// certificates.
func packages() []string {
	return []string{
		"systemd", "systemd-sysv", "dbus", "libpam-systemd", "ca-certificates", "openssl", "curl", "iproute2", "procps",
		"nginx-light", "apache2", "haproxy", "postfix", "dovecot-imapd", "postgresql",
	}
}

// servers are the units of packages that a machine does not start by itself: the tests do.
func servers() []string {
	return []string{"nginx", "apache2", "haproxy", "postfix", "dovecot", "postgresql"}
}

// rootfs is where the container's files are; a machine never writes there. Other packages are another root.
func rootfs() string {
	sum := sha256.Sum256([]byte(strings.Join(packages(), " ")))
	return filepath.Join("..", "..", ".cache", "e2e", fmt.Sprintf("%s-%x", debian(), sum[:4]))
}

func bootstrap() error {
	if _, err := os.Stat(rootfs()); err == nil {
		return nil
	}
	unfinished := rootfs() + ".tmp"
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o755)); err != nil {
		return err
	}
	err := host("debootstrap", "--variant=minbase", "--include="+strings.Join(packages(), ","), debian(), unfinished)
	if err == nil {
		err = host("systemctl", append([]string{"--root=" + unfinished, "disable"}, servers()...)...)
	}
	if err != nil {
		return err
	}
	return os.Rename(unfinished, rootfs())
}

func host(name string, args ...string) error {
	_, err := hostOutput(name, args...)
	return err
}

func hostOutput(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("running %s: %w\n%s", cmd, err, out)
	}
	return string(out), err
}
