package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/sectigo"
)

// The exit codes; see the package comment.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
	exitConfig = 78 // EX_CONFIG of sysexits(3); systemd is told not to restart on it
)

// errReported fails a command that has said already what is wrong.
var errReported = errors.New("reported")

// failure is an error with an exit code and what to do about it.
type failure struct {
	error
	code int
	hint string // "": nothing to add
}

func (f *failure) Unwrap() error { return f.error }

// exit tells what went wrong and returns the exit code.
func (a *app) exit(err error) int {
	if err == nil {
		return exitOK
	}
	code, hint := exitFailed, ""
	if f, ok := errors.AsType[*failure](err); ok {
		code, hint = f.code, f.hint
	}
	if e, ok := errors.AsType[*control.Error](err); ok {
		hint = e.Hint
	}
	if e, ok := errors.AsType[*sectigo.Error](err); ok && hint == "" {
		hint = e.Hint
	}
	if e, ok := errors.AsType[*acme.Error](err); ok && hint == "" {
		hint = e.Hint
	}
	switch {
	case errors.Is(err, errReported):
		return code
	case errors.Is(err, context.Canceled):
		a.say("interrupted")
	default:
		a.say("%v", err)
	}
	if hint != "" {
		a.say("what to do: %s", hint)
	}
	return code
}

// usagef returns an error about the command line.
func usagef(cmd *cobra.Command, format string, args ...any) error {
	return &failure{fmt.Errorf(format, args...), exitUsage, cmd.CommandPath() + " --help"}
}

// argsUpTo allows at most n arguments.
func argsUpTo(n int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > n {
			return usagef(cmd, "%q is one argument too many", args[n])
		}
		return nil
	}
}

// oneArg asks for one argument.
func oneArg(question string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usagef(cmd, "%s", question)
		}
		return argsUpTo(1)(cmd, args)
	}
}

// twoArgs asks for two arguments or more.
func twoArgs(question string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) < 2 {
			return usagef(cmd, "%s", question)
		}
		return nil
	}
}
