package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"acmed/internal/migrate"
)

// importText is the answer of `acmed import`: a line for each certificate and account, what is left to do by hand, and
// what comes next.
func importText(p *migrate.Plan, applied bool, now time.Time) string {
	blocks := []string{importStepsText(p, now)}
	if len(p.Accounts)+len(p.Issuers) > 0 {
		blocks = append(blocks, importAccountsText(p))
	}
	if notes := importNotesText(p); notes != "" {
		blocks = append(blocks, "to be looked at:\n"+notes)
	}
	switch {
	case !p.Do():
		blocks = append(blocks, "There is nothing to import: what acmed has is left as it is.\n")
	case applied:
		blocks = append(blocks, importNextText(p))
	default:
		blocks = append(blocks, "Nothing was changed. Stop acmed, and add --apply to do it.\n")
	}
	return strings.Join(blocks, "\n")
}

func importStepsText(p *migrate.Plan, now time.Time) string {
	var b strings.Builder
	b.WriteString("NAME\tISSUER\tKEY\tEXPIRES\tWHAT HAPPENS\n")
	for _, s := range p.Certificates {
		fmt.Fprintf(&b, "%s\t%s\t%s\t%s\t%s\n", s.Name, cmp.Or(s.Issuer, "-"), cmp.Or(s.Key, "-"), expires(s.NotAfter, now), importStepText(s))
	}
	return columns(b.String())
}

// importStepText says what becomes of a certificate.
func importStepText(s migrate.Step) string {
	what := importActionText(s.Action)
	if s.Action == migrate.Order {
		what = "only a spec, acmed will order it"
	}
	return joined(": ", joined(", ", what, prefixed("was ", s.Former)), s.Why)
}

func importActionText(a migrate.Action) string {
	switch a {
	case migrate.Import:
		return "imported"
	case migrate.Present:
		return "left as it is"
	default:
		return "not imported"
	}
}

func importAccountsText(p *migrate.Plan) string {
	var b strings.Builder
	b.WriteString("ISSUER\tFILE OR ACCOUNT\tWHAT HAPPENS\n")
	for _, i := range p.Issuers {
		fmt.Fprintf(&b, "%s\t%s\twritten, for %s\n", i.Name, i.File, i.Directory)
	}
	for _, s := range p.Accounts {
		fmt.Fprintf(&b, "%s\t%s\t%s\n", s.Issuer, cmp.Or(s.URL, s.From), joined(": ", importActionText(s.Action), s.Why))
	}
	return columns(b.String())
}

// importNotesText lists what is to be looked at, and what to do about it.
func importNotesText(p *migrate.Plan) string {
	var b strings.Builder
	writeNotes(&b, "  ", p.Notes)
	for _, s := range p.Certificates {
		if len(s.Notes) > 0 {
			fmt.Fprintf(&b, "  %s, from %s\n", s.Name, s.From)
			writeNotes(&b, "    ", s.Notes)
		}
	}
	return b.String()
}

func writeNotes(b *strings.Builder, indent string, notes []migrate.Note) {
	for _, n := range notes {
		fmt.Fprintf(b, "%s%s\n", indent, n.What)
		if n.Do != "" {
			fmt.Fprintf(b, "%s  what to do: %s\n", indent, n.Do)
		}
	}
}

// importNextText says what is left to the operator.
func importNextText(p *migrate.Plan) string {
	var b strings.Builder
	field(&b, "1. start acmed, and look", "systemctl start acmed && acmed list")
	for _, path := range p.Next.Paths {
		field(&b, "2. let servers read acmed's files", path.Old+" becomes "+path.New)
	}
	if len(p.Next.Paths) > 0 {
		old, _, _ := strings.Cut(p.Next.Paths[0].Old, "NAME")
		field(&b, "   who reads them", "grep -rl "+old+" /etc")
	}
	field(&b, "3. stop "+p.Client, p.Next.Stop)
	return "Imported. What comes next:\n" + columns(b.String())
}
