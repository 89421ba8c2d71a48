package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"acmed/internal/control"
)

// This file owns how results look to people. Its functions are pure. The rules: columns are aligned with spaces,
// table.go keeps what is in a cell there, fit.go and terminal.go fit and color tables for a terminal, a time is given in full and relative to now (in lists only relative), an empty value is a
// dash or its line is left out, and what went wrong is followed by "what to do".

// fewUrgent is how many certificates the overview shows.
const fewUrgent = 10

// printable replaces what could move a terminal's cursor: some of the words are a CA's.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// listText is the answer of `acmed list`: a header and a line for each.
func listText(list []control.Summary, now time.Time) string {
	t := newTable("NAME", "PHASE", "EXPIRES", "NEXT", "REASON")
	for _, s := range list {
		t.row(s.Name, s.Phase, expires(s.NotAfter, now), relative(s.Next, now), cmp.Or(s.Cause(), "-"))
	}
	return t.String()
}

// certificateText is the answer of `acmed status NAME`.
func certificateText(c control.Certificate, now time.Time) string {
	var b strings.Builder
	b.WriteString(control.OneLine(fmt.Sprintf("%s: %s", c.Name, c.Phase)) + "\n")
	writeWanted(&b, c)
	writeCurrent(&b, c, now)
	writePlans(&b, c, now)
	blocks := []string{columns(b.String())}
	if len(c.Targets) > 0 {
		blocks = append(blocks, targetsText(c.Targets, now))
	}
	if c.Refused != nil {
		blocks = append(blocks, setbackText("no target could be deployed", *c.Refused, now))
	}
	for _, f := range c.Failures {
		blocks = append(blocks, failureText(f, now))
	}
	if c.SpecProblem != nil {
		blocks = append(blocks, "wrong in the spec:\n"+problemText(*c.SpecProblem))
	}
	return strings.Join(blocks, "\n")
}

// writeWanted writes what the spec asks for.
func writeWanted(b *strings.Builder, c control.Certificate) {
	field(b, "names", strings.Join(slices.Concat(c.Unicode.Shown(c.DNSNames), c.IPAddresses), ", "))
	field(b, "issuers", strings.Join(c.Issuers, ", then "))
	field(b, "profile", profileText(c))
	field(b, "key", keyText(c))
	field(b, "spec", cmp.Or(c.SpecFile, "gone: the certificate is kept, and not renewed"))
	for _, note := range c.Notes {
		field(b, "note", note)
	}
}

// writeCurrent writes what there is.
func writeCurrent(b *strings.Builder, c control.Certificate, now time.Time) {
	if c.Placeholder {
		field(b, "certificate", "placeholder until the first certificate")
		field(b, "files", c.Live)
		return
	}
	if c.Current == nil {
		field(b, "certificate", "none yet")
		return
	}
	r := c.Current
	field(b, "certificate", fmt.Sprintf("revision %d, %s, by %s (%s)", r.Number, r.Key, r.Issuer, r.IssuedBy))
	if r.Instead != "" {
		field(b, "standby", r.Instead+"; the next one is ordered there again")
	}
	field(b, "valid from", moment(r.NotBefore, now))
	field(b, "expires", moment(r.NotAfter, now))
	if r.Revoked != nil {
		field(b, "revoked", joined(": ", moment(r.Revoked.At, now), r.Revoked.Reason))
	}
	if l := c.RevocationList; l != nil {
		field(b, "revocations", listedText(l, now))
	}
	field(b, "serial", r.Serial)
	field(b, "sha256", r.SHA256)
	field(b, "account", r.Account)
	field(b, "files", c.Live)
	if w := c.Waiting; w != nil {
		field(b, "waiting", fmt.Sprintf("revision %d, by %s, until %s", w.Number, w.Issuer, moment(w.NotAfter, now)))
	}
}

// profileText is the profile that the spec asks for, and the one that the CA chose.
func profileText(c control.Certificate) string {
	if c.Current == nil || c.Current.Granted == "" {
		return c.Profile
	}
	return joined("; ", c.Profile, "the CA issued with the profile "+c.Current.Granted)
}

// listedText says how the revocation list was read.
func listedText(l *control.RevocationList, now time.Time) string {
	if l.Checked.IsZero() {
		return "never read: " + l.Problem
	}
	return joined("; now ", "read "+relative(l.Checked, now)+" from "+l.URL, l.Problem)
}

// writePlans writes what comes next.
func writePlans(b *strings.Builder, c control.Certificate, now time.Time) {
	if r := c.Renewal; r != nil {
		field(b, "renewal", moment(r.Due, now)+", "+sourceText(r))
		field(b, "explained at", r.Explanation)
	}
	if o := c.Order; o != nil {
		field(b, "order", joined(", ", cmp.Or(o.Status, "not answered yet"), "made "+relative(o.Created, now)+" at "+o.Issuer, o.URL))
	}
	if c.Next.Do == "" {
		field(b, "next", cmp.Or(c.Next.Reason, "nothing is planned"))
		return
	}
	writeHold(b, c, now)
	field(b, "next", joined(": ", c.Next.Do+" "+moment(c.Next.At, now), c.Next.Reason))
}

// writeHold writes what the operator has decided about the active revision, and what ends that.
func writeHold(b *strings.Builder, c control.Certificate, now time.Time) {
	ends := "; acmed unhold " + c.Name + " ends that now"
	if !c.RolledBack.IsZero() && c.Current != nil {
		field(b, "rolled back", fmt.Sprintf("to revision %d by acmed rollback, %s", c.Current.Number, moment(c.RolledBack, now)))
	}
	if w := c.Waiting; w != nil && !c.RolledBack.IsZero() {
		ends = fmt.Sprintf("; then revision %d is active again", w.Number) + ends
	}
	if !c.Held.IsZero() {
		field(b, "held until", moment(c.Held, now)+ends)
	}
}

// sourceText says who chose the instant of a renewal.
func sourceText(r *control.Renewal) string {
	switch r.Source {
	case "ari":
		const day = "2006-01-02 15:04"
		return fmt.Sprintf("by the CA's advice (%s to %s)", r.WindowStart.Local().Format(day), r.WindowEnd.Local().Format(day))
	case "requested":
		return "as requested"
	default:
		return "by the certificate's lifetime"
	}
}

// failureText says why the last attempt with an issuer did not work, and what to do.
func failureText(f control.Failure, now time.Time) string {
	var b strings.Builder
	fmt.Fprintf(&b, "failed %s, last %s: %s\n", count(f.Count, "time"), relative(f.At, now),
		control.OneLine(joined(", ", f.Issuer, f.Op+prefixed(" of ", f.Identifier))))
	field(&b, cmp.Or(f.Problem, f.Kind), quoted(f.Detail))
	for _, s := range f.Subproblems {
		if s.Identifier == f.Identifier && s.Detail == f.Detail {
			continue // it is said above
		}
		field(&b, joined(", ", s.Identifier, s.Problem), quoted(s.Detail))
	}
	field(&b, "tried again", cmp.Or(moment(f.RetryAt, now), "when the spec, the account or the CA has changed"))
	field(&b, "what to do", f.Hint)
	return columns(b.String())
}

// overviewText is the answer of `acmed status`.
func overviewText(o overview, now time.Time) string {
	var b strings.Builder
	b.WriteString(control.OneLine(fmt.Sprintf("acmed %s: %s", o.Version, phasesText(o.Info))) + "\n")
	field(&b, "running", fmt.Sprintf("since %s, process %d", moment(o.Started, now), o.PID))
	field(&b, "configuration", joined(", read ", o.Config, moment(o.LastReload, now)))
	field(&b, "state", o.StateDir)
	field(&b, "http-01", o.HTTP01)
	field(&b, "not served", prefixed("metrics and status page: ", o.AdminProblem))
	blocks := []string{columns(b.String())}
	if len(o.Problems) > 0 {
		blocks = append(blocks, "wrong in the files:\n"+problemsText(o.Problems))
	}
	if o.Held != nil {
		blocks = append(blocks, heldText(o.Held))
	}
	if len(o.Urgent) > 0 {
		blocks = append(blocks, urgentText(o.Urgent, now))
	}
	return strings.Join(blocks, "\n")
}

// urgentText lists the first few.
func urgentText(list []control.Summary, now time.Time) string {
	text := listText(list[:min(fewUrgent, len(list))], now)
	if more := len(list) - fewUrgent; more > 0 {
		text += fmt.Sprintf("and %d more: acmed list\n", more)
	}
	return text
}

// phasesText counts the certificates.
func phasesText(info control.Info) string {
	var phases []string
	for _, phase := range slices.Sorted(maps.Keys(info.Phases)) {
		if n := info.Phases[phase]; n > 0 {
			phases = append(phases, fmt.Sprintf("%d %s", n, phase))
		}
	}
	return joined(", of them ", count(info.Certificates, "certificate"), strings.Join(phases, ", "))
}

// reloadText is the answer of `acmed reload`.
func reloadText(r control.ReloadResult) string {
	var changes []string
	for _, c := range []struct {
		what  string
		names []string
	}{{"added", r.Added}, {"edited", r.Edited}, {"removed", r.Removed}} {
		if len(c.names) > 0 {
			changes = append(changes, control.OneLine(c.what+" "+abridged(c.names)))
		}
	}
	return cmp.Or(strings.Join(changes, "\n"), "nothing changed") + "\n"
}

// checkedText is the answer of `acmed check`.
func checkedText(c checked) string {
	warnings := ""
	if len(c.Warnings) > 0 {
		warnings = "warnings:\n" + indented(c.Warnings)
	}
	if c.good() {
		return count(c.Files, "file") + ", all good\n" + warnings
	}
	text := problemsText(c.Problems) + warnings
	if len(c.State) > 0 {
		text += "wrong in the state folder:\n" + indented(c.State)
	}
	return text
}

// indented is a line for each.
func indented(texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		b.WriteString("  " + control.OneLine(text) + "\n")
	}
	return b.String()
}

// versionText is the answer of `acmed version`.
func versionText(v versionInfo) string {
	var b strings.Builder
	b.WriteString(control.OneLine("acmed "+v.Version) + "\n")
	field(&b, "revision", v.Revision)
	field(&b, "built by", fmt.Sprintf("%s for %s/%s", v.Go, v.OS, v.Arch))
	field(&b, "x/crypto", v.ACME)
	return columns(b.String())
}

// heldText explains a removal that waits; the daemon's words end with what to do.
func heldText(h *control.Held) string {
	return "removal held: " + control.OneLine(h.Reason) + "\n"
}

func problemsText(problems []control.Problem) string {
	var b strings.Builder
	for _, p := range problems {
		b.WriteString(problemText(p))
	}
	return b.String()
}

// problemText is FILE:LINE:COLUMN: what is wrong, and below it what to do.
func problemText(p control.Problem) string {
	text := control.OneLine(joined(": ", p.File+position(p.Line)+position(p.Column), p.Field, p.Problem)) + "\n"
	if p.Hint != "" {
		text += "  what to do: " + control.OneLine(p.Hint) + "\n"
	}
	if p.Kept {
		text += "  until then the file's last good version stays in force\n"
	}
	return text
}

// position is a part of a place in a file, or nothing when it is not known.
func position(n int) string {
	if n == 0 {
		return ""
	}
	return ":" + strconv.Itoa(n)
}

// eventText is one line of talk, or two.
func eventText(e control.Event) string {
	said := slices.Compact([]string{e.Message, e.Error})
	return control.OneLine(e.Cert+": "+joined(": ", said...)) + prefixed("\nwhat to do: ", control.OneLine(e.Hint))
}

func count(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}

// abridged lists names, but not a thousand.
func abridged(names []string) string {
	const most = 10
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// joined puts sep between the parts that are not empty.
func joined(sep string, parts ...string) string {
	return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), sep)
}

// prefixed is prefix and s, or nothing when s is empty.
func prefixed(prefix, s string) string {
	if s == "" {
		return ""
	}
	return prefix + s
}

// quoted marks the words as somebody else's.
func quoted(s string) string {
	if s == "" {
		return "(no more was said)"
	}
	return `"` + s + `"`
}

// keyText says what the key is, and where if it is not here.
func keyText(c control.Certificate) string {
	if c.CSRFile == "" {
		return c.Key
	}
	return c.Key + ", kept elsewhere: " + c.CSRFile
}
