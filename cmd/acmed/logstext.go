package main

import (
	"strings"
	"time"
	"unicode/utf8"

	"acmed/internal/control"
)

// logText is an entry of `acmed logs`: the event, and its details on lines below it, which are wrapped at width; zero: not.
func logText(e control.LogEntry, width int) string {
	var b strings.Builder
	b.WriteString(e.Time.Local().Format(time.DateTime) + "  " + levelText(e.Level) + e.Message + "\n")
	var short []string
	var long [][2]string
	for _, f := range e.Fields {
		switch f.Key {
		case "error", "err", "hint", "output", "reason", "instead", "note", "order", "url":
			long = append(long, [2]string{longName(f.Key), f.Value})
		default:
			short = append(short, strings.TrimSpace(shortName(f.Key)+" "+shortValue(f.Value)))
		}
	}
	if len(short) > 0 {
		writeWrapped(&b, strings.Join(short, ", "), width)
	}
	for _, f := range long {
		if f[1] != "" {
			writeWrapped(&b, f[0]+": "+f[1], width)
		}
	}
	return b.String()
}

// levelText marks what somebody should read.
func levelText(level string) string {
	if level == "info" {
		return ""
	}
	return level + ": "
}

func longName(key string) string {
	switch key {
	case "hint":
		return "what to do"
	case "err":
		return "error"
	case "instead":
		return "fallback issuer because"
	}
	return key
}

func shortName(key string) string {
	switch key {
	case "notAfter":
		return "expires"
	case "next":
		return "next attempt"
	}
	return key
}

// shortValue shows a time as people read it.
func shortValue(s string) string {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t.Local().Format(time.DateTime)
	}
	if s == "" {
		return "-"
	}
	return s
}

const logIndent = "    "

// writeWrapped writes text with an indent on lines of at most width characters, where a word is not longer; zero: on one
// line each.
func writeWrapped(b *strings.Builder, text string, width int) {
	for line := range strings.Lines(text) {
		used := 0
		for word := range strings.FieldsSeq(line) {
			n := utf8.RuneCountInString(word)
			switch {
			case used == 0:
				b.WriteString(logIndent)
				used = len(logIndent)
			case width > 0 && used+1+n > width:
				b.WriteString("\n" + logIndent + "  ")
				used = len(logIndent) + 2
			default:
				b.WriteByte(' ')
				used++
			}
			b.WriteString(word)
			used += n
		}
		if used > 0 {
			b.WriteByte('\n')
		}
	}
}
