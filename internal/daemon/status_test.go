package daemon_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
)

func TestTheStatusLinePutsTroubleFirst(t *testing.T) {
	t.Parallel()
	problem := func(file string, line int) *spec.Problem {
		return &spec.Problem{File: "/etc/acmed/" + file, Line: line}
	}
	var many []*spec.Problem
	for i := range 50 {
		many = append(many, problem(fmt.Sprintf("certs.d/%d.yaml", i), 3))
	}
	for want, c := range map[string]struct {
		total    int
		counts   map[control.Phase]int
		problems []*spec.Problem
		held     *spec.Held
		http01   string
	}{
		"0 certificates":                                         {},
		"1 certificate: 1 valid":                                 {total: 1, counts: map[control.Phase]int{control.Valid: 1, control.Expired: 0}},
		"3 certificates: 2 valid, 1 parked":                      {total: 3, counts: map[control.Phase]int{control.Parked: 1, control.Valid: 2}},
		"problem in acmed.yaml:7; 0 certificates":                {problems: []*spec.Problem{problem("acmed.yaml", 7)}},
		"problem in certs.d; 0 certificates":                     {problems: []*spec.Problem{problem("certs.d", 0)}},
		"50 problems, first in 0.yaml:3; 0 certificates":         {problems: many},
		"4 removals held; 4 certificates":                        {total: 4, held: &spec.Held{Certificates: []string{"a", "b", "c"}, Issuers: []string{"x"}}},
		"http-01: nobody answers on port 80; 0 certificates":     {http01: "nobody answers on port 80"},
		"problem in a; 1 removal held; 1 certificate: 1 expired": {total: 1, counts: map[control.Phase]int{control.Expired: 1}, problems: []*spec.Problem{problem("a", 0)}, held: &spec.Held{Certificates: []string{"a"}}},
	} {
		if got := daemon.StatusLine(c.total, c.counts, c.problems, c.held, c.http01); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestTheNextActionIsWhatAnOperatorWouldCallIt(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	next, renewal := now.Add(time.Hour), now.Add(24*time.Hour)
	for name, c := range map[string]struct {
		view reconcile.View
		want control.Action
	}{
		"a valid one is renewed when it is due, not when it is looked at": {
			reconcile.View{Revision: 1, Why: reconcile.NotDue, Detail: "advised", Next: next, Renewal: renewal}, control.Action{Do: "renew", At: renewal, Reason: "as the CA advises"}},
		"without advice the lifetime decides": {
			reconcile.View{Revision: 1, Why: reconcile.NotDue, Detail: "lifetime", Next: next, Renewal: renewal}, control.Action{Do: "renew", At: renewal, Reason: "by its lifetime"}},
		"a look at the advice is no action": {
			reconcile.View{Revision: 1, Do: reconcile.PollARI, Why: reconcile.AdviceDue, Renewal: renewal}, control.Action{Do: "renew", At: renewal, Reason: "by its lifetime"}},
		"what no visit has seen is due now": {
			reconcile.View{Do: reconcile.Issue, Why: reconcile.Missing}, control.Action{Do: "issue", At: now, Reason: "there is no certificate yet"}},
		"a place in the queue is due now": {
			reconcile.View{Revision: 1, Do: reconcile.Wait, Why: reconcile.Queued, Next: next, Detail: "up to 3 others are ahead at ca"}, control.Action{Do: "renew", At: now, Reason: "up to 3 others are ahead at ca"}},
		"an order at the CA is under way": {
			reconcile.View{Do: reconcile.Wait, Why: reconcile.AwaitingCA, Next: now, Until: next}, control.Action{Do: "issue", At: next, Reason: "waiting for the CA"}},
		"a new revision is switched to": {
			reconcile.View{Revision: 1, Do: reconcile.Activate, Why: reconcile.Committed}, control.Action{Do: "activate", At: now, Reason: "a new revision is ready"}},
		"a failure is followed by an attempt": {
			reconcile.View{Do: reconcile.Wait, Why: reconcile.BackingOff, Next: next}, control.Action{Do: "issue", At: next, Reason: control.AttemptFailed}},
		"a hold names the issuer and the reason": {
			reconcile.View{Revision: 1, Do: reconcile.Wait, Why: reconcile.IssuerHold, Issuer: "ca", Next: next, Detail: "cannot be reached: EOF"}, control.Action{Do: "renew", At: next, Reason: "cannot be reached: EOF; issuer ca is paused"}},
		"a budget names the limit": {
			reconcile.View{Revision: 1, Do: reconcile.Wait, Why: reconcile.OverBudget, Issuer: "ca", Next: next, Detail: "orders: 3 in 3h"}, control.Action{Do: "renew", At: next, Reason: "acmed's own limit at ca: orders: 3 in 3h"}},
		"what cannot work is probed": {
			reconcile.View{Do: reconcile.Wait, Why: reconcile.Parked, Issuer: "ca", Next: next}, control.Action{Do: "issue", At: next, Reason: control.RetriedDaily}},
		"what has no issuer says so": {
			reconcile.View{Do: reconcile.Wait, Why: reconcile.Parked, Next: next, Detail: "no file of issuers.d defines the issuers of its spec"}, control.Action{Do: "issue", At: next, Reason: "no file of issuers.d defines the issuers of its spec"}},
		"a wrong clock says what to do": {
			reconcile.View{Do: reconcile.Wait, Why: reconcile.ClockBehind, Next: next, Detail: "set the clock"}, control.Action{Do: "issue", At: next, Reason: "set the clock"}},
		"a rollback ends with the newest revision": {
			reconcile.View{Revision: 1, Newest: 2, Do: reconcile.Wait, Why: reconcile.Held, Until: next, RolledBack: now}, control.Action{Do: "activate", At: next, Reason: "rolled back to revision 1"}},
		"so does a hold that a newer revision waits for": {
			reconcile.View{Revision: 3, Newest: 4, Do: reconcile.Wait, Why: reconcile.Held, Until: next}, control.Action{Do: "activate", At: next, Reason: "held: left as it is until then"}},
		"a hold of the newest ends with a renewal": {
			reconcile.View{Revision: 2, Newest: 2, Do: reconcile.Wait, Why: reconcile.Held, Until: next}, control.Action{Do: "renew", At: next, Reason: "held: left as it is until then"}},
		"nothing follows when the spec is gone": {
			reconcile.View{Phase: reconcile.PhaseRetired, Revision: 1, Why: reconcile.Unwanted}, control.Action{Reason: "its spec is gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			if got := daemon.NextAction(c.view, now); got != c.want {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
		})
	}
	for _, why := range []reconcile.Reason{
		reconcile.Expired, reconcile.Damaged, reconcile.Requested, reconcile.Edited, reconcile.Advised, reconcile.Lifetime,
		reconcile.InFlight, reconcile.Disconnected,
	} {
		if a := daemon.NextAction(reconcile.View{Why: why}, now); a.Reason == "" {
			t.Errorf("%s has no words", why)
		}
	}
}

// TestThePhasesAreTheSameEverywhere compares those of reconcile with those that the socket knows.
func TestThePhasesAreTheSameEverywhere(t *testing.T) {
	t.Parallel()
	var decided, told []string
	for _, p := range reconcile.Phases() {
		decided = append(decided, string(p))
	}
	for _, p := range control.Phases() {
		told = append(told, string(p))
	}
	slices.Sort(decided)
	slices.Sort(told)
	if !slices.Equal(decided, told) {
		t.Errorf("reconcile has %v, control %v", decided, told)
	}
}

// TestEveryPlaceCountsTheSameCertificates has one that is valid, one that fails, a spec that was never valid, one that was, one
// that is retired, and a spec whose certificate no visit has seen.
func TestEveryPlaceCountsTheSameCertificates(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	for _, name := range []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"} {
		s.spec(name, "")
	}
	s.spec("bad.example.com", "dnsName: x\n")
	s.ca.FailValidation("b.example.com", "dns", "no A record")
	s.start()
	s.await("a.example.com", 1)
	s.await("c.example.com", 1)
	s.await("d.example.com", 1)
	s.remove("c.example.com")
	s.spec("d.example.com", "dnsName: x\n")
	s.reload(false)
	eventually(t, "c is retired and b has failed", func() bool {
		l := s.list()
		return l["c.example.com"].Phase == control.Retired && l["b.example.com"].Phase == control.BackingOff && l["d.example.com"].Problem
	})
	want := map[control.Phase]int{}
	for _, c := range s.list() {
		want[c.Phase]++
	}
	info := s.info()
	if len(s.list()) != 5 || info.Certificates != 5 || !maps.Equal(info.Phases, want) || want[control.Parked] != 1 || want[control.Retired] != 1 {
		t.Errorf("the list has %v, and status counts %d: %v", want, info.Certificates, info.Phases)
	}
}

// TestOneTimeInOnePlace has an issuer that wants to be left alone for an hour.
func TestOneTimeInOnePlace(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.ca.HoldAccount(time.Now().Add(time.Hour))
	s.spec(www, "")
	s.start()
	eventually(t, "the CA has refused the order", func() bool {
		return s.list()[www].Error != "" && s.list()[www].Phase == control.BackingOff
	})
	c := s.status(www)
	if len(c.Failures) != 1 {
		t.Fatalf("got %+v", c)
	}
	if at := c.Failures[0].RetryAt; !at.Equal(c.Next.At) || time.Until(at) < 50*time.Minute {
		t.Errorf("tried again at %v, and next at %v", at, c.Next.At)
	}
	if said := c.Next.Reason; said != "issuer ca is paused" || !strings.Contains(c.Failures[0].Detail, "too many new orders") {
		t.Errorf("the reason is %q, with %+v", said, c.Failures)
	}
	l := s.list()[www]
	if !l.Next.Equal(c.Next.At) || strings.Contains(l.Reason, "too many") || !strings.Contains(l.Error, "too many") {
		t.Errorf("the list says %+v", l)
	}
}
