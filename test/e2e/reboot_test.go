//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"acmed/test/pebble"
)

func TestReboot(t *testing.T) { onEach(t, testReboot) }

// testReboot boots a machine again whose CA has gone silent in the meantime. The web server, the daemon and the
// responder are there as before, and what was left to do is done.
func testReboot(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	m := serve(t, release, ca, byResponder())
	web := nginx()
	web.set(m)
	m.deployAs(web)
	m.issued(web.name)
	m.run("systemctl", "enable", "--now", "nginx.service")
	m.eventually(patience, "nginx is known to serve it", func() error { return m.delivered(web.name, 1) })
	m.write("/etc/acmed/issuers.d/silent.yaml", fmt.Sprintf("directory: https://%s/dir\n", silent(t)))
	m.write("/etc/acmed/certs.d/silent.example.com.yaml", "issuers: [silent]\n")
	m.eventually(patience, "the silent CA is asked", func() error { _, err := m.status("silent.example.com"); return err })

	m.reboot()
	for _, unit := range []string{"acmed.service", "acmed-http.socket", "acmed-deploy.socket", "nginx.service"} {
		if state := m.show(unit, "ActiveState"); state != "active" {
			t.Errorf("after the reboot %s is %s", unit, state)
		}
	}
	if took := m.startOf("acmed.service"); took > 5*time.Second {
		t.Errorf("a CA that does not answer delayed the start by %v", took)
	}
	if err := m.serves(web); err != nil {
		t.Error(err)
	}
	m.run("acmed", "renew", web.name, "--wait") // a proof on port 80
	m.eventually(patience, "the renewal is delivered", func() error { return m.delivered(web.name, 2) })
	m.eventually(patience, "and served", func() error { return m.serves(web) })
}

// silent is the address of a server that takes connections and never says a word.
func silent(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener.Addr().String()
}

// startOf is how long a unit took to be ready.
func (m *machine) startOf(unit string) time.Duration {
	m.t.Helper()
	began, errBegan := strconv.Atoi(m.show(unit, "InactiveExitTimestampMonotonic"))
	ready, errReady := strconv.Atoi(m.show(unit, "ActiveEnterTimestampMonotonic"))
	if err := errors.Join(errBegan, errReady); err != nil || began == 0 || ready == 0 {
		m.t.Fatalf("%s began at %d and was ready at %d: %v", unit, began, ready, err)
	}
	return time.Duration(ready-began) * time.Microsecond
}
