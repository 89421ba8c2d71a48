package main

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"acmed/internal/control"
)

// targetsText tells of each consumer what it has, and why it has no other.
func targetsText(targets []control.Target, now time.Time) string {
	table := newTable("TARGET", "HAS", "SINCE", "REMARK")
	for _, t := range targets {
		has := "-"
		if t.Revision > 0 {
			has = "revision " + strconv.Itoa(t.Revision)
		}
		table.row(t.Key, has, relative(t.At, now), cmp.Or(remark(t, now), "-"))
	}
	blocks := []string{table.String()}
	for _, t := range targets {
		if f := t.Failed; f != nil && f.Hint+f.Output != "" {
			blocks = append(blocks, setbackText(t.Key, *f, now))
		}
	}
	return strings.Join(blocks, "\n")
}

// remark is what is worth knowing of a consumer in a few words.
func remark(t control.Target, now time.Time) string {
	switch {
	case t.Failed != nil:
		return fmt.Sprintf("%s; failed %s, next try %s", t.Failed.Problem, count(t.Failed.Count, "time"), relative(t.Failed.RetryAt, now))
	case !t.Accepted:
		return "waits for its turn"
	case !t.Served.IsZero():
		return joined(", ", t.Note, "serves it until "+t.Served.Local().Format("2006-01-02"))
	}
	return t.Note
}

// setbackText says why the deployment to a target failed, and what to do.
func setbackText(target string, f control.Setback, now time.Time) string {
	var b strings.Builder
	b.WriteString(control.OneLine(target+": "+f.Problem) + "\n")
	field(&b, "tried", fmt.Sprintf("%s, last %s", count(f.Count, "time"), relative(f.At, now)))
	field(&b, "next try", moment(f.RetryAt, now))
	field(&b, "what to do", f.Hint)
	out := []string{columns(b.String())}
	for line := range strings.Lines(f.Output) {
		out = append(out, "  | "+strings.TrimRight(line, "\n")+"\n")
	}
	return strings.Join(out, "")
}
