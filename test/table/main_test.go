package main

import (
	"io"
	"strings"
	"testing"
)

func TestFiguresBecomeATable(t *testing.T) {
	const output = `goos: linux
pkg: acmed/internal/store
cpu: Some CPU
BenchmarkRecord-2   	   52826	     32917 ns/op	    2416 B/op	      29 allocs/op
PASS
pkg: acmed/test/scale
BenchmarkFleet/certificates=1000/new-spec-2         	       1	         0.51371 s/order	  12 B/op	  3 allocs/op
    scale_test.go:9: BenchmarkNot a result
BenchmarkFetch 	       1	         1234567 kB/answer
ok  	acmed/test/scale	46.638s
`
	var table strings.Builder
	ok, err := convert(strings.NewReader(output), &table, io.Discard)
	if !ok || err != nil {
		t.Errorf("it failed: %v", err)
	}
	_, rows, _ := strings.Cut(table.String(), "|---|---|---|\n")
	want := `| store | Record | 32.9 µs, 2.42 kB, 29 allocs |
| scale | Fleet, certificates=1000, new-spec | order 0.514 s |
| scale | Fetch | answer 1230000 kB |
`
	if rows != want {
		t.Errorf("got\n%swant\n%s", rows, want)
	}
	if !strings.HasPrefix(table.String(), "Some CPU, ") {
		t.Errorf("the machine is missing: %s", table.String())
	}
}

func TestAFailureFails(t *testing.T) {
	for _, line := range []string{"FAIL\tacmed/test/scale\t1.2s", "--- FAIL: BenchmarkFleet", "    --- FAIL: BenchmarkFleet/ready"} {
		if ok, _ := convert(strings.NewReader(line+"\n"), io.Discard, io.Discard); ok {
			t.Errorf("%q goes unnoticed", line)
		}
	}
}
