package control

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"slices"
	"strings"
)

// Code says what kind of error it is, for programs.
type Code string

// The codes of errors.
const (
	NotFound    Code = "notFound"    // no certificate or issuer has that name
	Invalid     Code = "invalid"     // the request makes no sense
	Conflict    Code = "conflict"    // it makes sense, but not in the present state
	Internal    Code = "internal"    // acmed's own trouble
	Unavailable Code = "unavailable" // the daemon is not running, not reachable, or stopping
)

// status is the code's HTTP status.
func (c Code) status() int {
	switch c {
	case NotFound:
		return http.StatusNotFound
	case Invalid:
		return http.StatusBadRequest
	case Conflict:
		return http.StatusConflict
	case Unavailable:
		return http.StatusServiceUnavailable
	default:
		return http.StatusInternalServerError
	}
}

// Error is what goes wrong, on both ends of the socket.
type Error struct {
	Code    Code   `json:"code"`
	Message string `json:"error"`
	Hint    string `json:"hint,omitempty"` // what to do about it
}

// Error returns the message without the hint.
func (e *Error) Error() string { return e.Message }

// Errorf returns an *Error without a hint.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// Unknown returns the error for a certificate that is not among known, with the names that are nearest.
func Unknown(name string, known iter.Seq[string]) *Error {
	e := Errorf(NotFound, "no certificate is called %q", name)
	e.Hint = "acmed list shows them all"
	if near := nearest(name, known); len(near) > 0 {
		e.Hint = "did you mean " + strings.Join(near, ", ") + "?"
	}
	return e
}

// asError returns err as it goes over the wire.
func asError(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return &Error{Code: cmp.Or(e.Code, Internal), Message: err.Error(), Hint: e.Hint}
	}
	return &Error{Code: Internal, Message: err.Error(), Hint: "journalctl -u acmed may tell more"}
}

// nearest returns up to three of known that somebody who typed name may have meant, best first: those that differ
// in few letters, and those that continue it.
func nearest(name string, known iter.Seq[string]) []string {
	type candidate struct {
		name  string
		edits int
	}
	var near []candidate
	for k := range known {
		if d := distance(name, k); d <= 1+len(name)/5 || len(name) > 2 && strings.Contains(k, name) {
			near = append(near, candidate{k, d})
		}
	}
	slices.SortFunc(near, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.edits, b.edits), strings.Compare(a.name, b.name))
	})
	var names []string
	for _, c := range near[:min(3, len(near))] {
		names = append(names, c.name)
	}
	return names
}

// distance counts the bytes to insert, delete or replace that make a into b (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			edits := diagonal
			if a[i] != b[j] {
				edits = 1 + min(diagonal, row[j], row[j+1])
			}
			diagonal, row[j+1] = row[j+1], edits
		}
	}
	return row[len(b)]
}
