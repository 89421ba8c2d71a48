//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acmed/test/pebble"
)

// patience is for what takes the daemon a second or two on an idle machine.
const patience = 30 * time.Second

// setup is what an operator changes of the package.
type setup struct {
	http   string // of acmed.yaml
	socket string // who has port 80
	dropIn string // of acmed.service; "": none
	deb    string // the package; "": today's
}

// byResponder is the setup that is recommended.
func byResponder() setup { return setup{http: "{fallback: redirect}", socket: "acmed-http.socket"} }

// serve boots a container in which the daemon runs as packaged, with
// certificates from ca.
func serve(t *testing.T, release string, ca *pebble.Server, s setup) *machine {
	t.Helper()
	m := boot(t, release)
	m.installPackage(cmp.Or(s.deb, built(t)))
	m.write("/etc/acmed/acmed.yaml", fmt.Sprintf(`contact: ["mailto:pki@example.com"]
termsOfServiceAgreed: true
defaults: {issuers: [pebble]}
http: %s
log: {level: debug}
`, s.http))
	m.copyIn(ca.RootsFile, "/etc/acmed/pebble.pem")
	m.write("/etc/acmed/issuers.d/pebble.yaml", fmt.Sprintf("directory: %s\ncaBundle: /etc/acmed/pebble.pem\n%s", ca.DirectoryURL, m.bind()))
	if s.dropIn != "" {
		m.write("/etc/systemd/system/acmed.service.d/test.conf", "[Service]\n"+s.dropIn)
		m.run("systemctl", "daemon-reload")
	}
	m.run("systemctl", "enable", "--now", s.socket, "acmed.service")
	return m
}

func (m *machine) order(name string) {
	m.t.Helper()
	m.write("/etc/acmed/certs.d/"+name+".yaml", "")
}

// issued waits for a certificate and returns its serial number.
func (m *machine) issued(name string) (serial string) {
	m.t.Helper()
	m.eventually(patience, name+" is issued", func() (err error) {
		serial, err = m.try("openssl", "x509", "-noout", "-serial", "-checkhost", name,
			"-in", "/var/lib/acmed/live/"+name+"/fullchain.pem")
		return err
	})
	return serial
}

func (m *machine) active() error {
	if state := m.show("acmed.service", "ActiveState"); state != "active" {
		return errors.New(state)
	}
	return nil
}

// The steps build on each other: one container, one daemon.
func TestDaemon(t *testing.T) { onEach(t, testDaemon) }

func testDaemon(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80, NonceReject: 5, AuthzReuse: 50})
	m := serve(t, release, ca, byResponder())
	for _, step := range []struct {
		sentence string
		check    func(*testing.T, *machine, *pebble.Server)
	}{
		{"it is ready and says so in one line", ready},
		{"it runs without root and without capabilities", confined},
		{"an empty file becomes a certificate, by way of port 80", issues},
		{"its status tells what is well, what fails and what comes next", tells},
		{"in its namespaces nothing can be written but its own", fenced},
		{"the responder has a socket and a folder, and nothing else", powerless},
		{"in its namespaces there is no network, no key and nothing to write to", walled},
		{"proofs are answered while the daemon is away", outlives},
		{"slow clients do not keep a CA out, nor fill the memory", crowded},
		{"STATUS tells when nobody answers on port 80, and no longer", notices},
		{"the control socket is for root and its group", controlled},
		{"systemctl reload succeeds, or fails, names each bad file and leaves the daemon running", reloads},
		{"neither a restart nor a kill makes a second account or order", returns},
		{"restarts refuse nobody, and lose no order", restarts},
		{"when most files vanish, it goes on with what it had", withholds},
		{"the journal finds a certificate and an event", journaled},
		{"hooks of certbot's prove a wildcard, with a secret that only root can read", hooked},
		{"nothing that it logged is an error", quiet},
	} {
		t.Run(step.sentence, func(t *testing.T) { step.check(t, m.with(t), ca) })
	}
}

func ready(t *testing.T, m *machine, _ *pebble.Server) {
	if status := m.show("acmed.service", "StatusText"); status == "" || strings.Contains(status, "\n") {
		t.Errorf("status: %q", status)
	}
	for _, path := range []string{"healthz", "readyz", "metrics"} {
		if err := ok("http://127.0.0.1:9402/" + path); err != nil {
			t.Error(err)
		}
	}
}

func confined(t *testing.T, m *machine, _ *pebble.Server) {
	proc := m.run("cat", "/proc/"+m.show("acmed.service", "MainPID")+"/status")
	holds(t, proc, powerlessProcess()...)
	if uid := m.run("id", "-u", "acmed"); !strings.Contains(proc, "Uid:\t"+uid+"\t"+uid) {
		t.Errorf("not user %s in\n%s", uid, proc)
	}
}

func issues(t *testing.T, m *machine, _ *pebble.Server) {
	m.order("www.example.com")
	m.issued("www.example.com")
	for path, want := range map[string]string{
		"/var/lib/acmed":                                    "711 acmed:acmed",
		"/var/lib/acmed/accounts":                           "700 acmed:acmed",
		"/var/lib/acmed/live":                               "711 acmed:acmed",
		"/var/lib/acmed/live/www.example.com/privkey.pem":   "600 acmed:acmed",
		"/var/lib/acmed/live/www.example.com/fullchain.pem": "644 acmed:acmed",
		"/run/acmed/control/acmed.sock":                     "660 acmed:acmed-admin",
	} {
		if got := m.run("stat", "--dereference", "--format=%a %U:%G", path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if left := m.run("ls", "-A", "/run/acmed/http-01"); left != "" {
		t.Errorf("proofs left behind: %s", left)
	}
}

func controlled(t *testing.T, m *machine, _ *pebble.Server) {
	m.run("acmed", "status", "www.example.com")
	m.run("useradd", "--groups=acmed-admin", "alice")
	m.run("runuser", "--user=alice", "--", "acmed", "list")
	if out, err := m.try("runuser", "--user=nobody", "--", "acmed", "list"); err == nil {
		t.Errorf("anybody may list: %s", out)
	}
}

func returns(t *testing.T, m *machine, ca *pebble.Server) {
	before := ca.Count(t)
	m.run("systemctl", "restart", "acmed.service")
	pid := m.show("acmed.service", "MainPID")
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acmed.service")
	m.eventually(patience, "systemd starts it again", func() error {
		if m.show("acmed.service", "MainPID") == pid {
			return errors.New("the same process")
		}
		return m.active()
	})
	m.order("after.example.com")
	m.issued("after.example.com")
	since := ca.Count(t).Since(before)
	// One nonce in twenty is refused, so an order may be asked for twice.
	if since["newAccount"] != 0 || since["newOrder"] > 2 {
		t.Errorf("requests: %v", since)
	}
}

// restarts restarts the responder 200 times and then the daemon 20 times while it issues, all under a stream of fresh
// connections.
func restarts(t *testing.T, m *machine, ca *pebble.Server) {
	const token = "evaGxfADs6pSRb2LAv9IZf17"
	m.write("/run/acmed/http-01/"+token, token+".thumbprint")
	stop := hammer(t, proofURL+token)
	for range 200 {
		m.run("systemctl", "restart", "acmed-http.service")
	}
	before := ca.Count(t)
	for i := range 20 {
		m.order(fmt.Sprintf("restart%d.example.com", i))
		m.run("systemctl", "restart", "acmed.service")
	}
	for i := range 20 {
		m.issued(fmt.Sprintf("restart%d.example.com", i))
	}
	stop()
	// One nonce in twenty is refused, so an order may be asked for twice.
	if n := ca.Count(t).Since(before)["newOrder"]; n > 30 {
		t.Errorf("%d orders for 20 certificates", n)
	}
	m.run("rm", "/run/acmed/http-01/"+token)
}

// hammer asks for a page over fresh connections until it is stopped. None may be refused or cut off.
func hammer(t *testing.T, url string) (stop func()) {
	var count, failed atomic.Int64
	var last atomic.Value
	done := make(chan struct{})
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
			for {
				select {
				case <-done:
					return
				default:
				}
				count.Add(1)
				if err := get(client, url); err != nil {
					failed.Add(1)
					last.Store(err.Error())
				}
			}
		})
	}
	return func() {
		close(done)
		clients.Wait()
		t.Logf("%d connections", count.Load())
		if n := failed.Load(); n > 0 || count.Load() < 100 {
			t.Errorf("%d of %d connections failed, the last: %v", n, count.Load(), last.Load())
		}
	}
}

func quiet(t *testing.T, m *machine, _ *pebble.Server) {
	if errs := m.run("journalctl", "--unit=acmed.service", "--priority=err", "--output=cat", "_COMM=acmed"); errs != "" {
		t.Errorf("%s", errs)
	}
}

func TestDaemonListensItself(t *testing.T) { onEach(t, testDaemonListensItself) }

func testDaemonListensItself(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	m := serve(t, release, ca, setup{http: "{solver: listen}", socket: "acmed-listen.socket"})
	m.order("www.example.com")
	m.issued("www.example.com")
	if state := m.show("acmed-http.service", "ActiveState"); state != "inactive" {
		t.Errorf("the responder is %s as well", state)
	}
}

func TestWatchdogRestartsADaemonThatHangs(t *testing.T) { onEach(t, testWatchdog) }

func testWatchdog(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	s := byResponder()
	s.dropIn = "WatchdogSec=3s\nTimeoutAbortSec=1s\nRestartSec=1s\n"
	m := serve(t, release, ca, s)
	pid := m.show("acmed.service", "MainPID")
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "acmed.service")
	m.eventually(patience, "the watchdog ends it and systemd starts it again", func() error {
		if m.show("acmed.service", "MainPID") == pid {
			return errors.New("the same process")
		}
		return m.active()
	})
	holds(t, m.run("journalctl", "--unit=acmed.service", "--output=cat"), "Watchdog timeout")
	m.order("www.example.com")
	m.issued("www.example.com")
}

func TestConfigurationThatCannotWorkIsNotTriedAgain(t *testing.T) { onEach(t, testBadConfiguration) }

func testBadConfiguration(t *testing.T, release string) {
	m := boot(t, release)
	m.install()
	m.write("/etc/acmed/acmed.yaml", "color: red\n")
	if _, err := m.try("systemctl", "start", "acmed.service"); err == nil {
		t.Error("it started")
	}
	if state, code := m.show("acmed.service", "ActiveState"), m.show("acmed.service", "ExecMainStatus"); state != "failed" || code != "78" {
		t.Errorf("the unit is %s with exit code %s, want failed with 78", state, code)
	}
}

func ok(url string) error { return get(http.DefaultClient, url) }

func get(client *http.Client, url string) error {
	resp, err := client.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return err
}
