//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"acmed/test/pebble"
)

// documented is what an example of docs/servers.md does not say: how the test sees its server.
type documented struct {
	heading  string
	address  string
	startTLS string
	unit     string
	only     string   // the one release that the example is for; "": all
	before   []string // a command that makes room for the example
}

// documentedServers are all examples that run. Caddy's is text only.
func documentedServers() []documented {
	return []documented{
		{heading: "nginx", address: "127.0.0.1:443", unit: "nginx.service", before: []string{"rm", "-f", "/etc/nginx/sites-enabled/default"}},
		{heading: "Apache", address: "127.0.0.1:443", unit: "apache2.service", before: []string{"sh", "-c", "rm /etc/apache2/sites-enabled/*; echo 'Listen 443' >/etc/apache2/ports.conf"}},
		{heading: "HAProxy", address: "127.0.0.1:443", unit: "haproxy.service"},
		{heading: "Postfix", address: "127.0.0.1:25", startTLS: "smtp", unit: "postfix.service", before: []string{"postconf", "-e", "inet_interfaces = loopback-only", "myhostname = mail.example.com"}},
		{heading: "Dovecot", address: "127.0.0.1:143", startTLS: "imap", unit: "dovecot.service"},
		{heading: "PostgreSQL", address: "127.0.0.1:5432", startTLS: "postgres", unit: "postgresql@15-main.service", only: "bookworm"},
		{heading: "RabbitMQ", address: "127.0.0.1:5671", unit: "rabbitmq-server.service"},
		{heading: "ejabberd", address: "127.0.0.1:5223", unit: "ejabberd.service"},
		{heading: "Prosody", address: "127.0.0.1:5222", startTLS: "xmpp -xmpphost chat.example.com", unit: "prosody.service"},
		{heading: "MariaDB", address: "127.0.0.1:3306", startTLS: "mysql", unit: "mariadb.service"},
		{heading: "ocserv", address: "127.0.0.1:443", unit: "ocserv.service", before: []string{"touch", "/etc/ocserv/passwd"}},
		{heading: "hitch", address: "127.0.0.1:443", unit: "hitch.service"},
	}
}

// TestDocumentedServers does what docs/servers.md says, block by block, and renews under the server.
func TestDocumentedServers(t *testing.T) { onFirst(t, testDocumentedServers) }

func testDocumentedServers(t *testing.T, release string) {
	sections := examples(t, release)
	ca := startCA(t, pebble.Options{HTTPPort: 80, NonceReject: 5, AuthzReuse: 50})
	m := serve(t, release, ca, byResponder())
	for _, d := range documentedServers() {
		if d.only != "" && d.only != release {
			continue
		}
		t.Run(d.heading, func(t *testing.T) { m.with(t).asDocumented(d, sections[d.heading]) })
	}
}

// asDocumented follows an example. Where it has several specs, each is tried, with the blocks before it.
func (m *machine) asDocumented(d documented, blocks []block) {
	m.t.Helper()
	if d.before != nil {
		m.run(d.before...)
	}
	name := ""
	for _, b := range blocks {
		if spec, ok := strings.CutPrefix(b.path, "/etc/acmed/certs.d/"); ok {
			name = strings.TrimSuffix(spec, ".yaml")
		}
	}
	if name == "" {
		m.t.Fatalf("docs/servers.md has no spec for %s", d.heading)
	}
	m.write("/etc/acmed/certs.d/"+name+".yaml", "{}\n")
	m.run("acmed", "reload")
	m.issued(name)
	for _, b := range blocks {
		if b.path == "" {
			m.run("bash", "-euc", b.text)
			continue
		}
		m.write(b.path, b.text)
		if strings.HasPrefix(b.path, "/etc/acmed/certs.d/") {
			m.servedThrough(d, name, b.text)
		}
	}
	m.run("systemctl", "stop", d.unit)
	m.write("/etc/acmed/certs.d/"+name+".yaml", "{}\n") // for the next example with this name
	m.run("acmed", "reload")
}

// servedThrough starts the server, which has the certificate that is live, and renews that.
func (m *machine) servedThrough(d documented, name, spec string) {
	m.t.Helper()
	m.run("acmed", "reload")
	for _, file := range regexp.MustCompile(`path: ([^,]+),`).FindAllStringSubmatch(spec, -1) {
		m.eventually(patience, file[1]+" is there", func() error { _, err := m.try("ls", file[1]); return err })
	}
	m.eventually(patience, "its reload is over", func() error { return m.reloaded(name) }) // a server that starts just now may end with a HUP
	m.run("systemctl", "restart", d.unit)
	s := server{name: name, address: d.address, startTLS: d.startTLS}
	m.eventually(4*patience, "the first certificate is delivered", func() error { return m.delivered(name, m.live(name)) })
	m.eventually(patience, "the server serves it", func() error { return m.serves(s) })
	before := m.live(name)
	m.run("acmed", "renew", name, "--wait")
	m.eventually(4*patience, "the renewal is delivered", func() error { return m.delivered(name, before+1) })
	m.eventually(patience, "the server serves it", func() error { return m.serves(s) })
}

// reloaded is nil once all units have been reloaded, or were found not to run.
func (m *machine) reloaded(name string) error {
	c, err := m.status(name)
	if err != nil {
		return err
	}
	for _, target := range c.Targets {
		if strings.HasPrefix(target.Key, "reload ") && !target.Accepted {
			return fmt.Errorf("%+v", target)
		}
	}
	return nil
}

// live is the number of the revision that is live.
func (m *machine) live(name string) int {
	m.t.Helper()
	c, err := m.status(name)
	if err != nil || c.Current == nil {
		m.t.Fatalf("no revision of %s is live: %v", name, err)
	}
	return c.Current.Number
}

// block is a fenced block: a file, or, without a path, commands.
type block struct{ path, text string }

// examples are the blocks of docs/servers.md that are for a release, by the heading of their example.
func examples(t *testing.T, release string) map[string][]block {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "servers.md"))
	if err != nil {
		t.Fatal(err)
	}
	fence := regexp.MustCompile("(?ms)^```([a-z]+)(?: (/\\S+))?(?: ([a-z]+))?\n(.*?)^```$")
	sections := map[string][]block{}
	for section := range strings.SplitSeq(string(text), "\n### ") {
		heading, body, _ := strings.Cut(section, "\n")
		for _, match := range fence.FindAllStringSubmatch(body, -1) {
			if match[3] == "" || match[3] == release {
				sections[heading] = append(sections[heading], block{match[2], match[4]})
			}
		}
	}
	return sections
}
