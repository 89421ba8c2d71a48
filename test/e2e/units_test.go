//go:build e2e

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"acmed/internal/deploy"
	"acmed/test/pebble"
)

// changed is a unit, and what is to come of its reload or restart at the first try and at the second.
type changed struct {
	unit          string // the file; "": the package brings it
	restart       bool
	first, second verdict
	between       []string // a command that is run between the two
}

// verdict is a result, of which problem and note name a part.
type verdict struct {
	note, problem string
	ended         bool
}

const sleeps = "ExecStart=/bin/sleep infinity\n"

// changedUnits are units that end with a reload or restart, in all the ways that systemd has, and some that only seem to.
func changedUnits() map[string]changed {
	ended := verdict{problem: "ended within 5s of its reload", ended: true}
	down := verdict{problem: "ended with an earlier reload and does not run", ended: true}
	stopped := verdict{note: "not running"}
	hup := sleeps + "ExecReload=/bin/kill -HUP $MAINPID\n"
	late := "[Install]\nWantedBy=multi-user.target\n[Service]\nExecStart=/bin/sh -c 'trap \"sleep 2; exit 1\" HUP; while :; do sleep 0.1; done'\nExecReload=/bin/kill -HUP $MAINPID\n"
	umbrella := "Type=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\nExecReload=/bin/true\n[Unit]\nWants=worker@umbrella.service\n"
	return map[string]changed{
		"prometheus-node-exporter.service": {first: ended, second: down},
		"hup.service":                      {unit: hup, first: ended, second: down},
		"late.service":                     {unit: late, first: ended, second: down},
		"fixed.service":                    {unit: hup, first: ended, between: []string{"systemctl", "start", "fixed.service"}},
		"unwanted.service":                 {unit: hup + "Restart=always\nRestartSec=30s\n", first: ended, between: []string{"systemctl", "stop", "unwanted.service"}, second: down},
		"always.service":                   {unit: hup + "Restart=always\n", first: ended},
		"loops.service":                    {unit: "ExecStart=/bin/sh -c 'test ! -e /run/loops || exit 1; touch /run/loops; sleep infinity'\nExecReload=/bin/kill -HUP $MAINPID\nRestart=always\nRestartSec=2\n", first: ended, second: down},
		"stops.service":                    {unit: sleeps + "ExecReload=/bin/systemctl --no-block stop stops.service\n", first: stopped, second: stopped},
		"slowstop.service":                 {unit: sleeps + "ExecReload=/bin/systemctl --no-block stop slowstop.service\nExecStop=/bin/sleep 3\n", first: stopped, second: stopped},
		"turns.service":                    {unit: sleeps, restart: true},
		"breaks.service":                   {unit: "ExecStart=/bin/sh -c 'test ! -e /run/breaks || exit 1; touch /run/breaks; exec sleep infinity'\n", restart: true, first: verdict{problem: "ended within 5s of its restart", ended: true}, second: verdict{problem: "ended with an earlier restart", ended: true}},
		"failing.service":                  {unit: "Type=notify\nNotifyAccess=all\nExecStart=/bin/sh -c 'test ! -e /run/failing || exit 1; touch /run/failing; systemd-notify --ready; exec sleep infinity'\n", restart: true, first: verdict{problem: `ended with "failed"`, ended: true}, second: verdict{problem: "ended with an earlier restart", ended: true}},
		"limited.service":                  {unit: sleeps + "[Unit]\nStartLimitIntervalSec=1h\nStartLimitBurst=1\n", restart: true, first: verdict{problem: "its start limit is 1 in 1h0m0s"}, second: verdict{problem: "its start limit"}},
		"umbrella.service":                 {unit: umbrella, first: verdict{problem: "worker@umbrella.service ended within 5s", ended: true}, second: verdict{problem: "worker@umbrella.service ended with an earlier reload", ended: true}},
		"postfix.service":                  {},
		"postgresql.service":               {first: verdict{problem: "postgresql@15-main.service ended within 5s", ended: true}, second: verdict{problem: "postgresql@15-main.service ended with an earlier", ended: true}},
		"once.service":                     {unit: "Type=oneshot\nExecStart=/bin/touch /run/once\n", first: verdict{note: "as a oneshot unit"}, second: verdict{note: "run: [{command: [systemctl, start, once.service]}]"}},
	}
}

// TestUnitsThatEndWithTheirReload has the helper change units of all kinds, twice.
func TestUnitsThatEndWithTheirReload(t *testing.T) {
	m := boot(t, "bookworm")
	m.install()
	units := changedUnits()
	m.write("/etc/systemd/system/worker@.service", "[Unit]\nPartOf=umbrella.service\nReloadPropagatedFrom=umbrella.service\n[Service]\n"+sleeps+"ExecReload=/bin/kill -HUP $MAINPID\n")
	m.write("/etc/systemd/system/postgresql@15-main.service.d/test.conf", "[Service]\nExecReload=\nExecReload=/bin/kill -9 $MAINPID\nRestart=no\n")
	var reload, restart, start []string
	for name, u := range units {
		if u.unit != "" {
			m.write("/etc/systemd/system/"+name, "[Service]\n"+u.unit)
		}
		if u.restart {
			restart = append(restart, name)
		} else {
			reload = append(reload, name)
		}
		if !strings.Contains(u.unit, "Type=oneshot\nExecStart=/bin/touch") {
			start = append(start, name)
		}
	}
	m.run("systemctl", "daemon-reload")
	m.run("systemctl", "enable", "prometheus-node-exporter.service", "late.service")
	m.run(append([]string{"systemctl", "start"}, start...)...)
	m.write("/etc/acmed/certs.d/"+delivered+".yaml", fmt.Sprintf("deploy: {reload: [%s], restart: [%s]}\n", strings.Join(reload, ", "), strings.Join(restart, ", ")))
	issueFor(m, delivered)
	m.eventually(patience, "the spec stands still", func() error { return m.courier().Accept(t.Context(), []string{delivered}) })
	order := deploy.Order{Name: delivered}
	for _, r := range changes(t, m, order) {
		if _, unit, _ := strings.Cut(r.Key, " "); units[unit].first.differs(r) {
			t.Errorf("at the first try: %+v", r)
		}
		if r.Ended {
			order.Ended, order.Again = append(order.Ended, r.Fingerprint), append(order.Again, r.Fingerprint)
		}
	}
	for _, u := range units {
		if u.between != nil {
			m.run(u.between...)
		}
	}
	for _, r := range changes(t, m, order) {
		if _, unit, _ := strings.Cut(r.Key, " "); units[unit].second.differs(r) {
			t.Errorf("at the second try: %+v", r)
		}
	}
	for _, command := range []string{"check", "doctor"} {
		if said, err := m.try("acmed", command); err == nil || !strings.Contains(said, "a oneshot unit is never running") || !strings.Contains(said, "write run: [{command: [systemctl, start, once.service]}]") {
			t.Errorf("acmed %s says\n%s", command, said)
		}
	}
	if out, err := m.try("cat", "/run/once"); err == nil {
		t.Errorf("a oneshot unit was started: %s", out)
	}
	// A daemon that was killed before it could note that units ended asks as if for the first time.
	for _, r := range changes(t, m, deploy.Order{Name: delivered}) {
		if slices.Contains([]string{"reload late.service", "reload prometheus-node-exporter.service"}, r.Key) && !r.Ended {
			t.Errorf("after a crash: %+v", r)
		}
	}
}

// changes has the certificate delivered.
func changes(t *testing.T, m *machine, order deploy.Order) []deploy.Result {
	t.Helper()
	answers, err := m.courier().Deploy(t.Context(), []deploy.Order{order})
	if err != nil || len(answers) != 1 || answers[0].Problem != "" || len(answers[0].Results) != len(changedUnits()) {
		t.Fatalf("%+v, %v", answers, err)
	}
	return answers[0].Results
}

// differs reports whether a result is not the one that is to be.
func (v verdict) differs(r deploy.Result) bool {
	return r.OK != (v.problem == "") || r.Ended != v.ended || !strings.Contains(r.Problem, v.problem) || !strings.Contains(r.Note, v.note) || v.note == "" && r.Note != ""
}

// TestAUnitThatEndedIsAcceptedOnceItRuns has the daemon deliver to a unit that its reload ends.
func TestAUnitThatEndedIsAcceptedOnceItRuns(t *testing.T) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	m := serve(t, "bookworm", ca, byResponder())
	m.write("/etc/systemd/system/ends.service", "[Service]\n"+sleeps+"ExecReload=/bin/kill -HUP $MAINPID\n[Install]\nWantedBy=multi-user.target\n")
	m.run("systemctl", "enable", "--now", "ends.service")
	m.write("/etc/acmed/certs.d/"+delivered+".yaml", "deploy: {reload: [ends.service]}\n")
	behind := func(problem string) {
		t.Helper()
		m.eventually(patience, problem, func() error {
			c, err := m.status(delivered)
			switch {
			case err != nil:
				return err
			case len(c.Targets) != 1 || c.Targets[0].Accepted || c.Targets[0].Failed == nil || !strings.Contains(c.Targets[0].Failed.Problem, problem):
				return fmt.Errorf("%+v", c.Targets)
			}
			return nil
		})
		if metrics := m.run("curl", "-s", "http://127.0.0.1:9402/metrics"); !strings.Contains(metrics, `acmed_certificate_targets_behind{cert="`+delivered+`"} 1`) {
			t.Error("no metric says so")
		}
	}
	behind("ends.service ended within 5s of its reload")
	if said, err := m.try("acmed", "deploy", delivered, "--wait"); err == nil {
		t.Errorf("a unit that is down has accepted it:\n%s", said)
	}
	behind("ends.service ended with an earlier reload and does not run")
	m.run("systemctl", "start", "ends.service")
	pid := m.show("ends.service", "MainPID")
	m.run("acmed", "deploy", delivered, "--wait")
	if err := m.delivered(delivered, 1); err != nil || m.show("ends.service", "MainPID") != pid {
		t.Errorf("it runs again: %v, and was PID %s, is %s", err, pid, m.show("ends.service", "MainPID"))
	}
}

// TestAServerThatCannotLoadItsFilesHasNotAcceptedThem gives Apache, whose reload succeeds, a key of another certificate.
func TestAServerThatCannotLoadItsFilesHasNotAcceptedThem(t *testing.T) {
	m := boot(t, "bookworm")
	m.install()
	issueFor(m, delivered)
	m.copyTLS()
	m.run("a2enmod", "ssl")
	m.write("/etc/apache2/ports.conf", "Listen 127.0.0.1:8442\n")
	m.write("/etc/apache2/sites-enabled/000-default.conf", "ServerName "+delivered+"\n<VirtualHost 127.0.0.1:8442>\nSSLEngine on\n"+
		"SSLCertificateFile /etc/tls/fullchain.pem\nSSLCertificateKeyFile /etc/tls/privkey.pem\n</VirtualHost>\n")
	m.run("systemctl", "start", "apache2.service")
	m.write("/etc/acmed/certs.d/"+delivered+".yaml", "deploy: {check: [apache2ctl, configtest], reload: [apache2.service]}\n")
	m.eventually(patience, "the spec stands still", func() error { return m.courier().Accept(t.Context(), []string{delivered}) })
	m.run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "/etc/tls/privkey.pem")
	answers, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: delivered}})
	if err != nil || len(answers) != 1 || len(answers[0].Results) != 2 {
		t.Fatalf("%+v, %v", answers, err)
	}
	if check, reload := answers[0].Results[0], answers[0].Results[1]; !check.OK || reload.OK || !reload.Ended {
		t.Errorf("%+v", answers[0].Results)
	}
}
