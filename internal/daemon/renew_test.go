package daemon_test

import (
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// renew returns the last event of each certificate, and fails unless each has exactly one.
func (s *site) renew(req control.RenewRequest) map[string]control.Event {
	s.t.Helper()
	outcome := map[string]control.Event{}
	err := s.run.Renew(s.t.Context(), req, func(e control.Event) {
		if _, over := outcome[e.Cert]; over {
			s.t.Errorf("an event follows the last one: %+v", e)
		}
		if e.Time.IsZero() || e.Message == "" || e.Phase == "" {
			s.t.Errorf("the event %+v lacks something", e)
		}
		if e.Done {
			outcome[e.Cert] = e
		}
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return outcome
}

func TestARenewalThatIsWaitedForTellsItsOutcome(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	waited := control.RenewRequest{Names: []string{www, www}, Wait: true}

	s.ca.AllowRepeat(www)
	if e := s.renew(waited)[www]; !e.OK || e.Phase != control.Valid || !strings.HasPrefix(e.Message, "revision 2, valid until 20") || e.Error != "" {
		t.Errorf("success ends with %+v", e)
	}
	s.ca.AllowRepeat(www)
	s.ca.FailValidation(www, "dns", "no valid A records found")
	e := s.renew(waited)[www]
	if e.OK || e.Phase != control.BackingOff || !strings.HasPrefix(e.Message, "not renewed, next attempt at 20") ||
		e.Error != "dns: www.example.com: no valid A records found" || e.Hint == "" {
		t.Errorf("failure ends with %+v", e)
	}
	s.expectFailure(e.Hint)
	s.ca.AllowRepeat(www)
	s.ca.FailValidation(www, "", "")
	if e := s.renew(waited)[www]; !e.OK { // which clears the back-off
		t.Errorf("success after failure ends with %+v", e)
	}
	if c := s.list()[www]; c.Problem || c.Error != "" || len(s.status(www).Failures) > 0 {
		t.Errorf("list still shows %+v", c)
	}
}

// expectFailure fails unless list and status tell of the failure of www in the CA's words.
func (s *site) expectFailure(hint string) {
	s.t.Helper()
	c := s.list()[www]
	if !c.Problem || c.Error != "dns: www.example.com: no valid A records found" || c.Reason != control.AttemptFailed || c.Next.IsZero() {
		s.t.Errorf("list shows %+v", c)
	}
	st := s.status(www)
	if len(st.Failures) != 1 || st.Next.Do != "renew" || !st.Next.At.Equal(c.Next) || st.Current.Number != 2 {
		s.t.Fatalf("status shows %+v", st)
	}
	f := st.Failures[0]
	if f.Issuer != "ca" || f.Kind != "validation" || f.Count != 1 || f.Problem != "dns" || f.Identifier != www ||
		f.Detail != "no valid A records found" || f.Hint != hint || !f.RetryAt.Equal(c.Next) {
		s.t.Errorf("status shows the failure %+v", f)
	}
	if got := s.metric(`acmed_issuance_failures_total{issuer="ca",kind="validation"}`); got != 1 {
		s.t.Errorf("metrics count %v failures, want 1", got)
	}
}

func TestARenewalThatNobodyWaitsForIsNoted(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	names := []string{"a.example.com", "b.example.com", "c.example.com"}
	for _, n := range names {
		s.spec(n, "")
		s.ca.AllowRepeat(n) // once for the certificate,
		s.ca.AllowRepeat(n) // once for each renewal
		s.ca.AllowRepeat(n)
	}
	s.start()
	for _, n := range names {
		s.await(n, 1)
	}
	for revision, req := range map[int]control.RenewRequest{2: {All: true}} {
		for n, e := range s.renew(req) {
			if !e.OK {
				t.Errorf("%s ends with %+v", n, e)
			}
			s.await(n, revision)
		}
	}
	outcome := s.renew(control.RenewRequest{Issuer: "ca", Wait: true})
	for _, n := range names {
		if e := outcome[n]; !e.OK || !strings.HasPrefix(e.Message, "revision 3, ") {
			t.Errorf("%s ends with %+v", n, e)
		}
	}
}

func TestARenewalOverTheBudgetSaysSo(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.addCA("small", acmetest.Config{Fetch: s.fetch, OrderGap: -1, EarliestRenewal: -1}, "limits: {certificatesPerNameSetPerWeek: 1}\n")
	s.spec(www, "issuers: [small]\n")
	s.start()
	s.await(www, 1)
	e := s.renew(control.RenewRequest{Names: []string{www}, Wait: true})[www]
	if e.OK || e.Error != "acmed's own limit at small: certificates of these very names: 1 in 168h0m0s" || !strings.Contains(e.Hint, "--force") {
		t.Errorf("it ends with %+v", e)
	}
	if c := s.list()[www]; c.Phase != control.Renewing || time.Until(c.Next) < 24*time.Hour || c.Reason != e.Error {
		t.Errorf("list shows %+v", c)
	}
	if r := s.status(www).Renewal; r == nil || r.Source != "requested" || r.Due.IsZero() {
		t.Errorf("status shows the renewal %+v", r)
	}
	if e := s.renew(control.RenewRequest{Names: []string{www}, Wait: true, Force: true})[www]; !e.OK {
		t.Errorf("with force it ends with %+v", e)
	}
}

func TestWhatTheCAAskedForIsKeptWhateverTheOperatorDoes(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	s.ca.HoldAccount(time.Now().Add(time.Hour))
	s.ca.AllowRepeat(www)
	for range 2 {
		e := s.renew(control.RenewRequest{Names: []string{www}, Wait: true, Force: true})[www]
		if e.OK || e.Phase != control.BackingOff || !strings.Contains(e.Error, "too many new orders") {
			t.Errorf("it ends with %+v", e)
		}
		s.reload(false)
	}
	if got := s.ca.Count("newOrder"); got != 2 {
		t.Errorf("the CA saw %d orders, want 2", got)
	}
}

func TestUnknownNamesAreRefused(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	ignore := func(e control.Event) { t.Errorf("event %+v", e) }
	_, err := s.run.Status(t.Context(), "ww.example.com")
	expectError(t, err, control.NotFound, `no certificate is called "ww.example.com"`, "did you mean www.example.com?")
	err = s.run.Renew(t.Context(), control.RenewRequest{Names: []string{www, "shop"}}, ignore)
	expectError(t, err, control.NotFound, `"shop"`, "acmed list")
	err = s.run.Renew(t.Context(), control.RenewRequest{Issuer: "nobody"}, ignore)
	expectError(t, err, control.NotFound, `no certificate is of issuer "nobody"`, "acmed list")
	if got := s.ca.Count("newOrder"); got != 1 {
		t.Errorf("the CA saw %d orders, want 1", got)
	}
}

func TestProgressIsJudgedByWhatIs(t *testing.T) {
	asked := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	before, after := asked.Add(-time.Second), asked.Add(time.Second)
	noted := store.Record{Requested: after}
	waiting := func(why reconcile.Reason) reconcile.View {
		return reconcile.View{Name: www, Phase: reconcile.PhaseBackoff, Do: reconcile.Wait, Why: why, Next: after.Add(time.Hour), Issuer: "ca", Detail: "because"}
	}
	failed := func(v reconcile.View, at time.Time) reconcile.View {
		v.Error, v.Hint, v.ErrorAt = "the CA's words", "what to do", at
		return v
	}
	for name, c := range map[string]struct {
		status   reconcile.Status
		noWait   bool
		done, ok bool
		message  string // how it begins; "": nothing to report
		err      string
		hint     string
	}{
		"a visit that began before does not count": {status: reconcile.Status{View: waiting(reconcile.BackingOff), Record: store.Record{Requested: before}}},
		"a new revision is success":                {status: reconcile.Status{Record: store.Record{Issued: &store.Revision{Number: 3, Committed: after}}}, done: true, ok: true, message: "revision 3, "},
		"an order under way is progress":           {status: reconcile.Status{View: waiting(reconcile.AwaitingCA), Record: noted}, message: "waiting for because"},
		"a place in the queue is progress":         {status: reconcile.Status{View: waiting(reconcile.Queued), Record: noted}, message: "because"},
		"a request on disk is all that is asked":   {status: reconcile.Status{View: waiting(reconcile.Queued), Record: noted}, noWait: true, done: true, ok: true, message: "noted; "},
		"one issuer failed and the next is asked":  {status: reconcile.Status{View: failed(waiting(reconcile.AwaitingCA), after), Record: noted}, message: "waiting for because"},
		"a failure is in the CA's words": {status: reconcile.Status{View: failed(waiting(reconcile.BackingOff), after), Record: noted},
			done: true, message: "not renewed, next attempt at 20", err: "the CA's words", hint: "what to do"},
		"a hold is explained": {status: reconcile.Status{View: failed(waiting(reconcile.IssuerHold), before), Record: noted},
			done: true, message: "not renewed, next attempt at 20", err: "because; issuer ca is paused", hint: "what to do"},
		"a hold is no success without waiting either": {status: reconcile.Status{View: waiting(reconcile.IssuerHold), Record: noted}, noWait: true,
			done: true, message: "not renewed", err: "because; issuer ca is paused"},
		"a local fault ends it, noted or not": {status: reconcile.Status{View: failed(waiting(reconcile.Disconnected), after)},
			done: true, message: "not renewed", err: "the CA's words", hint: "what to do"},
		"a local fault of earlier does not": {status: reconcile.Status{View: failed(waiting(reconcile.Disconnected), before)}},
	} {
		t.Run(name, func(t *testing.T) {
			c.status.Spec = &spec.Certificate{Name: www}
			e := daemon.Progress(c.status, asked, !c.noWait)
			if e.Done != c.done || e.OK != c.ok || !strings.HasPrefix(e.Message, c.message) || (e.Message == "") != (c.message == "") || e.Error != c.err || e.Hint != c.hint {
				t.Errorf("got %+v", e)
			}
		})
	}
	if e := daemon.Progress(reconcile.Status{Record: noted}, asked, true); !e.Done || e.OK || e.Error != "its spec is gone" {
		t.Errorf("without a spec got %+v", e)
	}
}

// TestWhatTheCAHasRevokedIsRenewedWhenAskedFor reads lists at once, and shows how they were read.
func TestWhatTheCAHasRevokedIsRenewedWhenAskedFor(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{CRL: true})
	s.configure("workers: 8", "workers: 8\nrevocationPoll: 1h")
	s.spec(www, "")
	s.spec("mail.example.com", "")
	s.start()
	s.await(www, 1)
	s.await("mail.example.com", 1)
	revoked := control.RenewRequest{Revoked: true, Wait: true}
	if got := s.renew(revoked); len(got) != 0 {
		t.Errorf("nothing is revoked, and got %+v", got)
	}
	list := s.status(www).RevocationList
	if list == nil || list.URL == "" || list.Problem != "" || time.Since(list.Checked) > time.Hour {
		t.Errorf("the list is shown as %+v", list)
	}
	for _, leaf := range s.ca.Certificates() {
		if leaf.DNSNames[0] == www {
			s.ca.AllowRepeat(www)
			s.ca.RevokeFor(acmetest.CertID(leaf), 4)
		}
	}
	got := s.renew(revoked)
	if e := got[www]; len(got) != 1 || !e.OK || !strings.HasPrefix(e.Message, "revision 2, ") {
		t.Errorf("got %+v", got)
	}
}
