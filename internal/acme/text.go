package acme

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	maxText   = 512     // bytes of any text of a CA that is logged, stored or shown
	maxDetail = 4 << 10 // bytes of a problem's detail, which may hold a URL that the operator has to open
	maxLink   = 512     // bytes of a URL that acmed shows as a link
)

// clean makes a CA's text harmless to logs, terminals and state files: what cannot be printed is escaped, and what
// is left holds at most maxText bytes.
func clean(s string) string { return cleanUpTo(s, maxText) }

// Brief shortens the detail of an Error for where many certificates show it. No URL is cut in two.
func Brief(detail string) string { return clean(detail) }

// cleanDetail is clean for the detail of a problem.
func cleanDetail(s string) string { return cleanUpTo(s, maxDetail) }

// cleanUpTo is clean for at most limit bytes. A URL is kept whole or left out: half of one leads nowhere.
func cleanUpTo(s string, limit int) string {
	var b strings.Builder
	for len(s) > 0 {
		r, size := utf8.DecodeRuneInString(s)
		word := s[:size]
		if !strconv.IsPrint(r) || r == utf8.RuneError && size == 1 {
			word = escape(word)
		}
		if b.Len()+len(word) > limit {
			return strings.TrimSpace(withoutPart(b.String(), s))
		}
		b.WriteString(word)
		s = s[size:]
	}
	return strings.TrimSpace(b.String())
}

// urlEnd are the characters that no URL holds.
const urlEnd = " \t\r\n\"<>"

// withoutPart returns text without the URL at its end, if that URL goes on in rest.
func withoutPart(text, rest string) string {
	at := max(strings.LastIndex(text, "https://"), strings.LastIndex(text, "http://"))
	if at < 0 || strings.ContainsAny(text[at:], urlEnd) || strings.ContainsAny(rest[:1], urlEnd) {
		return text
	}
	return text[:at]
}

func escape(s string) string {
	if s == "\n" || s == "\t" || s == "\r" {
		return " "
	}
	q := strconv.QuoteToASCII(s)
	return q[1 : len(q)-1]
}
