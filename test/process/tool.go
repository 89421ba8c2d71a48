package process

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Tool compiles a program at the version that tools/MODULE/go.mod pins, statically linked, and returns its path in Go's
// build cache. With a warm cache that takes a fraction of a second. Variables of env replace those of the build, such as
// CGO_ENABLED=1.
func Tool(module, name string, env ...string) (string, error) {
	return goCommand(module, env, "tool", "-n", name)
}

// Source returns the directory of a dependency's source, at the version that tools/MODULE/go.mod pins.
func Source(module, dependency string, env ...string) (string, error) {
	return goCommand(module, env, "list", "-m", "-f", "{{.Dir}}", dependency)
}

func goCommand(module string, env []string, args ...string) (string, error) {
	gomod, err := output(exec.Command("go", "env", "GOMOD"))
	if err != nil {
		return "", err
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = filepath.Join(filepath.Dir(gomod), "tools", module)
	// Without cgo the demo needs no C compiler and the programs run in any
	// container. GOFLAGS of the surrounding test must not leak in.
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS="), env...)
	return output(cmd)
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

// ToolVersion returns the version of a dependency that tools/MODULE/go.mod pins.
func ToolVersion(module, dependency string) (string, error) {
	gomod, err := output(exec.Command("go", "env", "GOMOD"))
	if err != nil {
		return "", err
	}
	text, err := os.ReadFile(filepath.Join(filepath.Dir(gomod), "tools", module, "go.mod"))
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) >= 2 && fields[0] == dependency {
			return fields[1], nil
		}
	}
	return "", fmt.Errorf("reading the version of %s: tools/%s does not require it", dependency, module)
}
