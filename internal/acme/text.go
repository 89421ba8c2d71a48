package acme

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxText bounds every text of a CA that is logged, stored or shown.
const maxText = 512

// clean makes a CA's text harmless to logs, terminals and state files: what cannot be printed is escaped, and what
// is left holds at most maxText bytes.
func clean(s string) string {
	s = s[:min(len(s), maxText)]
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		word := s[:size]
		if !strconv.IsPrint(r) || r == utf8.RuneError && size == 1 {
			word = escape(word)
		}
		if b.Len()+len(word) > maxText {
			break
		}
		b.WriteString(word)
		s = s[size:]
	}
	return strings.TrimSpace(b.String())
}

func escape(s string) string {
	if s == "\n" || s == "\t" || s == "\r" {
		return " "
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
