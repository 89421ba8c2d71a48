//go:build e2e

package matrix_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"acmed/test/netns"
	"acmed/test/pebble"
	"acmed/test/site"
	"acmed/test/stepca"
)

var full = flag.Bool("matrix.full", false, "try every cell")

// TestMain runs the tests in a network namespace: the CAs look for proofs on the ports that the RFCs name.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == hookVerb {
		os.Exit(hook(os.Args[2:]))
	}
	os.Exit(netns.Main(func() int { return site.Main(m) }, prepare))
}

// prepare does what needs the network.
func prepare() error {
	if _, err := pebble.Build(); err != nil {
		return err
	}
	if _, err := stepca.Build(); err != nil {
		return err
	}
	if out, err := exec.Command("go", "build", "-o", os.DevNull, "acmed/cmd/acmed").CombinedOutput(); err != nil {
		return fmt.Errorf("building acmed: %w\n%s", err, out)
	}
	return nil
}
