package deploy_test

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/deploy"
)

// TestTheHintOfAJobIsForWhatSystemdSays is about the words in which systemd refuses a job.
func TestTheHintOfAJobIsForWhatSystemdSays(t *testing.T) {
	for words, want := range map[string]string{
		"Unit nginz.service not found.":                       "correct deploy.reload, or install what x.timer belongs to",
		"Unit x.timer not loaded.":                            "correct deploy.reload, or install what x.timer belongs to",
		"Job type reload is not applicable for unit x.timer.": "systemd does not reload such a unit: ",
		"Operation refused, unit x.timer may be requested by dependency only (it is configured to refuse manual start/stop).": "see: systemctl status x.timer",
		"Unit x.timer is masked.":              "run: systemctl unmask x.timer",
		"Interactive authentication required.": "have it done as root by the deploy helper: ",
		"Access denied":                        "have it done as root by the deploy helper: ",
		"Message recipient disconnected from message bus without replying": "see: systemctl status x.timer",
	} {
		if got := deploy.JobHint("reload", "x.timer", errors.New(words)); !strings.HasPrefix(got, want) {
			t.Errorf("%s: got %q, want %q", words, got, want)
		}
	}
	if got := deploy.ConnectHint("restart", errors.New("dial unix /run/dbus/system_bus_socket: no such file")); !strings.Contains(got, "deploy.run in place of deploy.restart") {
		t.Errorf("without systemd: %q", got)
	}
	if got := deploy.ConnectHint("reload", fmt.Errorf("dial: %w", fs.ErrPermission)); !strings.Contains(got, "acmed-deploy.socket") {
		t.Errorf("without the right: %q", got)
	}
}

// TestTheHintOfAProgramIsForWhatKeepsItFromRunning makes programs that the kernel does not start.
func TestTheHintOfAProgramIsForWhatKeepsItFromRunning(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		file := filepath.Join(dir, name)
		if err := errors.Join(os.WriteFile(file, []byte(text), mode), os.Chmod(file, mode)); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for want, program := range map[string]string{
		"chmod +x ":                     write("plain", "#!/bin/sh\n", 0o644),
		"install it, or correct its":    filepath.Join(dir, "missing"),
		"write its absolute path":       "bin/hook",
		"install it, or write its abso": "acmed-no-such-program",
		"with a line such as #!/bin/sh": write("no-interpreter", "echo hello\n", 0o755),
		"the interpreter that it names": write("wrong-interpreter", "#!/usr/bin/no-such-shell\n", 0o755),
	} {
		if got := deploy.HintOf(t.Context(), program); !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", program, got, want)
		}
	}
}

// TestHintsAskNobodyToBecomeRootTwice is about what the process may not do, as root and as another user.
func TestHintsAskNobodyToBecomeRootTwice(t *testing.T) {
	for euid, want := range map[int]string{0: "root may not write there: ", 991: "let acmed write there, or have it done as root "} {
		if got := deploy.WriteHint(euid); !strings.HasPrefix(got, want) {
			t.Errorf("uid %d: got %q", euid, got)
		}
	}
	if got := deploy.UserHint(fmt.Errorf("%w: www-data", deploy.ErrOnlyRoot)); !strings.Contains(got, "acmed-deploy.socket") {
		t.Errorf("a user that only root can become: %q", got)
	}
	if got := deploy.UserHint(errors.New("there is no user www-date on this machine")); !strings.Contains(got, "create the user") {
		t.Errorf("no such user: %q", got)
	}
}

// TestTheHintOfAProbeIsForWhatWentWrong is about connections that bring no certificate.
func TestTheHintOfAProbeIsForWhatWentWrong(t *testing.T) {
	dial := func(err error) error { return &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", err)} }
	for sentence, c := range map[string]struct {
		err      error
		protocol string
		want     string
	}{
		"no route":                {dial(syscall.EHOSTUNREACH), "", "an address to which this machine has a route"},
		"no network":              {dial(syscall.ENETUNREACH), "smtp", "an address to which this machine has a route"},
		"nobody listens":          {dial(syscall.ECONNREFUSED), "", "runs and listens"},
		"no TLS":                  {errors.New("first record does not look like a TLS handshake"), "", "name the protocol in startTLS"},
		"no TLS after STARTTLS":   {errors.New("EOF"), "imap", "after imap has been asked for it"},
		"no certificate for that": {&net.OpError{Op: "remote error", Err: errors.New("tls: unrecognized name")}, "", "correct serverName"},
	} {
		if got := deploy.Unreachable(c.err, c.protocol); !strings.Contains(got.Hint, c.want) {
			t.Errorf("%s: got %q, want %q", sentence, got.Hint, c.want)
		}
	}
}
