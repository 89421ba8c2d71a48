package spec

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// A Problem is one thing wrong with one file, worded for the person who wrote that file.
type Problem struct {
	File    string
	Line    int    // from 1; zero: the file as a whole
	Column  int    // in characters from 1; zero: not known
	Field   string // dotted path of the key, such as deploy.files[0].mode; "": none
	Problem string
	Hint    string // what to do; "": the problem says it
	Kept    bool   // the last good version of the file stays in force
}

// Error returns "FILE:LINE:COLUMN: FIELD: PROBLEM (HINT)" without the parts that are not known.
func (p *Problem) Error() string {
	var b strings.Builder
	b.WriteString(p.File)
	for _, n := range []int{p.Line, p.Column} {
		if n > 0 {
			b.WriteString(":" + strconv.Itoa(n))
		}
	}
	if p.Field != "" {
		b.WriteString(": " + p.Field)
	}
	b.WriteString(": " + p.Problem)
	if p.Hint != "" {
		b.WriteString(" (" + p.Hint + ")")
	}
	return b.String()
}

func sortProblems(problems []*Problem) {
	slices.SortStableFunc(problems, func(a, b *Problem) int {
		return cmp.Or(
			strings.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
		)
	})
}
