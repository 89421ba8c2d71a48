package spec

import (
	"cmp"
	"strings"
)

// NameRule is what ValidName accepts, in words.
const NameRule = "up to 128 lower-case letters, digits, dots, _ and -, the first a letter or digit, no two dots in a row"

// ValidName reports whether name may be the name of a certificate, an issuer or a DNS provider. Such a name is part of
// paths: it is not hidden, leads nowhere else and has no meaning to a shell. docs/state-directory.md has it as a pattern.
func ValidName(name string) bool {
	for i := range len(name) {
		switch c := name[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case i > 0 && (c == '_' || c == '-' || c == '.' && name[i-1] != '.'):
		default:
			return false
		}
	}
	return name != "" && len(name) <= 128
}

// NameFor returns a valid name that resembles s, such as a DNS name, a wildcard or an IP address.
func NameFor(s string) string {
	s = strings.ToLower(s)
	if rest, wild := strings.CutPrefix(s, "*."); wild {
		s = "wildcard." + rest
	}
	s = strings.Map(func(r rune) rune {
		if 'a' <= r && r <= 'z' || '0' <= r && r <= '9' || r == '.' || r == '_' || r == '-' {
			return r
		}
		return '-'
	}, s)
	for strings.Contains(s, "..") {
		s = strings.ReplaceAll(s, "..", ".")
	}
	s = strings.Trim(s[:min(len(s), 128)], "._-")
	return cmp.Or(s, "unnamed")
}
