package doctor_test

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/doctor"
	"acmed/internal/spec"
)

// stateful is a patient with a state directory and a deployed file.
func stateful(t *testing.T) (c doctor.Config, dir string) {
	t.Helper()
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	c = patient(t, "www.example.com")
	c.Settings.StateDir, c.Proc = dir+"/state", ""
	c.Set.Certificate("one").Deploy.Files = []spec.File{{Path: dir + "/tls/crt", Content: "cert"}}
	for _, sub := range []string{"/state/live", "/state/certs/one/rev/0007", "/tls", "/target"} {
		if err := os.MkdirAll(dir+sub, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	err = errors.Join(os.Symlink("../certs/one/rev/0007", dir+"/state/live/one"), os.WriteFile(dir+"/state/certs/one/rev/0007/cert.pem", nil, 0o644),
		os.WriteFile(dir+"/tls/crt", nil, 0o644), os.WriteFile(dir+"/file", nil, 0o644))
	if err != nil {
		t.Fatal(err)
	}
	return c, dir
}

// contained runs a process that has bound from to to in a mount namespace of its own, until the test ends.
func contained(t *testing.T, from, to string) (pid int) {
	t.Helper()
	cmd := exec.Command("sh", "-c", `mount --make-rprivate / && mount --bind "$1" "$2" && echo bound && read line`, "sh", from, to)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if os.Geteuid() != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
	}
	cmd.Stderr = os.Stderr
	stdin, ierr := cmd.StdinPipe()
	stdout, oerr := cmd.StdoutPipe()
	if err := errors.Join(ierr, oerr, cmd.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stdin.Close(); _ = cmd.Wait() })
	if line, err := bufio.NewReader(stdout).ReadString('\n'); line != "bound\n" {
		t.Fatalf("it says %q, %v", line, err)
	}
	return cmd.Process.Pid
}

// about are the findings that name one of the test's paths.
func about(t *testing.T, c doctor.Config, dir string) []string {
	t.Helper()
	return slices.DeleteFunc(trouble(t, c), func(s string) bool { return !strings.Contains(s, dir) })
}

// TestMountsThatARenewalDoesNotReach makes real ones, in mount namespaces of their own.
func TestMountsThatARenewalDoesNotReach(t *testing.T) {
	for sentence, tt := range map[string]struct {
		from, to string
		change   func(dir string) error // after it was mounted; nil: none
		want     string                 // of one process at to; "": nothing is wrong
	}{
		"a revision by its link":     {"/state/live/one", "/target", nil, "warning delivery one: sh (PID) has mounted revision 0007 at TO: it will not see the next one"},
		"one file of a revision":     {"/state/live/one/cert.pem", "/file", nil, "warning delivery one: sh (PID) has mounted revision 0007 at TO: it will not see the next one"},
		"a deployed file":            {"/tls/crt", "/file", nil, "warning delivery one: sh (PID) has mounted DIR/tls/crt at TO: it will not see the next one"},
		"a deployed file, replaced":  {"/tls/crt", "/file", replace("/tls/crt"), "failure delivery one: sh (PID) has mounted DIR/tls/crt at TO, which was replaced since: it sees the old one, or nothing"},
		"a revision that is gone":    {"/state/live/one", "/target", removeRevision, "failure delivery one: sh (PID) has mounted revision 0007 at TO, which was replaced since: it sees the old one, or nothing"},
		"all links and no revisions": {"/state/live", "/target", nil, "failure delivery : sh (PID) has mounted DIR/state/live at TO, and its links lead out of the mount"},
		"the state directory":        {"/state", "/target", nil, ""},
		"all certificates":           {"/state/certs", "/target", nil, ""},
		"the directory of the file":  {"/tls", "/target", replace("/tls/crt"), ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			c, dir := stateful(t)
			pid := contained(t, dir+tt.from, dir+tt.to)
			if tt.change != nil {
				if err := tt.change(dir); err != nil {
					t.Fatal(err)
				}
			}
			var want []string
			if tt.want != "" {
				want = []string{strings.NewReplacer("PID", fmt.Sprint(pid), "TO", dir+tt.to, "DIR", dir).Replace(tt.want)}
			}
			if got := about(t, c, dir); !slices.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func replace(path string) func(dir string) error {
	return func(dir string) error {
		return errors.Join(os.WriteFile(dir+"/new", nil, 0o644), os.Rename(dir+"/new", dir+path))
	}
}

// removeRevision does what store.Prune does.
func removeRevision(dir string) error {
	rev := dir + "/state/certs/one/rev/"
	return errors.Join(os.Mkdir(rev+"0008", 0o755), os.Remove(dir+"/state/live/one"), os.Symlink("../certs/one/rev/0008", dir+"/state/live/one"),
		os.Rename(rev+"0007", rev+".0007.old.tmp"), os.RemoveAll(rev+".0007.old.tmp"))
}
