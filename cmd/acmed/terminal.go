package main

import (
	"io"
	"os"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"acmed/internal/control"
)

// terminal is what a result is shown on. The zero terminal is a pipe or a file, which gets everything and no color.
type terminal struct {
	width int // in characters; zero: nothing is cut
	color bool
}

// terminalOf looks at where a result goes. NO_COLOR (https://no-color.org) and TERM=dumb turn color off.
func terminalOf(w io.Writer) terminal {
	f, ok := w.(*os.File)
	if !ok {
		return terminal{}
	}
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return terminal{}
	}
	return terminal{width: int(size.Col), color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

// phased is result for texts that tell of the phases of certificates.
func (a *app) phased(v any, render func(now time.Time) string) error {
	if a.output == "json" {
		return a.json(v, "  ")
	}
	_, err := io.WriteString(a.stdout, terminalOf(a.stdout).show(printable(render(time.Now()))))
	return err
}

// row is a line of a list, or its header: a name, a phase, and the rest.
var row = regexp.MustCompile(`^(\S+ {2,})(PHASE|[a-z]+(?:-[a-z]+)*)( {2,}.*)$`)

// heading is the first line about one certificate.
var heading = regexp.MustCompile(`^(\S+: )([a-z]+(?:-[a-z]+)*)()$`)

// show fits the rows of lists into the terminal's width, by the end of what they say, and colors phases.
func (t terminal) show(text string) string {
	if t == (terminal{}) {
		return text
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, end := strings.CutSuffix(line, "\n")
		if row.MatchString(line) {
			line = cut(line, t.width)
		}
		if m := parts(line); m != nil && t.color && paint(m[2]) != "" {
			line = m[1] + paint(m[2]) + m[2] + "\x1b[0m" + m[3]
		}
		b.WriteString(line)
		if end {
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// parts are what is before a phase, the phase, and what is behind it; nil: the line has none.
func parts(line string) []string {
	if m := row.FindStringSubmatch(line); m != nil {
		return m
	}
	return heading.FindStringSubmatch(line)
}

// paint is the color of a phase: red where somebody is needed, yellow where something is under way, green where all is
// well; "": none.
func paint(phase string) string {
	switch control.Phase(phase) {
	case control.Expired, control.Parked, control.BackingOff:
		return "\x1b[31m"
	case control.Missing, control.Issuing, control.Renewing, control.Deploying:
		return "\x1b[33m"
	case control.Valid:
		return "\x1b[32m"
	default:
		return ""
	}
}

// cut ends line after a word, and with an ellipsis, where it is longer than width; zero: it is as long as it likes.
func cut(line string, width int) string {
	if width < 2 || utf8.RuneCountInString(line) <= width {
		return line
	}
	short := string([]rune(line)[:width-1])
	if last := strings.LastIndexByte(short, ' '); last > 0 && []rune(line)[width-1] != ' ' {
		short = short[:last]
	}
	return strings.TrimRight(short, " ") + "…"
}
