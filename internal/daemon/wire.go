package daemon

import (
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// This file translates what the parts know into what the control socket says.

func summary(v reconcile.View, want *spec.Certificate) control.Summary {
	s := control.Summary{
		Name: v.Name, Phase: control.Phase(v.Phase), Issuer: v.Issuer, NotAfter: v.NotAfter, Revision: v.Revision,
		Next: nextAction(v).At, Reason: reasonText(v), Error: v.Error,
		Problem: v.Error != "" || v.Phase == reconcile.PhaseExpired || v.Phase == reconcile.PhaseParked,
	}
	if want != nil {
		names := namesOf(want)
		s.Names = names[:min(len(names), control.ListedNames)]
		s.MoreNames = len(names) - len(s.Names)
		if s.Issuer == "" {
			s.Issuer = want.Issuers[0]
		}
	}
	return s
}

func namesOf(c *spec.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, a := range c.IPAddresses {
		names = append(names, a.String())
	}
	return names
}

// nextAction is what acmed does next in the eyes of the operator, to whom a look at the CA's advice is nothing.
func nextAction(v reconcile.View) control.Action {
	a := control.Action{At: v.Next, Reason: reasonText(v)}
	switch {
	case v.Phase == reconcile.PhaseRetired:
		return control.Action{Reason: a.Reason}
	case v.Why == reconcile.NotDue || v.Do == reconcile.PollARI:
		a.Do, a.At = "renew", v.Renewal
	case v.Do == reconcile.Activate:
		a.Do = "activate"
	case v.Revision > 0:
		a.Do = "renew"
	default:
		a.Do = "issue"
	}
	return a
}

// reasonText says what a certificate waits for, in words.
func reasonText(v reconcile.View) string {
	text := map[reconcile.Reason]string{
		reconcile.Unwanted:     "its spec is gone",
		reconcile.Committed:    "a new revision is ready",
		reconcile.NotDue:       "not due yet",
		reconcile.AdviceDue:    "not due yet",
		reconcile.Missing:      "there is no certificate yet",
		reconcile.Expired:      "the certificate has expired",
		reconcile.Damaged:      "its files are damaged",
		reconcile.Requested:    "you asked for it",
		reconcile.Edited:       "the spec asks for something else than was issued",
		reconcile.Advised:      "the CA advises it",
		reconcile.Lifetime:     "its lifetime is running out",
		reconcile.InFlight:     "an order is open",
		reconcile.AwaitingCA:   "waiting for the CA",
		reconcile.IssuerHold:   "all orders at " + v.Issuer + " are on hold",
		reconcile.BackingOff:   "the last attempt did not work",
		reconcile.Parked:       "it cannot work until something changes; tried once a day",
		reconcile.OverBudget:   "holding back at " + v.Issuer,
		reconcile.Queued:       "others are ahead",
		reconcile.ClockBehind:  "the clock is wrong",
		reconcile.Disconnected: "a local fault",
	}[v.Why]
	switch v.Why {
	case reconcile.IssuerHold, reconcile.OverBudget, reconcile.Queued, reconcile.ClockBehind:
		return text + ": " + v.Detail
	case reconcile.NotDue, reconcile.AdviceDue:
		if v.Detail == string(reconcile.Advised) {
			return "not due yet: the time is the CA's advice"
		}
	}
	return text
}

func certificate(s reconcile.Status, stateDir string, problem *spec.Problem) control.Certificate {
	c := control.Certificate{
		Name: s.Name, Phase: control.Phase(s.Phase), Next: nextAction(s.View), Failures: failures(s.Record),
	}
	if want := s.Spec; want != nil {
		c.DNSNames, c.Issuers, c.Profile, c.Key, c.SpecFile = want.DNSNames, want.Issuers, want.Profile, want.PrivateKey.String(), want.File
		for _, a := range want.IPAddresses {
			c.IPAddresses = append(c.IPAddresses, a.String())
		}
	}
	if is := s.Record.Issued; is != nil {
		c.Live = filepath.Join(stateDir, "live", s.Name)
		c.Current = &control.Revision{
			Number: is.Number, Issuer: is.Issuer, Account: is.Account, Profile: is.Profile, Key: is.Key, Serial: is.Serial,
			SHA256: is.SHA256, IssuedBy: is.IssuedBy, NotBefore: is.NotBefore, NotAfter: is.NotAfter,
		}
		c.Renewal = renewal(s)
	}
	if o := s.Order; o != nil {
		c.Order = &control.Order{Issuer: o.Issuer, URL: o.URL, Status: o.Status, Created: o.Created, Expires: o.Expires}
	}
	if problem != nil {
		c.SpecProblem = &wireProblems([]*spec.Problem{problem})[0]
	}
	return c
}

func renewal(s reconcile.Status) *control.Renewal {
	r := &control.Renewal{Due: s.Renewal, Source: "lifetime"}
	switch s.DueWhy {
	case reconcile.Requested:
		r.Source = "requested"
	case reconcile.Advised:
		r.Source = "ari"
	}
	if a := s.Record.ARI; a.CertID == s.Record.Issued.CertID {
		r.WindowStart, r.WindowEnd, r.Explanation = a.Start, a.End, a.Explanation
	}
	return r
}

func failures(r store.Record) []control.Failure {
	var out []control.Failure
	for _, issuer := range slices.Sorted(maps.Keys(r.Failures)) {
		f := r.Failures[issuer]
		w := control.Failure{
			Issuer: issuer, Kind: f.Kind, Count: f.Count, At: f.At, RetryAt: f.RetryAt, Op: f.Op, Problem: f.Problem,
			Identifier: f.Name, Detail: f.Detail, Hint: f.Hint,
		}
		for _, sub := range f.Subs {
			w.Subproblems = append(w.Subproblems, control.Subproblem(sub))
		}
		out = append(out, w)
	}
	return out
}

func wireProblems(problems []*spec.Problem) []control.Problem {
	out := make([]control.Problem, 0, len(problems))
	for _, p := range problems {
		out = append(out, control.Problem{
			File: p.File, Line: p.Line, Column: p.Column, Field: p.Field, Problem: p.Problem, Hint: p.Hint, Kept: p.Kept,
		})
	}
	return out
}

func wireHeld(h *spec.Held) *control.Held {
	if h == nil {
		return nil
	}
	return &control.Held{Reason: h.String(), Names: slices.Concat(h.Certificates, h.Issuers)}
}

// problemsOf are the problems of acmed.yaml in err, its last good version being in force.
func problemsOf(file string, err error) []*spec.Problem {
	var out []*spec.Problem
	var walk func(error)
	walk = func(err error) {
		if p := (*spec.Problem)(nil); errors.As(err, &p) {
			if joined, ok := err.(interface{ Unwrap() []error }); ok {
				for _, e := range joined.Unwrap() {
					walk(e)
				}
				return
			}
			kept := *p
			kept.Kept = true
			out = append(out, &kept)
		}
	}
	if walk(err); len(out) == 0 {
		out = []*spec.Problem{{File: file, Problem: err.Error(), Kept: true}}
	}
	return out
}

// restartNeeded are the keys that only a start reads.
func restartNeeded(old, now *spec.Config) []*spec.Problem {
	var out []*spec.Problem
	for field, differ := range map[string]bool{
		"stateDir": old.StateDir != now.StateDir, "runtimeDir": old.RuntimeDir != now.RuntimeDir,
		"http": old.HTTP != now.HTTP, "admin": old.Admin != now.Admin, "control": old.Control != now.Control,
		"log.format": old.Log.Format != now.Log.Format, "workers": old.Workers != now.Workers,
	} {
		if differ {
			out = append(out, &spec.Problem{File: now.File, Field: field, Problem: "the new value takes effect at the next start",
				Hint: "systemctl restart acmed", Kept: true})
		}
	}
	slices.SortFunc(out, func(a, b *spec.Problem) int { return compareText(a.Field, b.Field) })
	return out
}

func compareText(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
