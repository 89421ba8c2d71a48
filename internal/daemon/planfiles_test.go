package daemon_test

import (
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/spec"
)

// TestAPlanNeedsNoDaemon is about plans of the files before the first start, beside a daemon, after its end, and of a
// caller who may not read the state.
func TestAPlanNeedsNoDaemon(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	for _, n := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		s.spec(n, "")
	}
	draft := control.Draft{Path: "/draft/a.example.com.yaml", Text: "dnsNames: [a.example.com, www.a.example.com]"}
	same := control.Draft{Path: "/draft/b.example.com.yaml"}
	wants(t, "before the first start", s.planFiles(), "issue a.example.com, issue b.example.com, issue c.example.com; 0 unchanged, 0 bad, 0 unknown")
	wants(t, "a draft before the first start", s.planFiles(draft), "issue a.example.com; 2 unchanged, 0 bad, 0 unknown")
	s.start()
	for _, n := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		s.await(n, 1)
	}
	wants(t, "beside a daemon", s.planFiles(), "; 3 unchanged, 0 bad, 0 unknown")
	s.end()
	wants(t, "after its end", s.planFiles(), "; 3 unchanged, 0 bad, 0 unknown")
	wants(t, "drafts", s.planFiles(draft, same), "reissue a.example.com, nothing b.example.com; 1 unchanged, 0 bad, 0 unknown")
	s.spec("new.example.com", "")
	s.spec("b.example.com", "privateKey: {algorithm: RSA, size: 2048}")
	s.spec("a.example.com", "{")
	s.remove("c.example.com")
	wants(t, "edited files", s.planFiles(), "reissue b.example.com, retire c.example.com, issue new.example.com; 1 unchanged, 1 bad, 0 unknown")
	if n := s.ca.Count("newOrder"); n != 3 {
		t.Errorf("%d orders were made", n)
	}

	if err := os.Chmod(s.path("state/ledger"), 0); err != nil {
		t.Fatal(err)
	}
	asOther(t, s, func() {
		wants(t, "a hidden state", s.planFiles(), "; 0 unchanged, 1 bad, 1 unknown")
		wants(t, "drafts beside a hidden state", s.planFiles(draft, same), "unknown a.example.com, unknown b.example.com; 0 unchanged, 0 bad, 1 unknown")
	})
}

// planFiles plans without the daemon.
func (s *site) planFiles(drafts ...control.Draft) control.Plan {
	s.t.Helper()
	config, err := spec.LoadConfig(s.path("acmed.yaml"))
	if err != nil {
		s.t.Fatal(err)
	}
	p, err := daemon.PlanFiles(s.t.Context(), config, control.PlanRequest{Drafts: drafts})
	if err != nil {
		s.t.Fatal(err)
	}
	return p
}

// wants compares a plan in short.
func wants(t *testing.T, sentence string, p control.Plan, want string) {
	t.Helper()
	var steps []string
	for _, s := range p.Steps {
		steps = append(steps, s.Do+" "+s.Name)
	}
	got := fmt.Sprintf("%s; %d unchanged, %d bad, %d unknown", strings.Join(steps, ", "), p.Unchanged, len(p.Problems), len(p.Unknown))
	if got != want {
		t.Errorf("%s: got %q, want %q; problems %+v, unknown %q", sentence, got, want, p.Problems, p.Unknown)
	}
}

// asOther runs f on a thread that has no rights of root on files.
func asOther(t *testing.T, s *site, f func()) {
	t.Helper()
	const nobody = 65534
	if err := os.Chmod(s.dir, 0o755); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread() // without a way back: the thread ends with the test
	if _, err := unix.SetfsuidRetUid(nobody); err != nil {
		t.Fatal(err)
	}
	f()
	if _, err := unix.SetfsuidRetUid(os.Geteuid()); err != nil {
		t.Fatal(err)
	}
	runtime.UnlockOSThread()
}
