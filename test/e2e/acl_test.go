//go:build e2e

package e2e

import (
	"errors"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/acl"
	"acmed/test/pebble"
)

// TestReadersByAccessControlLists has the packaged helper, in its sandbox, replace files that more than their owner
// reads.
func TestReadersByAccessControlLists(t *testing.T) {
	onEach(t, func(t *testing.T, release string) {
		const name, spec, key = "www.example.com", "/etc/acmed/certs.d/www.example.com.yaml", "/srv/tls/key"
		m := serve(t, release, startCA(t, pebble.Options{HTTPPort: 80}), byResponder())
		m.run("install", "-d", "/srv/tls")
		m.write(spec, "deploy: {files: [{path: "+key+", content: privkey}, {path: /srv/tls/crt, content: cert}]}\n")
		m.eventually(patience, "it is there", func() error { _, err := m.try("ls", key); return err })
		m.eventually(patience, "it is delivered", func() error { return m.delivered(name, 1) })
		const www = 33 // www-data
		reads := func() error { _, err := m.try("runuser", "-u", "www-data", "--", "cat", key); return err }
		if reads() == nil {
			t.Fatal("everybody reads the key")
		}
		list := acl.List{{Tag: acl.Owner, Perm: 6}, {Tag: acl.NamedUser, Perm: 4, ID: www}, {Tag: acl.Group}, {Tag: acl.Mask, Perm: 4}, {Tag: acl.Other}}
		if err := unix.Setxattr(m.path(key), "system.posix_acl_access", list.Encode(), 0); err != nil {
			t.Fatal(err)
		}
		m.run("acmed", "renew", name, "--wait")
		m.eventually(patience, "the renewal is delivered", func() error { return m.delivered(name, 2) })
		if err := reads(); err != nil {
			t.Errorf("the renewal shut the reader out: %v", err)
		}
		if out, _ := m.try("acmed", "doctor", name); !strings.Contains(out, key+" can be read by root, user:www-data (access control list user:www-data:r--)") { // for other findings it may fail
			t.Errorf("doctor says\n%s", out)
		}
		m.write(spec, "deploy: {files: [{path: "+key+", content: privkey, mode: \"0400\"}, {path: /srv/tls/crt, content: cert}]}\n")
		m.run("acmed", "reload")
		m.eventually(patience, "the tightened mode shuts the reader out", func() error {
			if reads() == nil {
				return errors.New("it still reads")
			}
			return m.says(name, "access control list removed (user:www-data:r--)")
		})
	})
}
