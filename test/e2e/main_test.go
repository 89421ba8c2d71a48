//go:build e2e

package e2e

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"acmed/test/netns"
	"acmed/test/pebble"
)

// TestMain runs the tests in a network namespace that holds nothing but a
// loopback device. The container and Pebble share it: port 80 is free there,
// and nothing reaches the world. What they mount ends with them.
func TestMain(m *testing.M) {
	began := time.Now()
	os.Exit(netns.Main(m.Run, func() error {
		err := prepare()
		fmt.Printf("prepared in %v\n", time.Since(began).Round(time.Second))
		return err
	}))
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
	var work errgroup.Group
	work.Go(buildPrevious)
	for _, release := range releases() {
		work.Go(func() error { return bootstrap(release) })
	}
	return work.Wait()
}

func aptInstall() error {
	var errs []error
	for _, tool := range []string{"systemd-nspawn", "debootstrap", "nsenter", "systemd-analyze", "mkfs.ext4", "mkfs.xfs", "certbot", "dehydrated", "lego", "caddy", "lintian", "rpm", "named", "prometheus", "knotd", "nsd", "unbound", "pdnsutil"} {
		_, err := exec.LookPath(tool)
		errs = append(errs, err)
	}
	_, err := os.Stat("/usr/lib/python3/dist-packages/certbot_dns_rfc2136")
	if errors.Join(append(errs, err)...) == nil {
		return nil
	}
	install := []string{"install", "systemd-container", "debootstrap", "util-linux", "e2fsprogs", "xfsprogs", "certbot", "python3-certbot-dns-rfc2136", "dehydrated", "lego", "caddy", "lintian", "rpm", "bind9", "bind9-utils", "prometheus", "knot", "nsd", "unbound", "pdns-server", "pdns-backend-lmdb"}
	return errors.Join(
		host("apt-get", "update", "-q"),
		// When this brings a newer systemd, dpkg may stop half-way; the second run ends it.
		firstSuccess(
			func() error { return apt(install...) },
			func() error { return apt("-f", "install") },
		),
		apt(install...))
}

// apt waits for whoever else installs packages.
func apt(args ...string) error {
	return host("apt-get", append([]string{"-qy", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=600"}, args...)...)
}

func firstSuccess(attempts ...func() error) (err error) {
	for _, attempt := range attempts {
		if err = attempt(); err == nil {
			return nil
		}
	}
	return err
}

// releases are the versions of Debian that the package is for. What one of them is enough for runs on the first.
func releases() []string {
	if release := os.Getenv("DEBIAN"); release != "" {
		return []string{release}
	}
	return []string{"bookworm", "trixie"}
}

// onEach runs a test on each release of Debian.
func onEach(t *testing.T, test func(t *testing.T, release string)) {
	for _, release := range releases() {
		t.Run(release, func(t *testing.T) { test(t, release) })
	}
}

// onFirst runs a test that takes many minutes on the first release alone: DEBIAN=trixie is for the other one.
func onFirst(t *testing.T, test func(t *testing.T, release string)) {
	t.Run(releases()[0], func(t *testing.T) { test(t, releases()[0]) })
}

// packages are what the container has beside the minimal system: what systemd needs, and the servers that consume
// certificates.
func packages() []string {
	return []string{
		"systemd", "systemd-sysv", "dbus", "libpam-systemd", "ca-certificates", "openssl", "curl", "iproute2", "procps",
		"nginx-light", "apache2", "haproxy", "postfix", "dovecot-imapd", "postgresql",
	}
}

// more are packages whose installation needs a system that is whole, and their configuration.
func more() []string {
	return []string{
		"dovecot-managesieved", "dovecot-lmtpd", "inn2", "inspircd", "mariadb-server", "prometheus-node-exporter",
		"prosody", "vsftpd", "ejabberd", "hitch", "ocserv", "rabbitmq-server",
	}
}

// servers are the units of packages that a machine does not start by itself: the tests do.
func servers() []string {
	return []string{
		"nginx", "apache2", "haproxy", "postfix", "dovecot", "postgresql",
		"inn2", "inspircd", "mariadb", "prometheus-node-exporter", "prosody", "vsftpd",
		"ejabberd", "hitch", "ocserv", "rabbitmq-server",
	}
}

// cache outlives the tests. CI may keep it.
func cache() string { return filepath.Join("..", "..", ".cache", "e2e") }

// rootfs is where the files of a release are; a machine never writes there. Other packages are another root.
func rootfs(release string) string {
	sum := sha256.Sum256([]byte(strings.Join(slices.Concat(packages(), more()), " ")))
	return filepath.Join(cache(), fmt.Sprintf("%s-%x", release, sum[:4]))
}

func bootstrap(release string) error {
	if _, err := os.Stat(rootfs(release)); err == nil {
		return nil
	}
	unfinished := rootfs(release) + ".tmp"
	if err := errors.Join(os.RemoveAll(unfinished), os.MkdirAll(unfinished, 0o755)); err != nil {
		return err
	}
	err := host("debootstrap", "--variant=minbase", "--include="+strings.Join(packages(), ","), release, unfinished)
	if err == nil {
		err = installMore(unfinished)
	}
	if err == nil {
		err = host("systemctl", append([]string{"--root=" + unfinished, "disable"}, servers()...)...)
	}
	if err != nil {
		return err
	}
	return os.Rename(unfinished, rootfs(release))
}

// installMore installs into a system of files. Nothing is started there; inn2 wants a host name with a domain.
func installMore(root string) error {
	policy := filepath.Join(root, "usr/sbin/policy-rc.d")
	err := errors.Join(
		os.WriteFile(policy, []byte("#!/bin/sh\nexit 101\n"), 0o755),
		os.WriteFile(filepath.Join(root, "etc/hosts"), []byte("127.0.0.1 news.example.com localhost\n"), 0o644))
	if err != nil {
		return err
	}
	const install = `hostname news.example.com && exec chroot "$0" apt-get -qy --no-install-recommends install "$@"`
	return errors.Join(host("unshare", append([]string{"--uts", "sh", "-c", install, root}, more()...)...), os.Remove(policy))
}

func host(name string, args ...string) error {
	_, err := hostOutput(name, args...)
	return err
}

func hostOutput(name string, args ...string) (string, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "TMPDIR=/tmp") // that of this machine may not be in the chroot
	out, err := cmd.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("running %s: %w\n%s", cmd, err, out)
	}
	return string(out), err
}
