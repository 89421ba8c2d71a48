// Package boulder runs Boulder, the CA software of Let's Encrypt, with its database and all else that it needs, as
// subprocesses in the network namespace of the test.
//
// It owns those processes, their keys, their configuration, their database and their logs. It never speaks ACME: what it
// knows of a client's requests, it reads in the log of Boulder's web front end.
//
// What a test should know of Boulder v0.20261110.0 is in docs/compatibility.md.
package boulder

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"acmed/test/netns"
	"acmed/test/process"
	"acmed/test/zone"
)

// Lab is a running Boulder. Its methods may be called by several goroutines, but no service by two at once.
type Lab struct {
	Dir          string // all files; they stay if the test fails
	DirectoryURL string
	RootsFile    string // PEM file of the root of the listener; it has issued no certificate of an account

	programs programs
	client   *http.Client
	keys     *keys

	mu        sync.Mutex // guards the following
	options   Options
	running   map[Service]*process.Process
	clients   map[Service]int // that were connected when a service was stopped
	addresses int             // that NextAddress has returned
}

const directoryURL = "https://localhost:4431/directory"

// Start starts all services and waits until the CA answers. The lab ends with the test. When the test failed, it shows the
// end of the logs.
func Start(t testing.TB, o Options) *Lab {
	t.Helper()
	l, err := prepare(o)
	if err != nil {
		t.Fatal("preparing Boulder: ", err)
	}
	t.Cleanup(func() {
		l.stopAll()
		if t.Failed() {
			t.Logf("the logs of Boulder are in %s; the errors in them:\n%s", l.Dir, l.complaints())
		} else if err := os.RemoveAll(l.Dir); err != nil {
			t.Error(err)
		}
	})
	zone.Start(t, zone.Config{Port: 53, Records: nonceRecords})
	if err := l.Start(t.Context(), Services()...); err != nil {
		t.Fatal("starting Boulder: ", err)
	}
	return l
}

// prepare does what comes before the first process.
func prepare(o Options) (*Lab, error) {
	programs, err := build()
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: the path of a unix socket is short, and a failed run keeps its logs.
	dir, err := os.MkdirTemp("", "acmed-boulder-")
	if err != nil {
		return nil, err
	}
	l := &Lab{
		DirectoryURL: directoryURL, RootsFile: filepath.Join(dir, "internal/root.pem"),
		Dir: dir, programs: programs, options: o, running: map[Service]*process.Process{}, clients: map[Service]int{},
	}
	for _, sub := range []string{"internal", "hierarchy", "secrets", "etc", "log", "mysql"} {
		if err := os.Mkdir(l.path(sub), 0o755); err != nil {
			return nil, err
		}
	}
	if l.keys, err = writeKeys(dir); err != nil {
		return nil, err
	}
	l.client = client(l.keys.internalRoot)
	return l, errors.Join(l.writeSecrets(), l.writeConfig(), l.installDatabase())
}

func client(root *x509.Certificate) *http.Client {
	pool := x509.NewCertPool()
	pool.AddCert(root)
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}, Timeout: 10 * time.Second}
}

func (l *Lab) path(parts ...string) string {
	return filepath.Join(append([]string{l.Dir}, parts...)...)
}

// Set changes the configuration and restarts the services that read it.
func (l *Lab) Set(ctx context.Context, change func(*Options), services ...Service) error {
	l.mu.Lock()
	change(&l.options)
	err := l.writeConfig()
	l.mu.Unlock()
	if err != nil {
		return err
	}
	return l.Restart(ctx, services...)
}

// NextAddress adds an address to the loopback device that no other caller gets. The addresses are those of ISRG's own
// tests, for Boulder refuses to validate names at reserved ones.
func (l *Lab) NextAddress() (netip.Addr, error) {
	l.mu.Lock()
	l.addresses++
	n := l.addresses
	l.mu.Unlock()
	address := netip.AddrFrom4([4]byte{64, 112, 117, byte(n)})
	return address, netns.AddAddress(address)
}

// complaints returns the last errors of each service.
func (l *Lab) complaints() string {
	var b strings.Builder
	for _, s := range Services() {
		log, err := l.Log(s)
		if err != nil {
			return err.Error()
		}
		lines := slices.DeleteFunc(strings.Split(log, "\n"), func(line string) bool { return !complaint.MatchString(line) })
		for _, line := range lines[max(0, len(lines)-3):] {
			fmt.Fprintf(&b, "%s: %.300s\n", s, line)
		}
	}
	return b.String()
}

// complaint matches the lines of Boulder's log that have the levels warning, error and above, and panics.
var complaint = regexp.MustCompile(`\]: [0-4] |^panic|^goroutine 1 `)
