// Command fuzz runs every fuzz target of the module for a while, one after the other, and prints a line for each.
//
// It owns the list, which it reads in the sources, and knows one thing that `go test` does not: that a target whose
// time is up while a worker is busy has not failed (golang/go#75804).
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

func main() {
	each := flag.Duration("time", 10*time.Second, "how long each target runs")
	flag.Parse()
	if err := run(*each); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// target is one function of one package.
type target struct{ pkg, name string }

func run(each time.Duration) error {
	targets, err := find("internal")
	if err != nil {
		return err
	}
	var errs []error
	for _, t := range targets {
		began := time.Now()
		err := t.run(each)
		fmt.Printf("%-20s %-24s %5.1fs  %s\n", t.pkg, t.name, time.Since(began).Seconds(), verdict(err))
		errs = append(errs, err)
	}
	if len(targets) == 0 {
		return errors.New("looking for fuzz targets: there are none; run this in the top folder")
	}
	return errors.Join(errs...)
}

func verdict(err error) string {
	if err != nil {
		return "FAILED"
	}
	return "ok"
}

// find reads which targets there are.
func find(root string) (targets []target, err error) {
	declaration := regexp.MustCompile(`(?m)^func (Fuzz\w+)\(`)
	err = filepath.WalkDir(root, func(file string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(file, "_test.go") {
			return err
		}
		text, err := os.ReadFile(file)
		for _, m := range declaration.FindAllSubmatch(text, -1) {
			targets = append(targets, target{filepath.Dir(file), string(m[1])})
		}
		return err
	})
	return targets, err
}

func (t target) run(each time.Duration) error {
	out, err := exec.Command("go", "test", "-run=^$", "-fuzz=^"+t.name+"$", "-fuzztime="+each.String(), "./"+t.pkg).CombinedOutput()
	if err == nil || timeIsUp(out) {
		return nil
	}
	return fmt.Errorf("fuzzing %s in %s: %w\n%s", t.name, t.pkg, err, out)
}

// timeIsUp recognises the end of the time that is reported as a failure: one without an input that fails.
func timeIsUp(out []byte) bool {
	return bytes.Contains(out, []byte("\n    context deadline exceeded\n")) && !bytes.Contains(out, []byte("Failing input"))
}
