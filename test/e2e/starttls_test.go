//go:build e2e

package e2e

import (
	"context"
	"strings"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// talker is a server that begins in plain text, on its usual port.
type talker struct {
	unit      string
	protocols map[string]string // startTLS: address
	files     map[string]string // of its configuration
	before    [][]string        // commands before it starts
}

// talkers are the real servers. Each has the certificate in /etc/tls, where all may read it.
func talkers() map[string]talker {
	const cert, key = "/etc/tls/fullchain.pem", "/etc/tls/privkey.pem"
	return map[string]talker{
		"vsftpd": {
			unit: "vsftpd.service", protocols: map[string]string{"ftp": "127.0.0.1:21"},
			files: map[string]string{"/etc/vsftpd.conf": "listen=YES\nlisten_address=127.0.0.1\nlocal_enable=YES\nssl_enable=YES\nrsa_cert_file=" + cert + "\nrsa_private_key_file=" + key + "\n"},
		},
		"MariaDB": {
			unit: "mariadb.service", protocols: map[string]string{"mysql": "127.0.0.1:3306"},
			files: map[string]string{"/etc/mysql/mariadb.conf.d/99-tls.cnf": "[mysqld]\nssl_cert=" + cert + "\nssl_key=" + key + "\n"},
		},
		"Dovecot": {
			unit: "dovecot.service", protocols: map[string]string{"sieve": "127.0.0.1:4190", "lmtp": "127.0.0.1:24", "imap": "127.0.0.1:143"},
			files: map[string]string{"/etc/dovecot/conf.d/99-acmed.conf": "ssl = yes\nssl_cert = <" + cert + "\nssl_key = <" + key + "\nservice lmtp {\n inet_listener lmtp {\n address = 127.0.0.1\n port = 24\n }\n}\n"},
		},
		"Prosody": {
			unit: "prosody.service", protocols: map[string]string{"xmpp": "127.0.0.1:5222", "xmpp-server": "127.0.0.1:5269"},
			files: map[string]string{"/etc/prosody/conf.d/tls.cfg.lua": "VirtualHost \"" + delivered + "\"\nssl = { certificate = \"" + cert + "\"; key = \"" + key + "\" }\n"},
		},
		"InspIRCd": {
			unit: "inspircd.service", protocols: map[string]string{"irc": "127.0.0.1:6667"},
			files: map[string]string{"/etc/inspircd/inspircd.conf": `<server name="irc.example.com" description="test" network="test">
<admin name="a" nick="a" email="a@example.com">
<bind address="127.0.0.1" port="6667" type="clients">
<connect allow="*">
<module name="ssl_gnutls">
<module name="starttls">
<sslprofile name="acmed" provider="gnutls" certfile="` + cert + `" keyfile="` + key + `">
`},
		},
		"INN": {
			unit: "nnrpd.service", protocols: map[string]string{"nntp": "127.0.0.1:1190"},
			files: map[string]string{"/etc/systemd/system/nnrpd.service": "[Service]\nUser=news\nRuntimeDirectory=news\nExecStart=/usr/lib/news/bin/nnrpd -D -f -I 127.0.0.1 -p 1190\n"},
			before: [][]string{
				{"sh", "-c", "sed -i '/^tlscertfile:/d;/^tlskeyfile:/d;/^tlscafile:/d;/^tlscapath:/d;/^readerswhenstopped:/d' /etc/news/inn.conf; printf 'readerswhenstopped: true\\ntlscertfile: " + cert + "\\ntlskeyfile: /etc/news/key.pem\\n' >>/etc/news/inn.conf"},
				{"install", "--owner=news", "--group=news", "--mode=0600", key, "/etc/news/key.pem"},
				{"systemctl", "daemon-reload"},
				{"hostname", "news.example.com"},       // a name without a domain is not enough for INN
				{"systemctl", "start", "inn2.service"}, // which makes what nnrpd reads
			},
		},
	}
}

// TestServersThatBeginInPlainText probes real servers in all the protocols that have no other test.
func TestServersThatBeginInPlainText(t *testing.T) {
	m := boot(t, "bookworm")
	m.install()
	issueFor(m, delivered)
	m.copyTLS()
	for name, s := range talkers() {
		t.Run(name, func(t *testing.T) {
			m := m.with(t)
			for file, text := range s.files {
				m.write(file, text)
			}
			for _, command := range s.before {
				m.run(command...)
			}
			m.run("systemctl", "start", s.unit)
			for protocol, address := range s.protocols {
				m.eventually(patience, protocol, func() error { return m.probed(spec.Probe{Address: address, StartTLS: protocol}).err() })
			}
		})
	}
	t.Run("a hundred probes do not block this machine at MariaDB", func(t *testing.T) {
		for n := range 110 {
			if err := m.with(t).probed(spec.Probe{Address: "127.0.0.1:3306", StartTLS: "mysql"}).err(); err != nil {
				t.Fatalf("after %d: %v", n, err)
			}
		}
	})
	t.Run("a reload that does not do", func(t *testing.T) { keepsTheOld(m.with(t)) })
}

// copyTLS makes the live certificate one that all servers read.
func (m *machine) copyTLS() {
	m.t.Helper()
	m.run("mkdir", "--parents", "/etc/tls")
	m.run("sh", "-c", "cp -L /var/lib/acmed/live/"+delivered+"/*.pem /etc/tls/ && chmod 644 /etc/tls/*")
}

// seen is what a probe saw.
type seen deploy.Result

func (s seen) err() error {
	if s.OK {
		return nil
	}
	return &deploy.Error{Err: errorText(s.Problem), Hint: s.Hint}
}

type errorText string

func (e errorText) Error() string { return string(e) }

// probed looks for the live certificate.
func (m *machine) probed(p spec.Probe) seen {
	m.t.Helper()
	state, err := store.OpenReader(m.path("/var/lib/acmed"))
	if err != nil {
		m.t.Fatal(err)
	}
	defer state.Close()
	number, err := state.Live(delivered)
	if err != nil {
		m.t.Fatal(err)
	}
	files, err := state.Files(delivered, number)
	if err != nil {
		m.t.Fatal(err)
	}
	want := &spec.Certificate{Name: delivered, DNSNames: []string{delivered}, PrivateKey: spec.PrivateKey{Algorithm: "ECDSA"},
		Deploy: spec.Deploy{Reload: []string{"vsftpd.service"}, Probe: []spec.Probe{p}}}
	targets := want.Deploy.Targets("")
	ctx, cancel := context.WithTimeout(m.t.Context(), 2*time.Second)
	defer cancel()
	return seen(new(deploy.Prober).Probe(ctx, want, targets[len(targets)-1], files))
}

// keepsTheOld renews the certificate of vsftpd, whose reload succeeds and changes nothing: the hint is right.
func keepsTheOld(m *machine) {
	ftp := spec.Probe{Address: talkers()["vsftpd"].protocols["ftp"], StartTLS: "ftp"}
	m.run("chown", "--recursive", "--no-dereference", "root:root", "/var/lib/acmed")
	issueFor(m, delivered)
	m.copyTLS()
	for _, step := range []struct{ verb, problem, hint string }{
		{"reload", "serves another certificate", "restart: in place of reload: for its unit (vsftpd.service)"},
		{"restart", "", ""},
	} {
		m.write("/etc/acmed/certs.d/"+delivered+".yaml", "deploy: {"+step.verb+": [vsftpd.service]}\n")
		m.eventually(patience, "the spec stands still", func() error { return m.courier().Accept(m.t.Context(), []string{delivered}) })
		answers, err := m.courier().Deploy(m.t.Context(), []deploy.Order{{Name: delivered}})
		if err != nil || len(answers) != 1 || len(answers[0].Results) != 1 || !answers[0].Results[0].OK || answers[0].Results[0].Note != "" {
			m.t.Fatalf("%s: %+v, %v", step.verb, answers, err)
		}
		if s := m.probed(ftp); s.OK != (step.problem == "") || !strings.Contains(s.Problem, step.problem) || !strings.Contains(s.Hint, step.hint) {
			m.t.Errorf("after a %s: %+v", step.verb, s)
		}
	}
}
