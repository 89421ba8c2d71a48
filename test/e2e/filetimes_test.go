//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"acmed/test/pebble"
)

// TestServersThatCompareFileTimes is about servers that read a file only when it is newer than their last look, or than
// the file that they have: each is loaded between the order and the delivery, and then has to go back.
func TestServersThatCompareFileTimes(t *testing.T) { onEach(t, testFileTimes) }

func testFileTimes(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80, NonceReject: 5, AuthzReuse: 50})
	m := serve(t, release, ca, byResponder())
	for _, s := range []server{ocserv(), hitch(), rabbitMQ(), ejabberd()} {
		m.write("/etc/acmed/certs.d/"+s.name+".yaml", "{}\n")
		m.issued(s.name)
		t.Run(s.name, func(t *testing.T) { m.with(t).lateAndBack(s) })
	}
}

// closedWindow is one that opens in some hours.
func closedWindow() string {
	return fmt.Sprintf("\n  window: {start: %q, duration: 1h, timezone: UTC}", time.Now().UTC().Add(6*time.Hour).Format("15:04"))
}

// lateAndBack renews while the window is closed, loads the server, delivers, rolls back, and delivers again.
func (m *machine) lateAndBack(s server) {
	m.t.Helper()
	s.set(m)
	s.deploy += closedWindow()
	m.deployAs(s)
	for _, file := range s.files {
		m.eventually(patience, file+" is there", func() error { _, err := m.try("ls", file); return err })
	}
	for _, unit := range s.units {
		m.run("systemctl", "restart", unit)
	}
	m.eventually(3*patience, "the first certificate is delivered", func() error { return m.delivered(s.name, 1) })
	m.run("acmed", "renew", s.name)
	m.eventually(patience, "the renewal waits for its window", func() error {
		c, err := m.status(s.name)
		if err == nil && (c.Waiting == nil || c.Waiting.Number != 2) {
			err = errors.New("nothing waits")
		}
		return err
	})
	for _, unit := range s.units { // a second after the files of the new one were made, as clocks of file systems go
		m.run("sh", "-c", "sleep 1.1; systemctl restart "+unit)
	}
	m.eventually(3*patience, "the server still serves the first", func() error { return m.serves(s) })
	m.run("acmed", "deploy", s.name, "--now", "--wait")
	m.eventually(patience, "the second is delivered", func() error { return m.delivered(s.name, 2) })
	m.eventually(patience, "the server serves the second", func() error { return m.serves(s) })
	m.run("acmed", "rollback", s.name)
	m.eventually(patience, "the first is delivered again", func() error { return m.delivered(s.name, 1) })
	m.eventually(patience, "the server serves the first again", func() error { return m.serves(s) })
	for _, unit := range s.units {
		m.run("systemctl", "stop", unit)
	}
}

func ocserv() server {
	return server{
		name: "ocserv.example.com", address: "127.0.0.1:8450", units: []string{"ocserv.service"},
		deploy: "reload: [ocserv.service]\n  probe: [{address: \"127.0.0.1:8450\"}]",
		set: func(m *machine) {
			live := "/var/lib/acmed/live/ocserv.example.com/"
			m.write("/etc/ocserv/passwd", "")
			m.write("/etc/ocserv/ocserv.conf", `auth = "plain[passwd=/etc/ocserv/passwd]"
listen-host = 127.0.0.1
tcp-port = 8450
run-as-user = nobody
run-as-group = daemon
socket-file = /run/ocserv-socket
server-cert = `+live+`fullchain.pem
server-key = `+live+`privkey.pem
max-clients = 16
device = vpns
ipv4-network = 192.0.2.0/24
isolate-workers = false
`)
		},
	}
}

func hitch() server {
	return server{
		name: "hitch.example.com", address: "127.0.0.1:8451", units: []string{"hitch.service"},
		deploy: "reload: [hitch.service]\n  probe: [{address: \"127.0.0.1:8451\"}]",
		set: func(m *machine) {
			live := "/var/lib/acmed/live/hitch.example.com/"
			m.write("/etc/hitch/hitch.conf", `frontend = "[127.0.0.1]:8451"
backend = "[127.0.0.1]:9"
daemon = off
pem-file = {
	cert = "`+live+`fullchain.pem"
	private-key = "`+live+`privkey.pem"
}
`)
		},
	}
}

func rabbitMQ() server {
	return server{
		name: "rabbitmq.example.com", address: "127.0.0.1:5671", units: []string{"rabbitmq-server.service"},
		files: []string{"/etc/rabbitmq/tls/tls.key", "/etc/rabbitmq/tls/tls.crt"},
		deploy: "files:\n    - {path: /etc/rabbitmq/tls/tls.key, content: privkey, owner: rabbitmq, mode: \"0600\"}\n" +
			"    - {path: /etc/rabbitmq/tls/tls.crt, content: fullchain, owner: rabbitmq}\n" +
			"  run: [{command: [rabbitmqctl, eval, \"ssl:clear_pem_cache().\"], user: rabbitmq}]\n  probe: [{address: \"127.0.0.1:5671\"}]",
		set: func(m *machine) {
			m.run("install", "-d", "-o", "rabbitmq", "-m", "0700", "/etc/rabbitmq/tls")
			m.write("/etc/rabbitmq/rabbitmq.conf", `listeners.tcp = none
listeners.ssl.default = 127.0.0.1:5671
ssl_options.certfile = /etc/rabbitmq/tls/tls.crt
ssl_options.keyfile = /etc/rabbitmq/tls/tls.key
ssl_options.verify = verify_none
`)
		},
	}
}

func ejabberd() server {
	return server{
		name: "ejabberd.example.com", address: "127.0.0.1:5223", units: []string{"ejabberd.service"},
		files: []string{"/etc/ejabberd/tls.pem"},
		deploy: "files: [{path: /etc/ejabberd/tls.pem, content: combined, owner: ejabberd, mode: \"0600\"}]\n" +
			"  reload: [ejabberd.service]\n  probe: [{address: \"127.0.0.1:5223\"}]",
		set: func(m *machine) {
			config, err := os.ReadFile(m.path("/etc/ejabberd/ejabberd.yml"))
			if err != nil {
				m.t.Fatal(err)
			}
			text := strings.ReplaceAll(string(config), "/etc/ejabberd/ejabberd.pem", "/etc/ejabberd/tls.pem")
			m.write("/etc/ejabberd/ejabberd.yml", strings.ReplaceAll(text, "  - localhost\n", "  - ejabberd.example.com\n"))
		},
	}
}
