package migrate

import (
	"io"
	"os"
	"regexp"
	"strings"
	"syscall"
)

// This file finds hooks that cannot work with a private copy of the certificate, which is gone when the hook ends.

var (
	// namesCopy is how a hook refers to what it is given. dehydrated passes paths, which its import takes from ACMED_LIVE.
	namesCopy = regexp.MustCompile(`\b(RENEWED_LINEAGE|ACMED_LIVE)\b`)
	// outlives is how a hook keeps a path: in a link, a mount, or a process that goes on.
	outlives = regexp.MustCompile(`(^|[\s;&|(/])(ln\s|nohup\s|setsid\s|disown\b|systemd-run\s|at\s+(now|-)|mount\s+(--bind|-o\s*bind))` +
		`|--no-block\b|symlink\b|[^&>|]&\s*($|\n|;|\))`)
	// comments are lines that a shell, and many other languages, skip.
	comments = regexp.MustCompile(`(?m)^\s*#.*$`)
	// programPath is a program that a command names.
	programPath = regexp.MustCompile(`/[\w./+-]+`)
)

// maxHook is the maximum size in bytes of a hook that is searched.
const maxHook = 256 << 10

// KeepsPath reports whether a command seems to keep the path of the certificate for later. The command line and the
// scripts that it names are searched for the usual ways.
func KeepsPath(words []string) bool {
	text := strings.Join(words, " ")
	for _, program := range programPath.FindAllString(text, -1) {
		text += "\n" + script(program)
	}
	text = comments.ReplaceAllString(text, "")
	return namesCopy.MatchString(text) && outlives.MatchString(text)
}

// script returns the text of a program that an interpreter reads; "" for all others.
func script(program string) string {
	f, err := os.OpenFile(program, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: a FIFO must not hold us up
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return ""
	}
	text, err := io.ReadAll(io.LimitReader(f, maxHook))
	if err != nil || !strings.HasPrefix(string(text), "#!") {
		return ""
	}
	return string(text)
}
