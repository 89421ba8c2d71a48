//go:build e2e

package e2e

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// TestPackageIsSound asks Debian's own judge. What he may overlook is named in the package.
func TestPackageIsSound(t *testing.T) {
	if out, err := hostOutput("lintian", "--allow-root", "--tag-display-limit=0", "--fail-on=error,warning", built(t)); err != nil || out != "" {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestTheSameCommitGivesTheSameBytes(t *testing.T) {
	for packager, pattern := range map[string]string{"deb": "acmed_*.deb", "rpm": "acmed-*.rpm"} {
		var sums [2]string
		for i := range sums {
			if err := host("../../deploy/package/build", packager); err != nil {
				t.Fatal(err)
			}
			built, err := filepath.Glob("../../dist/" + pattern)
			if err != nil || len(built) != 1 {
				t.Fatalf("built %v, %v", built, err)
			}
			data, err := os.ReadFile(built[0])
			if err != nil {
				t.Fatal(err)
			}
			sums[i] = fmt.Sprintf("%x", sha256.Sum256(data))
		}
		if sums[0] != sums[1] {
			t.Errorf("two builds of the %s differ", packager)
		}
	}
}

// TestRPM looks into a package that no RPM system has tried.
func TestRPM(t *testing.T) {
	if err := host("../../deploy/package/build", "rpm"); err != nil {
		t.Fatal(err)
	}
	built, err := filepath.Glob("../../dist/acmed-*.rpm")
	if err != nil || len(built) != 1 {
		t.Fatalf("built %v, %v", built, err)
	}
	query := func(what ...string) string {
		out, err := hostOutput("rpm", slices.Concat([]string{"--query", "--package", "--nosignature"}, what, built)...)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	files := query("--list")
	for _, want := range []string{"/usr/bin/acmed", "/usr/lib/systemd/system/acmed.service", "/usr/share/man/man5/acmed-certificate.5.gz", "/usr/share/licenses/acmed/LICENSE"} {
		if !strings.Contains(files, want+"\n") {
			t.Errorf("it lacks %s", want)
		}
	}
	if config := query("--configfiles"); strings.TrimSpace(config) != "/etc/acmed/acmed.yaml" {
		t.Errorf("configuration files: %s", config)
	}
	scripts := query("--scripts")
	for _, name := range []string{"postinstall", "preuninstall", "postuninstall"} {
		if !strings.Contains(scripts, name+" scriptlet (using /bin/sh)") {
			t.Errorf("no %s in\n%s", name, scripts)
		}
	}
	for _, script := range []string{"rpm/post", "rpm/preun", "rpm/postun", "deb/postinst", "deb/prerm", "deb/postrm"} {
		if err := host("sh", "-n", "../../deploy/package/"+script); err != nil {
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
			"acmed.service", "acmed-http.socket", "acmed-http.service", "acmed-listen.socket", "acmed-tls-alpn.socket",
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
			"/usr/share/man/man5":                      "755 root:root",
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
			"acmed-listen.socket": "disabled inactive", "acmed-tls-alpn.socket": "disabled inactive", "acmed-deploy.socket": "enabled active",
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
	t.Run("the examples are valid, also without their comment signs", func(t *testing.T) {
		m := m.with(t)
		m.run("sh", "-euc", `mkdir /tmp/examples; cd /tmp/examples
			for file in /usr/share/doc/acmed/examples/*.yaml /etc/acmed/acmed.yaml; do
				head -1 $file | grep -q '^# yaml-language-server: .schema=/usr/share/acmed/schema/[a-z]*.json$'
				test -e $(head -1 $file | sed 's/.*=//')
				sed 's/^#\([a-zA-Z]\|  [a-z]\)/\1/' $file >$(basename $file)
			done
			mkdir certs.d issuers.d
			cp www.example.com.yaml certs.d/; mv issuer.yaml issuers.d/corp.yaml
			printf 'specDir: certs.d\nissuerDir: issuers.d\n' >>acmed.yaml
			acmed check --config acmed.yaml`)
	})
	t.Run("a remove keeps what a later install finds again", func(t *testing.T) {
		m := m.with(t)
		m.write("/etc/acmed/acmed.toml", "another program's\n")
		m.run("systemctl", "enable", "acmed-http.socket")
		m.write("/var/lib/acmed/canary", "")
		if out := m.run("dpkg", "--remove", "acmed"); !strings.Contains(out, "rm -rf /var/lib/acmed") {
			t.Errorf("it does not tell where the keys are: %s", out)
		}
		out := m.install()
		if !strings.Contains(out, "/etc/acmed/acmed.toml belongs to another program") || m.run("cat", "/etc/acmed/acmed.toml") != "another program's" {
			t.Errorf("of another program's file it says: %s", out)
		}
		m.run("rm", "/etc/acmed/acmed.toml")
		for _, unit := range []string{"acmed.service", "acmed-deploy.socket", "acmed-http.socket"} {
			if got := m.show(unit, "UnitFileState"); got != "enabled" {
				t.Errorf("%s is %s", unit, got)
			}
		}
		m.run("systemctl", "disable", "acmed-http.socket")
	})
	t.Run("an edited configuration outlives an upgrade, and the state outlives a purge", func(t *testing.T) {
		m := m.with(t)
		m.write("/etc/acmed/acmed.yaml", "# mine\nhttp: {fallback: redirect}\n")
		m.write("/var/lib/acmed/canary", "")
		m.run("systemctl", "disable", "acmed.service", "acmed-deploy.socket")
		m.install()
		if got := m.show("acmed.service", "UnitFileState"); got != "disabled" {
			t.Errorf("the upgrade made what was disabled %s", got)
		}
		m.run("systemctl", "enable", "acmed.service", "acmed-deploy.socket")
		if got := m.run("head", "-1", "/etc/acmed/acmed.yaml"); got != "# mine" {
			t.Errorf("the upgrade replaced it: %s", got)
		}
		if out := m.run("dpkg", "--purge", "acmed"); !strings.Contains(out, "rm -rf /var/lib/acmed") {
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
