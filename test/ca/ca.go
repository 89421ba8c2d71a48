// Package ca holds what the packages that run a CA as a subprocess have in common: keys and certificates, a client for
// interfaces other than ACME, the way to a free port, and the end of a log for a test that failed.
//
// It never runs a process and never speaks ACME.
package ca

import (
	"bytes"
	"errors"
	"regexp"
	"testing"

	"acmed/test/process"
)

// attempts bounds how often OnFreePorts starts a CA: another process can take a port before the CA does.
const attempts = 5

// OnFreePorts calls start, which chooses ports, until it does not fail with [process.ErrPortTaken].
func OnFreePorts[S any](start func() (S, error)) (s S, err error) {
	for range attempts {
		if s, err = start(); !errors.Is(err, process.ErrPortTaken) {
			return s, err
		}
	}
	return s, err
}

// Server is a CA that a test closes.
type Server interface {
	Close()
	Log() ([]byte, error)
}

// Started is for a function Start of a CA's package: it fails the test if err is set, closes the server at the end of the
// test, and shows the end of the CA's log if the test has failed.
func Started[S Server](t testing.TB, name string, s S, err error) S {
	t.Helper()
	if err != nil {
		t.Fatalf("starting %s: %v", name, err)
	}
	t.Cleanup(func() {
		s.Close()
		if t.Failed() {
			log, err := s.Log()
			t.Logf("the end of the log of %s (%v):\n%s", name, err, lastLines(log, 60))
		}
	})
	return s
}

func lastLines(text []byte, n int) []byte {
	lines := bytes.SplitAfter(text, []byte("\n"))
	return bytes.Join(lines[max(0, len(lines)-n):], nil)
}

// Count returns the number of matches of an expression in the log of a CA.
func Count(t testing.TB, s Server, expression string) int {
	t.Helper()
	log, err := s.Log()
	if err != nil {
		t.Fatal(err)
	}
	return len(regexp.MustCompile(expression).FindAllIndex(log, -1))
}
