package pebble

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
)

// Tools are the paths of the two programs, statically linked.
type Tools struct {
	Pebble, ChallTestSrv string
}

// Build compiles the programs at the versions that tools/pebble/go.mod pins
// and returns their paths in Go's build cache. It does so once a process; with
// a warm cache that takes half a second.
func Build() (Tools, error) { return build() }

var build = sync.OnceValues(func() (Tools, error) {
	root, err := moduleRoot()
	if err != nil {
		return Tools{}, err
	}
	pebble, err := buildTool(root, "pebble")
	if err != nil {
		return Tools{}, err
	}
	chall, err := buildTool(root, "pebble-challtestsrv")
	return Tools{Pebble: pebble, ChallTestSrv: chall}, err
})

func buildTool(root, name string) (string, error) {
	cmd := exec.Command("go", "tool", "-modfile=tools/pebble/go.mod", "-n", name)
	cmd.Dir = root
	// Without cgo the demo needs no C compiler and the programs run in any
	// container. GOFLAGS of the surrounding test must not leak in.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	return output(cmd)
}

func moduleRoot() (string, error) {
	gomod, err := output(exec.Command("go", "env", "GOMOD"))
	return filepath.Dir(gomod), err
}

func output(cmd *exec.Cmd) (string, error) {
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("running %s: %w: %s", strings.Join(cmd.Args, " "), err, bytes.TrimSpace(stderr.Bytes()))
	}
	return strings.TrimSpace(string(out)), nil
}
