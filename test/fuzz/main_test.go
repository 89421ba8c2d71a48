package main

import "testing"

func TestOnlyTheEndOfTheTimeIsNoFailure(t *testing.T) {
	for out, want := range map[string]bool{
		"--- FAIL: FuzzX (10.10s)\n    context deadline exceeded\nFAIL\n":                                              true,
		"--- FAIL: FuzzX (0.1s)\n    x_test.go:1: context deadline exceeded\n\n    Failing input written to a\nFAIL\n": false,
		"--- FAIL: FuzzX (0.1s)\n    context deadline exceeded\n\n    Failing input written to a\nFAIL\n":              false,
		"# acmed/internal/x\nsyntax error\n":                                                                           false,
	} {
		if got := timeIsUp([]byte(out)); got != want {
			t.Errorf("%q: got %v", out, got)
		}
	}
}

func TestTargetsAreFound(t *testing.T) {
	targets, err := find("../../internal")
	if err != nil || len(targets) < 8 {
		t.Errorf("found %d targets: %v", len(targets), err)
	}
}
