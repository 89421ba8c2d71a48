package daemon_test

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

// delivering is a spec with consumers of each kind that needs no server: a file, a check and a command.
func delivering(s *site) string {
	return fmt.Sprintf(`deploy:
  files: [{path: %[1]s/out/key.pem, content: privkey}, {path: %[1]s/out/crt.pem, content: fullchain}]
  check: [test, "!", -e, %[1]s/broken]
  run: [{command: [sh, -c, "echo $ACMED_CERT >>%[1]s/ran; test ! -e %[1]s/failing"]}]
`, s.dir)
}

// newDelivering is a site whose first certificate has reached its consumers.
func newDelivering(t *testing.T) *site {
	t.Helper()
	s := newSite(t, acmetest.Config{})
	s.mkdir("out")
	s.spec(www, delivering(s))
	s.start()
	s.delivered(1)
	return s
}

// outcome follows what is asked of the daemon and gives the last event.
func outcome(t *testing.T, ask func(func(control.Event)) error) (last control.Event) {
	t.Helper()
	if err := ask(func(e control.Event) { last = e }); err != nil {
		t.Fatal(err)
	}
	return last
}

func (s *site) deploy(now bool) control.Event {
	s.t.Helper()
	return outcome(s.t, func(report func(control.Event)) error {
		return s.run.Deploy(s.t.Context(), control.DeployRequest{Names: []string{www}, Now: now, Wait: true}, report)
	})
}

func (s *site) renewed() control.Event {
	s.t.Helper()
	s.ca.AllowRepeat(www)
	return outcome(s.t, func(report func(control.Event)) error {
		return s.run.Renew(s.t.Context(), control.RenewRequest{Names: []string{www}, Wait: true}, report)
	})
}

// delivered waits until every consumer has a revision.
func (s *site) delivered(revision int) {
	s.t.Helper()
	s.await(www, revision)
	eventually(s.t, fmt.Sprintf("revision %d is delivered", revision), func() bool {
		c := s.status(www)
		for _, target := range c.Targets {
			if !target.Accepted || target.Revision != revision {
				return false
			}
		}
		return len(c.Targets) == 4 && c.Phase == control.Valid
	})
}

func (s *site) read(name string) string {
	s.t.Helper()
	data, err := os.ReadFile(s.path(name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Fatal(err)
	}
	return string(data)
}

func TestCertificatesReachTheirConsumers(t *testing.T) {
	t.Parallel()
	s := newDelivering(t)
	same := func(revision int) {
		t.Helper()
		dir := fmt.Sprintf("state/certs/%s/rev/%04d/", www, revision)
		if s.read("out/key.pem") != s.read(dir+"privkey.pem") || s.read("out/crt.pem") != s.read(dir+"fullchain.pem") {
			t.Errorf("the consumers do not have revision %d", revision)
		}
	}
	same(1)
	if e := s.renewed(); !e.OK {
		t.Errorf("%+v", e)
	}
	s.delivered(2)
	same(2)
	if ran := s.read("ran"); ran != www+"\n"+www+"\n" {
		t.Errorf("the command ran for %q", ran)
	}

	// A restart serves nobody again; the operator can.
	s.end()
	s.start()
	s.delivered(2)
	if e := s.deploy(false); !e.OK || e.Message != "revision 2 is delivered to all" {
		t.Errorf("%+v", e)
	}
	if ran := strings.Count(s.read("ran"), "\n"); ran != 3 {
		t.Errorf("the command ran %d times", ran)
	}
}

func TestWhatKeepsACertificateFromItsConsumers(t *testing.T) {
	t.Parallel()
	s := newDelivering(t)
	first := s.read("out/key.pem")

	// The check fails: files and live are as before, and say so.
	s.write("broken", "")
	if e := s.renewed(); e.OK || !strings.HasPrefix(e.Message, "revision 2, valid until ") || !strings.Contains(e.Message, ", not delivered, next try at ") {
		t.Errorf("%+v", e)
	}
	eventually(t, "the check refuses it", func() bool { return s.status(www).Waiting != nil && s.list()[www].Error != "" })
	c := s.status(www)
	if c.Current.Number != 1 || c.Waiting.Number != 2 || c.Phase != control.DeployFailed || s.read("out/key.pem") != first {
		t.Errorf("revision %d is live, %d waits, it is %s", c.Current.Number, c.Waiting.Number, c.Phase)
	}
	if l := s.list()[www]; l.Error != "check: exited with status 1" || l.Hint == "" || l.Cause() != l.Error {
		t.Errorf("the list says %q, to do %q, in one line %q", l.Error, l.Hint, l.Cause())
	}
	if e := s.deploy(false); e.OK || !strings.HasPrefix(e.Message, "not delivered, next try at ") || !strings.Contains(e.Error, "exited with status 1") || e.Hint == "" {
		t.Errorf("%+v", e)
	}
	if got := s.metric(`acmed_deploy_targets_total{kind="check",result="failed"}`); got < 1 {
		t.Errorf("the metric is %v", got)
	}

	// It is mended; a command fails.
	s.write("failing", "")
	if err := os.Remove(s.path("broken")); err != nil {
		t.Fatal(err)
	}
	if e := s.deploy(false); e.OK || !strings.Contains(e.Error, "exited with status 1") {
		t.Errorf("%+v", e)
	}
	c = s.status(www)
	if c.Current.Number != 2 || c.Waiting != nil || s.read("out/key.pem") == first {
		t.Errorf("revision %d is live", c.Current.Number)
	}
	if err := os.Remove(s.path("failing")); err != nil {
		t.Fatal(err)
	}
	s.delivered(2) // by itself
}

func TestHoldAndRollBack(t *testing.T) {
	t.Parallel()
	s := newDelivering(t)
	in := func(d time.Duration) time.Time { return time.Now().Add(d) }
	_, err := s.run.Rollback(t.Context(), control.RollbackRequest{Name: www, Until: in(time.Hour)})
	if e, ok := errors.AsType[*control.Error](err); !ok || e.Code != control.Conflict || !strings.Contains(e.Message, "revision 1 is the only one") ||
		!strings.Contains(e.Hint, "acmed renew "+www) || strings.Contains(e.Hint, "journal") {
		t.Errorf("it goes back from the first revision: %v", err)
	}
	s.renewed()
	s.delivered(2)
	if r, err := s.run.Rollback(t.Context(), control.RollbackRequest{Name: www, Until: in(time.Hour)}); err != nil || r.Revision != 1 {
		t.Errorf("%+v, %v", r, err)
	}
	s.delivered(1)
	c := s.status(www)
	if c.Held.IsZero() || c.Waiting == nil || c.Waiting.Number != 2 || time.Since(c.RolledBack) > time.Minute {
		t.Errorf("%+v", c)
	}
	if c.Next.Do != "activate" || !c.Next.At.Equal(c.Held) || c.Next.Reason != "rolled back to revision 1" || s.list()[www].Reason != c.Next.Reason {
		t.Errorf("next: %+v, and in the list %q", c.Next, s.list()[www].Reason)
	}
	if err := s.run.Hold(t.Context(), control.HoldRequest{Name: www}); err != nil {
		t.Error(err)
	}
	s.delivered(2)
	if c := s.status(www); !c.RolledBack.IsZero() {
		t.Errorf("the newest revision is active, and it is rolled back since %v", c.RolledBack)
	}
	for name, until := range map[string]time.Time{"nobody": in(time.Hour), www: in(-time.Hour)} {
		if err := s.run.Hold(t.Context(), control.HoldRequest{Name: name, Until: until}); err == nil {
			t.Errorf("%s is held until %v", name, until)
		}
	}
	if err := s.run.Hold(t.Context(), control.HoldRequest{Name: www, Until: in(400 * 24 * time.Hour)}); err == nil {
		t.Error("it is held for more than a year")
	}
}

// TestARenewalOutsideItsWindowSaysWhenItGoesLive, and nobody waits for that.
func TestARenewalOutsideItsWindowSaysWhenItGoesLive(t *testing.T) {
	t.Parallel()
	s := newDelivering(t)
	start := time.Now().UTC().Add(12 * time.Hour).Format("15:04")
	s.spec(www, delivering(s)+"  window: {start: \""+start+"\", duration: 1m, timezone: UTC, unlessExpiresWithin: 1d}\n")
	s.reload(false)
	e := s.renewed()
	if c := s.status(www); !e.OK || !strings.Contains(e.Message, "revision 2, valid until ") || !strings.Contains(e.Message, "; it goes live at ") || c.Current.Number != 1 || c.Waiting.Number != 2 {
		t.Errorf("%+v, %+v", e, c)
	}
	if e := s.deploy(false); !e.OK || !strings.HasPrefix(e.Message, "revision 1 is delivered; the next goes live at ") {
		t.Errorf("%+v", e)
	}
}
