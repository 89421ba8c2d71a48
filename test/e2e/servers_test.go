//go:build e2e

package e2e

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/pebble"
)

// server is one consumer, set up as docs/servers.md says, on a port that is its own.
type server struct {
	name     string // of the certificate
	address  string
	startTLS string   // protocol; "": TLS from the start
	deploy   string   // of the spec
	files    []string // without which it does not start
	set      func(*machine)
	units    []string
	stream   bool // a steady stream of handshakes must not notice the renewal
}

func TestServers(t *testing.T) { onEach(t, testServers) }

// testServers has a renewal served by each server, to whoever connects.
func testServers(t *testing.T, release string) {
	ca := startCA(t, pebble.Options{HTTPPort: 80, NonceReject: 5, AuthzReuse: 50})
	m := serve(t, release, ca, byResponder())
	consumers := []server{nginx(), apache(), haproxy(), postgres(release), postfix(), dovecot(release)}
	for _, s := range consumers {
		m.write("/etc/acmed/certs.d/"+s.name+".yaml", "{}\n")
	}
	for _, s := range consumers {
		m.issued(s.name)
	}
	for _, s := range consumers {
		t.Run(s.name, func(t *testing.T) { m.with(t).renewUnder(s) })
	}
	if release == releases()[0] { // the rest has nothing to do with the release
		t.Run("a configuration that nginx refuses", func(t *testing.T) { refusedByCheck(m.with(t), nginx()) })
		t.Run("a hook that misbehaves", func(t *testing.T) { misbehaves(m.with(t), nginx()) })
		t.Run("a thousand certificates share a unit", func(t *testing.T) { shared(m.with(t)) })
		t.Run("a key store has its password from a file", func(t *testing.T) { keyStore(m.with(t)) })
	}
	if failed := m.run("systemctl", "list-units", "--failed", "--plain", "--no-legend"); strings.Contains(failed, "acmed") {
		t.Errorf("units failed:\n%s", failed)
	}
}

func nginx() server {
	return server{
		name: "nginx.example.com", address: "127.0.0.1:8441", units: []string{"nginx.service"}, stream: true,
		deploy: "check: [nginx, -t]\n  reload: [nginx.service]\n  probe: [{address: \"127.0.0.1:8441\"}]",
		set: func(m *machine) {
			m.run("rm", "/etc/nginx/sites-enabled/default") // it takes port 80
			m.write("/etc/nginx/conf.d/acmed.conf", `server {
	listen 127.0.0.1:8441 ssl;
	ssl_certificate     /var/lib/acmed/live/nginx.example.com/fullchain.pem;
	ssl_certificate_key /var/lib/acmed/live/nginx.example.com/privkey.pem;
}
`)
		},
	}
}

func apache() server {
	return server{
		name: "apache.example.com", address: "127.0.0.1:8442", units: []string{"apache2.service"}, stream: true,
		deploy: "check: [apache2ctl, configtest]\n  reload: [apache2.service]\n  probe: [{address: \"127.0.0.1:8442\"}]",
		set: func(m *machine) {
			m.run("a2enmod", "ssl")
			m.write("/etc/apache2/ports.conf", "Listen 127.0.0.1:8442\n")
			m.write("/etc/apache2/sites-enabled/000-default.conf", `ServerName apache.example.com
<VirtualHost 127.0.0.1:8442>
	SSLEngine on
	SSLCertificateFile    /var/lib/acmed/live/apache.example.com/fullchain.pem
	SSLCertificateKeyFile /var/lib/acmed/live/apache.example.com/privkey.pem
</VirtualHost>
`)
		},
	}
}

func haproxy() server {
	return server{
		name: "haproxy.example.com", address: "127.0.0.1:8443", units: []string{"haproxy.service"}, stream: true,
		files: []string{"/etc/haproxy/certs/www.pem"},
		deploy: "files:\n    - {path: /etc/haproxy/certs/www.pem, content: combined, mode: \"0600\"}\n" +
			"  check: [haproxy, -c, -f, /etc/haproxy/haproxy.cfg]\n  reload: [haproxy.service]\n  probe: [{address: \"127.0.0.1:8443\"}]",
		set: func(m *machine) {
			m.run("mkdir", "-p", "/etc/haproxy/certs")
			m.write("/etc/haproxy/haproxy.cfg", `global
	user haproxy
	group haproxy
defaults
	mode http
	timeout client 5s
	timeout connect 5s
	timeout server 5s
frontend www
	bind 127.0.0.1:8443 ssl crt /etc/haproxy/certs/
	http-request return status 200
`)
		},
	}
}

func postgres(release string) server {
	version := map[string]string{"bookworm": "15", "trixie": "17"}[release]
	return server{
		name: "postgres.example.com", address: "127.0.0.1:5432", startTLS: "postgres", units: []string{"postgresql@" + version + "-main.service"},
		files: []string{"/etc/postgresql/tls/tls.key", "/etc/postgresql/tls/tls.crt"},
		deploy: "files:\n    - {path: /etc/postgresql/tls/tls.key, content: privkey, owner: postgres, group: postgres, mode: \"0600\"}\n" +
			"    - {path: /etc/postgresql/tls/tls.crt, content: fullchain, owner: postgres}\n" +
			"  reload: [postgresql@" + version + "-main.service]\n  probe: [{address: \"127.0.0.1:5432\", startTLS: postgres}]",
		set: func(m *machine) {
			m.run("install", "-d", "-o", "postgres", "-g", "postgres", "-m", "0700", "/etc/postgresql/tls")
			m.write("/etc/postgresql/"+version+"/main/conf.d/tls.conf",
				"ssl = on\nssl_cert_file = '/etc/postgresql/tls/tls.crt'\nssl_key_file = '/etc/postgresql/tls/tls.key'\n")
		},
	}
}

func postfix() server {
	return server{
		name: "postfix.example.com", address: "127.0.0.1:25", startTLS: "smtp", units: []string{"postfix.service"},
		deploy: "reload: [postfix.service]\n  probe: [{address: \"127.0.0.1:25\", startTLS: smtp}]",
		set: func(m *machine) {
			live := "/var/lib/acmed/live/postfix.example.com/"
			m.run("postconf", "-e", "inet_interfaces = loopback-only", "smtpd_tls_security_level = may",
				"smtpd_tls_chain_files = "+live+"privkey.pem, "+live+"fullchain.pem", "myhostname = postfix.example.com")
		},
	}
}

func dovecot(release string) server {
	certificate, key := "ssl_server_cert_file = ", "ssl_server_key_file = "
	if release == "bookworm" { // Dovecot 2.3
		certificate, key = "ssl_cert = <", "ssl_key = <"
	}
	return server{
		name: "dovecot.example.com", address: "127.0.0.1:143", startTLS: "imap", units: []string{"dovecot.service"},
		deploy: "reload: [dovecot.service]\n  probe: [{address: \"127.0.0.1:143\", startTLS: imap}]",
		set: func(m *machine) {
			live := "/var/lib/acmed/live/dovecot.example.com/"
			m.write("/etc/dovecot/conf.d/99-acmed.conf", "ssl = yes\n"+certificate+live+"fullchain.pem\n"+key+live+"privkey.pem\n")
		},
	}
}

// renewUnder starts the server with the first certificate and renews it.
func (m *machine) renewUnder(s server) {
	m.t.Helper()
	s.set(m)
	m.deployAs(s)
	for _, file := range s.files {
		m.eventually(patience, file+" is there", func() error { _, err := m.try("ls", file); return err })
	}
	for _, unit := range s.units {
		m.run("systemctl", "restart", unit)
	}
	m.eventually(patience, "the first certificate is delivered", func() error { return m.delivered(s.name, 1) })
	m.eventually(patience, "the server serves it", func() error { return m.serves(s) })
	stop := func() {}
	if s.stream {
		stop = m.handshakes(s)
	}
	m.run("acmed", "renew", s.name, "--wait")
	m.eventually(patience, "the renewal is delivered", func() error { return m.delivered(s.name, 2) })
	m.eventually(patience, "everybody is served it", func() error { return m.serves(s) }) // a worker of before may take one more
	stop()
}

// deployAs writes the spec, which is in force when it returns.
func (m *machine) deployAs(s server) {
	m.t.Helper()
	m.write("/etc/acmed/certs.d/"+s.name+".yaml", "deploy:\n  "+s.deploy+"\n")
	m.run("acmed", "reload")
}

// status is what the command line says of a certificate.
func (m *machine) status(name string) (c control.Certificate, err error) {
	out, err := m.try("acmed", "status", name, "--output", "json")
	if err == nil {
		err = json.Unmarshal([]byte(out), &c)
	}
	return c, err
}

// delivered is nil once every consumer has accepted revision n.
func (m *machine) delivered(name string, n int) error {
	c, err := m.status(name)
	if err != nil {
		return err
	}
	for _, target := range c.Targets {
		if !target.Accepted || target.Revision != n {
			return fmt.Errorf("%+v %+v", target, target.Failed)
		}
	}
	return nil
}

// serves is nil when the server shows what is live.
func (m *machine) serves(s server) error {
	want, err := os.ReadFile(m.path("/var/lib/acmed/live/" + s.name + "/cert.pem"))
	if err != nil {
		return err
	}
	if s.startTLS != "" {
		protocol := s.startTLS
		out, err := m.try("sh", "-c", "openssl s_client -connect "+s.address+" -starttls "+protocol+" </dev/null 2>/dev/null | openssl x509")
		if err == nil && strings.TrimSpace(out) != strings.TrimSpace(string(want)) {
			err = errors.New("another certificate is served")
		}
		return err
	}
	leaf, err := peer(m.t.Context(), s.address)
	if err != nil {
		return err
	}
	if sum := fingerprint(want); sum != hex.EncodeToString(leaf[:]) {
		return errors.New("another certificate is served")
	}
	return nil
}

// peer is the checksum of the leaf that a server shows.
func peer(ctx context.Context, address string) (sum [32]byte, err error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{Timeout: 5 * time.Second},
		Config: &tls.Config{InsecureSkipVerify: true, VerifyConnection: func(s tls.ConnectionState) error {
			sum = sha256.Sum256(s.PeerCertificates[0].Raw)
			return nil
		}},
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return sum, err
	}
	return sum, conn.Close()
}

// fingerprint is the checksum of a leaf in PEM.
func fingerprint(certificate []byte) string {
	block, _ := pem.Decode(certificate)
	if block == nil {
		return ""
	}
	sum := sha256.Sum256(block.Bytes)
	return hex.EncodeToString(sum[:])
}

// handshakes connects again and again, until it is stopped. None may fail.
func (m *machine) handshakes(s server) (stop func()) {
	var count, failed atomic.Int64
	var last atomic.Value
	ctx, cancel := context.WithCancel(m.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if _, err := peer(context.WithoutCancel(ctx), s.address); err != nil {
				failed.Add(1)
				last.Store(err.Error())
			}
			count.Add(1)
		}
	}()
	return func() {
		cancel()
		<-done
		m.t.Logf("%d handshakes", count.Load())
		if n := failed.Load(); n > 0 || count.Load() < 10 {
			m.t.Errorf("%d of %d handshakes failed, the last: %v", n, count.Load(), last.Load())
		}
	}
}

// refusedByCheck breaks the configuration: the old pair stays, until it is mended.
func refusedByCheck(m *machine, s server) {
	before, err := m.status(s.name)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write("/etc/nginx/conf.d/broken.conf", "no_such_directive;\n")
	if said, err := m.try("acmed", "renew", s.name, "--wait"); err == nil || !strings.Contains(said, "not delivered, next try at") {
		m.t.Errorf("the renewal that the check refuses ends with %v and\n%s", err, said)
	}
	m.eventually(patience, "the check refuses it", func() error {
		c, err := m.status(s.name)
		switch {
		case err != nil:
			return err
		case c.Waiting == nil || c.Current.Number != before.Current.Number:
			return fmt.Errorf("revision %d is live, waiting: %+v", c.Current.Number, c.Waiting)
		}
		return nil
	})
	text := m.run("acmed", "status", s.name)
	for _, want := range []string{"check", "no_such_directive", "what to do", "next try"} {
		if !strings.Contains(text, want) {
			m.t.Errorf("the status does not tell of %q:\n%s", want, text)
		}
	}
	if err := m.serves(s); err != nil {
		m.t.Errorf("the old pair: %v", err)
	}
	m.run("rm", "/etc/nginx/conf.d/broken.conf")
	m.eventually(3*time.Minute, "it heals by itself", func() error { return m.delivered(s.name, before.Current.Number+1) })
	m.eventually(patience, "everybody is served it", func() error { return m.serves(s) })
}

// misbehaves runs hooks that hang, ignore SIGTERM, fork, flood and fail: the server goes on with what is live, the
// status says what happened, and it heals once the hook is mended.
func misbehaves(m *machine, s server) {
	m.write("/usr/local/bin/hook", "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\nsetsid sleep 1000 &\nyes | head -c 10000000\necho last words\nsleep 1000\n")
	m.run("chmod", "755", "/usr/local/bin/hook")
	s.deploy += "\n  run: [{command: [/usr/local/bin/hook], timeout: 2s, user: nobody}]"
	m.deployAs(s)
	m.eventually(patience, "the hook is given up", func() error { return m.says(s.name, "took longer than 2s", "last words") })
	m.eventually(patience, "nothing is left of it", func() error { // systemd gives what ignores SIGTERM ten seconds
		if left, err := m.try("pgrep", "-u", "nobody"); err == nil {
			return errors.New(left)
		}
		return nil
	})
	if err := m.serves(s); err != nil {
		m.t.Error(err)
	}
	m.write("/usr/local/bin/hook", "#!/bin/sh\necho sorry >&2\nexit 7\n")
	m.run("acmed", "deploy", s.name) // without its outcome
	m.eventually(patience, "its status is told", func() error { return m.says(s.name, "status 7", "sorry") })
	m.write("/usr/local/bin/hook", "#!/bin/sh\necho $$ >/tmp/hook.pid\nsleep 1000\n")
	m.run("acmed", "deploy", s.name)
	m.eventually(patience, "it runs", func() error { _, err := m.try("pgrep", "-u", "nobody", "sleep"); return err })
	m.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", "acmed.service")
	m.eventually(patience, "the daemon is back", m.active)
	m.write("/usr/local/bin/hook", "#!/bin/sh\nid -un\n[ -z \"$NOTIFY_SOCKET$LISTEN_FDS$CREDENTIALS_DIRECTORY\" ] && "+
		"[ \"$(basename \"$RENEWED_LINEAGE\")\" = nginx.example.com ] && [ \"$(stat -f -c %T \"$RENEWED_LINEAGE\")\" = tmpfs ] && "+
		"cmp \"$RENEWED_LINEAGE/fullchain.pem\" /var/lib/acmed/live/nginx.example.com/fullchain.pem && [ ! -e \"$RENEWED_LINEAGE/privkey.pem\" ]\n")
	m.eventually(patience, "it heals by itself", func() error {
		c, err := m.status(s.name)
		if err == nil {
			err = m.delivered(s.name, c.Current.Number)
		}
		return err
	})
}

// says is nil when the status of a certificate tells of all words.
func (m *machine) says(name string, words ...string) error {
	text, err := m.try("acmed", "status", name)
	for _, word := range words {
		if err == nil && !strings.Contains(text, word) {
			err = fmt.Errorf("nothing of %q in\n%s", word, text)
		}
	}
	return err
}

// keyStore has a certificate written as Java's servers read it.
func keyStore(m *machine) {
	const file, password = "/etc/acmed/secrets/store", "correct horse battery staple"
	m.secret(file, password)
	m.write("/etc/acmed/certs.d/store.example.com.yaml", "deploy: {files: [{path: /etc/store.p12, content: pkcs12, passwordFile: "+file+"}]}\n")
	m.eventually(patience, "the key store opens", func() error {
		_, err := m.try("openssl", "pkcs12", "-in", "/etc/store.p12", "-noout", "-passin", "file:"+file)
		return err
	})
}

// shared has a thousand certificates issued at once that are served by one unit: it is reloaded a few times for all of
// them, and systemd has no reason to complain.
func shared(m *machine) {
	const many = 1000
	reloads := func() int {
		return strings.Count(m.run("journalctl", "--unit=nginx.service", "--output=cat", "--no-pager"), "Reloaded nginx.service")
	}
	before, began := reloads(), time.Now()
	for i := range many {
		m.write(fmt.Sprintf("/etc/acmed/certs.d/many%d.example.com.yaml", i), "deploy: {reload: [nginx.service]}\n")
	}
	m.eventually(5*time.Minute, "all are issued and delivered", func() error {
		figures, err := m.try("curl", "-s", "http://127.0.0.1:9402/metrics")
		if err != nil {
			return err
		}
		waiting := many
		for line := range strings.Lines(figures) {
			if strings.HasPrefix(line, `acmed_certificate_phase{cert="many`) && strings.Contains(line, `phase="valid"`) {
				waiting--
			}
		}
		if waiting > 0 {
			return fmt.Errorf("%d are not", waiting)
		}
		return nil
	})
	n := reloads() - before
	m.t.Logf("%d certificates in %v, %d reloads", many, time.Since(began).Round(time.Second), n)
	if limit := 5 + int(time.Since(began)/(3*time.Second)); n < 1 || n > limit {
		m.t.Errorf("%d reloads, want 1 to %d", n, limit)
	}
	if state := m.show("nginx.service", "ActiveState"); state != "active" {
		m.t.Errorf("nginx is %s", state)
	}
}
