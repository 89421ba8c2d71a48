//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestUnitsAreHardened holds each unit to ten times the score of
// `systemd-analyze security`. What is left to the daemon is the network, to
// the responder one folder, and to the deploy helper what its work takes.
func TestUnitsAreHardened(t *testing.T) {
	for unit, maxExposure := range map[string]int{"acmed.service": 13, "acmed-http.service": 3, "acmed-deploy@.service": 33} {
		_, err := hostOutput("systemd-analyze", "security", "--offline=true", "--no-pager",
			fmt.Sprint("--threshold=", maxExposure), "../../deploy/systemd/"+unit)
		if err != nil {
			t.Error(err)
		}
	}
}

func TestPackage(t *testing.T) { onEach(t, testPackage) }

func testPackage(t *testing.T, release string) {
	m := boot(t, release)
	m.install()

	t.Run("its units are what systemd expects", func(t *testing.T) {
		m := m.with(t)
		if out, err := m.try("systemd-analyze", "verify", "--man=no",
			"acmed.service", "acmed-http.socket", "acmed-http.service", "acmed-listen.socket",
			"acmed-deploy.socket", "acmed-deploy@.service"); err != nil || out != "" {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("modes and owners follow the design", func(t *testing.T) {
		m := m.with(t)
		for path, want := range map[string]string{
			"/usr/bin/acmed":                           "755 root:root",
			"/etc/acmed/acmed.yaml":                    "644 root:root",
			"/etc/acmed/certs.d":                       "755 root:root",
			"/etc/acmed/issuers.d":                     "755 root:root",
			"/etc/acmed/dns.d":                         "755 root:root",
			"/etc/acmed/secrets":                       "750 root:acmed",
			"/run/acmed":                               "755 root:root",
			"/run/acmed/http-01":                       "755 acmed:acmed",
			"/run/acmed/control":                       "2750 acmed:acmed-admin",
			"/run/acmed/deploy.sock":                   "600 acmed:acmed",
			"/usr/share/man/man8":                      "755 root:root",
			"/usr/share/acmed/schema/certificate.json": "644 root:root",
			"/usr/share/doc/acmed":                     "755 root:root",
		} {
			if got := m.run("stat", "--format=%a %U:%G", path); got != want {
				t.Errorf("%s is %s, want %s", path, got, want)
			}
		}
	})
	t.Run("the daemon is enabled, port 80 is not taken, nothing runs yet", func(t *testing.T) {
		m := m.with(t)
		for unit, want := range map[string]string{
			"acmed.service": "enabled inactive", "acmed-http.socket": "disabled inactive", "acmed-http.service": "static inactive",
			"acmed-listen.socket": "disabled inactive", "acmed-deploy.socket": "enabled active",
		} {
			if got := m.show(unit, "UnitFileState") + " " + m.show(unit, "ActiveState"); got != want {
				t.Errorf("%s is %s, want %s", unit, got, want)
			}
		}
		if running := m.run("systemctl", "list-units", "--plain", "--no-legend", "acmed*.service"); running != "" {
			t.Errorf("these run: %s", running)
		}
	})
	t.Run("the configuration as shipped is valid", func(t *testing.T) {
		m := m.with(t)
		if out, err := m.try("acmed", "check"); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
	t.Run("an edited configuration outlives an upgrade, and the state outlives a purge", func(t *testing.T) {
		m := m.with(t)
		m.write("/etc/acmed/acmed.yaml", "# mine\nhttp: {fallback: redirect}\n")
		m.write("/var/lib/acmed/canary", "")
		m.install()
		if got := m.run("head", "-1", "/etc/acmed/acmed.yaml"); got != "# mine" {
			t.Errorf("the upgrade replaced it: %s", got)
		}
		if out := m.run("dpkg", "--purge", "acmed"); !strings.Contains(out, "/var/lib/acmed") {
			t.Errorf("the purge does not tell where the keys are: %s", out)
		}
		if _, err := os.Stat(m.path("/var/lib/acmed/canary")); err != nil {
			t.Error(err)
		}
		for _, path := range []string{"/run/acmed/deploy.sock", "/etc/systemd/system/sockets.target.wants/acmed-deploy.socket"} {
			if _, err := os.Lstat(m.path(path)); err == nil {
				t.Errorf("%s is left", path)
			}
		}
	})
}
