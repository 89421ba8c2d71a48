//go:build e2e

package boulder_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"text/tabwriter"

	"acmed/test/boulder"
	"acmed/test/matrix"
)

// document is what compare reads, and with UPDATE=1 writes.
const document = "../../docs/compatibility.md"

// compare checks that the document has what was seen. Only a complete run without a failure can write it.
func (s *suite) compare(t *testing.T) {
	t.Helper()
	old, err := os.ReadFile(document)
	check(t, err)
	if t.Failed() || len(s.rows) < len(scenarios()) || *short {
		s.compareRows(t, string(old))
		return
	}
	text, err := matrix.Rewrite(string(old), map[string]string{"boulder": s.table(t)})
	check(t, err)
	switch {
	case text == string(old):
	case os.Getenv("UPDATE") != "":
		check(t, os.WriteFile(document, []byte(text), 0o644))
	default:
		t.Errorf("docs/compatibility.md is not what was seen; UPDATE=1 writes it:\n%s", matrix.Difference(string(old), text))
	}
}

// compareRows checks that the document has the row of each scenario that passed.
func (s *suite) compareRows(t *testing.T, text string) {
	t.Helper()
	passed := &suite{}
	for _, r := range s.rows {
		if !r.failed {
			passed.rows = append(passed.rows, r)
		}
	}
	for line := range strings.Lines(passed.table(t)) {
		if !strings.Contains(text, line) {
			t.Errorf("docs/compatibility.md does not have this line: %s", line)
		}
	}
}

func (s *suite) table(t *testing.T) string {
	t.Helper()
	rows := [][]string{{boulder.Version(t), "requests per issuance", "requests per renewal"}}
	for _, r := range s.rows {
		rows = append(rows, []string{r.scenario, withoutPolls(r.issuance), withoutPolls(r.renewal)})
	}
	return matrix.Table(rows)
}

// withoutPolls leaves out the polls of orders, whose number depends on the machine, and the renewal information of
// certificates of the scenario before, which may come late.
func withoutPolls(r boulder.Requests) string {
	fixed := r.Since(boulder.Requests{"order": r["order"], "renewalInfo": max(0, r["renewalInfo"]-r["certificate"])})
	if fixed.Total() == 0 {
		return ""
	}
	return fmt.Sprintf("%d: %s", fixed.Total(), fixed)
}

// print shows the table of scenarios.
func (s *suite) print() {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "\nSCENARIO\tRESULT\tTIME\tREQUESTS PER ISSUANCE\tPER RENEWAL")
	for _, r := range s.rows {
		result := "passed"
		if r.failed {
			result = "FAILED"
		}
		fmt.Fprintf(w, "%s\t%s\t%.0f s\t%s\t%s\n", r.scenario, result, r.took.Seconds(), perOne(r.issuance), perOne(r.renewal))
	}
	_ = w.Flush() // standard output is gone only with its reader
}

func perOne(r boulder.Requests) string {
	if len(r) == 0 {
		return "-"
	}
	return fmt.Sprintf("%d (%s)", r.Total(), r)
}
