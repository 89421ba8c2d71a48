package main

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// notifications is the key of the socket that plays systemd.
type notifications struct{}

// TestRun runs the real daemon. The command "ready" waits until it has told systemd that it is.
func TestRun(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "run"),
		RequireExplicitExec: true,
		Setup:               playSystemd,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"ready": awaitReady},
	})
}

func playSystemd(env *testscript.Env) error {
	dir, err := os.MkdirTemp("", "acmed") // a unix socket's path is short
	if err != nil {
		return err
	}
	env.Defer(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		return err
	}
	env.Defer(func() { conn.Close() })
	env.Values[notifications{}] = conn
	env.Setenv("NOTIFY_SOCKET", socket)
	env.Setenv("GORACE", "atexit_sleep_ms=0")
	return nil
}

func awaitReady(ts *testscript.TestScript, _ bool, _ []string) {
	conn := ts.Value(notifications{}).(*net.UnixConn)
	ts.Check(conn.SetReadDeadline(time.Now().Add(30 * time.Second)))
	for buf := make([]byte, 4096); ; {
		n, err := conn.Read(buf)
		ts.Check(err)
		if strings.Contains(string(buf[:n]), "READY=1") {
			return
		}
	}
}
