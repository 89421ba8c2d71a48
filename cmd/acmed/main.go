// Command acmed keeps TLS certificates valid, and served.
//
// `acmed run` is the daemon. Every other command talks to it over its control socket, or, like `acmed check`,
// needs no daemon at all.
//
// Files: /etc/acmed/acmed.yaml, /etc/acmed/issuers.d, /etc/acmed/certs.d, /var/lib/acmed, /run/acmed.
// Environment: ACMED_SOCKET is the control socket.
// Signals: SIGTERM and SIGINT end a command in order, SIGHUP makes the daemon read its files again.
// Exit codes: 0 done, 1 it did not work, 2 wrong usage, 78 the daemon's configuration is wrong.
//
// Results go to stdout, everything else to stderr behind "acmed: ". This package holds flags, exit codes and
// the formatting of output; it decides nothing.
package main

import (
	"context"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer release()
	context.AfterFunc(ctx, release) // the second signal ends the process at once

	a := &app{stdout: stdout, stderr: stderr, args: args}
	root := a.command()
	root.SetArgs(args)
	return a.exit(root.ExecuteContext(ctx))
}
