package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"acmed/internal/control"
)

// This file owns how tables and blocks become text: whatever is in a cell, it stays there.

// table is a header and rows.
type table struct{ b strings.Builder }

func newTable(heads ...string) *table {
	t := &table{}
	t.line(heads)
	return t
}

// row adds a row of texts and numbers.
func (t *table) row(cells ...any) {
	texts := make([]string, len(cells))
	for i, c := range cells {
		texts[i] = fmt.Sprint(c)
	}
	t.line(texts)
}

func (t *table) line(cells []string) {
	for i, c := range cells {
		if i > 0 {
			t.b.WriteByte('\t')
		}
		t.b.WriteString(control.OneLine(c))
	}
	t.b.WriteByte('\n')
}

// String returns the table with its columns aligned.
func (t *table) String() string { return columns(t.b.String()) }

// field writes an indented line of a block, or nothing when there is no value.
func field(b *strings.Builder, name, value string) {
	if value != "" {
		fmt.Fprintf(b, "  %s\t%s\n", control.OneLine(name), control.OneLine(value))
	}
}

// columns aligns what tabs separate.
func columns(s string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = w.Write([]byte(s)) // a strings.Builder takes everything
	_ = w.Flush()
	return b.String()
}
