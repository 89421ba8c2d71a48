package main

import "time"

// This file owns how times look to people.

// moment is a time in full; "" for none.
func moment(t, now time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format("2006-01-02 15:04:05-07:00") + " (" + relative(t, now) + ")"
}

// expires is a date, for a list.
func expires(t, now time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02") + " (" + relative(t, now) + ")"
}

// relative is "in 29 days", "5 minutes ago" or "now", and "-" for no time.
func relative(t, now time.Time) string {
	d := t.Sub(now)
	switch {
	case t.IsZero():
		return "-"
	case d.Abs() < time.Second:
		return "now"
	case d < 0:
		return span(-d) + " ago"
	default:
		return "in " + span(d)
	}
}

// span is a duration in the unit that leaves at least two of it.
func span(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < 2*time.Minute:
		return count(int(d/time.Second), "second")
	case d < 2*time.Hour:
		return count(int(d/time.Minute), "minute")
	case d < 2*day:
		return count(int(d/time.Hour), "hour")
	default:
		return count(int(d/day), "day")
	}
}
