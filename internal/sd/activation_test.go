package sd_test

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"acmed/internal/sd"
)

// file returns the descriptor behind a socket, as systemd would pass it on.
func file(t *testing.T, socket interface{ File() (*os.File, error) }) *os.File {
	t.Helper()
	f, err := socket.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func listenTCP(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

// inherit runs a child with files from descriptor 3 on and returns what it reports.
func inherit(t *testing.T, env string, files ...*os.File) string {
	t.Helper()
	// Only a shell can know the process id before exec.
	cmd := exec.CommandContext(t.Context(), "/bin/sh", "-c", env+` exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=1", "GORACE=atexit_sleep_ms=0")
	cmd.ExtraFiles = files
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("running the child: %v: %s", err, out)
	}
	return string(out)
}

func TestListenersByName(t *testing.T) {
	v4, v6, admin := listenTCP(t), listenTCP(t), listenTCP(t)
	got := inherit(t, "LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=http:http:admin",
		file(t, v4), file(t, v6), file(t, admin))
	lines := []string{"http " + v4.Addr().String(), "http " + v6.Addr().String(), "admin " + admin.Addr().String()}
	slices.Sort(lines)
	if want := strings.Join(lines, "\n") + "\n"; got != want {
		t.Errorf("the child inherited:\n%swant:\n%s", got, want)
	}
}

func TestListenersForAnotherProcessAreNotOurs(t *testing.T) {
	got := inherit(t, "LISTEN_PID=1 LISTEN_FDS=1 LISTEN_FDNAMES=http", file(t, listenTCP(t)))
	if got != "" {
		t.Errorf("the child inherited:\n%s", got)
	}
}

func TestSocketThatDoesNotListenIsAnError(t *testing.T) {
	packet, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer packet.Close()
	got := inherit(t, "LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=http", file(t, packet))
	if !strings.HasPrefix(got, "error: inheriting socket http: ") || !strings.Contains(got, "ListenStream=") {
		t.Errorf("the child says %q", got)
	}
}

func TestWithoutActivationThereAreNoListeners(t *testing.T) {
	listeners, err := sd.Listeners()
	if err != nil || len(listeners) != 0 {
		t.Errorf("got %v, %v", listeners, err)
	}
}

func TestCredential(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sectigo"), []byte("secret"), 0o400); err != nil {
		t.Fatal(err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", dir)

	if path, err := sd.Credential("sectigo"); err != nil || path != filepath.Join(dir, "sectigo") {
		t.Errorf("got %q, %v", path, err)
	}
	for _, name := range []string{"", ".", "..", "...", "../sectigo", "a/b", "a\x00b", "a b", strings.Repeat("a", 256)} {
		if path, err := sd.Credential(name); err == nil {
			t.Errorf("credential %q is at %s", name, path)
		}
	}
	if _, err := sd.Credential("absent"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "LoadCredential=absent:FILE") {
		t.Errorf("an absent credential: %v", err)
	}
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	if _, err := sd.Credential("sectigo"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "no credentials") {
		t.Errorf("no credentials at all: %v", err)
	}
}
