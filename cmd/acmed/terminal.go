package main

import (
	"io"
	"os"
	"regexp"
	"strings"

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

var (
	// row is a line of a list: a name, a phase, and the rest.
	row = regexp.MustCompile(`^(\S+ {2,})([a-z]+(?:-[a-z]+)*)( {2,}.*)$`)
	// heading is the first line about one certificate or account.
	heading = regexp.MustCompile(`^(\S+: )([a-z]+(?:-[a-z]+)*)()$`)
	// finding is a line of acmed doctor.
	finding = regexp.MustCompile(`^()(ok|\?|!!)( +\S.*)$`)
)

// show fits tables into the terminal's width, and colors phases and findings.
func (t terminal) show(text string) string {
	if t == (terminal{}) {
		return text
	}
	if t.width > 0 {
		text = fit(text, t.width)
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		line, end := strings.CutSuffix(line, "\n")
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

// parts are what is before a phase or a mark, the word itself, and what is behind it; nil: the line has none.
func parts(line string) []string {
	for _, kind := range []*regexp.Regexp{finding, row, heading} {
		if m := kind.FindStringSubmatch(line); m != nil {
			return m
		}
	}
	return nil
}

// paint is the color of a phase or a mark: red where somebody is needed, yellow where something is under way, green where all is
// well; "": none.
func paint(word string) string {
	switch control.Phase(word) {
	case control.Expired, control.Parked, control.BackingOff, control.DeployFailed, "!!":
		return "\x1b[31m"
	case control.Missing, control.Issuing, control.Renewing, control.Deploying, "?":
		return "\x1b[33m"
	case control.Valid, "ok":
		return "\x1b[32m"
	default:
		return ""
	}
}
