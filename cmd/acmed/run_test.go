package main

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"
)

// notifications is the key of the socket that plays systemd.
type notifications struct{}

// TestRun runs the real daemon, responder and deploy helper. The command "ready" waits until systemd is told that one
// is, and keeps its status as $STATUS; "get PATH FILE" asks it. "deliver REQUEST FILE" starts a helper and asks it.
func TestRun(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 filepath.Join("testdata", "run"),
		RequireExplicitExec: true,
		Setup:               playSystemd,
		Cmds:                map[string]func(*testscript.TestScript, bool, []string){"ready": awaitReady, "get": get, "deliver": deliver},
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

// deliver starts a helper as systemd does, and writes down what it answers.
func deliver(ts *testscript.TestScript, _ bool, args []string) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	ts.Check(err)
	ours, theirs := os.NewFile(uintptr(pair[0]), "ours"), os.NewFile(uintptr(pair[1]), "theirs")
	defer ours.Close()
	acmed, err := lookPath(ts, "acmed")
	ts.Check(err)
	cmd := exec.Command(acmed, "deploy-helper", "--config", "acmed.yaml", "--folder", "memory")
	cmd.Dir, cmd.Stdin, cmd.Stderr = ts.MkAbs("."), theirs, ts.Stderr()
	ts.Check(cmd.Start())
	ts.Check(theirs.Close())
	_, err = ours.WriteString(args[0])
	ts.Check(err)
	ts.Check(unix.Shutdown(pair[0], unix.SHUT_WR))
	answer, err := io.ReadAll(ours)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), append(answer, '\n'), 0o644))
	ts.Check(cmd.Wait())
}

func lookPath(ts *testscript.TestScript, name string) (string, error) {
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if path := filepath.Join(dir, name); dir != "" {
			if _, err := os.Stat(path); err == nil {
				return path, nil
			}
		}
	}
	return "", exec.ErrNotFound
}
