// Package site sets up what an operator would: a folder with acmed.yaml, an issuer and specs, and the real program
// running on it as a subprocess, with the test CA of test/pebble for an issuer.
//
// It owns the folder and the processes. It never looks into the program: what it knows, it reads in the files that
// operators and their servers read, or asks over the control socket.
package site

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/pebble"
)

// Patience is for what takes seconds at most on a machine that has nothing else to do.
const Patience = 2 * time.Minute

// Options of a site. The zero value has an issuer without limits, and a daemon that answers http-01 itself.
type Options struct {
	// Issuer is added to the issuer's file.
	Issuer string
	// Limits of the issuer, in YAML; "": failuresPerNamePerHour: 0.
	Limits string
	// Admin is where /readyz is served; "": nowhere.
	Admin string
	// ALPN answers tls-alpn-01.
	ALPN bool
	// Responder leaves http-01 to somebody who serves the folder Tokens, so that proofs outlive the daemon.
	Responder bool
}

// Site is one machine with acmed on it.
type Site struct {
	Dir   string
	State string // the state folder
	// Tokens is the folder of http-01 proofs, a file each.
	Tokens string
	// Control asks the daemon that runs.
	Control *control.Client
}

// Main is for TestMain: it builds the program and puts it first in PATH while the tests run.
func Main(m *testing.M) int {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "acmed-program-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if out, err := exec.Command("go", "build", "-o", dir, "acmed/cmd/acmed").CombinedOutput(); err != nil {
		return 0, fmt.Errorf("building acmed: %w\n%s", err, out)
	}
	if err := os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH")); err != nil {
		return 0, err
	}
	return m.Run(), nil
}

// CA is the one that a site has an account at.
type CA struct {
	Issuer       string // name of the issuer's file
	DirectoryURL string
	RootsFile    string // PEM file of the root of its listener
	Contact      string // URL; "": mailto:pki@example.com
	// HTTPAddr and TLSAddr are where the CA looks for challenge responses.
	HTTPAddr, TLSAddr string
}

// New makes the files of a site with Pebble for an issuer. When the test fails, it shows the end of the daemon's log.
func New(t testing.TB, ca *pebble.Server, o Options) *Site {
	t.Helper()
	return At(t, CA{
		Issuer: "pebble", DirectoryURL: ca.DirectoryURL, RootsFile: ca.RootsFile, HTTPAddr: ca.HTTPAddr, TLSAddr: ca.TLSAddr,
	}, o)
}

// Empty is a site without files. When the test fails, it shows the end of the daemon's log.
func Empty(t testing.TB) *Site {
	t.Helper()
	// The path of a unix socket is short: t.TempDir would put the test's name into it.
	dir, err := os.MkdirTemp("", "acmed-site-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	s := &Site{Dir: dir, State: filepath.Join(dir, "state"), Tokens: filepath.Join(dir, "run/http-01")}
	s.Control = control.Dial(s.Socket())
	t.Cleanup(func() { s.clear(t) })
	if err := os.Mkdir(s.Path("certs.d"), 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// At is [New] with any CA.
func At(t testing.TB, ca CA, o Options) *Site {
	t.Helper()
	s := Empty(t)
	solver := fmt.Sprintf("{solver: listen, listen: %q}", ca.HTTPAddr)
	if o.Responder {
		solver = "{solver: responder}"
	}
	s.Write(t, "acmed.yaml", fmt.Sprintf(`contact: [%q]
termsOfServiceAgreed: true
defaults: {issuers: [%s]}
specDir: certs.d
issuerDir: issuers.d
dnsDir: dns.d
stateDir: state
runtimeDir: run
http: %s
admin: {listen: %q}
log: {format: json}
control: {socket: %s}
`, cmp.Or(ca.Contact, "mailto:pki@example.com"), ca.Issuer, solver, o.Admin, s.Socket()))
	if o.ALPN {
		s.Append(t, "acmed.yaml", fmt.Sprintf("tlsALPN: {listen: %q}\n", ca.TLSAddr))
	}
	limits := o.Limits
	if limits == "" {
		limits = "failuresPerNamePerHour: 0"
	}
	s.Write(t, "issuers.d/"+ca.Issuer+".yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {%s}\n%s\n",
		ca.DirectoryURL, ca.RootsFile, limits, o.Issuer))
	return s
}

func (s *Site) clear(t testing.TB) {
	if t.Failed() {
		log, _ := os.ReadFile(s.Path("acmed.log")) // none was written when no daemon ran
		lines := strings.SplitAfter(string(log), "\n")
		t.Logf("the end of acmed's log:\n%s", strings.Join(lines[max(0, len(lines)-60):], ""))
	}
	if err := os.RemoveAll(s.Dir); err != nil {
		t.Error(err)
	}
}

// Socket is the control socket's path, which acmed.yaml has to name.
func (s *Site) Socket() string { return s.Path("run/acmed.sock") }

// Path of a file of the site.
func (s *Site) Path(parts ...string) string {
	return filepath.Join(append([]string{s.Dir}, parts...)...)
}

// Write writes a file of the site, as one step.
func (s *Site) Write(t testing.TB, file, text string) {
	t.Helper()
	path := s.Path(file)
	tmp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path))
	err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(tmp, []byte(text), 0o644), os.Rename(tmp, path))
	if err != nil {
		t.Fatal(err)
	}
}

// Append adds to a file of the site.
func (s *Site) Append(t testing.TB, file, text string) {
	t.Helper()
	old, err := os.ReadFile(s.Path(file))
	if err != nil {
		t.Fatal(err)
	}
	s.Write(t, file, string(old)+text)
}

// Spec asks for a certificate; "" is a spec too.
func (s *Site) Spec(t testing.TB, name, text string) {
	t.Helper()
	s.Write(t, filepath.Join("certs.d", name+".yaml"), text)
}

// Settle gives the specs a time of modification in the past, as a package or a backup does. A daemon that starts sees by the
// time of their inodes that they are new, and reads them 5 s later, or 30 s if they are empty.
func (s *Site) Settle(t testing.TB) {
	t.Helper()
	specs, err := filepath.Glob(s.Path("certs.d/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	past := time.Now().Add(-time.Minute)
	for _, spec := range specs {
		if err := os.Chtimes(spec, past, past); err != nil {
			t.Fatal(err)
		}
	}
}

// Rest waits until a daemon that starts reads the specs at once: until their inodes have not changed for 5 s. None may be empty.
func (s *Site) Rest(t testing.TB) {
	t.Helper()
	specs, err := filepath.Glob(s.Path("certs.d/*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	Eventually(t, "the specs have stood still", func() bool {
		for _, spec := range specs {
			var st syscall.Stat_t
			if err := syscall.Stat(spec, &st); err != nil || st.Size == 0 {
				t.Fatalf("%s: %d bytes, %v", spec, st.Size, err)
			}
			if time.Since(time.Unix(st.Ctim.Unix())) < 5200*time.Millisecond {
				return false
			}
		}
		return true
	})
}

// Run executes one command of acmed, which has to succeed, and returns what it says.
func (s *Site) Run(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "acmed", append(args, "--config", s.Path("acmed.yaml"))...).CombinedOutput()
	if err != nil {
		t.Fatalf("acmed %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Live is the number of the revision that consumers see; zero: none.
func (s *Site) Live(t testing.TB, name string) int {
	t.Helper()
	target, err := os.Readlink(filepath.Join(s.State, "live", name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	n, nerr := strconv.Atoi(filepath.Base(target))
	if err := errors.Join(err, nerr); err != nil {
		t.Fatal(err)
	}
	return n
}

// Served is the certificate of name, loaded as a web server would: an error when key and leaf do not belong
// together.
func (s *Site) Served(name string) (tls.Certificate, error) {
	dir, err := filepath.EvalSymlinks(filepath.Join(s.State, "live", name)) // the link may move between two files
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.LoadX509KeyPair(filepath.Join(dir, "fullchain.pem"), filepath.Join(dir, "privkey.pem"))
}

// Entry is a line of the daemon's log.
type Entry struct {
	Time    time.Time
	Message string
	Cert    string
	Took    string
}

// Output is what all daemons of this site have written.
func (s *Site) Output(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile(s.Path("acmed.log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Log is the part of Output that they logged.
func (s *Site) Log(t testing.TB) []Entry {
	t.Helper()
	var entries []Entry
	for line := range strings.Lines(s.Output(t)) {
		var e Entry
		if json.Unmarshal([]byte(line), &e) == nil { // a daemon that cannot start speaks plainly
			entries = append(entries, e)
		}
	}
	return entries
}

// Eventually polls until a condition holds.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-ctx.Done():
			t.Fatalf("waited in vain until %s", what)
		case <-tick.C:
		}
	}
}
