//go:build e2e

package e2e

import (
	"testing"

	"acmed/test/pebble"
)

// TestAdd does what a newcomer does who knows servers, and not acmed.
func TestAdd(t *testing.T) { onEach(t, testAdd) }

func testAdd(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	m := serve(t, release, ca, byResponder())
	for _, step := range []struct {
		sentence string
		check    func(*testing.T, *machine)
	}{
		{"a unit that does not exist, or does its work once, is refused before anything is written", refusesUnits},
		{"the file is root's, and its certificate is issued", addsFile},
		{"a reload that does nothing is found by the probe", addsIdleReload},
		{"who may read the journal sees it, and everybody else is told what is missing", showsLogs},
	} {
		t.Run(step.sentence, func(t *testing.T) { step.check(t, m.with(t)) })
	}
}

func refusesUnits(t *testing.T, m *machine) {
	m.write("/etc/systemd/system/once.service", "[Service]\nType=oneshot\nExecStart=/bin/true\n")
	m.run("systemctl", "daemon-reload")
	for unit, want := range map[string]string{"ngnix": `--reload: unknown systemd unit "ngnix.service"`, "once.service": "a oneshot unit is never running"} {
		out, err := m.try("acmed", "add", "refused.example.com", "--reload", unit)
		if err == nil {
			t.Errorf("%s is accepted", unit)
		}
		holds(t, out, want, "what to do: ", "nothing was written")
	}
	if _, err := m.try("ls", "/etc/acmed/certs.d/refused.example.com.yaml"); err == nil {
		t.Error("the file is there")
	}
}

func addsFile(t *testing.T, m *machine) {
	out := m.run("acmed", "add", "added.example.com")
	holds(t, out, "added.example.com: valid", "/var/lib/acmed/live/added.example.com/fullchain.pem")
	if got := m.run("stat", "--format=%a %U:%G", "/etc/acmed/certs.d/added.example.com.yaml"); got != "644 root:acmed" {
		t.Errorf("the file is %s", got)
	}
	m.issued("added.example.com")
}

func addsIdleReload(t *testing.T, m *machine) {
	m.run("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=idle.example.com", "-keyout", "/root/old.key", "-out", "/root/old.pem")
	m.write("/etc/systemd/system/idle.service",
		"[Service]\nExecStart=/usr/bin/openssl s_server -quiet -accept 8443 -cert /root/old.pem -key /root/old.key\nExecReload=/bin/true\n")
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "start", "idle.service")
	out, err := m.try("acmed", "add", "idle.example.com", "--reload", "idle", "--probe", "127.0.0.1:8443")
	if err == nil {
		t.Error("a server that keeps its certificate is no failure")
	}
	holds(t, out, "idle.example.com: deploy-failed", "serves another certificate", "what to do", "the certificate was issued, but its deployment failed",
		"acmed deploy idle.example.com --wait", "rm /etc/acmed/certs.d/idle.example.com.yaml")
	// What it says to undo it, undoes it.
	m.run("sh", "-c", "rm /etc/acmed/certs.d/idle.example.com.yaml && acmed reload && acmed delete idle.example.com")
}

func showsLogs(t *testing.T, m *machine) {
	holds(t, m.run("acmed", "logs", "added.example.com", "--output", "json"), `"source":"journal","level":"info"`)
	m.run("useradd", "--groups", "acmed-admin", "admin1")
	out, err := m.try("runuser", "-u", "admin1", "--", "acmed", "logs", "added.example.com")
	if err != nil {
		t.Error(err)
	}
	holds(t, out, "certificate issued", "only the record is shown: you may not read the journal", "join the group systemd-journal")
	out, err = m.try("runuser", "-u", "nobody", "--", "acmed", "logs", "added.example.com")
	if err == nil {
		t.Error("nobody may read it")
	}
	holds(t, out, "you may not read the journal", "you may not talk to the daemon")
	if out, err := m.try("runuser", "-u", "admin1", "--", "acmed", "add", "new.example.com"); err == nil {
		t.Error("who may not write specs adds one")
	} else {
		holds(t, out, "you may not write to /etc/acmed/certs.d; nothing was written", "sudo")
	}
}
