package deploy_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/deploy"
)

// unit is what a systemd that a test has made up knows of a unit.
type unit = deploy.UnitState

// running is a unit of a server in its n-th run.
func running(n uint64) unit {
	return unit{
		Load: "loaded", Active: "active", Sub: "running", Type: "simple", CanReload: true, ReloadResult: "success",
		Invocation: fmt.Sprint(n), Main: uint32(n), Started: 1000 * n,
	}
}

// down is one whose main process exited before (own) or after the unit left "active".
func down(n uint64, active string, own bool) unit {
	u := running(n)
	u.Active, u.Sub, u.Left, u.Exited = active, "dead", u.Started+20, u.Started+10
	if !own {
		u.Exited = u.Left + 10
	}
	return u
}

// event is what becomes of units some time after the job was begun.
type event struct {
	after time.Duration
	units map[string]unit
}

// fakeManager is a systemd whose units change by a script.
type fakeManager struct {
	units  map[string]unit
	script []event
	result string        // of the job; "": done
	takes  time.Duration // the job
	jobs   []string
	began  time.Time
	closed bool
}

func (m *fakeManager) Look(_ context.Context, name string) (unit, error) {
	for len(m.script) > 0 && !m.began.IsZero() && time.Since(m.began) >= m.script[0].after {
		maps.Copy(m.units, m.script[0].units)
		m.script = m.script[1:]
	}
	u, ok := m.units[name]
	if !ok {
		return unit{Load: "not-found", Active: "inactive"}, nil
	}
	return u, nil
}

func (m *fakeManager) Change(ctx context.Context, name string, restart bool) (string, error) {
	verb := "reload"
	if restart {
		verb = "restart"
	}
	m.jobs, m.began = append(m.jobs, verb+" "+name), time.Now()
	select {
	case <-time.After(m.takes):
	case <-ctx.Done():
		return "", errors.Join(deploy.ErrJobEndless, ctx.Err())
	}
	if m.result == "" {
		return "done", nil
	}
	return m.result, nil
}

func (m *fakeManager) Close() { m.closed = true }

// unitCase is a change, and what is to come of it.
type unitCase struct {
	change  deploy.UnitChange
	units   map[string]unit
	script  []event
	result  string
	takes   time.Duration
	note    string
	problem string // a part of it; "": accepted
	ended   bool
	jobs    string        // "": none
	lasts   time.Duration // at least
}

func (c unitCase) run(t *testing.T) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		m := &fakeManager{units: c.units, script: c.script, result: c.result, takes: c.takes}
		if c.change.Unit == "" {
			c.change.Unit = "a.service"
		}
		began := time.Now()
		note, err := deploy.UnitsOf(m).Change(ctx, c.change)(ctx)
		switch {
		case (err == nil) != (c.problem == ""), err != nil && !strings.Contains(err.Error(), c.problem):
			t.Errorf("the error is %v, want %q", err, c.problem)
		case note != c.note && (c.note == "" || !strings.Contains(note, c.note)):
			t.Errorf("the note is %q, want %q", note, c.note)
		case deploy.Ended(err) != c.ended:
			t.Errorf("ended is %v of %v", !c.ended, err)
		}
		if got := strings.Join(m.jobs, ", "); got != c.jobs {
			t.Errorf("systemd was asked to %q, want %q", got, c.jobs)
		}
		if took := time.Since(began); took < c.lasts {
			t.Errorf("it took %v, want %v", took, c.lasts)
		}
		if !m.closed {
			t.Error("the connection stays open")
		}
	})
}

const settles = 5 * time.Second

func only(u unit) map[string]unit { return map[string]unit{"a.service": u} }

func after(d time.Duration, u unit) []event { return []event{{d, only(u)}} }

func with(u unit, edit func(*unit)) unit {
	edit(&u)
	return u
}

func TestAUnitIsReloaded(t *testing.T) {
	for sentence, c := range map[string]unitCase{
		"it runs on":                        {units: only(running(1)), jobs: "reload a.service", lasts: settles},
		"it is not started when it is down": {units: only(down(1, "inactive", false)), note: "not running"},
		"it is not started when it failed":  {units: only(down(1, "failed", true)), note: "not running"},
		"it has never run":                  {units: only(unit{Load: "loaded", Active: "inactive", Type: "simple"}), note: "not running"},
		"it stops":                          {units: only(with(running(1), func(u *unit) { u.Active = "deactivating"; u.Left = u.Started + 5 })), note: "not running"},
		"there is no such unit":             {units: map[string]unit{}, problem: "does not know the unit a.service"},
		"it is masked":                      {units: only(unit{Load: "masked", Active: "active"}), problem: "a.service is masked"},
		"its file is bad":                   {units: only(unit{Load: "bad-setting"}), problem: "cannot read the unit a.service: bad-setting"},
		"its reload fails, and it runs on":  {units: only(running(1)), result: "failed", problem: `the reload of a.service ended with "failed"`, jobs: "reload a.service"},
		"its reload is dropped":             {units: only(running(1)), result: "canceled", problem: `ended with "canceled"`, jobs: "reload a.service"},
		"its reload is skipped":             {units: only(running(1)), result: "skipped", note: "not running", jobs: "reload a.service"},
		"its reload does not end":           {units: only(running(1)), takes: time.Hour, problem: "the reload of a.service does not end", jobs: "reload a.service"},
		"it reads its files for long": {units: only(running(1)), jobs: "reload a.service", lasts: 14 * time.Second,
			script: []event{{0, only(with(running(1), func(u *unit) { u.Active = "reloading" }))}, {10 * time.Second, only(running(1))}}},
		"it has a new main process in the same run": {units: only(running(1)), jobs: "reload a.service", lasts: settles,
			script: after(time.Second, with(running(1), func(u *unit) { u.Main = 77 }))},
	} {
		t.Run(sentence, c.run)
	}
}

func TestAUnitThatEndsWithItsReloadHasNotAcceptedIt(t *testing.T) {
	again := func(u unit) unit { return with(u, func(u *unit) { u.Restarts++ }) }
	for sentence, c := range map[string]unitCase{
		"it exits, and stays down":           {script: after(100*time.Millisecond, down(1, "inactive", true))},
		"it fails":                           {script: after(3*time.Second, down(1, "failed", true))},
		"it waits for its automatic restart": {script: after(time.Second, with(down(1, "activating", true), func(u *unit) { u.Sub = "auto-restart" }))},
		"systemd has started it again":       {script: after(time.Second, again(running(2)))},
		"its socket has started it again":    {script: after(time.Second, running(2))},
		"systemd started it twice":           {script: []event{{time.Second, only(again(running(2)))}, {2 * time.Second, only(again(again(running(3))))}}},
		"it takes its time to stop":          {script: after(time.Second, down(1, "deactivating", true))},
		"at the last moment":                 {script: after(4900*time.Millisecond, down(1, "failed", true))},
		"after a reload that took long":      {takes: time.Minute, script: after(time.Minute+2*time.Second, down(1, "failed", true))},
		"with the job":                       {result: "failed", script: after(0, down(1, "failed", true))},
		"with the job, and it runs again":    {result: "failed", script: after(0, again(running(2)))},
	} {
		c.units, c.jobs, c.ended, c.problem = only(running(1)), "reload a.service", true, "a.service ended with"
		t.Run(sentence, c.run)
	}
}

func TestAUnitThatSomebodyStopsIsNotRunning(t *testing.T) {
	for sentence, c := range map[string]unitCase{
		"it is down already":         {script: after(time.Second, down(1, "inactive", false))},
		"it was killed when it hung": {script: after(time.Second, down(1, "failed", false))},
		"it stops":                   {script: after(time.Second, with(running(1), func(u *unit) { u.Active = "deactivating"; u.Left = u.Started + 5 }))},
		"the job to stop it waits":   {script: after(time.Second, with(running(1), func(u *unit) { u.Job = "stop" }))},
		"somebody restarts it":       {script: after(time.Second, with(running(1), func(u *unit) { u.Job = "restart" }))},
		"the job to stop took its place, and systemd has forgotten the unit": {result: "canceled", script: after(0, unit{Load: "loaded", Active: "inactive", Type: "simple"})},
		"the job to stop took its place":                                     {result: "canceled", script: after(0, with(running(1), func(u *unit) { u.Job = "stop" }))},
	} {
		c.units, c.jobs, c.note = only(running(1)), "reload a.service", "not running"
		t.Run(sentence, c.run)
	}
}

func TestARetryOfAUnitThatEnded(t *testing.T) {
	ended := deploy.UnitChange{Ended: true, Again: true}
	edited := deploy.UnitChange{Ended: true}
	live := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	killed := with(down(1, "inactive", true), func(u *unit) { u.Reload, u.ReloadAt = u.Started+5, live.Add(time.Second) })
	for sentence, c := range map[string]unitCase{
		"it is still down": {change: ended, units: only(down(1, "inactive", true)), problem: "a.service ended with an earlier reload and does not run", ended: true},
		"it has failed":    {change: ended, units: only(down(1, "failed", true)), problem: "does not run", ended: true},
		"it is down, and systemd has forgotten that it ever ran": {change: ended, units: only(unit{Load: "loaded", Active: "inactive", Type: "simple", CanReload: true}), problem: "does not run", ended: true},
		"systemd has forgotten the units for which it stood":     {change: ended, units: only(unit{Load: "loaded", Active: "active", Type: "oneshot", Remains: true, CanReload: true}), problem: "do not run", ended: true},
		"it waits for its next automatic restart":                {change: ended, units: only(with(down(1, "activating", true), func(u *unit) { u.Sub = "auto-restart-queued" })), problem: "does not run", ended: true},
		"it is down, and another certificate is to be read":      {change: edited, units: only(down(1, "failed", true)), problem: "does not run", ended: true},
		"it was restarted, and is down":                          {change: deploy.UnitChange{Ended: true, Again: true, Restart: true}, units: only(down(1, "failed", true)), problem: "ended with an earlier restart", ended: true},
		"it runs again: it has read its files":                   {change: ended, units: only(running(2)), lasts: settles},
		"it starts":                                              {change: ended, units: only(with(running(2), func(u *unit) { u.Active = "activating" })), script: nil, problem: "does not end"},
		"it runs again, for a moment":                            {change: ended, units: only(running(2)), script: after(time.Second, down(2, "failed", true)), problem: "ended within 5s", ended: true},
		"it runs again, and another certificate is to be read":   {change: edited, units: only(running(2)), jobs: "reload a.service", lasts: settles},
		"somebody has stopped it since":                          {change: ended, units: only(down(2, "inactive", false)), note: "not running"},
		"acmed was killed before it could note that it ended":    {change: deploy.UnitChange{Live: live}, units: only(killed), problem: "ended with an earlier reload", ended: true},
		"a reload ended it before this certificate was live":     {change: deploy.UnitChange{Live: live.Add(time.Hour)}, units: only(killed), note: "not running"},
		"it ended by itself long after a reload":                 {change: deploy.UnitChange{Live: live}, units: only(with(killed, func(u *unit) { u.Exited += 6e6; u.Left += 6e6 })), note: "not running"},
		"somebody stopped it within five seconds after a reload": {change: deploy.UnitChange{Live: live}, units: only(with(killed, func(u *unit) { u.Left = u.Exited - 1 })), note: "not running"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if c.change.Again || len(c.script) > 0 { // the script runs without a job
				synctestScript(t, c)
				return
			}
			c.run(t)
		})
	}
}

// synctestScript runs a case whose script begins at once.
func synctestScript(t *testing.T, c unitCase) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		m := &fakeManager{units: c.units, script: c.script, began: time.Now()}
		c.change.Unit = "a.service"
		note, err := deploy.UnitsOf(m).Change(ctx, c.change)(ctx)
		if (err == nil) != (c.problem == "") || err != nil && !strings.Contains(err.Error(), c.problem) || note != c.note || deploy.Ended(err) != c.ended || len(m.jobs) > 0 {
			t.Errorf("%q, %v, and the jobs %v", note, err, m.jobs)
		}
	})
}

func TestAUnitIsRestarted(t *testing.T) {
	restart := deploy.UnitChange{Restart: true}
	cannot := with(running(1), func(u *unit) { u.CanReload = false })
	again := after(0, with(running(2), func(u *unit) { u.CanReload = false }))
	limited := with(running(1), func(u *unit) { u.Age, u.LimitEvery, u.LimitBurst = time.Second, 10*time.Second, 5 })
	for sentence, c := range map[string]unitCase{
		"it runs again":                                  {change: restart, units: only(running(1)), script: after(0, running(2)), jobs: "restart a.service", lasts: settles},
		"in place of a reload, when it cannot":           {units: only(cannot), script: again, jobs: "reload a.service", lasts: settles},
		"it is not started when it is down":              {change: restart, units: only(down(1, "inactive", false)), note: "not running"},
		"it does not start":                              {change: restart, units: only(running(1)), result: "failed", script: after(0, with(down(2, "failed", true), func(u *unit) { u.Left = 1500 })), problem: "a.service ended with it", ended: true, jobs: "restart a.service"},
		"it ends as soon as it has started":              {change: restart, units: only(running(1)), script: after(0, down(2, "failed", true)), problem: "ended within 5s of its restart", ended: true, jobs: "restart a.service"},
		"it ends a little later":                         {change: restart, units: only(running(1)), script: []event{{0, only(running(2))}, {3 * time.Second, only(down(2, "failed", true))}}, problem: "ended within 5s of its restart", ended: true, jobs: "restart a.service"},
		"systemd had to start it again":                  {change: restart, units: only(running(1)), script: after(0, with(running(3), func(u *unit) { u.Restarts = 1 })), problem: "ended within 5s of its restart", ended: true, jobs: "restart a.service"},
		"somebody stops it":                              {change: restart, units: only(running(1)), script: after(0, down(2, "inactive", false)), note: "not running", jobs: "restart a.service"},
		"not before its start limit lets it":             {change: restart, units: only(limited), script: after(0, running(2)), jobs: "restart a.service", lasts: settles + time.Second},
		"not at all while its start limit is in the way": {change: restart, units: only(with(limited, func(u *unit) { u.LimitEvery, u.LimitBurst = time.Hour, 1 })), problem: "its start limit is 1 in 1h0m0s"},
		"at once, when it has run for long":              {change: restart, units: only(with(limited, func(u *unit) { u.Age = time.Hour })), script: after(0, running(2)), jobs: "restart a.service", lasts: settles},
		"at once, when it has no start limit":            {change: restart, units: only(with(limited, func(u *unit) { u.LimitEvery = 0 })), script: after(0, running(2)), jobs: "restart a.service", lasts: settles},
	} {
		t.Run(sentence, c.run)
	}
}

func TestAOneshotUnitIsNeverRunning(t *testing.T) {
	oneshot := unit{Load: "loaded", Active: "inactive", Type: "oneshot"}
	note := "never running, as a oneshot unit; to run it, write run: [{command: [systemctl, start, a.service]}]"
	for sentence, c := range map[string]unitCase{
		"it is not started by a reload":         {units: only(oneshot), note: note},
		"nor by a restart":                      {change: deploy.UnitChange{Restart: true}, units: only(oneshot), note: note},
		"nor while it does its work":            {units: only(with(oneshot, func(u *unit) { u.Active = "activating" })), note: note},
		"it failed last time":                   {units: only(with(oneshot, func(u *unit) { u.Active = "failed" })), note: note},
		"one that stays active can be reloaded": {units: only(with(oneshot, func(u *unit) { u.Active, u.Remains, u.CanReload = "active", true, true })), jobs: "reload a.service", lasts: settles},
		"one that stays active can be down":     {units: only(with(oneshot, func(u *unit) { u.Remains = true })), note: "not running"},
	} {
		t.Run(sentence, c.run)
	}
}

func TestAnUmbrellaIsJudgedByTheUnitsThatDoTheWork(t *testing.T) {
	umbrella := unit{Load: "loaded", Active: "active", Sub: "exited", Type: "oneshot", Remains: true, CanReload: true, ReloadResult: "success",
		ReloadsTo: []string{"one@a.service", "one@b.service"}, RestartsTo: []string{"one@a.service", "one@b.service"}}
	three := func(a, b unit) map[string]unit {
		return map[string]unit{"a.service": umbrella, "one@a.service": a, "one@b.service": b}
	}
	waits := func(u unit) unit { return with(u, func(u *unit) { u.Job = "try-restart" }) }
	failed := func(u unit) unit { return with(u, func(u *unit) { u.ReloadResult = "exit-code" }) }
	target := with(umbrella, func(u *unit) { u.Type, u.ReloadResult, u.CanReload = "", "", false })
	for sentence, c := range map[string]unitCase{
		"all run on":                {units: three(running(1), running(2)), jobs: "reload a.service", lasts: settles},
		"none runs":                 {units: three(down(1, "inactive", false), down(2, "failed", true)), note: "not running"},
		"one is down, as it was":    {units: three(running(1), down(2, "failed", true)), jobs: "reload a.service", lasts: settles},
		"one ends":                  {units: three(running(1), running(2)), script: []event{{time.Second, map[string]unit{"one@b.service": down(2, "failed", true)}}}, problem: "one@b.service ended within 5s", ended: true, jobs: "reload a.service"},
		"the reload of one fails":   {units: three(running(1), running(2)), script: []event{{0, map[string]unit{"one@b.service": failed(running(2))}}}, problem: `the reload of one@b.service ended with "exit-code"`, jobs: "reload a.service"},
		"the reload of one waits":   {units: three(running(1), running(2)), script: []event{{0, map[string]unit{"one@b.service": with(running(2), func(u *unit) { u.Job = "try-reload" })}}, {9 * time.Second, map[string]unit{"one@b.service": running(2)}}}, jobs: "reload a.service", lasts: 13 * time.Second},
		"one is stopped":            {units: three(running(1), running(2)), script: []event{{time.Second, map[string]unit{"one@b.service": down(2, "inactive", false)}}}, jobs: "reload a.service", lasts: settles},
		"one ended before":          {change: deploy.UnitChange{Ended: true, Again: true}, units: three(running(1), down(2, "failed", true)), problem: "one@b.service ended with an earlier reload", ended: true},
		"they restart after it has": {change: deploy.UnitChange{Restart: true}, units: three(running(1), running(2)), script: []event{{0, three(waits(running(1)), waits(running(2)))}, {3 * time.Second, map[string]unit{"one@a.service": running(3), "one@b.service": running(4)}}}, jobs: "restart a.service", lasts: 8 * time.Second},
		"a target is one, too": {units: map[string]unit{"a.target": target, "one@a.service": running(1)}, change: deploy.UnitChange{Unit: "a.target", Restart: true},
			script: []event{{0, map[string]unit{"one@a.service": down(2, "failed", true)}}}, problem: "one@a.service ended within 5s", ended: true, jobs: "restart a.target"},
		"a socket is none": {units: map[string]unit{"a.socket": {Load: "loaded", Active: "active"}}, change: deploy.UnitChange{Unit: "a.socket", Restart: true}, jobs: "restart a.socket", lasts: settles},
	} {
		t.Run(sentence, c.run)
	}
}

func TestWhatDBusReportsOfAUnit(t *testing.T) {
	const now = 100_000_000
	s := deploy.StateFrom(map[string]any{
		"LoadState": "loaded", "ActiveState": "active", "SubState": "running", "Type": "notify", "CanReload": true, "ReloadResult": "success",
		"InvocationID": []byte{0xab, 0x01}, "NRestarts": uint32(2), "ExecMainPID": uint32(7), "Job": []any{uint32(5), "/job/5"},
		"InactiveExitTimestampMonotonic": uint64(90_000_000), "ActiveExitTimestampMonotonic": uint64(80_000_000), "ExecMainExitTimestampMonotonic": uint64(0),
		"StartLimitIntervalUSec": uint64(10_000_000), "StartLimitBurst": uint32(5), "PropagatesReloadTo": []string{"b.service"}, "ConsistsOf": []string{"c.service"},
		"ExecReload": [][]any{{"/bin/kill", []string{"kill"}, false, uint64(1_700_000_000_000_000), uint64(95_000_000), uint64(0), uint64(0), uint32(9), int32(1), int32(0)}},
	}, now)
	want := fmt.Sprintf("%+v", unit{
		Load: "loaded", Active: "active", Sub: "running", Type: "notify", CanReload: true, ReloadResult: "success", Invocation: "ab01", Restarts: 2, Job: "unknown",
		Main: 7, Started: 90_000_000, Left: 80_000_000, Reload: 95_000_000, ReloadAt: time.UnixMicro(1_700_000_000_000_000), Age: 10 * time.Second,
		LimitEvery: 10 * time.Second, LimitBurst: 5, ReloadsTo: []string{"b.service"}, RestartsTo: []string{"c.service"},
	})
	if got := fmt.Sprintf("%+v", s); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if s := deploy.StateFrom(map[string]any{"StartLimitIntervalUSec": ^uint64(0), "Job": []any{uint32(0), "/"}}, now); s.LimitEvery < time.Hour || s.Job != "" {
		t.Errorf("got %+v", s)
	}
}
