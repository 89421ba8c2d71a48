package deploy

import (
	"context"
	"errors"
	"os"
	"slices"
	"time"

	"github.com/coreos/go-systemd/v22/dbus"
)

// Units has systemd give units their new certificate.
type Units interface {
	// Change has a unit read its files again and waits for the result of systemd's job. The function that it returns
	// waits until the unit has lived with them for a while. It returns an error unless the unit has accepted them; the note
	// is what is worth knowing of a success: a unit that does not run needs nothing.
	Change(ctx context.Context, c UnitChange) (settle func(context.Context) (note string, err error))
}

// UnitChange is what a unit has to do about a new certificate.
type UnitChange struct {
	Unit    string
	Restart bool // a restart rather than a reload
	// Ended is for a unit that ended with an earlier change and has accepted none since: while it is down, it has accepted
	// nothing.
	Ended bool
	// Again is for one that ended with a change to this very certificate: once it runs again, it has read it.
	Again bool
	// Live is since when the certificate has been live; zero: not known. A unit that a reload has ended since then is not one
	// that was stopped, whichever program asked for the reload: acmed may have been killed before it could note the end.
	Live time.Time
}

// manager is the part of systemd that is needed.
type manager interface {
	// Look returns the state of a unit, loaded or not.
	Look(ctx context.Context, unit string) (unitState, error)
	// Change reloads a unit, or restarts it if it runs, and returns the result of the job.
	Change(ctx context.Context, unit string, restart bool) (result string, err error)
	Close()
}

// systemd opens a connection for each change: changes are rare.
type systemd struct {
	connect func(context.Context) (manager, error)
}

// Systemd gives the units of this machine.
func Systemd() Units { return systemd{connect} }

// Change implements Units.
func (s systemd) Change(ctx context.Context, c UnitChange) func(context.Context) (string, error) {
	m, err := s.connect(ctx)
	if err != nil {
		return settled("", c.still(&blocked{"calling systemd for " + c.Unit + ": " + err.Error(),
			connectHint(c.verb(), err)}))
	}
	w := &unitWatch{manager: m, change: c}
	over, note, err := w.begin(ctx)
	if err != nil && !w.asked {
		err = c.still(err)
	}
	if err != nil || over {
		m.Close()
		return settled(note, err)
	}
	w.begun = time.Now()
	return func(ctx context.Context) (string, error) {
		defer m.Close()
		return w.settle(ctx)
	}
}

// still remembers of a unit that had ended that it has, when an error kept it from being looked at.
func (c UnitChange) still(err error) error {
	if _, known := errors.AsType[*endedUnit](err); known || !c.Ended {
		return err
	}
	b, ok := errors.AsType[*blocked](err)
	if !ok {
		b = &blocked{err.Error(), "journalctl -u " + c.Unit}
	}
	return &endedUnit{b}
}

// settled is the end of a change of which there is nothing to wait for.
func settled(note string, err error) func(context.Context) (string, error) {
	return func(context.Context) (string, error) { return note, err }
}

// bus is systemd, over D-Bus.
type bus struct{ conn *dbus.Conn }

// connect takes systemd's own socket where it lets us, which needs no message bus.
func connect(ctx context.Context) (manager, error) {
	if os.Geteuid() == 0 {
		if conn, err := dbus.NewSystemdConnectionContext(ctx); err == nil {
			return bus{conn}, nil
		}
	}
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, err
	}
	return bus{conn}, nil
}

func (b bus) Close() { b.conn.Close() }

// Look implements manager.
func (b bus) Look(ctx context.Context, unit string) (unitState, error) {
	for {
		all, err := b.conn.GetAllPropertiesContext(ctx, unit)
		if err != nil {
			return unitState{}, err
		}
		s := stateFrom(properties(all), monotonic())
		if s.Job == "" {
			return s, nil
		}
		jobs, err := b.conn.ListJobsContext(ctx)
		if err != nil {
			return unitState{}, err
		}
		if i := slices.IndexFunc(jobs, func(j dbus.JobStatus) bool { return j.Unit == unit }); i >= 0 {
			s.Job = jobs[i].JobType
			return s, nil
		} // else it has ended since
	}
}

// Change implements manager.
func (b bus) Change(ctx context.Context, unit string, restart bool) (string, error) {
	result := make(chan string, 1) // or go-systemd stalls
	start := b.conn.ReloadOrTryRestartUnitContext
	if restart {
		start = b.conn.TryRestartUnitContext
	}
	if _, err := start(ctx, unit, "replace", result); err != nil {
		return "", err
	}
	select {
	case r := <-result:
		return r, nil
	case <-ctx.Done():
		return "", errors.Join(errJobEndless, ctx.Err())
	}
}

// errJobEndless is returned by Change when the time is up before the job has ended.
var errJobEndless = errors.New("the job does not end")
