//go:build e2e

package e2e

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"acmed/internal/deploy"
)

// reloaded are units of all kinds, and what is to come of their reload.
func reloaded() map[string]struct{ unit, note, problem, hint string } {
	return map[string]struct{ unit, note, problem, hint string }{
		"reads.service":     {unit: "ExecStart=/bin/sleep infinity\nExecReload=/bin/sh -c 'echo >>/run/reads'"},
		"restarts.service":  {unit: "ExecStart=/bin/sh -c 'echo >>/run/restarts; exec sleep infinity'"},
		"stopped.service":   {unit: "ExecStart=/bin/sleep infinity\nExecStartPre=/bin/false", note: "not running"},
		"idle.service":      {unit: "ExecStart=/bin/sh -c 'echo >>/run/idle'", note: "not running"},
		"refuses.service":   {unit: "ExecStart=/bin/sleep infinity\nExecReload=/bin/false", problem: `the reload of refuses.service ended with "failed"`, hint: "journalctl -u refuses.service"},
		"dawdles.service":   {unit: "ExecStart=/bin/sleep infinity\nExecReload=/bin/sleep infinity\nTimeoutStartSec=2", problem: `ended with "`, hint: "journalctl -u dawdles.service"},
		"misses.service":    {problem: "systemd does not know the unit misses.service", hint: "suffix"},
		"masked.service":    {unit: "ExecStart=/bin/sleep infinity", problem: "masked.service is masked", hint: "unmask"},
		"nonsense.service":  {unit: "Nothing=", problem: "systemd cannot read the unit nonsense.service", hint: "systemctl status"},
		"some@here.service": {unit: "ExecStart=/bin/sleep infinity\nExecReload=/bin/true"},
	}
}

func TestReloads(t *testing.T) { onEach(t, testReloads) }

// testReloads has the helper reload units of all kinds, with and without a message bus.
func testReloads(t *testing.T, release string) {
	m := boot(t, release)
	m.install()
	var units []string
	for unit, r := range reloaded() {
		units = append(units, unit)
		if r.unit != "" {
			m.write("/etc/systemd/system/"+strings.Replace(unit, "@here", "@", 1), "[Service]\n"+r.unit+"\n")
		}
	}
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "reads.service", "restarts.service", "refuses.service", "dawdles.service", "some@here.service")
	if _, err := m.try("systemctl", "start", "stopped.service"); err == nil {
		t.Fatal("it started")
	}
	m.run("ln", "-sf", "/dev/null", "/etc/systemd/system/masked.service")
	m.run("systemctl", "daemon-reload")
	m.write("/etc/acmed/certs.d/"+delivered+".yaml", "deploy: {reload: ["+strings.Join(units, ", ")+"]}\n")
	issueFor(m, delivered)
	m.eventually(patience, "the spec stands still", func() error { return m.courier().Accept(t.Context(), []string{delivered}) })
	t.Run("with a message bus", func(t *testing.T) { reloadsUnits(t, m.with(t), 1) })
	m.run("systemctl", "stop", "dbus.socket", "dbus.service")
	t.Run("without one", func(t *testing.T) { reloadsUnits(t, m.with(t), 2) })
}

// reloadsUnits asks for all reloads, for the n-th time, and compares what came of them with what was to.
func reloadsUnits(t *testing.T, m *machine, n int) {
	answers, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: delivered}})
	if err != nil || len(answers) != 1 {
		t.Fatalf("%+v, %v", answers, err)
	}
	expected := reloaded()
	for _, r := range answers[0].Results {
		unit := strings.TrimPrefix(r.Key, "reload ")
		want := expected[unit]
		delete(expected, unit)
		if r.OK != (want.problem == "") || r.Note != want.note || !strings.Contains(r.Problem, want.problem) || !strings.Contains(r.Hint, want.hint) {
			t.Errorf("%s: %+v", unit, r)
		}
	}
	if len(expected) > 0 {
		t.Errorf("nothing came of %v", expected)
	}
	for file, lines := range map[string]int{"/run/reads": n, "/run/restarts": 1 + n} {
		m.eventually(patience, "the units have done what they were asked to", func() error { // a start is over before the program runs
			if got := m.run("sh", "-c", "wc -l <"+file); got != strconv.Itoa(lines) {
				return fmt.Errorf("%s has %s lines, want %d", file, got, lines)
			}
			return nil
		})
	}
	if out, err := m.try("cat", "/run/idle"); err == nil {
		t.Errorf("what was not running was started: %s", out)
	}
}
