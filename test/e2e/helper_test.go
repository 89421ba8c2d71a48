//go:build e2e

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/store"
	"acmed/test/pebble"
)

const (
	delivered    = "www.example.com"
	deliverySpec = `deploy:
  files: [{path: /etc/consumer/tls.pem, content: combined, owner: consumer, group: consumer, mode: "0640"}]
  check: [/usr/local/bin/check]
  reload: [consumer.service]
  run: [{command: [/usr/local/bin/hook, an argument], user: nobody}]
`
)

// ask is what a daemon would say, in a language that every Debian speaks.
const ask = `$s = IO::Socket::UNIX->new("/run/acmed/deploy.sock") or die "connect: $!\n"; print $s $ARGV[0]; $s->shutdown(1); print <$s>`

func TestDeployHelper(t *testing.T) { onEach(t, testDeployHelper) }

// testDeployHelper has the real units deliver for consumers that the machine really has. The steps build on each other.
func testDeployHelper(t *testing.T, release string) {
	m := boot(t, release)
	m.install()
	consume(m)
	issueFor(m, delivered)
	m.eventually(patience, "the spec stands still", func() error { return m.courier().Accept(t.Context(), []string{delivered}) })
	for _, step := range []struct {
		sentence string
		check    func(*testing.T, *machine)
	}{
		{"it installs a file, asks the check, reloads the unit and runs the command", delivers},
		{"it leaves alone who has accepted the certificate", spares},
		{"the daemon's user may ask, and nobody else but root", admits},
		{"a spec that the daemon could have written is not obeyed", obeysRoot},
		{"it keeps what it knows to itself", keepsToItself},
		{"commands read the bytes that were verified, whatever becomes of the files", copies},
		{"nothing is left of what a command read when the helper is killed", copiesOfTheKilled},
		{"it is root without root's powers, and cannot change the system", bounded},
		{"it is started again and again, and nothing of it stays", leavesNothing},
	} {
		t.Run(step.sentence, func(t *testing.T) { step.check(t, m.with(t)) })
	}
}

// consume makes a service whose certificate another user reads.
func consume(m *machine) {
	m.t.Helper()
	m.run("useradd", "consumer")
	m.run("install", "--directory", "--owner=nobody", "/srv/hook")
	m.run("install", "--directory", "/etc/consumer")
	// The check runs as root, and yet: no program of the system can be changed, nothing mounted, no power gained.
	m.script("/usr/local/bin/check", `grep -q '^NoNewPrivs:.1$' /proc/self/status || exit 2
! touch /usr/bin/evil 2>/dev/null || exit 3
! mount -t tmpfs none /mnt 2>/dev/null || exit 4
test -s /etc/consumer/tls.pem`)
	// The command leaves a process behind, out of reach of a process group.
	m.script("/usr/local/bin/hook", `echo "$(id -un) $ACMED_CERT $# $1" >>/srv/hook/log
setsid sh -c 'echo $$ >/srv/hook/left; exec sleep 1000' </dev/null >/dev/null 2>&1 &
until test -s /srv/hook/left; do sleep 0.01; done`)
	m.write("/etc/systemd/system/consumer.service", `[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'cat /etc/consumer/tls.pem >>/run/consumer.log'
`)
	m.run("systemctl", "start", "consumer.service")
	m.write("/etc/acmed/certs.d/"+delivered+".yaml", deliverySpec)
}

func (m *machine) script(path, text string) {
	m.t.Helper()
	m.write(path, "#!/bin/sh\n"+text+"\n")
	m.run("chmod", "755", path)
}

// issueFor gives the daemon a live certificate.
func issueFor(m *machine, name string) {
	m.t.Helper()
	root := certificate("Test CA")
	root.IsCA, root.BasicConstraintsValid, root.KeyUsage = true, true, x509.KeyUsageCertSign
	leaf := certificate(name)
	leaf.DNSNames, leaf.ExtKeyUsage = []string{name}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	ca, key := newKey(m.t), newKey(m.t)
	chain := [][]byte{sign(m.t, leaf, root, key, ca), sign(m.t, root, root, ca, ca)}
	s, err := store.Open(store.Config{Dir: m.path("/var/lib/acmed")})
	if err != nil {
		m.t.Fatal(err)
	}
	defer s.Close()
	order := store.Order{Issuer: "ca", URL: "https://ca.example/order"}
	err = errors.Join(s.Begin(name, key, order), s.SaveOrder(name, order, store.Durable))
	rev, failed := s.Commit(name, chain, store.Revision{})
	if err := errors.Join(err, failed, s.Activate(name, rev.Number)); err != nil {
		m.t.Fatal(err)
	}
	m.run("chown", "--recursive", "--no-dereference", "acmed:acmed", "/var/lib/acmed")
}

func certificate(name string) *x509.Certificate {
	return &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func sign(t *testing.T, cert, parent *x509.Certificate, key, ca *ecdsa.PrivateKey) []byte {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, cert, parent, key.Public(), ca)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// courier asks as root.
func (m *machine) courier() *deploy.Client {
	m.t.Helper()
	c, err := deploy.NewClient(deploy.ClientConfig{Socket: m.path("/run/acmed/deploy.sock")})
	if err != nil {
		m.t.Fatal(err)
	}
	return c
}

// askAs sends a request as another user of the machine.
func (m *machine) askAs(user, request string) (string, error) {
	return m.try("runuser", "--user="+user, "--", "perl", "-MIO::Socket::UNIX", "-e", ask, request)
}

func delivers(t *testing.T, m *machine) {
	answers, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: delivered}})
	if err != nil || len(answers) != 1 || len(answers[0].Results) != 4 {
		t.Fatalf("%+v, %v", answers, err)
	}
	for _, r := range answers[0].Results {
		if !r.OK {
			t.Errorf("%s: %s (%s): %s", r.Key, r.Problem, r.Hint, r.Output)
		}
	}
	for path, want := range map[string]string{"/etc/consumer/tls.pem": "640 consumer:consumer", "/var/lib/acmed-deploy": "700 root:root"} {
		if got := m.run("stat", "--format=%a %U:%G", path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	file := m.run("cat", "/etc/consumer/tls.pem")
	if want := m.run("sh", "-c", "cat /var/lib/acmed/live/"+delivered+"/privkey.pem /var/lib/acmed/live/"+delivered+"/fullchain.pem"); file != want {
		t.Errorf("the file holds\n%s", file)
	}
	if read := m.run("cat", "/run/consumer.log"); read != file {
		t.Errorf("when it was reloaded, the unit read\n%s", read)
	}
	if ran := m.run("cat", "/srv/hook/log"); ran != "nobody "+delivered+" 1 an argument" {
		t.Errorf("the command wrote %s", ran)
	}
}

func spares(t *testing.T, m *machine) {
	first, err := m.courier().Deploy(t.Context(), []deploy.Order{{Name: delivered}})
	if err != nil {
		t.Fatal(err)
	}
	order := deploy.Order{Name: delivered}
	for _, r := range first[0].Results {
		order.Done = append(order.Done, r.Fingerprint)
	}
	again, err := m.courier().Deploy(t.Context(), []deploy.Order{order})
	if err != nil || again[0].Problem != "" || len(again[0].Results) != 0 {
		t.Errorf("%+v, %v", again, err)
	}
}

func admits(t *testing.T, m *machine) {
	const request = `{"verb":"accept","orders":[{"name":"` + delivered + `"}]}`
	out, err := m.askAs("acmed", request)
	var answer struct{ Answers []deploy.Answer }
	if err := errors.Join(err, json.Unmarshal([]byte(out), &answer)); err != nil || len(answer.Answers) != 1 || answer.Answers[0].Problem != "" {
		t.Errorf("%s: %v", out, err)
	}
	if out, err := m.askAs("nobody", request); err == nil || !strings.Contains(out, "Permission denied") {
		t.Errorf("%s: %v", out, err)
	}
	// Even where the socket lets him.
	m.run("chmod", "666", "/run/acmed/deploy.sock")
	if out, err := m.askAs("nobody", request); err != nil || !strings.Contains(out, "may not ask") {
		t.Errorf("%s: %v", out, err)
	}
	m.run("chmod", "600", "/run/acmed/deploy.sock")
}

func obeysRoot(t *testing.T, m *machine) {
	m.write("/etc/acmed/certs.d/evil.example.com.yaml", "deploy: {run: [{command: [touch, /srv/evil]}]}\n")
	m.run("chown", "acmed", "/etc/acmed/certs.d/evil.example.com.yaml")
	m.run("touch", "--date=1 hour ago", "/etc/acmed/certs.d/evil.example.com.yaml")
	for _, name := range []string{"evil.example.com", "../../../var/lib/acmed/evil"} {
		out, err := m.askAs("acmed", `{"verb":"deploy","orders":[{"name":"`+name+`"}]}`)
		if err != nil || !strings.Contains(out, `"problem"`) || strings.Contains(out, `"ok"`) {
			t.Errorf("%s: %s: %v", name, out, err)
		}
	}
	if out, err := m.try("ls", "/srv/evil"); err == nil {
		t.Errorf("it was obeyed: %s", out)
	}
}

func keepsToItself(t *testing.T, m *machine) {
	if out, err := m.try("runuser", "--user=acmed", "--", "ls", "/var/lib/acmed-deploy"); err == nil {
		t.Errorf("the daemon sees %s", out)
	}
	if kept := m.run("cat", "/var/lib/acmed-deploy/specs/"+delivered+".yaml"); !strings.HasPrefix(kept, strings.TrimSpace(deliverySpec)) {
		t.Errorf("it keeps %s", kept)
	}
	log := m.run("journalctl", "--unit=acmed-deploy@*", "--output=cat")
	for _, want := range []string{"delivered cert=" + delivered + ` target="reload consumer.service"`, "belongs to uid"} {
		if !strings.Contains(log, want) {
			t.Errorf("the journal does not say %q:\n%s", want, log)
		}
	}
}

func leavesNothing(t *testing.T, m *machine) {
	for range 30 { // systemd's usual limit is 20 in 2 seconds
		if err := m.courier().Accept(t.Context(), []string{delivered}); err != nil {
			t.Fatal(err)
		}
	}
	m.eventually(patience, "all that was started has ended", func() error {
		if units := m.run("systemctl", "list-units", "--all", "--plain", "--no-legend", "acmed-deploy@*"); units != "" {
			return errors.New(units)
		}
		if left, err := m.try("sh", "-c", "grep --text --files-with-matches --no-messages [s]leep.1000 /proc/[0-9]*/cmdline"); err == nil {
			return errors.New("a command left " + left)
		}
		return nil
	})
	if state := m.show("acmed-deploy.socket", "ActiveState"); state != "active" {
		t.Errorf("the socket is %s", state)
	}
}

func TestDaemonDeliversByTheHelper(t *testing.T) { onEach(t, testDelivery) }

// testDelivery goes all the way, from a spec to a consumer that has read the new certificate.
func testDelivery(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80})
	m := serve(t, release, ca, byResponder())
	consume(m)
	m.eventually(patience, "the consumer has it", func() error {
		if status, err := m.try("acmed", "status", delivered); err != nil {
			return errors.New(status)
		}
		_, err := m.try("openssl", "x509", "-noout", "-checkhost", delivered, "-in", "/run/consumer.log")
		return err
	})
	if log := m.run("journalctl", "--unit=acmed.service", "--output=cat", "--priority=warning", "_COMM=acmed"); log != "" {
		t.Errorf("the daemon complains: %s", log)
	}
	m.run("systemctl", "restart", "acmed.service")
	m.run("acmed", "renew", delivered, "--wait") // another proof
	m.eventually(patience, "after a restart the consumer has the next one", func() error { return m.delivered(delivered, 2) })
	holds(t, m.run("journalctl", "--no-pager", "--output=cat", "MESSAGE_ID="+events(t)["delivered"]), "cert="+delivered+" revision=2")
	// It keeps the spec from the moment that it is in force.
	m.write("/etc/acmed/certs.d/later.example.com.yaml", "deploy: {window: {start: \"00:00\", duration: 1m}}\n")
	m.eventually(patience, "the helper knows a spec that needs nothing yet", func() error {
		_, err := m.try("cat", "/var/lib/acmed-deploy/specs/later.example.com.yaml")
		return err
	})
	byItself(m)
}

// byItself has the daemon deploy with its own rights, in its own sandbox, where nobody listens on the socket of the helper.
func byItself(m *machine) {
	m.t.Helper()
	m.run("systemctl", "stop", "acmed-deploy.socket")
	m.run("rm", "-f", "/run/acmed/deploy.sock")
	m.script("/usr/local/bin/own", `[ "$(id -un)" = acmed ] && [ "$(basename "$ACMED_LIVE")" = own.example.com ] && [ "$(stat -f -c %T "$ACMED_LIVE")" = tmpfs ] &&
cmp "$ACMED_LIVE/privkey.pem" /var/lib/acmed/live/own.example.com/privkey.pem`)
	m.write("/etc/acmed/certs.d/own.example.com.yaml", "deploy: {run: [{command: [/usr/local/bin/own]}]}\n")
	m.issued("own.example.com")
	m.eventually(patience, "the daemon deploys by itself", func() error { return m.delivered("own.example.com", 1) })
	if left := m.run("ls", "/run/acmed/copies"); left != "" {
		m.t.Errorf("a copy is left: %s", left)
	}
}
