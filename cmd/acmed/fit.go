package main

import (
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// This file owns how a table gets narrower than its text. What a reader can do without goes first, so that the last
// column, which says why, keeps as much as the terminal has room for.

var (
	// header is the first line of a table, which ends with an empty line or one that is no row.
	header = regexp.MustCompile(`^[A-Z][A-Z'()]*( [A-Z'()]+)*( {2,}[A-Z][A-Z'()]*( [A-Z'()]+)*)+$`)
	// gap is what is between two columns of a header.
	gap = regexp.MustCompile(` {2,}`)
	// dated is a time as a date and from now on, and long is one from now on.
	dated = regexp.MustCompile(`^\d{4}-\d\d-\d\d \((.*)\)$`)
	long  = regexp.MustCompile(`^((?:made )?)(?:in )?(\d+) (s|m|h|d)(?:econd|inute|our|ay)s?((?: ago)?)$`)
)

// spare are the columns that a narrow table goes without: those before are missed less. It keeps late where its last column
// has enough room with them.
var (
	spare = []string{"DIRECTORY", "BINDING", "TERMS", "ACCOUNT", "KEY"}
	late  = []string{"NEXT", "SINCE", "HAS"}
)

// enough is how many characters of an error say what it is about.
const enough = 30

// fit makes tables no wider than width, and leaves all other lines alone.
func fit(text string, width int) string {
	lines := strings.Split(text, "\n")
	var out []string
	for i := 0; i < len(lines); {
		n := 1
		if header.MatchString(lines[i]) {
			for at := starts(lines[i]); i+n < len(lines) && isRow(lines[i+n], at); {
				n++
			}
			out = append(out, narrowed(lines[i:i+n], width)...)
		} else {
			out = append(out, lines[i])
		}
		i += n
	}
	return strings.Join(out, "\n")
}

// starts are where the columns of a header begin.
func starts(head string) []int {
	at := []int{0}
	for _, g := range gap.FindAllStringIndex(head, -1) {
		at = append(at, g[1])
	}
	return at
}

// isRow reports whether a line has two spaces, or nothing, before each column.
func isRow(line string, at []int) bool {
	r := []rune(line)
	if len(r) <= at[1] || strings.TrimSpace(line) == "" {
		return false
	}
	for _, a := range at[1:] {
		if a <= len(r) && (r[a-1] != ' ' || r[a-2] != ' ') {
			return false
		}
	}
	return true
}

// narrowed fits one table, header first.
func narrowed(lines []string, width int) []string {
	fits := func() bool {
		return !slices.ContainsFunc(lines, func(l string) bool { return utf8.RuneCountInString(l) > width })
	}
	if fits() {
		return lines
	}
	rows := cellsOf(lines)
	for _, cells := range rows[1:] {
		for i := range cells[:len(cells)-1] {
			cells[i] = long.ReplaceAllString(dated.ReplaceAllString(cells[i], "$1"), "$1$2$3$4")
		}
	}
	lines = aligned(rows)
	room := func() int { return width - starts(lines[0])[len(rows[0])-1] }
	for i, name := range slices.Concat(spare, late) {
		if !fits() && (i < len(spare) || room() < enough) && without(rows, name) {
			lines = aligned(rows)
		}
	}
	from := width - room()
	for i := range lines {
		lines[i] = cut(lines[i], width, from)
	}
	return lines
}

// cellsOf takes the lines of a table apart.
func cellsOf(lines []string) [][]string {
	at := starts(lines[0])
	rows := make([][]string, len(lines))
	for i, line := range lines {
		r := []rune(line)
		for j, a := range at {
			end := len(r)
			if j+1 < len(at) {
				end = min(end, at[j+1])
			}
			rows[i] = append(rows[i], strings.TrimRight(string(r[min(a, end):end]), " "))
		}
	}
	return rows
}

// without takes a column away, unless it is the first, the last or not there.
func without(rows [][]string, name string) bool {
	i := slices.Index(rows[0], name)
	if i < 1 || i == len(rows[0])-1 {
		return false
	}
	for j := range rows {
		rows[j] = slices.Delete(rows[j], i, i+1)
	}
	return true
}

func aligned(rows [][]string) []string {
	var t table
	for _, cells := range rows {
		t.line(cells)
	}
	return strings.Split(strings.TrimSuffix(t.String(), "\n"), "\n")
}

// cut ends line with an ellipsis where it is longer than width: after a word, if that leaves some of the last column, which
// begins at from.
func cut(line string, width, from int) string {
	if width < 2 || utf8.RuneCountInString(line) <= width {
		return line
	}
	short := string([]rune(line)[:width-1])
	last := strings.LastIndexByte(short, ' ')
	if last > 0 && []rune(line)[width-1] != ' ' && utf8.RuneCountInString(short[:last]) > from+enough/2 {
		short = short[:last]
	}
	return strings.TrimRight(short, " ") + "…"
}
