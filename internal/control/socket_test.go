package control_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/control"
)

func TestListenMakesASocketForTheGroup(t *testing.T) {
	dir := filepath.Join(folder(t), "control")
	socket := filepath.Join(dir, "acmed.sock")
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for path, want := range map[string]os.FileMode{dir: os.ModeDir | 0o750, socket: os.ModeSocket | 0o660} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: got %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
}

func TestListenInASetgidFolderInheritsItsGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	dir := folder(t)
	if err := os.Chown(dir, 0, 4242); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o750|os.ModeSetgid); err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "acmed.sock")
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	info, err := os.Stat(socket)
	if err != nil {
		t.Fatal(err)
	}
	if gid := info.Sys().(*syscall.Stat_t).Gid; gid != 4242 {
		t.Errorf("got group %d", gid)
	}
}

func TestListenReplacesADeadSocket(t *testing.T) {
	socket := filepath.Join(folder(t), "acmed.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	ln, err := control.Listen(socket)
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := os.Stat(socket); !os.IsNotExist(err) {
		t.Errorf("closing left the socket: %v", err)
	}
}

func TestListenRefuses(t *testing.T) {
	tests := map[string]struct {
		arrange func(t *testing.T, socket string) string // returns the path to listen on
		want    string
	}{
		"a socket that a process answers on": {func(t *testing.T, socket string) string {
			ln, err := control.Listen(socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { ln.Close() })
			return socket
		}, fmt.Sprintf("process %d answers there already", os.Getpid())},
		"a file": {func(t *testing.T, socket string) string {
			if err := os.WriteFile(socket, []byte("precious"), 0o600); err != nil {
				t.Fatal(err)
			}
			return socket
		}, "something else has that name"},
		"a link to a socket": {func(t *testing.T, socket string) string {
			if err := os.Symlink("elsewhere", socket); err != nil {
				t.Fatal(err)
			}
			return socket
		}, "something else has that name"},
		"a folder in a folder that is missing": {func(_ *testing.T, socket string) string {
			return filepath.Join(filepath.Dir(socket), "a", "b", "acmed.sock")
		}, "creating the control socket's folder"},
		"a path that the kernel cannot hold": {func(_ *testing.T, socket string) string {
			return socket + strings.Repeat("x", 108)
		}, "unix sockets allow 107"},
		"a folder that is a file": {func(t *testing.T, socket string) string {
			if err := os.WriteFile(socket, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			return filepath.Join(socket, "acmed.sock")
		}, "not a directory"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			socket := tt.arrange(t, filepath.Join(folder(t), "acmed.sock"))
			ln, err := control.Listen(socket)
			if err == nil {
				ln.Close()
				t.Fatal("listening")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %q, want %q in it", err, tt.want)
			}
		})
	}
}

func TestTheClientExplainsWhyItCannotTalk(t *testing.T) {
	dead := func(t *testing.T, socket string) {
		ln, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		ln.SetUnlinkOnClose(false)
		ln.Close()
	}
	answering := func(handler http.HandlerFunc) func(*testing.T, string) {
		return func(t *testing.T, socket string) {
			ln, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: handler}
			done := make(chan struct{})
			go func() { defer close(done); _ = server.Serve(ln) }()
			t.Cleanup(func() { server.Close(); <-done })
		}
	}
	tests := map[string]struct {
		arrange       func(*testing.T, string)
		message, hint string
	}{
		"no socket":            {func(*testing.T, string) {}, "the daemon is not running (no socket at ", "systemctl start acmed"},
		"a dead socket":        {dead, "the daemon is not running (nobody answers at ", "systemctl start acmed"},
		"another kind of file": {func(t *testing.T, s string) { _ = os.WriteFile(s, nil, 0o600) }, "the daemon is not running (nobody answers at ", "systemctl start acmed"},
		"another program":      {answering(http.NotFound), `answers "404 Not Found", which this acmed does not understand`, "restart acmed after an upgrade"},
		"an answer that is torn": {answering(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(`{"version":`))
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}), "the daemon ended while it answered", "journalctl -u acmed"},
		"no answer": {answering(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
			"the daemon ended while it answered", "journalctl -u acmed"},
		"an answer of another kind": {answering(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }),
			"talking to the daemon at ", "systemctl status acmed"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			socket := filepath.Join(folder(t), "acmed.sock")
			tt.arrange(t, socket)
			_, err := control.Dial(socket).Info(t.Context())
			explained(t, err, tt.message, tt.hint)
			err = control.Dial(socket).Renew(t.Context(), control.RenewRequest{All: true}, func(control.Event) {})
			explained(t, err, tt.message, tt.hint)
		})
	}
}

func TestTheClientExplainsRefusedPermission(t *testing.T) {
	client := control.DialFunc(func(context.Context) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EACCES)}
	})
	_, err := client.Info(t.Context())
	explained(t, err, "you may not talk to the daemon at test.sock", "join the group acmed-admin")
}

func TestTheClientExplainsALongPath(t *testing.T) {
	_, err := control.Dial("/" + strings.Repeat("x", 200)).Info(t.Context())
	explained(t, err, "unix sockets allow 107", "control.socket")
}

func TestAnEndedContextIsItsOwnExplanation(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := control.Dial("nowhere").Renew(ctx, control.RenewRequest{All: true}, nil); err != context.Canceled {
		t.Errorf("got %v", err)
	}
}

func explained(t *testing.T, err error, message, hint string) {
	t.Helper()
	e, ok := err.(*control.Error)
	if !ok || !strings.Contains(e.Message, message) || !strings.Contains(e.Hint, hint) {
		t.Errorf("got %#v, want message %q, hint %q", err, message, hint)
	}
}
