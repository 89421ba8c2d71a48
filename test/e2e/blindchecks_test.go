//go:build e2e

package e2e

import "testing"

// blind is a check command, and whether it accepts a certificate with the key of another one.
type blind struct {
	setup    string // shell; a.crt and b.key lie in /pair, and bad.pem holds both
	check    []string
	accepted bool
}

// blindChecks are rows of docs/servers.md.
func blindChecks(release string) map[string]blind {
	dovecot := "printf 'ssl = yes\\nssl_cert = </pair/a.crt\\nssl_key = </pair/b.key\\n'"
	if release != "bookworm" {
		dovecot = "printf 'ssl = yes\\nssl_server_cert_file = /pair/a.crt\\nssl_server_key_file = /pair/b.key\\n'"
	}
	return map[string]blind{
		"nginx": {"echo 'server { listen 127.0.0.1:8461 ssl; ssl_certificate /pair/a.crt; ssl_certificate_key /pair/b.key; }' >/etc/nginx/conf.d/bad.conf",
			[]string{"nginx", "-t"}, false},
		"nginx with a variable": {"echo 'server { listen 127.0.0.1:8462 ssl; ssl_certificate /pair/$ssl_server_name.crt; ssl_certificate_key /nowhere/$ssl_server_name.key; }' >/etc/nginx/conf.d/bad.conf",
			[]string{"nginx", "-t"}, true},
		"haproxy": {"printf 'defaults\\n mode http\\n timeout client 1s\\n timeout server 1s\\n timeout connect 1s\\nfrontend f\\n bind 127.0.0.1:8463 ssl crt /pair/bad.pem\\n' >/pair/haproxy.cfg",
			[]string{"haproxy", "-c", "-f", "/pair/haproxy.cfg"}, false},
		"hitch": {"printf 'frontend = \"[127.0.0.1]:8464\"\\nbackend = \"[127.0.0.1]:9\"\\npem-file = \"/pair/bad.pem\"\\nuser = \"nobody\"\\n' >/pair/hitch.conf",
			[]string{"hitch", "-t", "--config=/pair/hitch.conf"}, false},
		"apache2": {"a2enmod ssl; printf 'Listen 127.0.0.1:8465\\n<VirtualHost 127.0.0.1:8465>\\nSSLEngine on\\nSSLCertificateFile /pair/a.crt\\nSSLCertificateKeyFile /pair/b.key\\n</VirtualHost>\\n' >/etc/apache2/sites-enabled/bad.conf",
			[]string{"apache2ctl", "configtest"}, true},
		"dovecot": {dovecot + " >/etc/dovecot/conf.d/99-bad.conf", []string{"doveconf", "-n"}, true},
		"postfix": {"postconf -e 'smtpd_tls_chain_files = /pair/bad.pem'", []string{"postfix", "check"}, true},
		"ocserv": {"touch /pair/passwd; printf 'auth = \"plain[passwd=/pair/passwd]\"\\ntcp-port = 8466\\nserver-cert = /pair/a.crt\\nserver-key = /pair/b.key\\nsocket-file = /run/o\\ndevice = v\\nipv4-network = 192.0.2.0/24\\nrun-as-user = nobody\\nrun-as-group = daemon\\n' >/pair/ocserv.conf",
			[]string{"ocserv", "-t", "-c", "/pair/ocserv.conf"}, true},
	}
}

// TestCheckCommandsThatDoNotSeeAWrongPair holds docs/servers.md to what it says of check commands.
func TestCheckCommandsThatDoNotSeeAWrongPair(t *testing.T) {
	onEach(t, func(t *testing.T, release string) {
		m := boot(t, release)
		m.run("bash", "-euc", `mkdir /pair; cd /pair
for n in a b; do openssl req -x509 -newkey rsa:2048 -nodes -keyout $n.key -out $n.crt -subj /CN=$n -days 2; done
cat a.crt b.key >bad.pem`)
		for server, b := range blindChecks(release) {
			t.Run(server, func(t *testing.T) {
				m := m.with(t)
				m.run("bash", "-euc", b.setup)
				if said, err := m.try(b.check...); (err == nil) != b.accepted {
					t.Errorf("%v: %v\n%s", b.check, err, said)
				}
			})
		}
	})
}
