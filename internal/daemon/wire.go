package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/reconcile"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// This file translates what the parts know into what the control socket says.

func summary(v reconcile.View, want *spec.Certificate, bad *spec.Problem, now time.Time) control.Summary {
	v = once(v)
	names := namesOf(want)
	s := control.Summary{
		Name: v.Name, Phase: control.Phase(v.Phase), Issuer: cmp.Or(v.Issuer, want.Issuers[0]), NotAfter: v.NotAfter, Issued: v.Committed, Revision: v.Revision,
		Names: names[:min(len(names), control.ListedNames)], MoreNames: max(0, len(names)-control.ListedNames),
		Renewal: v.Renewal, Next: nextAction(v, now).At, Reason: reasonText(v), Error: v.Error, Hint: v.Hint, Problem: troubled(v) || bad != nil,
		InvalidSpec: bad != nil && !troubled(v),
	}
	s.Unicode = unicodeOf(s.Names)
	if v.Standing {
		s.Placeholder, s.Reason = true, s.Reason+"; "+control.Standing
	}
	if v.Stuck != "" && (s.Error == "" || v.Phase == reconcile.PhaseDeployFailed) {
		s.Error, s.Hint = v.Stuck, v.StuckHint
	}
	if bad != nil && s.Error == "" {
		s.Error, s.Hint = brief(bad), bad.Hint
	}
	if v.Revoked {
		s.Error = strings.TrimSuffix("certificate revoked; "+s.Error, "; ")
	}
	return s
}

// once is v without words that are shown beside it, in its error.
func once(v reconcile.View) reconcile.View {
	if v.Said {
		v.Detail = ""
	}
	return v
}

// retired is a certificate whose spec is gone.
func retired(v reconcile.View) control.Summary {
	return control.Summary{
		Name: v.Name, Phase: control.Retired, Names: []string{}, Issuer: v.Issuer, NotAfter: v.NotAfter, Issued: v.Committed, Revision: v.Revision,
		Reason: "its spec is gone: kept, and not renewed",
	}
}

// troubled tells whether somebody should look at a certificate.
func troubled(v reconcile.View) bool {
	return v.Error != "" || v.Stuck != "" || v.Revoked || v.Phase == reconcile.PhaseExpired || v.Phase == reconcile.PhaseParked || v.Why == reconcile.ClockBehind
}

// neverGood is for a file of which no certificate can come as it is.
func neverGood(name string, bad *spec.Problem) control.Summary {
	return control.Summary{
		Name: name, Phase: control.Parked, Names: []string{}, Reason: control.NeverValid, Error: brief(bad), Hint: bad.Hint, Problem: true, InvalidSpec: true,
	}
}

// brief is a problem in a few words, beside the name of its file.
func brief(p *spec.Problem) string {
	text := p.Problem
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Line > 0 {
		text = fmt.Sprintf("line %d: %s", p.Line, text)
	}
	return text
}

func namesOf(c *spec.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	for _, a := range c.IPAddresses {
		names = append(names, a.String())
	}
	return names
}

func unicodeOf(names []string) (forms control.Unicode) {
	for _, name := range names {
		if form := spec.UnicodeName(name); form != "" {
			if forms == nil {
				forms = control.Unicode{}
			}
			forms[name] = form
		}
	}
	return forms
}

// nextAction is what acmed does next in the eyes of the operator, to whom a look at the CA's advice is nothing and a
// step that waits for others, or for the CA, is due.
func nextAction(v reconcile.View, now time.Time) control.Action {
	a := control.Action{Do: "renew", At: v.Next, Reason: reasonText(v)}
	if v.Revision == 0 {
		a.Do = "issue"
	}
	switch {
	case v.Phase == reconcile.PhaseRetired:
		return control.Action{Reason: a.Reason}
	case v.Why == reconcile.NotDue, v.Do == reconcile.PollARI:
		a.At = v.Renewal
	case v.Do == reconcile.Activate, v.Why == reconcile.Window, v.Why == reconcile.Refused:
		a.Do, a.At = "activate", later(v.Until, now)
	case v.Why == reconcile.Held && !v.Until.IsZero():
		if a.At = v.Until; v.Revision < v.Newest {
			a.Do = "activate"
		}
	case v.Do == reconcile.Deploy, v.Why == reconcile.Delivering, v.Why == reconcile.Undelivered:
		a.Do, a.At = "deploy", later(v.Until, now)
	case v.Why == reconcile.AwaitingCA:
		a.At = later(v.Until, now)
	case v.Do != reconcile.Wait, v.Why == reconcile.Queued:
		a.At = now
	}
	return a
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// reasonText says in words why the next action is the next, and not earlier.
func reasonText(v reconcile.View) string {
	switch v.Why {
	case reconcile.Unwanted:
		return "its spec is gone"
	case reconcile.Committed:
		return "a new revision is ready"
	case reconcile.NotDue, reconcile.AdviceDue:
		if v.Detail == string(reconcile.Advised) {
			return "as the CA advises"
		}
		return "by its lifetime"
	case reconcile.Missing:
		return "there is no certificate yet"
	case reconcile.Expired:
		return "it has expired"
	case reconcile.Damaged:
		return "its files are damaged"
	case reconcile.Revoked:
		return "it is revoked"
	case reconcile.Requested:
		return "as requested"
	case reconcile.Edited:
		return "its spec asks for something else than was issued"
	case reconcile.Advised:
		return "the CA advises it now"
	case reconcile.Lifetime:
		return "its lifetime is running out"
	}
	return waitText(v)
}

// waitText is reasonText for what is due and does not happen.
func waitText(v reconcile.View) string {
	switch v.Why {
	case reconcile.Window:
		return "its window is closed until then"
	case reconcile.Refused:
		return control.CheckRefused
	case reconcile.Held:
		if !v.RolledBack.IsZero() {
			return fmt.Sprintf("rolled back to revision %d", v.Revision)
		}
		return "held: left as it is until then"
	case reconcile.Behind, reconcile.Delivering:
		return "its consumers are being served"
	case reconcile.Undelivered:
		return control.DeployBroken
	case reconcile.InFlight:
		return "an order is open"
	case reconcile.AwaitingCA:
		return "waiting for " + cmp.Or(v.Detail, "the CA")
	case reconcile.IssuerHold:
		return strings.TrimPrefix(v.Detail+"; issuer "+v.Issuer+" is paused", "; ")
	case reconcile.BackingOff:
		return control.AttemptFailed
	case reconcile.Parked:
		if v.Issuer == "" {
			return v.Detail
		}
		return control.RetriedDaily
	case reconcile.OverBudget:
		return "acmed's own limit at " + v.Issuer + ": " + v.Detail
	case reconcile.Disconnected:
		return "a fault of this machine"
	default: // Queued, ClockBehind
		return v.Detail
	}
}

func certificate(s reconcile.Status, stateDir string, bad *spec.Problem, now time.Time) control.Certificate {
	c := control.Certificate{
		Name: s.Name, Phase: control.Phase(s.Phase), Next: nextAction(once(s.View), now), Failures: failures(s, now),
	}
	if want := s.Spec; want != nil {
		c.DNSNames, c.Issuers, c.Profile, c.Key, c.SpecFile = want.DNSNames, want.Issuers, want.Profile, want.PrivateKey.String(), want.File
		c.CSRFile, c.Unicode = want.CSRFile, unicodeOf(want.DNSNames)
		for _, a := range want.IPAddresses {
			c.IPAddresses = append(c.IPAddresses, a.String())
		}
		c.Targets, c.Refused = wireTargets(want, s.Record), wireSetback(s.Record.Refused)
	}
	if held := s.Record.Held; held.After(now) {
		c.Held = held
	}
	c.RolledBack = s.RolledBack
	if live := s.Record.Serving(); live != nil {
		c.Live, c.Current = filepath.Join(stateDir, "live", s.Name), wireRevision(live, s.Record)
		if is := s.Record.Issued; is.Number > live.Number {
			c.Waiting = wireRevision(is, s.Record)
		}
		c.Notes = slices.Concat(chainNote(s.Name, s.Record.Issued), issuerNote(s.Record.Issued))
		c.Renewal = renewal(s)
	}
	if s.Standing {
		c.Placeholder, c.Live = true, filepath.Join(stateDir, "live", s.Name)
	}
	if o := s.Order; o != nil {
		c.Order = &control.Order{Issuer: o.Issuer, URL: o.URL, Status: o.Status, Created: o.Created, Expires: o.Expires}
	}
	if bad != nil {
		p := wireProblem(bad)
		c.SpecProblem = &p
	}
	return c
}

// chainNote tells that the newest revision has another chain than its spec prefers; nil: it has not.
func chainNote(name string, is *store.Revision) []string {
	if is.Unmet == "" {
		return nil
	}
	return []string{fmt.Sprintf("revision %d: %s offers no chain to %q, only to %q; its default is used: correct or remove preferredChain, then acmed renew %s",
		is.Number, is.Issuer, is.Unmet, is.Offered, name)}
}

// issuerNote reports that the certificate of the CA ends no later than the newest revision; nil: it ends later.
func issuerNote(is *store.Revision) []string {
	if is.IssuerEnds.IsZero() {
		return nil
	}
	return []string{fmt.Sprintf("revision %d: the certificate of %s itself ends at %s, and no renewal lasts longer: have its operator renew it",
		is.Number, is.Issuer, is.IssuerEnds.UTC().Format(time.RFC3339))}
}

func wireRevision(is *store.Revision, have store.Record) *control.Revision {
	r := &control.Revision{
		Number: is.Number, Issuer: is.Issuer, Account: is.Account, Profile: is.Profile, Granted: is.Granted, Key: is.Key, Serial: is.Serial,
		SHA256: is.SHA256, IssuedBy: is.IssuedBy, Instead: is.Instead, NotBefore: is.NotBefore, NotAfter: is.NotAfter,
	}
	if dead, ok := have.Revocation(is); ok {
		r.Revoked = &control.Revocation{At: dead.At, Reason: dead.Reason}
	}
	return r
}

// renewal is nil when there is no instant to tell: the certificate is not wanted, or its successor is due for another
// reason than its age, which the next action tells.
func renewal(s reconcile.Status) *control.Renewal {
	r := &control.Renewal{Due: s.Renewal, Source: "lifetime"}
	switch {
	case s.DueWhy == reconcile.Requested:
		r.Due, r.Source = s.Record.Requested, "requested"
	case s.DueWhy == reconcile.Advised:
		r.Source = "ari"
	case s.Renewal.IsZero():
		return nil
	}
	if a := s.Record.ARI; a.CertID == s.Record.Issued.CertID {
		r.WindowStart, r.WindowEnd, r.Explanation = a.Start, a.End, a.Explanation
	}
	return r
}

// failures are those of the record, and in the place of that of its issuer the one of the pending order.
func failures(s reconcile.Status, now time.Time) []control.Failure {
	all := maps.Clone(s.Record.Failures)
	if o := s.Order; o != nil && o.Failure != nil {
		if all == nil {
			all = map[string]store.Failure{}
		}
		all[o.Issuer] = *o.Failure
	}
	var out []control.Failure
	for _, issuer := range slices.Sorted(maps.Keys(all)) {
		f := all[issuer]
		w := control.Failure{
			Issuer: issuer, Kind: f.Kind, Count: f.Count, At: f.At, RetryAt: retryAt(s, issuer, f, now), Op: f.Op, Problem: f.Problem,
			Identifier: f.Name, Detail: f.Detail, Hint: f.Hint,
		}
		for _, sub := range f.Subs {
			w.Subproblems = append(w.Subproblems, control.Subproblem(sub))
		}
		out = append(out, w)
	}
	return out
}

// retryAt is when an issuer that has failed is asked again: not before the next action, if that is to ask one.
func retryAt(s reconcile.Status, issuer string, f store.Failure, now time.Time) time.Time {
	at, known := s.Retry[issuer]
	if o := s.Order; o != nil && o.Failure != nil && o.Issuer == issuer {
		at, known = f.RetryAt, true // the order goes on
	}
	if !known {
		return f.RetryAt
	}
	next := nextAction(s.View, now)
	if next.Do == "issue" || next.Do == "renew" {
		at = later(at, next.At)
	}
	return later(at, now)
}

func wireProblem(p *spec.Problem) control.Problem {
	return control.Problem{
		File: p.File, Line: p.Line, Column: p.Column, Field: p.Field, Problem: p.Problem, Hint: p.Hint, Kept: p.Kept,
	}
}

func wireProblems(problems []*spec.Problem) []control.Problem {
	out := make([]control.Problem, 0, len(problems))
	for _, p := range problems {
		out = append(out, wireProblem(p))
	}
	return out
}

func wireHeld(h *spec.Held) *control.Held {
	if h == nil {
		return nil
	}
	return &control.Held{Reason: h.String(), Names: slices.Concat(h.Certificates, h.Issuers, h.Providers)}
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}
