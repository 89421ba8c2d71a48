//go:build e2e

package cas_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/test/caddy"
	"acmed/test/cas"
	"acmed/test/netns"
	"acmed/test/pebble"
	"acmed/test/site"
	"acmed/test/stepca"
	"acmed/test/vault"
)

var (
	full = flag.Bool("cas.full", false, "try the slow features too")
	only = flag.String("cas.only", strings.Join(cas.CAs(), ","), "the CAs to try, separated by commas")
)

// TestMain runs the tests in a network namespace: the CAs validate on the ports that the RFCs name, and resolve names as the
// system does, which there is by the name server of the tests.
func TestMain(m *testing.M) {
	os.Exit(netns.Main(func() int {
		if err := replaceResolver(); err != nil {
			fmt.Fprintln(os.Stderr, "replacing /etc/resolv.conf:", err)
			return 1
		}
		return site.Main(m)
	}, prepare))
}

// replaceResolver mounts a file over /etc/resolv.conf, which lasts as long as the namespace.
func replaceResolver() error {
	dir, err := os.MkdirTemp("", "acmed-resolver-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(file, []byte("nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"), 0o644); err != nil {
		return err
	}
	return unix.Mount(file, "/etc/resolv.conf", "", unix.MS_BIND, "")
}

// prepare does what needs the network.
func prepare() error {
	flag.Parse()
	if _, err := pebble.Build(); err != nil { // other CAs are tried with it as well
		return err
	}
	builds := map[string]func() (string, error){"step-ca": stepca.Build, "Caddy": caddy.Build, "Vault": vault.Build}
	for name := range strings.SplitSeq(*only, ",") {
		if builds[name] == nil {
			continue
		}
		if _, err := builds[name](); err != nil {
			return err
		}
	}
	if out, err := exec.Command("go", "build", "-o", os.DevNull, "acmed/cmd/acmed").CombinedOutput(); err != nil {
		return fmt.Errorf("building acmed: %w\n%s", err, out)
	}
	return nil
}
