package deploy

import (
	"context"
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
