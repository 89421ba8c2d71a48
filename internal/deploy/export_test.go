package deploy

import (
	"context"
	"io"
	"time"
)

// SetStep has f asked before each change of the disk.
func (e *Executor) SetStep(f func(op, path string, do func() error) error) { e.disk = ops{f} }

// SetGrace changes how long a command has to end after SIGTERM.
func (e *Executor) SetGrace(d time.Duration) { e.grace = d }

// RunCommand runs a command and gives what came of it.
func RunCommand(ctx context.Context, argv []string, timeout, grace time.Duration, user string, env ...string) (problem, note, output string) {
	end := command{argv: argv, timeout: timeout, grace: grace, user: user, env: env}.run(ctx)
	return end.problem, end.note, end.output
}

// NewProber makes a Prober that is less patient.
func NewProber(limit, attempt time.Duration) *Prober { return &Prober{limit: limit, attempt: attempt} }

// StartTLS is startTLS.
func StartTLS(conn io.ReadWriter, protocol string) error { return startTLS(conn, protocol) }
