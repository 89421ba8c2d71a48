//go:build e2e

package e2e

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"acmed/test/pebble"
)

func TestQuickStart(t *testing.T) { onEach(t, testQuickStart) }

// testQuickStart does what docs/quickstart.md says, block by block: its first section, then one of its ways, each on a
// machine of its own.
func testQuickStart(t *testing.T, release string) {
	sections := shellBlocks(t, filepath.Join("..", "..", "docs", "quickstart.md"))
	for way, before := range map[string]string{
		"Where port 80 is free":            "systemctl disable --now nginx",
		"Where a web server holds port 80": "systemctl enable --now nginx",
	} {
		if len(sections[way]) == 0 {
			t.Errorf("the quick start has nothing to do under %q", way)
		}
		t.Run(way, func(t *testing.T) {
			follow(t, release, before, slices.Concat(sections["Install and configure"], sections[way]))
		})
	}
}

func follow(t *testing.T, release, before string, blocks []string) {
	ca := pebble.Start(t, pebble.Options{HTTPPort: 80, NonceReject: 5})
	m := boot(t, release)
	m.copyIn(ca.RootsFile, "/etc/acmed/pebble.pem")
	// Let's Encrypt cannot be reached from here.
	m.write("/etc/acmed/issuers.d/letsencrypt.yaml", fmt.Sprintf("directory: %s\ncaBundle: /etc/acmed/pebble.pem\n", ca.DirectoryURL))
	m.copyIn(built(t), "/root/acmed.deb")
	m.run("sh", "-c", before)
	for _, block := range blocks {
		m.run("bash", "-euc", "cd\n"+block)
	}
	m.showsTheWorld(ca, "www.example.com")
	m.reboot()
	for _, unit := range []string{"nginx.service", "acmed.service"} {
		if state := m.show(unit, "ActiveState"); state != "active" {
			t.Errorf("after the reboot %s is %s", unit, state)
		}
	}
	m.run("acmed", "renew", "www.example.com", "--wait")
	m.eventually(patience, "the renewal is delivered", func() error { return m.delivered("www.example.com", 2) })
	m.showsTheWorld(ca, "www.example.com")
}

// showsTheWorld connects as a browser does that trusts the CA.
func (m *machine) showsTheWorld(ca *pebble.Server, name string) {
	m.t.Helper()
	roots, err := ca.IssuingRoots(m.t.Context())
	if err != nil {
		m.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for _, root := range roots {
		pool.AddCert(root)
	}
	dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: patience}, Config: &tls.Config{ServerName: name, RootCAs: pool}}
	conn, err := dialer.DialContext(m.t.Context(), "tcp", "127.0.0.1:443")
	if err != nil {
		m.t.Fatal(err)
	}
	conn.Close()
}

// shellBlocks are the ```sh blocks of a page, by section.
func shellBlocks(t *testing.T, page string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	sections := map[string][]string{}
	for section := range strings.SplitSeq(string(text), "\n## ") {
		heading, body, _ := strings.Cut(section, "\n")
		for _, match := range block.FindAllStringSubmatch(body, -1) {
			sections[heading] = append(sections[heading], match[1])
		}
	}
	return sections
}
