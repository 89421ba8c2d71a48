//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"acmed/test/pebble"
)

// tells follows the one line that systemctl status shows, while a name cannot be found in the DNS.
func tells(t *testing.T, m *machine, ca *pebble.Server) {
	const name = "failing.example.com"
	m.eventually(patience, "it tells what is well, and what comes next",
		m.line(`^1 certificate: 1 valid; next: renew www\.example\.com at \d{4}-\d\d-\d\d \d\d:\d\d$`))
	host := map[string]any{"host": name + "."}
	if err := ca.SetDNS(t.Context(), "set-servfail", host); err != nil {
		t.Fatal(err)
	}
	m.order(name)
	m.eventually(patience, "it tells what fails, and when it is tried again",
		m.line(`^2 certificates: 1 valid, 1 backing-off; next: issue failing\.example\.com at \d{4}-`))
	if err := ca.SetDNS(t.Context(), "clear-servfail", host); err != nil {
		t.Fatal(err)
	}
	m.run("acmed", "renew", name, "--wait")
	m.eventually(patience, "it tells that this is over", m.line(`^2 certificates: 2 valid; next: renew `))
	if shown := m.run("acmed", "logs", name, "--output", "json"); !strings.Contains(shown, `"source":"journal","level":"warn"`) ||
		!strings.Contains(shown, `"source":"journal","level":"info"`) {
		t.Errorf("acmed logs does not show the journal:\n%s", shown)
	}
}

// line is nil once the status line is as described, for systemctl status as for systemctl show.
func (m *machine) line(pattern string) func() error {
	return func() error {
		text := m.show("acmed.service", "StatusText")
		if !regexp.MustCompile(pattern).MatchString(text) {
			return errors.New(text)
		}
		shown := `Status: "` + text + `"`
		if status := m.run("systemctl", "status", "--no-pager", "--full", "acmed.service"); !strings.Contains(status, shown) {
			return fmt.Errorf("no %s in\n%s", shown, status) // it may have changed in between
		}
		return nil
	}
}

func reloads(t *testing.T, m *machine, _ *pebble.Server) {
	m.run("systemctl", "reload", "acmed.service")
	pid := m.show("acmed.service", "MainPID")
	m.write("/etc/acmed/certs.d/bad.example.com.yaml", "dnsName: [typo.example.com]\n")
	m.write("/etc/acmed/certs.d/worse.example.com.yaml", "dnsNames: [worse.example.com]\ncolor: red\n")
	if _, err := m.try("systemctl", "reload", "acmed.service"); err == nil {
		t.Error("bad files, and the reload succeeded")
	}
	for _, told := range [][]string{
		{"systemctl", "status", "--no-pager", "--full", "acmed.service"},
		{"journalctl", "--no-pager", "--unit=acmed.service"},
	} {
		holds(t, m.run(told...), "bad.example.com.yaml:1:1", "worse.example.com.yaml:2:")
	}
	m.eventually(patience, "the status line counts them", m.line(`^2 problems, first in bad\.example\.com\.yaml:1; `))
	if now := m.show("acmed.service", "MainPID"); now != pid {
		t.Error("the daemon did not run on")
	}
	m.run("rm", "/etc/acmed/certs.d/bad.example.com.yaml", "/etc/acmed/certs.d/worse.example.com.yaml")
	m.run("systemctl", "reload", "acmed.service")
}

// withholds has most files vanish, as when a file system is not mounted. It comes when there are many.
func withholds(t *testing.T, m *machine, _ *pebble.Server) {
	m.run("mv", "/etc/acmed/certs.d", "/etc/acmed/certs.away")
	if out, err := m.try("systemctl", "reload", "acmed.service"); err == nil {
		t.Errorf("all files are gone, and the reload succeeded: %s", out)
	}
	m.eventually(patience, "the status line tells", m.line(`removals held`))
	m.run("mv", "/etc/acmed/certs.away", "/etc/acmed/certs.d")
	m.run("systemctl", "reload", "acmed.service")
	if list := m.run("acmed", "list"); strings.Contains(list, "retired") {
		t.Errorf("it has given up certificates:\n%s", list)
	}
}

// journaled looks for what the other steps have left in the journal, as docs/operations.md says.
func journaled(t *testing.T, m *machine, _ *pebble.Server) {
	journal := func(query string) string { return m.run("journalctl", "--no-pager", "--output=cat", query) }
	holds(t, journal("ACMED_CERTIFICATE=www.example.com"), "issued certificate")
	holds(t, journal("ACMED_CERTIFICATE=failing.example.com"), "attempt did not work", "issued certificate")
	if text := journal("ACMED_CERTIFICATE=nobody.example.com"); strings.Contains(text, "issued") {
		t.Errorf("it shows what was not asked for:\n%s", text)
	}
	holds(t, m.run("journalctl", "--no-pager", "--identifier=acmed"), "registered account", "answering http-01")
	for message, id := range events(t) {
		if text := journal("MESSAGE_ID=" + id); !strings.HasPrefix(message, "deliver") && !strings.HasPrefix(text, message) {
			t.Errorf("journalctl MESSAGE_ID=%s does not show %q:\n%s", id, message, text)
		}
	}
}

// events are the identifiers that docs/operations.md promises, by their messages.
func events(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "operations.md"))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([0-9a-f]{32})` \\| ([^|]+) \\|").FindAllStringSubmatch(string(text), -1) {
		found[row[2]] = row[1]
	}
	if len(found) < 10 {
		t.Errorf("docs/operations.md documents the events %v", found)
	}
	return found
}
