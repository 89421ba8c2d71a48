//go:build e2e

package e2e

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/test/pebble"
)

// What else than keys of certificates and accounts is secret on every machine of these tests.
const (
	bindingID   = "e2e-binding"
	bindingFile = "/etc/acmed/secrets/pebble"
	bindingKey  = "7Yp0GmZKQ2xqvH1sXcB5uJ9dLr3TtWn8aEfVoRkMz4c" // base64url, as CAs hand it out
)

// startCA starts a Pebble that binds accounts, so that there is one secret more.
func startCA(t *testing.T, o pebble.Options) *pebble.Server {
	t.Helper()
	key, err := base64.RawURLEncoding.DecodeString(bindingKey)
	if err != nil {
		t.Fatal(err)
	}
	o.EAB = map[string][]byte{bindingID: key}
	return pebble.Start(t, o)
}

// bind gives the daemon what it needs for an account of startCA's, and returns the issuer file's line.
func (m *machine) bind() string {
	m.t.Helper()
	m.secret(bindingFile, bindingKey)
	return fmt.Sprintf("externalAccountBinding: {kid: %s, hmacKeyFile: %s}\n", bindingID, bindingFile)
}

// secret writes a file that the daemon may read, and others may not.
func (m *machine) secret(name, content string) {
	m.t.Helper()
	m.write(name, content+"\n")
	m.run("chown", "root:acmed", name)
	m.run("chmod", "0640", name)
}

// keepSecrets looks, at the end of every test with a machine, for its keys and passwords where others may read: in the
// journal, to which the daemon has logged all that debug knows and where it goes when it crashes; in its figures; in the
// arguments and environments of all processes; and in what crashes leave behind.
func (m *machine) keepSecrets() {
	if m.leader == 0 || m.t.Failed() {
		return
	}
	secrets := m.secrets()
	if len(secrets) == 0 {
		return // acmed never ran
	}
	figures, _ := m.try("curl", "--silent", "http://127.0.0.1:9402/metrics") // it may not run any more
	places := map[string]string{
		"/metrics":          figures,
		"the process table": m.run("ps", "axeww"),
		"the core folder":   m.run("ls", "-R", "/var/lib/systemd/coredump"),
	}
	crashed := m.crash()
	places["the journal"] = m.run("journalctl", "--output=export", "--all", "--no-pager")
	if crashed && !strings.Contains(places["the journal"], "SIGQUIT: quit") {
		m.t.Error("the journal does not show the crash")
	}
	if cores := m.run("find", "/", "-xdev", "-type", "f", "-name", "core", "-o", "-name", "core.[0-9]*"); cores != "" {
		m.t.Errorf("a crash left %s", cores)
	}
	for file, pieces := range secrets {
		for _, piece := range pieces {
			for place, text := range places {
				if strings.Contains(text, piece) {
					m.t.Errorf("%s shows a part of %s", place, file)
				}
			}
		}
	}
}

// crash has the daemon, if it runs, die as by a fault in it, with a dump of all its stacks.
func (m *machine) crash() bool {
	if m.active() != nil {
		return false
	}
	pid := m.show("acmed.service", "MainPID")
	m.run("kill", "-QUIT", pid)
	m.eventually(patience, "the daemon dies", func() error {
		if m.show("acmed.service", "MainPID") == pid {
			return fmt.Errorf("%s lives", pid)
		}
		return nil
	})
	m.run("journalctl", "--sync")
	return true
}

// secrets are the pieces, as they may turn up, of what is secret on the machine, by file. Of the many keys that some
// tests make a hundred are enough.
func (m *machine) secrets() map[string][]string {
	m.t.Helper()
	found := map[string][]string{}
	for _, pattern := range []string{
		"etc/acmed/secrets/*", "var/lib/acmed/accounts/*/key.pem", "var/lib/acmed/certs/*/pending/key.pem", "var/lib/acmed/certs/*/rev/*/privkey.pem",
	} {
		files, err := filepath.Glob(m.path(pattern))
		if err != nil {
			m.t.Fatal(err)
		}
		for _, file := range files[:min(len(files), 100)] {
			if text, err := os.ReadFile(file); err == nil { // what was pending may be done
				found[strings.TrimPrefix(file, m.path(""))] = pieces(bytes.TrimSpace(text))
			}
		}
	}
	return found
}

// pieces are the lines of a PEM file, or another secret whole; and its bytes, raw and as people write bytes.
func pieces(secret []byte) (all []string) {
	raw := secret
	if block, _ := pem.Decode(secret); block != nil {
		for line := range strings.Lines(string(secret)) {
			if !strings.HasPrefix(line, "-----") {
				all = append(all, strings.TrimSpace(line))
			}
		}
		raw = block.Bytes[len(block.Bytes)/4:][:32] // inside the number, whatever the format
	} else {
		all = append(all, string(secret))
		if decoded, err := base64.RawURLEncoding.DecodeString(string(secret)); err == nil {
			raw = decoded
		}
	}
	return append(all, string(raw), hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw))
}
