package deploy

import (
	"context"
	"errors"
	"io"
	"path/filepath"
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
func StartTLS(conn io.ReadWriter, protocol, name string) error { return startTLS(conn, protocol, name) }

// UnitState is unitState.
type UnitState = unitState

// Manager is manager.
type Manager = manager

// UnitsOf has units changed by another systemd.
func UnitsOf(m Manager) Units {
	return systemd{func(context.Context) (manager, error) { return m, nil }}
}

// StateFrom reads properties.
func StateFrom(p map[string]any, now uint64) UnitState { return stateFrom(p, now) }

// Ended reports whether an error is that of a unit that ended.
func Ended(err error) bool { _, ok := errors.AsType[*endedUnit](err); return ok }

// ReadEntry reads what is at a path, as it is read to be compared.
func ReadEntry(path string) ([]byte, error) {
	dir, err := openFolder(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.close()
	return readEntry(dir, filepath.Base(path), 1<<10)
}

// ErrJobEndless is errJobEndless.
var ErrJobEndless = errJobEndless

// The hints of deployments.
var (
	JobHint     = jobHint
	ConnectHint = connectHint
	WriteHint   = writeHint
	UserHint    = userHint
	ErrOnlyRoot = errOnlyRoot
	Unreachable = unreachable
)

// HintOf runs a program and gives what to do about its failure.
func HintOf(ctx context.Context, program string) string {
	return command{argv: []string{program}, grace: time.Second}.run(ctx).hint
}

// CopyTo has private copies made in a directory that need not be in memory.
func (e *Executor) CopyTo(dir string) {
	e.copies = copies{[]string{dir}, func(string) error { return nil }}
}

// InMemory is inMemory.
var InMemory = inMemory
