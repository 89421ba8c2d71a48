package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"acmed/internal/control"
)

func entry(at time.Duration, source, level, message string) control.LogEntry {
	return control.LogEntry{Time: noon().Add(at), Source: source, Level: level, Message: message}
}

func TestAnEventIsShownOnceInTheOrderOfTime(t *testing.T) {
	journal := []control.LogEntry{entry(0, "journal", "info", "issued"), entry(time.Hour, "journal", "warn", "failed")}
	for sentence, c := range map[string]struct {
		record []control.LogEntry
		since  time.Duration
		want   string
	}{
		"the same event of the record is left out":           {[]control.LogEntry{entry(time.Second, "record", "info", "certificate issued")}, -time.Hour, "issued, failed"},
		"an event of another level is another one":           {[]control.LogEntry{entry(time.Second, "record", "warn", "revoked")}, -time.Hour, "issued, revoked, failed"},
		"an event that the journal does not have is shown":   {[]control.LogEntry{entry(-time.Minute, "record", "info", "older"), entry(2*time.Hour, "record", "warn", "newer")}, -time.Hour, "older, issued, failed, newer"},
		"an event before the time that was asked for is not": {[]control.LogEntry{entry(-time.Minute, "record", "info", "older")}, 0, "issued, failed"},
	} {
		t.Run(sentence, func(t *testing.T) {
			var got []string
			for _, e := range (listing{since: noon().Add(c.since)}).merge(journal, c.record) {
				got = append(got, e.Message)
			}
			if s := strings.Join(got, ", "); s != c.want {
				t.Errorf("shown: %s, expected %s", s, c.want)
			}
		})
	}
}

// TestAnEntryFitsAndMovesNoCursor shows what a CA might say at several widths.
func TestAnEntryFitsAndMovesNoCursor(t *testing.T) {
	e := entry(0, "journal", "warn", "issuance failed")
	for key, value := range map[string]string{
		"issuer": "letsencrypt", "next": "2026-10-01T12:00:00Z", "hint": strings.Repeat("open port 80 ", 20),
		"error": "dns: \x1b]0;owned\x07 \x9b2J\r\n" + strings.Repeat("no such host ", 20), "output": "first line\n\nsecond\tline",
	} {
		e.Fields = append(e.Fields, control.LogField{Key: key, Value: value})
	}
	for _, width := range []int{20, 80, 100, 0} {
		text := logText(e, width)
		for line := range strings.Lines(text) {
			line = strings.TrimSuffix(line, "\n")
			if n := utf8.RuneCountInString(line); width > 0 && n > width && strings.Count(strings.TrimSpace(line), " ") > 0 && !strings.HasPrefix(line, "20") {
				t.Errorf("at %d a line has %d characters: %s", width, n, line)
			}
		}
		if !strings.Contains(strings.Join(strings.Fields(text), " "), "what to do: open port 80") {
			t.Errorf("at %d the hint is missing: %s", width, text)
		}
	}
	for _, output := range []string{"text", "json"} {
		var out bytes.Buffer
		a := &app{stdout: &out, output: output}
		if err := a.logEntry(e); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(out.String(), "\x1b\x07\r\u009b") {
			t.Errorf("%s contains a control character: %q", output, out.String())
		}
	}
}
