package daemon

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"acmed/internal/control"
	"acmed/internal/spec"
	"acmed/internal/store"
)

var _ control.Remembering = api{}

// History implements control.Remembering.
func (a api) History(_ context.Context, name string) ([]control.LogEntry, error) {
	entries, err := history(a.d.store.Reader, name)
	if err == nil && len(entries) == 0 && a.d.specs.set().Certificate(name) == nil {
		return nil, a.unknown(name)
	}
	return entries, err
}

// History returns the same from the files, for when no daemon runs.
func History(config *spec.Config, name string) ([]control.LogEntry, error) {
	if !spec.ValidName(name) {
		return nil, control.Errorf(control.NotFound, "no certificate is called %q", name)
	}
	reader, err := store.OpenReader(config.StateDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, control.Errorf(control.NotFound, "no certificate is called %q: there is no state directory %s", name, config.StateDir)
	}
	if err != nil {
		return nil, err
	}
	entries, err := history(reader, name)
	if err == nil && len(entries) == 0 {
		names, _ := reader.Names()
		err = control.Unknown(name, slices.Values(names))
	}
	return entries, errors.Join(err, reader.Close())
}

// history returns the events that the files of a certificate show, oldest first. Revisions that are damaged or removed are
// left out.
func history(r *store.Reader, name string) ([]control.LogEntry, error) {
	if !spec.ValidName(name) {
		return nil, nil
	}
	revisions, err := r.Revisions(name)
	if _, damaged := errors.AsType[*store.DamagedError](err); err != nil && !damaged {
		return nil, err
	}
	rec, _, order, err := r.Look(name)
	if err != nil {
		return nil, err
	}
	var h events
	for _, rev := range revisions {
		h.add(rev.Committed, "info", "certificate issued", "issuer", rev.Issuer, "revision", strconv.Itoa(rev.Number), "serial", rev.Serial,
			"notAfter", instant(rev.NotAfter), "instead", rev.Instead)
	}
	h.addRecord(rec)
	if order != nil {
		h.add(order.Created, "info", "order created", "issuer", order.Issuer, "reason", order.Reason, "order", order.URL)
		if order.Failure != nil {
			h.addFailure(order.Issuer, *order.Failure)
		}
	}
	slices.SortStableFunc(h, func(a, b control.LogEntry) int { return a.Time.Compare(b.Time) })
	return h, nil
}

// events are entries of one record.
type events []control.LogEntry

// add appends an event that happened, with those of the fields that have a value.
func (h *events) add(at time.Time, level, message string, fields ...string) {
	if at.IsZero() {
		return
	}
	e := control.LogEntry{Time: at, Source: "record", Level: level, Message: message}
	for i := 0; i+1 < len(fields); i += 2 {
		if fields[i+1] != "" {
			e.Fields = append(e.Fields, control.LogField{Key: fields[i], Value: fields[i+1]})
		}
	}
	*h = append(*h, e)
}

func (h *events) addRecord(rec store.Record) {
	for _, issuer := range slices.Sorted(maps.Keys(rec.Failures)) {
		h.addFailure(issuer, rec.Failures[issuer])
	}
	for _, key := range slices.Sorted(maps.Keys(rec.Targets)) {
		t := rec.Targets[key]
		h.add(t.At, "info", "deployed", "target", key, "revision", strconv.Itoa(t.Revision), "note", t.Note)
		h.addSetback("deployment failed", key, t.Failed)
	}
	h.addSetback("deployment did not start", "", rec.Refused)
	for _, sum := range slices.Sorted(maps.Keys(rec.Revoked)) {
		h.add(rec.Revoked[sum].At, "warn", "certificate revoked", "reason", rec.Revoked[sum].Reason, "sha256", sum)
	}
	h.add(rec.Requested, "info", "renewal requested", "forced", map[bool]string{true: "yes"}[rec.Forced])
	h.add(rec.Retired, "info", "spec removed")
}

func (h *events) addFailure(issuer string, f store.Failure) {
	said := slices.DeleteFunc([]string{f.Op, f.Detail}, func(s string) bool { return s == "" })
	h.add(f.At, "warn", "issuance failed", "issuer", issuer, "kind", f.Kind, "problem", f.Problem, "domain", f.Name,
		"attempt", strconv.Itoa(f.Count), "next", instantAfter(f.RetryAt, f.At), "error", strings.Join(said, ": "), "hint", f.Hint)
}

func (h *events) addSetback(message, target string, f *store.Setback) {
	if f == nil {
		return
	}
	h.add(f.At, "warn", message, "target", target, "problem", f.Problem, "attempt", strconv.Itoa(f.Count), "next", instant(f.RetryAt),
		"hint", f.Hint, "output", f.Output)
}

func instant(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

// instantAfter is instant for the next attempt after one; "": it is not later.
func instantAfter(t, last time.Time) string {
	if t.Sub(last) < time.Second {
		return ""
	}
	return instant(t)
}
