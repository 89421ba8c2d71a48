package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// notifications is the key of the socket that plays systemd.
type notifications struct{}

// TestRun runs the real daemon and the real responder. The command "ready" waits until systemd is told that one is,
// and keeps its status as $STATUS; "get PATH FILE" asks it.
func TestRun(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "run"),
		RequireExplicitExec: true,
		Setup:               playSystemd,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"ready": awaitReady, "get": get},
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
		if state, status, _ := strings.Cut(string(buf[:n]), "\nSTATUS="); state == "READY=1" {
			ts.Setenv("STATUS", status)
			return
		}
	}
}

// get writes what the responder that said $STATUS answers: the status code, and then the body or where to go.
func get(ts *testscript.TestScript, _ bool, args []string) {
	fields := strings.Fields(ts.Getenv("STATUS")) // answering http-01 on ADDRESS from FOLDER
	resp, err := http.DefaultTransport.RoundTrip(httptest.NewRequest(http.MethodGet, "http://"+fields[3]+args[0], nil))
	ts.Check(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	ts.Check(err)
	answer := fmt.Sprintf("%d %s\n", resp.StatusCode, cmp.Or(resp.Header.Get("Location"), strings.TrimSpace(string(body))))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(answer), 0o644))
}
