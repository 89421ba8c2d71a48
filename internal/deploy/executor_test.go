package deploy_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

func TestStagesFollowEachOther(t *testing.T) {
	full := func(dir string) spec.Deploy {
		return spec.Deploy{
			Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}, Check: sh("test -f " + dir + "/key"),
			Reload: []string{"a.service", "b.service"},
			Run:    []spec.Run{{Command: sh("echo one >>" + dir + "/ran"), Timeout: time.Minute}, {Command: sh("echo two >>" + dir + "/ran"), Timeout: time.Minute}},
		}
	}
	for sentence, c := range map[string]struct {
		change  func(*spec.Deploy, *units)
		want    []string // keys that accepted it; "run" for any command
		failed  []string
		reloads int
	}{
		"all of them":          {func(*spec.Deploy, *units) {}, []string{"file", "check", "reload", "reload", "run", "run"}, nil, 2},
		"none after a check":   {func(d *spec.Deploy, _ *units) { d.Check = []string{"false"} }, nil, []string{"file", "check"}, 0},
		"siblings of a reload": {func(_ *spec.Deploy, u *units) { u.problems = map[string]string{"a.service": "no"} }, []string{"file", "check", "reload"}, []string{"reload"}, 2},
		"siblings of a command": {func(d *spec.Deploy, _ *units) { d.Run[0].Command = sh("exit 7") },
			[]string{"file", "check", "reload", "reload", "run"}, []string{"run"}, 2},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir, u := folderFor(t), &units{}
			d := full(dir)
			c.change(&d, u)
			var ok, failed []string
			for key, r := range one(t, newExecutor(t, u), job(t, "www.example.com", d)) {
				kind, _, _ := strings.Cut(key, " ")
				if r.OK {
					ok = append(ok, kind)
				} else {
					failed = append(failed, kind)
				}
			}
			if slices.Sort(ok); !slices.Equal(ok, slices.Sorted(slices.Values(c.want))) {
				t.Errorf("accepted by %q, want %q", ok, c.want)
			}
			if slices.Sort(failed); !slices.Equal(failed, slices.Sorted(slices.Values(c.failed))) {
				t.Errorf("refused by %q, want %q", failed, c.failed)
			}
			if len(u.reloads) != c.reloads {
				t.Errorf("reloaded %v", u.reloads)
			}
		})
	}
}

func TestWhatIsDoneOrWaitsIsLeftAlone(t *testing.T) {
	dir, u := folderFor(t), &units{}
	d := spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}, Reload: []string{"a.service", "b.service"},
		Run: []spec.Run{{Command: sh("touch " + dir + "/ran"), Timeout: time.Minute}}}
	j := job(t, "www.example.com", d)
	targets := d.Targets(j.Leaf)
	j.Done, j.Wait = []string{targets[0].Fingerprint}, []string{targets[1].Fingerprint}
	results := one(t, newExecutor(t, u), j)
	if len(results) != 1 || !results["reload b.service"].OK {
		t.Errorf("got %+v", results)
	}
	if read(t, dir+"/key") != "" || !slices.Equal(u.reloads, []string{"b.service"}) || len(names(t, dir)) != 0 {
		t.Errorf("reloaded %v, and wrote %v", u.reloads, names(t, dir))
	}
}

func TestWhileACheckWaitsNoFileChanges(t *testing.T) {
	dir := folderFor(t)
	d := spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}, Check: []string{"true"}}
	j := job(t, "www.example.com", d)
	j.Wait = []string{d.Targets(j.Leaf)[1].Fingerprint}
	if results := one(t, newExecutor(t, nil), j); len(results) != 0 || len(names(t, dir)) != 0 {
		t.Errorf("got %+v, and %v", results, names(t, dir))
	}
}

func TestManyCertificatesCostOneReload(t *testing.T) {
	dir, u := folderFor(t), &units{}
	shared := job(t, "www.example.com", spec.Deploy{Check: sh("echo >>" + dir + "/checks"), Reload: []string{"a.service"}})
	jobs := make([]deploy.Job, 1000)
	for i := range jobs {
		jobs[i] = shared
		jobs[i].Name = fmt.Sprint("host", i)
	}
	answers := newExecutor(t, u).Deploy(t.Context(), jobs)
	for _, a := range answers {
		if len(a.Results) != 2 || !a.Results[0].OK || !a.Results[1].OK {
			t.Fatalf("%+v", a)
		}
	}
	if len(u.reloads) != 1 || read(t, dir+"/checks") != "\n" {
		t.Errorf("%d reloads, and the checks %q", len(u.reloads), read(t, dir+"/checks"))
	}
}

func TestACheckTakesBackOnlyItsOwn(t *testing.T) {
	dir := folderFor(t)
	bad := job(t, "bad.example.com", spec.Deploy{Check: []string{"false"}, Files: []spec.File{{Path: dir + "/bad", Content: "cert"}}})
	good := job(t, "good.example.com", spec.Deploy{Check: []string{"true"}, Files: []spec.File{{Path: dir + "/good", Content: "cert"}}})
	write(t, dir+"/bad", "old", 0o600)
	answers := newExecutor(t, nil).Deploy(t.Context(), []deploy.Job{bad, good})
	if r := answers[0].Results; len(r) != 2 || !r[0].Withdrawn || r[0].OK || r[1].Problem != "exited with status 1" {
		t.Errorf("bad: %+v", r)
	}
	if r := answers[1].Results; len(r) != 2 || !r[0].OK || !r[1].OK {
		t.Errorf("good: %+v", r)
	}
	if info, err := os.Stat(dir + "/bad"); err != nil || read(t, dir+"/bad") != "old" || info.Mode().Perm() != 0o600 {
		t.Errorf("the old file is not back: %v", err)
	}
	if left := names(t, dir); len(left) != 2 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAFileThatWaitsHoldsUpTheOthers(t *testing.T) {
	dir := folderFor(t)
	d := spec.Deploy{Files: []spec.File{{Path: dir + "/key", Content: "privkey"}, {Path: dir + "/crt", Content: "cert"}}}
	j := job(t, "www.example.com", d)
	j.Wait = []string{d.Targets(j.Leaf)[1].Fingerprint}
	if results := one(t, newExecutor(t, nil), j); len(results) != 0 || len(names(t, dir)) != 0 {
		t.Errorf("got %+v, and %v", results, names(t, dir))
	}
}

func TestAnAnswerIsInTheOrderOfTheTargets(t *testing.T) {
	dir := folderFor(t)
	j := job(t, "www.example.com", spec.Deploy{
		Files: []spec.File{{Path: dir + "/b", Content: "cert"}, {Path: dir + "/a", Content: "cert"}}, Check: []string{"true"},
		Reload: []string{"b.service", "a.service"}, Run: []spec.Run{{Command: []string{"true"}}, {Command: sh(":")}},
		Probe: []spec.Probe{{Address: "127.0.0.1:443"}},
	})
	answers := newExecutor(t, nil).Deploy(t.Context(), []deploy.Job{j})
	var keys []string
	for _, r := range answers[0].Results {
		keys = append(keys, r.Key)
		if !r.OK || r.Took <= 0 || len(r.Fingerprint) != 32 {
			t.Errorf("%+v", r)
		}
	}
	want := []string{"file " + dir + "/b", "file " + dir + "/a", "check", "reload b.service", "reload a.service", "run true", "run /bin/sh -c :"}
	if !slices.Equal(keys, want) {
		t.Errorf("got %q, want %q", keys, want)
	}
}

func TestJobsThatAskForNothing(t *testing.T) {
	e := newExecutor(t, nil)
	nothing, none := job(t, "www.example.com", spec.Deploy{}), job(t, "www.example.com", spec.Deploy{})
	none.Want = nil
	for i, a := range e.Deploy(t.Context(), []deploy.Job{nothing, none}) {
		if len(a.Results) != 0 || a.Results == nil || (a.Problem == "") != (i == 0) || a.Name != "www.example.com" {
			t.Errorf("%d: %+v", i, a)
		}
	}
	if got := e.Deploy(t.Context(), nil); len(got) != 0 {
		t.Errorf("%+v", got)
	}
	for _, c := range []deploy.ExecutorConfig{{}, {Units: &units{}}, {Units: &units{}, Copies: []string{"copies"}}, {Copies: []string{"/run/copies"}}} {
		if _, err := deploy.NewExecutor(c); err == nil {
			t.Errorf("an executor of %+v", c)
		}
	}
}

// TestJobsRunAtOnceButNotAllOfThem has commands wait until eight of them run, and count how many do.
func TestJobsRunAtOnceButNotAllOfThem(t *testing.T) {
	dir := folderFor(t)
	script := fmt.Sprintf(`cd %s; touch began.$$ on.$$
until [ "$(ls | grep -c began)" -ge 8 ]; do sleep 0.01; done
ls | grep -c on. >count.$$; rm on.$$`, dir)
	jobs := make([]deploy.Job, 20)
	for i := range jobs {
		jobs[i] = job(t, fmt.Sprintf("host%d.example.com", i), spec.Deploy{Run: []spec.Run{{Command: sh(script), Timeout: time.Minute}}})
	}
	for _, a := range newExecutor(t, nil).Deploy(t.Context(), jobs) {
		if len(a.Results) != 1 || !a.Results[0].OK {
			t.Fatalf("%+v", a)
		}
	}
	counts := 0
	for _, name := range names(t, dir) {
		if strings.HasPrefix(name, "count") {
			counts++
			if n, err := strconv.Atoi(strings.TrimSpace(read(t, dir+"/"+name))); err != nil || n > 8 {
				t.Errorf("%d ran at once, %v", n, err)
			}
		}
	}
	if counts != len(jobs) {
		t.Errorf("%d of them ran", counts)
	}
}

func TestCommandsOfAJobFollowEachOther(t *testing.T) {
	dir := folderFor(t)
	var d spec.Deploy
	for i := range 5 {
		d.Run = append(d.Run, spec.Run{Command: sh(fmt.Sprintf("[ ! -e %[1]s/on ] || exit 9; touch %[1]s/on; echo %[2]d >>%[1]s/ran; rm %[1]s/on; [ %[2]d != 2 ]", dir, i)), Timeout: time.Minute})
	}
	results := one(t, newExecutor(t, nil), job(t, "www.example.com", d))
	if ran := read(t, dir+"/ran"); ran != "0\n1\n2\n3\n4\n" {
		t.Errorf("they ran in this order: %q", ran)
	}
	for key, r := range results {
		if r.OK == (r.Problem == "exited with status 1") {
			t.Errorf("%s: %+v", key, r)
		}
	}
}

func TestAfterTheEndNothingBegins(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir, u := folderFor(t), &units{}
	d := spec.Deploy{
		Files: []spec.File{{Path: dir + "/key", Content: "privkey"}}, Check: sh("touch " + dir + "/check"), Reload: []string{"a.service"},
		Run: []spec.Run{{Command: sh("touch " + dir + "/run"), Timeout: time.Minute}},
	}
	j := job(t, "www.example.com", d)
	for stage := range len(d.Targets(j.Leaf)) {
		j.Done = nil
		for _, t := range d.Targets(j.Leaf)[:stage] {
			j.Done = append(j.Done, t.Fingerprint)
		}
		if a := newExecutor(t, u).Deploy(ctx, []deploy.Job{j, j}); len(a) != 2 || len(a[0].Results)+len(a[1].Results) != 0 {
			t.Errorf("stage %d: %+v", stage, a)
		}
	}
	if len(names(t, dir)) > 0 || len(u.reloads) > 0 {
		t.Errorf("something began: %v, %v", names(t, dir), u.reloads)
	}
}

// TestACheckThatIsCutShortSaysNothing ends while the check of new files runs: they are taken back without a word.
func TestACheckThatIsCutShortSaysNothing(t *testing.T) {
	dir := folderFor(t)
	write(t, dir+"/key", "old", 0o600)
	j := job(t, "www.example.com", spec.Deploy{
		Check: sh("touch " + dir + "/began; sleep 1000"), Reload: []string{"a.service"},
		Files: []spec.File{{Path: dir + "/key", Content: "privkey"}, {Path: dir + "/crt", Content: "cert"}},
	})
	u := &units{}
	answers := until(t, newExecutor(t, u), j, dir+"/began")
	if len(answers[0].Results) != 0 || len(u.reloads) != 0 {
		t.Errorf("got %+v, and reloads %v", answers, u.reloads)
	}
	if read(t, dir+"/key") != "old" || !slices.Equal(names(t, dir), []string{"began", "key"}) {
		t.Errorf("there is %v", names(t, dir))
	}
}

func TestAReloadThatIsCutShortSaysNothing(t *testing.T) {
	dir := folderFor(t)
	u := &units{hang: dir + "/began"}
	answers := until(t, newExecutor(t, u), job(t, "www.example.com", spec.Deploy{Reload: []string{"a.service", "b.service"}}), dir+"/began")
	if len(answers[0].Results) != 0 || len(u.reloads) != 1 {
		t.Errorf("got %+v, and reloads %v", answers, u.reloads)
	}
}

func TestACommandThatIsCutShortIsRunAgain(t *testing.T) {
	dir := folderFor(t)
	d := spec.Deploy{Reload: []string{"a.service"}, Run: []spec.Run{{Command: sh("trap '' TERM; touch " + dir + "/began; sleep 1000"), Timeout: time.Hour}, {Command: []string{"true"}, Timeout: time.Hour}}}
	answers := until(t, newExecutor(t, nil), job(t, "www.example.com", d), dir+"/began")
	if r := answers[0].Results; len(r) != 2 || !r[0].OK || r[1].OK || !strings.Contains(r[1].Problem, "no more time") {
		t.Errorf("got %+v", r)
	}
}

// until delivers a job until a file is there, and a little longer.
func until(t *testing.T, e *deploy.Executor, j deploy.Job, file string) []deploy.Answer {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan []deploy.Answer, 1)
	go func() { done <- e.Deploy(ctx, []deploy.Job{j}) }()
	for tick := time.NewTicker(10 * time.Millisecond); ; <-tick.C {
		if _, err := os.Stat(file); err == nil {
			break
		}
		if t.Context().Err() != nil {
			break
		}
	}
	cancel()
	return <-done
}

func TestManyCertificatesCostOneRestart(t *testing.T) {
	u := &units{}
	jobs := make([]deploy.Job, 0, 40)
	for i, d := range map[int]spec.Deploy{
		0: {Restart: []string{"a.service", "b.service"}},
		1: {Reload: []string{"a.service"}}, // which reads the files when it restarts
		2: {Restart: []string{"a.service"}},
		3: {Reload: []string{"c.service"}},
	} {
		j := job(t, fmt.Sprintf("host%d.example.com", i), d)
		jobs = append(jobs, j)
	}
	for _, a := range newExecutor(t, u).Deploy(t.Context(), jobs) {
		for _, r := range a.Results {
			if !r.OK {
				t.Errorf("%s: %+v", a.Name, r)
			}
		}
	}
	slices.Sort(u.restarts)
	if want := []string{"a.service", "b.service"}; !slices.Equal(u.restarts, want) || !slices.Equal(u.reloads, []string{"c.service"}) {
		t.Errorf("restarted %v, want %v; reloaded %v", u.restarts, want, u.reloads)
	}
}

func TestWhatCameOfAUnitBeforeReachesSystemd(t *testing.T) {
	d := spec.Deploy{Reload: []string{"a.service", "b.service"}}
	for sentence, c := range map[string]struct {
		ended, again   []string // units, of the first of two certificates
		second         bool     // that the other one has the same marks
		aEnded, aAgain bool     // of what systemd is asked about a.service
	}{
		"nothing":                               {},
		"it ended":                              {ended: []string{"a.service"}, second: true, aEnded: true},
		"it ended with one of two certificates": {ended: []string{"a.service"}, aEnded: true},
		"it has read this very certificate":     {ended: []string{"a.service"}, again: []string{"a.service"}, second: true, aEnded: true, aAgain: true},
		"it has read one of two: the other is still to": {ended: []string{"a.service"}, again: []string{"a.service"}, aEnded: true},
		"another unit ended":                            {ended: []string{"b.service"}, again: []string{"b.service"}, second: true},
	} {
		u := &units{}
		jobs := []deploy.Job{job(t, "www.example.com", d), job(t, "mail.example.com", d)}
		for i := range jobs {
			for _, target := range d.Targets(jobs[i].Leaf) {
				if unit, _ := d.Unit(target); i == 0 || c.second {
					if slices.Contains(c.ended, unit) {
						jobs[i].Ended = append(jobs[i].Ended, target.Fingerprint)
					}
					if slices.Contains(c.again, unit) {
						jobs[i].Again = append(jobs[i].Again, target.Fingerprint)
					}
				}
			}
		}
		newExecutor(t, u).Deploy(t.Context(), jobs)
		if len(u.changes) != 2 || u.changes[0].Unit != "a.service" || u.changes[0].Ended != c.aEnded || u.changes[0].Again != c.aAgain {
			t.Errorf("%s: systemd is asked %+v", sentence, u.changes)
		}
	}
}

func TestAUnitThatEndedIsNoOrdinaryFailure(t *testing.T) {
	e, err := deploy.NewExecutor(deploy.ExecutorConfig{Units: deploy.UnitsOf(&fakeManager{
		units:  map[string]unit{"a.service": running(1), "b.service": running(2), "c.service": running(3)},
		script: []event{{time.Second, map[string]unit{"b.service": down(2, "failed", true)}}},
	}), Copies: []string{"/run/acmed-copies"}})
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		got := one(t, e, job(t, "www.example.com", spec.Deploy{Reload: []string{"a.service", "b.service", "c.service"}, Run: []spec.Run{{Command: sh("exit 1"), Timeout: time.Minute}}}))
		if r := got["reload b.service"]; r.OK || !r.Ended || r.Hint == "" || !strings.Contains(r.Problem, "b.service ended within 5s") {
			t.Errorf("got %+v", r)
		}
		if !got["reload a.service"].OK || !got["reload c.service"].OK || len(got) != 3 {
			t.Errorf("got %+v", got)
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("three units take %v: each is waited for by itself", took)
		}
	})
}
