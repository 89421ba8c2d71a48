// Command table reads the output of `go test -bench`, shows it as it comes on stderr, and prints one table of all
// figures at the end, in Markdown, as docs/performance.md has them. It fails when a benchmark does.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"time"
)

func main() {
	ok, err := convert(os.Stdin, os.Stdout, os.Stderr)
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a table of benchmarks:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// convert tells whether everything it read of went well.
func convert(in io.Reader, table, progress io.Writer) (ok bool, err error) {
	ok = true
	var rows strings.Builder
	var pkg, cpu string
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		line := lines.Text()
		fmt.Fprintln(progress, line)
		if name, found := strings.CutPrefix(line, "pkg: "); found {
			pkg = path.Base(name)
		}
		if name, found := strings.CutPrefix(line, "cpu: "); found {
			cpu = name
		}
		if strings.HasPrefix(strings.TrimSpace(line), "--- FAIL") || strings.HasPrefix(line, "FAIL") {
			ok = false
		}
		if name, figures := parse(line); figures != "" {
			fmt.Fprintf(&rows, "| %s | %s | %s |\n", pkg, name, figures)
		}
	}
	fmt.Fprintf(table, "%s, %d cores, %s, %s\n\n", cpu, runtime.NumCPU(), runtime.Version(), time.Now().Format(time.DateOnly))
	fmt.Fprint(table, "| Part | Measured | Figures |\n|---|---|---|\n", rows.String())
	return ok, lines.Err()
}

var result = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\t(.*)$`)

// parse returns what one line measures; figures are "" when it is no result.
func parse(line string) (name, figures string) {
	m := result.FindStringSubmatch(line)
	if m == nil {
		return "", ""
	}
	all := strings.Split(m[2], "\t")
	whole := strings.Contains(m[2], " ns/op") // else the program that measures is not what is measured
	var out []string
	for _, figure := range all {
		value, unit, _ := strings.Cut(strings.TrimSpace(figure), " ")
		if n, err := strconv.ParseFloat(value, 64); err == nil && (whole || unit != "B/op" && unit != "allocs/op") {
			out = append(out, show(n, unit))
		}
	}
	return strings.ReplaceAll(m[1], "/", ", "), strings.Join(out, ", ")
}

// show says a figure in few digits. Its unit is one of Go's own, or "UNIT/WHAT" for the figure called WHAT.
func show(n float64, unit string) string {
	unit, what, _ := strings.Cut(unit, "/")
	switch {
	case unit == "ns":
		return digits(n, "ns", "µs", "ms", "s")
	case unit == "B" && what == "op":
		return digits(n, "B", "kB", "MB", "GB")
	case what == "op":
		return digits(n, unit)
	}
	return what + " " + digits(n, unit)
}

// digits shows n in the largest unit in which it is at least one; each is a thousand of the one before.
func digits(n float64, units ...string) string {
	for ; len(units) > 1 && n >= 1000; units = units[1:] {
		n /= 1000
	}
	short, _ := strconv.ParseFloat(strconv.FormatFloat(n, 'g', 3, 64), 64) // it was a number before
	return strconv.FormatFloat(short, 'f', -1, 64) + " " + units[0]
}
