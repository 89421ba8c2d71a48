//go:build e2e

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/test/pebble"
)

// TestImportOnAMachine has root import, where the package is at work.
func TestImportOnAMachine(t *testing.T) { onEach(t, testImportOnAMachine) }

func testImportOnAMachine(t *testing.T, release string) {
	const name, key = "www.example.com", "/var/lib/acmed/live/www.example.com/privkey.pem"
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	other := &migration{ca: ca, dir: t.TempDir()}
	other.other(t, "certbot", "certonly", "--standalone", "--non-interactive", "--agree-tos", "--email=pki@example.com", "--domains="+name,
		"--server="+ca.DirectoryURL, "--config-dir="+other.dir, "--work-dir="+t.TempDir(), "--logs-dir="+t.TempDir(), "--deploy-hook=systemctl reload nginx",
		"--eab-kid="+bindingID, "--eab-hmac-key="+bindingKey)
	hook := filepath.Join(other.dir, "renewal-hooks/deploy/note")
	if err := os.WriteFile(hook, []byte("#!/bin/sh\nbasename \"$RENEWED_LINEAGE\" >> /etc/ssl/noted\n"), 0o755); err != nil {
		t.Fatal(err)
	}

	m := serve(t, release, ca, byResponder())
	// The account exists: no binding is needed any more.
	m.write("/etc/acmed/issuers.d/pebble.yaml", "directory: "+ca.DirectoryURL+"\ncaBundle: /etc/acmed/pebble.pem\n")
	if err := host("cp", "-a", other.dir, m.path("/etc/letsencrypt")); err != nil {
		t.Fatal(err)
	}
	serial := m.run("openssl", "x509", "-noout", "-serial", "-checkhost", name, "-in", "/etc/letsencrypt/live/"+name+"/cert.pem")

	if plan := m.run("acmed", "import", "certbot"); !strings.Contains(plan, "Nothing was changed.") {
		t.Errorf("the plan:\n%s", plan)
	}
	if out, err := m.try("acmed", "import", "certbot", "--apply"); err == nil || !strings.Contains(out, "stop it first") {
		t.Errorf("while acmed runs: %v\n%s", err, out)
	}
	m.run("systemctl", "stop", "acmed.service")
	m.run("rm", "-r", "/var/lib/acmed") // as if it had never run
	if done := m.run("acmed", "import", "certbot", "--apply"); !strings.Contains(done, "Imported.") {
		t.Errorf("the import:\n%s", done)
	}
	for path, want := range map[string]string{
		"/var/lib/acmed": "711 acmed:acmed", key: "600 acmed:acmed", "/etc/acmed/certs.d/" + name + ".yaml": "644 root:root",
	} {
		if got := m.run("stat", "--dereference", "--format=%a %U:%G", path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}

	before := ca.Count(t)
	m.run("systemctl", "start", "acmed.service")
	m.run("acmed", "status", name, "--wait")
	if now := m.issued(name); now != serial {
		t.Errorf("certbot's was %s, acmed's is %s", serial, now)
	}
	hasRun := func(times string) {
		m.eventually(patience, "the hook has run", func() error {
			_, err := m.try("sh", "-c", `[ "$(cat /etc/ssl/noted)" = "$(printf 'www.example.com\n%.0s' `+times+`)" ]`)
			return err
		})
	}
	hasRun("1")
	m.run("acmed", "renew", name, "--wait")
	if now := m.issued(name); now == serial {
		t.Error("it was not renewed")
	}
	hasRun("1 2")
	if asked := ca.Count(t).Since(before); asked["newAccount"] > 0 || asked["newOrder"] != 1 {
		t.Errorf("the CA was asked for %v", asked)
	}
	if wrong := m.run("acmed", "check"); !strings.HasSuffix(wrong, "all good") {
		t.Error(wrong)
	}
}
