package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// waited is what a wait of that length writes.
func waited(t *testing.T, terminal bool, length time.Duration, with error) (out string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var b bytes.Buffer
		err := progress{&b, terminal}.while(func() string { return "until it is there" }, func() error {
			time.Sleep(length)
			return with
		})
		if !errors.Is(err, with) {
			t.Errorf("got %v, want %v", err, with)
		}
		out = b.String()
	})
	return out
}

func TestALogSaysWhatALongWaitIsForEveryTenSeconds(t *testing.T) {
	const want = "    … 2 s: until it is there\n    … 12 s: until it is there\n    … 22 s: until it is there\n"
	if got := waited(t, false, 31*time.Second, nil); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := waited(t, false, 10*time.Minute, nil); strings.Count(got, "\n") > 60 {
		t.Errorf("%d lines in ten minutes", strings.Count(got, "\n"))
	}
}

func TestATerminalShowsOneLineThatCountsAndGoes(t *testing.T) {
	got := waited(t, true, 31*time.Second, errors.New("it did not come"))
	if strings.Contains(got, "\n") || strings.Count(got, clearLine) < 29 || !strings.HasSuffix(got, clearLine) ||
		!strings.Contains(got, clearLine+"    … 30 s: until it is there"+clearLine) {
		t.Errorf("got %q", got)
	}
}

func TestAShortWaitIsSilent(t *testing.T) {
	for _, terminal := range []bool{false, true} {
		if got := waited(t, terminal, 1900*time.Millisecond, nil); got != "" {
			t.Errorf("on a terminal %v: %q", terminal, got)
		}
	}
}
