package page

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"acmed/internal/control"
)

// row is one certificate.
type row struct {
	control.Summary
	Class string
	Hosts string // the names, a few of them
	Ends  string
	Due   string
	Why   string // the cause in one line
	Bar   *bar   // nil: there is no certificate
}

// bar is a certificate's life, from when it was issued to its end, in thousandths.
type bar struct {
	Label  string // for who does not see it
	Now    int    // how much of it is over
	Due    int    // when its successor is due
	Window int    // from Due to the end
}

func newRow(s control.Summary, now time.Time) row {
	r := row{Summary: s, Class: classOf(s.Phase, s.Problem), Hosts: hosts(s), Ends: "no certificate yet", Why: s.Cause()}
	if !s.NotAfter.IsZero() {
		r.Ends = relative(s.NotAfter, now) + ", " + date(s.NotAfter)
		r.Bar = newBar(s, now)
	}
	if !s.Next.IsZero() {
		r.Due = relative(s.Next, now)
	}
	return r
}

// hosts are the names, unless they say no more than the certificate's own.
func hosts(s control.Summary) string {
	if len(s.Names) == 0 || len(s.Names) == 1 && s.Names[0] == s.Name && len(s.Unicode) == 0 {
		return ""
	}
	text := strings.Join(s.Unicode.Shown(s.Names), ", ")
	if s.MoreNames > 0 {
		text += fmt.Sprintf(" and %d more", s.MoreNames)
	}
	return text
}

func newBar(s control.Summary, now time.Time) *bar {
	life := s.NotAfter.Sub(s.Issued)
	if s.Issued.IsZero() || life <= 0 {
		return nil
	}
	part := func(t time.Time) int { return max(0, min(1000, int(1000*t.Sub(s.Issued)/life))) }
	b := &bar{Now: part(now), Due: 1000, Label: "issued " + date(s.Issued) + ", ends " + date(s.NotAfter)}
	if !s.Renewal.IsZero() {
		b.Due = part(s.Renewal)
		b.Label += ", renewal from " + date(s.Renewal)
	}
	b.Window = 1000 - b.Due
	return b
}

// classOf is the colour of a phase.
func classOf(p control.Phase, problem bool) string {
	switch {
	case p == control.Expired:
		return "bad"
	case problem, p == control.Parked, p == control.BackingOff, p == control.DeployFailed:
		return "warn"
	case p == control.Valid:
		return "good"
	default:
		return "busy"
	}
}

// issuerRow is one CA.
type issuerRow struct {
	control.Issuer
	Class   string
	State   string
	Budgets []budget
}

type budget struct {
	control.Budget
	Used int    // in thousandths
	In   string // the time that the limit is for
}

func newIssuerRow(i control.Issuer, now time.Time) issuerRow {
	r := issuerRow{Issuer: i, Class: "good", State: "may be asked"}
	switch {
	case i.Hold != nil && i.Hold.Until.After(now):
		r.Class, r.State = "warn", fmt.Sprintf("left alone for %s: %s", span(i.Hold.Until.Sub(now)), i.Hold.Reason)
	case i.Hint != "":
		r.Class, r.State = "warn", i.Hint
	}
	for _, b := range i.Budgets {
		r.Budgets = append(r.Budgets, budget{b, 1000 * (b.Max - b.Left) / max(1, b.Max), span(time.Duration(b.Per) * time.Second)})
	}
	return r
}

func date(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

// relative is "in 29 days", "5 minutes ago" or "now".
func relative(t, now time.Time) string {
	switch d := t.Sub(now); {
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return span(-d) + " ago"
	default:
		return "in " + span(d)
	}
}

// span is a duration in the unit that leaves at least two of it.
func span(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"minute", time.Minute}, {"second", time.Second}}
	i := slices.IndexFunc(units, func(u struct {
		name string
		size time.Duration
	}) bool {
		return d >= 2*u.size
	})
	if i < 0 {
		return "a moment"
	}
	return fmt.Sprintf("%d %ss", d/units[i].size, units[i].name)
}
