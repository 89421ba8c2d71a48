package migrate

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"acmed/internal/spec"
)

// This file makes sure that a plan writes valid specs alone. A part of a spec that is not valid is left out and noted
// when the certificate can do without it: one odd setting must not cost a certificate.

// judge leaves out or refuses what would be an invalid spec, alone or beside the others.
func (p *planner) judge() error {
	for {
		problems, err := p.problems()
		if err != nil {
			return err
		}
		again, seen := false, map[string]bool{}
		for _, problem := range problems {
			s := p.stepOf(problem.File)
			if s == nil || seen[problem.File] { // the first of each file counts
				continue
			}
			seen[problem.File] = true
			if again = true; !s.leaveOut(problem.Field) {
				s.Action, s.Why = Refuse, strings.TrimPrefix(problem.Field+": ", ": ")+problem.Problem
				continue
			}
			s.Spec = specText(p.Client, s, &s.have.Want, &p.config.Defaults)
		}
		if !again {
			return nil
		}
	}
}

// problems are those of the specs that the plan writes.
func (p *planner) problems() ([]*spec.Problem, error) {
	texts := map[string][]byte{}
	for i := range p.Certificates {
		if s := &p.Certificates[i]; s.does() {
			texts[s.SpecFile] = []byte(s.Spec)
		}
	}
	issuers := slices.Collect(issuersOf(p.set))
	for _, i := range p.issuers {
		if p.set.Issuer(i.Name) != i {
			issuers = append(issuers, i)
		}
	}
	set, _, err := spec.Draft(p.config, spec.NewSet(certificatesOf(p.set), issuers, p.allProviders()...), texts, nil)
	if err != nil {
		return nil, err
	}
	return set.Problems, nil
}

// stepOf is the step that writes a file; nil: there is none.
func (p *planner) stepOf(file string) *Step {
	i := slices.IndexFunc(p.Certificates, func(s Step) bool { return s.does() && s.SpecFile == file })
	if i < 0 {
		return nil
	}
	return &p.Certificates[i]
}

// element is a field in a list of deploy.
var element = regexp.MustCompile(`^deploy\.(files|reload|run)\[(\d+)\]`)

// leaveOut takes a field of the spec away that has a problem, and notes it without its value. It reports whether a
// certificate can do without that field.
func (s *Step) leaveOut(field string) bool {
	want := &s.have.Want
	what := field
	switch m := element.FindStringSubmatch(field); {
	case m != nil:
		n, err := strconv.Atoi(m[2])
		if err != nil || !without(&want.Deploy, m[1], n) {
			return false
		}
		what = "an element of deploy." + m[1]
	case field == "profile" && want.Profile != "":
		want.Profile = ""
	case field == "preferredChain" && want.PreferredChain != "":
		want.PreferredChain = ""
	case strings.HasPrefix(field, "challenge.webroot") && want.Challenge.Webroot != "":
		want.Challenge.Webroot = ""
		s.Notes = slices.DeleteFunc(s.Notes, func(n Note) bool { return strings.HasPrefix(n.What, webrootNote) })
	case strings.HasPrefix(field, "renew") && want.Renew.Before > 0:
		want.Renew.Before = 0
	default:
		return false
	}
	s.Notes = append(s.Notes, Note{what + " is left out: acmed does not accept the value", "add it to the spec by hand; its value is in " + s.From})
	return true
}

// without removes the nth element of a list, and reports whether there was one.
func without(d *spec.Deploy, list string, n int) bool {
	switch {
	case list == "files" && n < len(d.Files):
		d.Files = slices.Delete(slices.Clone(d.Files), n, n+1)
	case list == "reload" && n < len(d.Reload):
		d.Reload = slices.Delete(slices.Clone(d.Reload), n, n+1)
	case list == "run" && n < len(d.Run):
		d.Run = slices.Delete(slices.Clone(d.Run), n, n+1)
	default:
		return false
	}
	return true
}

// Name returns a name for what another client calls a certificate.
func Name(s string) string { return spec.NameFor(s) }
