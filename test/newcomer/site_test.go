package newcomer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/test/pebble"
)

// patience is for what should happen soon, on a machine that may be busy.
const patience = 2 * time.Minute

// program builds acmed.
func program(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "acmed")
	if out, err := exec.Command("go", "build", "-o", file, "acmed/cmd/acmed").CombinedOutput(); err != nil {
		t.Fatalf("building acmed: %v\n%s", err, out)
	}
	return file
}

func startCA(t *testing.T) *pebble.Server {
	t.Helper()
	ca, err := pebble.New(t.Context(), pebble.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(ca.Close)
	return ca
}

// site is a machine with acmed, in a directory.
type site struct {
	t       *testing.T
	program string
	dir     string
}

// newSite starts a daemon that answers http-01 at an address.
func newSite(t *testing.T, program string, ca *pebble.Server, http01 string) *site {
	t.Helper()
	dir, err := os.MkdirTemp("", "acmed") //nolint:usetesting // a unix socket's path is short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s := &site{t, program, dir}
	s.write("acmed.yaml", fmt.Sprintf(`contact: ["mailto:pki@example.com"]
termsOfServiceAgreed: true
defaults: {issuers: [pebble]}
specDir: certs.d
issuerDir: issuers.d
stateDir: state
runtimeDir: run
http: {solver: listen, listen: "%s"}
admin: {listen: ""}
log: {format: json}
`, http01))
	s.write("issuers.d/pebble.yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\n", ca.DirectoryURL, ca.RootsFile))
	s.write("issuers.d/silent.yaml", fmt.Sprintf("directory: https://%s/directory\ncaBundle: %s\n", silent(t), ca.RootsFile))
	s.write("certs.d/README", "")
	s.start()
	return s
}

// silent is the address of a server that accepts connections and says nothing.
func silent(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln.Addr().String()
}

// freePort is an address at which nobody listens.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

func (s *site) start() {
	s.t.Helper()
	log, err := os.Create(s.path("log"))
	if err != nil {
		s.t.Fatal(err)
	}
	daemon := exec.Command(s.program, "run", "--config", s.path("acmed.yaml"))
	daemon.Stderr = log
	daemon.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := errors.Join(daemon.Start(), log.Close()); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		if err := daemon.Wait(); err != nil || s.t.Failed() {
			text, _ := os.ReadFile(s.path("log"))
			s.t.Errorf("the daemon ended: %v\n%s", err, text)
		}
	})
	s.await("the daemon answers", func() bool { return s.command(s.t.Context(), "list").Run() == nil })
}

// await polls until a condition holds.
func (s *site) await(what string, condition func() bool) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			s.t.Fatalf("waiting until %s: %v", what, ctx.Err())
		}
	}
}

func (s *site) path(name string) string { return filepath.Join(s.dir, name) }

func (s *site) write(name, text string) {
	s.t.Helper()
	path := s.path(name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, s.program, append(args, "--config", s.path("acmed.yaml"))...)
	cmd.Env = append(os.Environ(), "ACMED_SOCKET=")
	return cmd
}

// types runs a command and returns its exit code and what it wrote.
func (s *site) types(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var out, said bytes.Buffer
	cmd := s.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), said.String()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return 0, out.String(), said.String()
}

// expect fails unless text contains each of the words.
func (s *site) expect(text string, words ...string) {
	s.t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			s.t.Errorf("no %q in:\n%s", word, text)
		}
	}
}
