package sectigo

import (
	"fmt"
	"strings"
	"unicode"
)

// Error is why an API did not do what it was asked for.
type Error struct {
	Op          string // what was being done
	Status      int    // HTTP; 0: there was no answer
	Code        int    // the API's own; 0: it gave none
	Description string // the API's own words, or the local cause
	Hint        string // what the operator can do
	Err         error  // the cause; may be nil
}

// Error names the operation, the API's words and its codes. The Hint is left to whoever shows it.
func (e *Error) Error() string {
	text := e.Op + ": " + e.Description
	var codes []string
	if e.Code != 0 {
		codes = append(codes, fmt.Sprintf("code %d", e.Code))
	}
	if e.Status != 0 {
		codes = append(codes, fmt.Sprintf("HTTP %d", e.Status))
	}
	if len(codes) > 0 {
		text += " (" + strings.Join(codes, ", ") + ")"
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// maxWords bounds what an API's words take in a message.
const maxWords = 512

// clean makes somebody else's words harmless: one line, printable, bounded.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return ' '
		}
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.TrimSpace(s))
	if len(s) > maxWords {
		return strings.ToValidUTF8(s[:maxWords], "") + "…"
	}
	return s
}
