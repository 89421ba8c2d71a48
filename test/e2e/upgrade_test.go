//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/test/pebble"
)

// previous is the commit whose package is upgraded. A release moves it to the release before.
const previous = "5b0d07d81ee32ef6c6643f86bba949f51f013bb0"

func previousPackage() string { return filepath.Join(cache(), "acmed-"+previous+".deb") }

// buildPrevious makes the package of before, once. A shallow clone does not hold it.
func buildPrevious() error {
	_, err := os.Stat(previousPackage())
	if err == nil || host("git", "cat-file", "-e", previous+"^{commit}") != nil {
		return nil //nolint:nilerr // TestUpgrade says that it is skipped
	}
	source := filepath.Join(cache(), previous)
	if err := os.RemoveAll(source); err != nil {
		return err
	}
	for _, command := range [][]string{
		{"git", "clone", "--quiet", "--no-checkout", filepath.Join("..", ".."), source},
		{"git", "-C", source, "checkout", "--quiet", previous},
		{filepath.Join(source, "deploy/package/build")},
	} {
		if err := host(command[0], command[1:]...); err != nil {
			return fmt.Errorf("packaging what is upgraded: %w", err)
		}
	}
	file, err := packageIn(filepath.Join(source, "dist"))
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(file, previousPackage()), os.RemoveAll(source))
}

func TestUpgrade(t *testing.T) {
	if _, err := os.Stat(previousPackage()); err != nil {
		t.Skip("the package to upgrade is not in the history of a shallow clone: git fetch --unshallow")
	}
	onEach(t, testUpgrade)
}

// testUpgrade replaces the package of before while its certificates are served. The steps build on each other.
func testUpgrade(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	s := byResponder()
	s.deb = previousPackage()
	m := serve(t, release, ca, s)
	web := nginx()
	web.set(m)
	m.deployAs(web)
	m.order("other.example.com")
	m.issued(web.name)
	m.issued("other.example.com")
	m.run("systemctl", "start", "nginx.service")
	m.eventually(patience, "nginx is known to serve it", func() error { return m.delivered(web.name, 1) })
	t.Run("an upgrade keeps everything, and nobody notices", func(t *testing.T) { upgrades(m.with(t), ca, web) })
	t.Run("what it kept is renewed and delivered", func(t *testing.T) {
		m := m.with(t)
		m.run("acmed", "renew", web.name, "--wait")
		m.eventually(patience, "the renewal is delivered", func() error { return m.delivered(web.name, 2) })
		m.eventually(patience, "and served", func() error { return m.serves(web) })
	})
	t.Run("an acmed that is older than its state refuses to run, and changes nothing", func(t *testing.T) { downgrades(m.with(t), web) })
}

func upgrades(m *machine, ca *pebble.Server, web server) {
	const token = "evaGxfADs6pSRb2LAv9IZf17"
	m.write("/run/acmed/http-01/"+token, token+".thumbprint")
	kept := []string{"bash", "-c", "find /var/lib/acmed/{accounts,certs} /etc/acmed -type f | sort | xargs sha256sum; ls -l /var/lib/acmed/live"}
	before, asked, version := m.run(kept...), ca.Count(m.t), m.run("acmed", "version")
	connected, shook := hammer(m.t, proofURL+token), m.handshakes(web)
	m.install()
	for _, unit := range []string{"acmed.service", "acmed-http.service"} {
		if exe := m.run("readlink", "/proc/"+m.show(unit, "MainPID")+"/exe"); exe != "/usr/bin/acmed" {
			m.t.Errorf("%s still runs %s", unit, exe)
		}
		if stale := m.show(unit, "NeedDaemonReload"); stale != "no" {
			m.t.Errorf("of %s systemd knows the version of before", unit)
		}
	}
	connected()
	shook()
	if now := m.run("acmed", "version"); now == version {
		m.t.Errorf("it is still %s", now)
	}
	if after := m.run(kept...); after != before {
		m.t.Errorf("before the upgrade\n%s\nand after it\n%s", before, after)
	}
	for _, name := range []string{web.name, "other.example.com"} {
		if c, err := m.status(name); err != nil || c.Phase != "valid" || c.Current.Number != 1 {
			m.t.Errorf("%s: %+v, %v", name, c, err)
		}
	}
	if since := ca.Count(m.t).Since(asked); since["newAccount"]+since["newOrder"] != 0 {
		m.t.Errorf("the CA was asked for %v", since)
	}
	m.run("rm", "/run/acmed/http-01/"+token)
}

// downgrades has an acmed start that is older than its state.
func downgrades(m *machine, web server) {
	m.run("systemctl", "stop", "acmed.service")
	m.write("/var/lib/acmed/FORMAT", "999\n")
	state := []string{"find", "/var/lib/acmed", "-printf", "%p %m %U %s %T@ %C@ %l\n"}
	before := m.run(state...)
	if _, err := m.try("systemctl", "start", "acmed.service"); err == nil {
		m.t.Error("it started")
	}
	m.eventually(patience, "systemctl status tells why", m.refused)
	if after := m.run(state...); after != before {
		m.t.Errorf("before it was refused\n%s\nand after that\n%s", before, after)
	}
	if err := m.serves(web); err != nil {
		m.t.Error(err)
	}
	m.write("/var/lib/acmed/FORMAT", "1\n")
	m.run("systemctl", "start", "acmed.service")
	m.write("/var/lib/acmed/FORMAT", "999\n")
	m.install() // restarts what runs, and leaves no half-installed package when that refuses
	m.eventually(patience, "systemctl status tells why", m.refused)
	m.write("/var/lib/acmed/FORMAT", "1\n")
	m.run("systemctl", "start", "acmed.service")
	if c, err := m.status(web.name); err != nil || c.Phase != "valid" || c.Current.Number != 2 {
		m.t.Errorf("%+v, %v", c, err)
	}
}

// refused is nil once systemctl status tells why the daemon does not run.
func (m *machine) refused() error {
	status, err := m.try("systemctl", "status", "--no-pager", "--full", "acmed.service")
	for _, want := range []string{"Active: failed", "status=78", "it has format 999 and this acmed knows 1", "install the newer acmed again"} {
		if !strings.Contains(status, want) {
			return fmt.Errorf("nothing of %q in %w", want, err)
		}
	}
	return nil
}
