package acme

import (
	"iter"
	"slices"
	"strings"
)

// link is one value of a Link header (RFC 8288 §3).
type link struct {
	ref    string
	params []string // "rel=alternate", "rel=\"a b\""
}

// relation reports whether the link has the relation, which is compared without case.
func (l link) relation(rel string) bool {
	for _, p := range l.params {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "rel") {
			continue
		}
		words := strings.Fields(strings.Trim(strings.TrimSpace(value), `"`))
		return slices.ContainsFunc(words, func(w string) bool { return strings.EqualFold(w, rel) })
	}
	return false
}

// links yields the links of a header; what is no link is skipped.
func links(header string) iter.Seq[link] {
	return func(yield func(link) bool) {
		for {
			_, after, ok := strings.Cut(header, "<")
			if !ok {
				return
			}
			ref, rest, ok := strings.Cut(after, ">")
			if !ok {
				return
			}
			end := unquoted(rest, ',')
			if !yield(link{ref: ref, params: split(rest[:end])}) {
				return
			}
			header = rest[end:]
		}
	}
}

// split cuts a link's parameters at the semicolons that are not quoted.
func split(s string) []string {
	var params []string
	for len(s) > 0 {
		end := unquoted(s, ';')
		if p := strings.TrimSpace(s[:end]); p != "" {
			params = append(params, p)
		}
		s = s[min(end+1, len(s)):]
	}
	return params
}

// unquoted returns the index of the first sep outside a quoted string, or the length of s.
func unquoted(s string, sep byte) int {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && quoted:
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return i
		}
	}
	return len(s)
}
