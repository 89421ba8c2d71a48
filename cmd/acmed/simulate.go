package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/spec"
)

// stretch is a flag that takes a duration as specs write it, such as 90d.
type stretch time.Duration

func (s *stretch) String() string { return "" }
func (s *stretch) Type() string   { return "LONG" }

func (s *stretch) Set(text string) error {
	d, err := spec.ParseDuration(text)
	*s = stretch(d)
	return err
}

// fewWaits is how many of the certificates that wait, or end, are shown.
const fewWaits = 10

// simulationText is the answer of `acmed plan --simulate`.
func simulationText(s control.Simulation) string {
	blocks := []string{fmt.Sprintf("%s, from %s to %s, if every order works:\n", count(s.Certificates, "certificate"),
		s.From.UTC().Format(time.DateOnly), s.Until.UTC().Format(time.DateOnly))}
	for _, i := range s.Issuers {
		blocks = append(blocks, simulatedText(i, s.Until.Sub(s.From)))
	}
	if len(s.Issuers) == 0 {
		blocks = append(blocks, "nothing would be ordered\n")
	}
	if len(s.Delays) > 0 {
		blocks = append(blocks, delaysText(s))
	}
	if len(s.Gaps) > 0 {
		blocks = append(blocks, gapsText(s))
	}
	if len(s.Assumptions) > 0 {
		blocks = append(blocks, assumptionsText(s.Assumptions))
	}
	return strings.Join(blocks, "\n")
}

// simulatedText is the load on one issuer.
func simulatedText(i control.SimulatedIssuer, d time.Duration) string {
	table := newTable("DAY (UTC)", "ORDERS", "NEW", "EXEMPT", "IN AN HOUR", "LEFT", "HELD BACK", "ENDED")
	for _, day := range i.Days {
		loadRow(table, day.Day, day.Load, day.Limits)
	}
	total := i.Total
	loadRow(table, "all", total, i.Limits)
	text := fmt.Sprintf("%s: %s in %s, at most %d in an hour and %d open at once\n", control.OneLine(i.Issuer),
		count(total.Orders, "order"), span(d), total.BusiestHour, total.InFlight) + table.String()
	if len(i.Limits) > 0 {
		text += "\n" + limitsText(i.Limits)
	}
	return text
}

func loadRow(t *table, what string, l control.SimulatedLoad, limits []control.SimulatedLimit) {
	t.row(what, dashed(l.Orders), dashed(l.New), dashed(l.Exempt), dashed(l.BusiestHour), tightest(limits), dashed(l.Held), dashed(l.Ended))
}

// tightest is what is left of the limit that comes nearest to its end.
func tightest(limits []control.SimulatedLimit) string {
	left := "-"
	least := 2.0
	for _, l := range limits {
		if share := float64(l.Left) / float64(l.Max); share < least {
			least, left = share, fmt.Sprintf("%d of %d", l.Left, l.Max)
		}
	}
	return left
}

func limitsText(limits []control.SimulatedLimit) string {
	table := newTable("LIMIT", "LEFT AT LEAST", "WHEN (UTC)")
	for _, l := range limits {
		table.row(l.Limit, fmt.Sprintf("%d of %d in %s", l.Left, l.Max, span(time.Duration(l.Per)*time.Second)), minute(l.At))
	}
	return table.String()
}

func delaysText(s control.Simulation) string {
	table := newTable("HELD BACK", "FOR", "UNTIL (UTC)", "BY")
	for _, d := range s.Delays[:min(fewWaits, len(s.Delays))] {
		table.row(d.Name, lasting(d.Since, d.Until, s.Until), untilText(d.Until), d.Issuer+": "+d.Limit)
	}
	return table.String() + moreText(s.Delayed, len(s.Delays), "certificate")
}

func gapsText(s control.Simulation) string {
	table := newTable("ENDS BEFORE ITS SUCCESSOR", "FOR", "FROM (UTC)", "UNTIL")
	for _, g := range s.Gaps[:min(fewWaits, len(s.Gaps))] {
		table.row(g.Name, lasting(g.Since, g.Until, s.Until), minute(g.Since), untilText(g.Until))
	}
	return table.String() + moreText(s.Ended, len(s.Gaps), "certificate")
}

// moreText says how many of all there are beside those shown.
func moreText(all, told int, noun string) string {
	if all <= fewWaits && told <= fewWaits {
		return ""
	}
	return "in all " + count(all, noun) + ": --output json has more of them\n"
}

func assumptionsText(grants []control.SimulatedGrant) string {
	table := newTable("TAKEN FOR GRANTED", "PROFILE", "LIFETIME", "RENEWED")
	for _, g := range grants {
		life, advice := span(time.Duration(g.Life)*time.Second)+", as before", "by its lifetime"
		if !g.Seen {
			life = span(time.Duration(g.Life)*time.Second) + ", assumed"
		}
		if g.Advises {
			advice = "when the issuer advises, as before"
		}
		table.row(g.Issuer, cmp.Or(g.Profile, "-"), life, advice)
	}
	return table.String()
}

func dashed(n int) string {
	if n == 0 {
		return "-"
	}
	return fmt.Sprint(n)
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func untilText(t time.Time) string {
	if t.IsZero() {
		return "after the end"
	}
	return minute(t)
}

// lasting is from since to until, or to the end at least.
func lasting(since, until, end time.Time) string {
	if until.IsZero() {
		return "over " + span(end.Sub(since))
	}
	return span(until.Sub(since))
}
