package deploy

import (
	"strings"
	"unicode"
)

// maxOutput is how much of what a command says is kept: the end.
const maxOutput = 64 << 10

// ending keeps the end of what is written to it.
type ending struct {
	max  int
	text []byte
}

func (e *ending) Write(p []byte) (int, error) {
	e.text = append(e.text, p[max(0, len(p)-e.max):]...)
	if len(e.text) > 2*e.max {
		e.text = append(e.text[:0], e.text[len(e.text)-e.max:]...)
	}
	return len(p), nil
}

// String is the end as text.
func (e *ending) String() string {
	text := strings.ToValidUTF8(string(e.text[max(0, len(e.text)-e.max):]), "\uFFFD")
	text = harmless(strings.ReplaceAll(text, "\r\n", "\n"))
	return strings.ToValidUTF8(text[max(0, len(text)-e.max):], "") // marks are longer than what they mark
}

// harmless marks what could garble a terminal, or show a text in another order.
func harmless(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)) {
			return '\uFFFD'
		}
		return r
	}, text)
}

// oneLine makes what several errors say one line.
func oneLine(text string) string { return strings.ReplaceAll(harmless(text), "\n", "; ") }
