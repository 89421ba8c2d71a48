package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/migrate"
)

// importText is the answer of `acmed import`: a line for each certificate and account, what is left to do by hand, and
// what comes next.
func importText(p *migrate.Plan, applied bool, now time.Time) string {
	blocks := []string{importStepsText(p, now)}
	if len(p.Accounts)+len(p.Issuers)+len(p.Providers) > 0 {
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
	table := newTable("NAME", "ISSUER", "KEY", "EXPIRES", "WHAT HAPPENS")
	for _, s := range p.Certificates {
		table.row(s.Name, cmp.Or(s.Issuer, "-"), cmp.Or(s.Key, "-"), expires(s.NotAfter, now), importStepText(s))
	}
	return table.String()
}

// importStepText says what becomes of a certificate.
func importStepText(s migrate.Step) string {
	what := importActionText(s.Action)
	if s.Action == migrate.Order {
		what = "only a spec, acmed will order it"
	}
	return joined(", ", joined(": ", what, s.Why), prefixed("was ", s.Former))
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
	table := newTable("ISSUER", "FILE OR ACCOUNT", "WHAT HAPPENS")
	for _, i := range p.Issuers {
		table.row(i.Name, i.File, "written, for "+i.Directory)
	}
	for _, f := range p.Providers {
		table.row("-", f.File, "written, a DNS provider of "+f.From)
	}
	for _, s := range p.Accounts {
		table.row(s.Issuer, cmp.Or(s.URL, s.From), joined(": ", importActionText(s.Action), s.Why))
	}
	return table.String()
}

// importNotesText lists what is to be looked at, what to do about it, and for which certificates.
func importNotesText(p *migrate.Plan) string {
	notes, about := slices.Clone(p.Notes), map[migrate.Note][]string{}
	for _, s := range p.Certificates {
		for _, n := range s.Notes {
			if about[n] == nil {
				notes = append(notes, n)
			}
			about[n] = append(about[n], s.Name)
		}
	}
	var b strings.Builder
	for _, n := range notes {
		fmt.Fprintf(&b, "  %s\n", control.OneLine(n.What))
		if len(about[n]) > 0 {
			fmt.Fprintf(&b, "    for %s\n", control.OneLine(abridged(about[n])))
		}
		if n.Do != "" {
			fmt.Fprintf(&b, "    what to do: %s\n", control.OneLine(n.Do))
		}
	}
	return b.String()
}

// importNextText says what is left to the operator.
func importNextText(p *migrate.Plan) string {
	steps := [][2]string{{"start acmed, and look", "systemctl start acmed && acmed list"}}
	for i, path := range p.Next.Paths {
		if i == 0 {
			old, _, _ := strings.Cut(path.Old, "NAME")
			steps = append(steps, [2]string{"find who reads the old files", "grep -rl " + old + " /etc"})
		}
		steps = append(steps, [2]string{"let them read acmed's", path.Old + " becomes " + path.New})
	}
	steps = append(steps, [2]string{"stop " + p.Client, p.Next.Stop})
	var b strings.Builder
	for i, s := range steps {
		field(&b, fmt.Sprintf("%d. %s", i+1, s[0]), s[1])
	}
	return "Imported. What comes next:\n" + columns(b.String())
}
