//go:build e2e

package e2e

import (
	"os"
	"os/exec"
	"syscall"
	"testing"
)

// background runs a server of this machine until the test ends. When the test failed, it shows what the server wrote.
func background(t *testing.T, logFile string, command ...string) {
	t.Helper()
	log, err := os.Create(logFile)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it ends by the signal
		if text, _ := os.ReadFile(logFile); t.Failed() {
			t.Logf("%s:\n%s", command[0], text)
		}
		if err := log.Close(); err != nil {
			t.Error(err)
		}
	})
}
