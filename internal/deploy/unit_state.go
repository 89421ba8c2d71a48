package deploy

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// unitState is what systemd reports of a unit.
type unitState struct {
	Load, Active, Sub string
	Type              string // of a service; "": it is no service
	Remains           bool   // RemainAfterExit=: a oneshot unit that stays active
	CanReload         bool
	ReloadResult      string // of the last reload of a service; "": it is no service
	Invocation        string // of the current or last run
	Restarts          uint32 // automatic ones, since it was started by hand
	Job               string // the type of the job that is queued or runs; "": none

	// The processes of the current or last run, in microseconds of the monotonic clock; zero: not yet.
	Main                  uint32 // PID of the main process; zero: systemd does not know one
	Started, Left, Exited uint64 // the unit left "inactive", it left "active", the main process exited

	Reload   uint64    // when its ExecReload= began last, on the same clock
	ReloadAt time.Time // the same, on the other clock

	Age        time.Duration // since it was started
	LimitEvery time.Duration // StartLimitIntervalSec=; zero: no limit
	LimitBurst uint32        // StartLimitBurst=

	ReloadsTo, RestartsTo []string // units to which systemd passes a reload, and a restart
}

// properties are what D-Bus reports of a unit.
type properties map[string]any

func property[T any](p properties, name string) T {
	value, _ := p[name].(T)
	return value
}

// stateFrom reads properties, at an instant of the monotonic clock.
func stateFrom(p properties, now uint64) unitState {
	s := unitState{
		Load: property[string](p, "LoadState"), Active: property[string](p, "ActiveState"), Sub: property[string](p, "SubState"),
		Type: property[string](p, "Type"), Remains: property[bool](p, "RemainAfterExit"), CanReload: property[bool](p, "CanReload"),
		ReloadResult: property[string](p, "ReloadResult"), Invocation: hex.EncodeToString(property[[]byte](p, "InvocationID")),
		Restarts: property[uint32](p, "NRestarts"), Main: property[uint32](p, "ExecMainPID"),
		Started: property[uint64](p, "InactiveExitTimestampMonotonic"), Left: property[uint64](p, "ActiveExitTimestampMonotonic"),
		Exited:     property[uint64](p, "ExecMainExitTimestampMonotonic"),
		LimitEvery: microseconds(property[uint64](p, "StartLimitIntervalUSec")), LimitBurst: property[uint32](p, "StartLimitBurst"),
		ReloadsTo: property[[]string](p, "PropagatesReloadTo"), RestartsTo: property[[]string](p, "ConsistsOf"),
	}
	if s.Started > 0 && s.Started < now {
		s.Age = microseconds(now - s.Started)
	}
	for _, command := range property[[][]any](p, "ExecReload") {
		const began, beganMonotonic = 3, 4 // of the ten members of a command
		at, _ := command[began].(uint64)
		if m, _ := command[beganMonotonic].(uint64); m > s.Reload {
			s.Reload, s.ReloadAt = m, time.UnixMicro(int64(at))
		}
	}
	if job := property[[]any](p, "Job"); len(job) > 0 && job[0] != uint32(0) {
		s.Job = "unknown"
	}
	return s
}

// microseconds is a duration of systemd's; its infinity is as long as there is.
func microseconds(n uint64) time.Duration {
	return time.Duration(min(n, uint64((1<<63-1)/int64(time.Microsecond)))) * time.Microsecond
}

// monotonic is now on the clock of systemd's monotonic timestamps.
func monotonic() uint64 {
	var at unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &at); err != nil {
		return 0
	}
	return uint64(at.Nano() / int64(time.Microsecond))
}

// loaded refuses a unit that systemd cannot work with.
func (s unitState) loaded(unit string) error {
	switch s.Load {
	case "loaded":
		return nil
	case "masked":
		return &blocked{unit + " is masked", "systemctl unmask " + unit + ", or take it out of the spec"}
	case "not-found":
		return &blocked{"systemd does not know the unit " + unit, "run systemctl list-units, and write the name with its suffix"}
	}
	return &blocked{fmt.Sprintf("systemd cannot read the unit %s: %s", unit, s.Load), "systemctl status " + unit}
}

// runs reports whether a unit is up, or on its way up. Between two automatic restarts it is down.
func (s unitState) runs() bool {
	switch s.Active {
	case "active", "reloading", "refreshing":
		return true
	case "activating":
		return !strings.HasPrefix(s.Sub, "auto-restart")
	}
	return false
}

// neverRuns reports whether a unit does its work when it is started, and is over then.
func (s unitState) neverRuns() bool { return s.Type == "oneshot" && !s.Remains }

// empty reports whether a unit has no process of its own while it is active: an umbrella over others, as
// postfix.service and postgresql.service are.
func (s unitState) empty() bool { return s.Type == "" || s.Type == "oneshot" }

// busy reports whether systemd has not finished with a unit.
func (s unitState) busy() bool {
	return s.Job != "" || s.Active == "reloading" || s.Active == "refreshing"
}

// stopped reports whether somebody has had a unit stopped: then it left "active" before its main process exited. One that
// ended by itself left "active" because of that.
func (s unitState) stopped() bool {
	switch s.Job {
	case "stop", "restart", "try-restart":
		return true
	}
	return !s.runs() && s.Main != 0 && s.Left >= s.Started && (s.Exited == 0 || s.Left < s.Exited)
}

// endedBy reports whether a reload since that time has ended a unit.
func (s unitState) endedBy(reloadSince time.Time) bool {
	return !reloadSince.IsZero() && !s.ReloadAt.Before(reloadSince) &&
		s.Reload > 0 && s.Exited >= s.Reload && microseconds(s.Exited-s.Reload) <= lifeAfter
}

// ran reports whether a unit has run since the machine started.
func (s unitState) ran() bool { return s.Started > 0 }

// rest is how long to leave a unit alone before a restart, so that the restarts alone never exceed its start limit.
func (s unitState) rest() time.Duration {
	if s.LimitEvery <= 0 || s.LimitBurst == 0 || !s.ran() {
		return 0
	}
	const margin = 100 * time.Millisecond
	return max(0, s.LimitEvery/time.Duration(s.LimitBurst)+margin-s.Age)
}

// fate is what has become of a unit since it was looked at.
type fate uint8

const (
	fateLives   fate = iota // it runs, as it did
	fateStopped             // somebody has stopped it: it reads its files when it starts
	fateEnded               // it has ended by itself, and may run again
)

// since judges a unit by its state before and its state now.
func (s unitState) since(before unitState) fate {
	switch {
	case s.stopped():
		return fateStopped
	case s.runs() && s.Invocation == before.Invocation && s.Restarts <= before.Restarts:
		return fateLives
	}
	return fateEnded
}
