package deploy_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

func now() time.Time { return time.Now() }

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

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

func TestCommands(t *testing.T) {
	for sentence, c := range map[string]struct {
		argv    []string
		problem string
		note    string
		output  string
	}{
		"succeed":               {argv: sh("echo fine")},
		"fail":                  {argv: sh("echo sorry >&2; exit 7"), problem: "exited with status 7", output: "sorry\n"},
		"end by a signal":       {argv: sh("kill -KILL $$"), problem: "was ended by a signal: killed"},
		"hang":                  {argv: sh("echo waiting; sleep 1000"), problem: "took longer than 500ms and was ended", output: "waiting\n"},
		"ignore SIGTERM":        {argv: sh("trap '' TERM; while :; do sleep 1000; done"), problem: "took longer than 500ms and was ended"},
		"fork and leave":        {argv: sh("sleep 1000 & echo forked"), note: "left a process behind, which was ended"},
		"are not there":         {argv: []string{"no-such-program"}, problem: `there is no program "no-such-program" in ` + "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
		"are not where said":    {argv: []string{"/no/such"}, problem: "stat /no/such: no such file or directory"},
		"are no programs":       {argv: []string{"/etc/passwd"}, problem: "/etc/passwd is not a program that may be run"},
		"are relative":          {argv: []string{"./a"}, problem: `"./a" is neither a name nor an absolute path`},
		"get words as they are": {argv: []string{"printf", "%s\n", "$(id) ; `id`", "a b"}},
		"say strange things":    {argv: sh(`printf 'a\033[2Jb\377'; exit 1`), problem: "exited with status 1", output: "a\uFFFD[2Jb\uFFFD"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			problem, note, output := deploy.RunCommand(t.Context(), c.argv, 500*time.Millisecond, 50*time.Millisecond, "")
			if strings.HasPrefix(sentence, "s") || strings.HasPrefix(sentence, "f") || strings.HasPrefix(sentence, "e") { // need no limit
				problem, note, output = deploy.RunCommand(t.Context(), c.argv, time.Minute, time.Second, "")
			}
			if problem != c.problem || note != c.note || c.output != "" && output != c.output {
				t.Errorf("got %q, %q, %q", problem, note, output)
			}
		})
	}
}

func TestNothingOutlivesItsTime(t *testing.T) {
	dir := folderFor(t)
	script := fmt.Sprintf("trap '' TERM; sleep 1234 & setsid sleep 1234 & (setsid sh -c 'sleep 1234 & echo $! >>%[1]s/pids' &) ; echo $! $$ >>%[1]s/pids; sleep 1234", dir)
	problem, _, _ := deploy.RunCommand(t.Context(), sh(script), time.Second, 50*time.Millisecond, "")
	if !strings.HasPrefix(problem, "took longer") {
		t.Errorf("got %q", problem)
	}
	late := time.After(30 * time.Second) // the kernel ends what was killed when it comes to it
	for pid := range strings.FieldsSeq(read(t, dir+"/pids")) {
		for state := "?"; state != "" && !strings.Contains(state, ") Z "); state = read(t, "/proc/"+pid+"/stat") {
			select {
			case <-late:
				t.Fatalf("process %s lives on: %s", pid, state)
			case <-time.After(time.Millisecond):
			}
		}
	}
}

func TestAFloodIsBounded(t *testing.T) {
	problem, _, output := deploy.RunCommand(t.Context(), sh("yes | head -c 20000000; echo the end; exit 3"), time.Minute, time.Second, "")
	if problem != "exited with status 3" || len(output) > 64<<10 || !strings.HasSuffix(output, "y\nthe end\n") {
		t.Errorf("%q, and %d bytes", problem, len(output))
	}
}

func TestTheEnvironmentIsClean(t *testing.T) {
	for _, name := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "SECRET"} {
		t.Setenv(name, "leaked")
	}
	dir := folderFor(t)
	j := job(t, "www.example.com", spec.Deploy{Run: []spec.Run{{Command: sh("env >" + dir + "/env; pwd >>" + dir + "/env"), Timeout: time.Minute}}})
	one(t, newExecutor(t, nil), j)
	env := read(t, dir+"/env")
	for _, want := range []string{
		"ACMED_CERT=www.example.com\n", "ACMED_LIVE=/var/lib/acmed/live/www.example.com\n", "ACMED_NAMES=www.example.com\n",
		"ACMED_SHA256=" + j.Leaf + "\n", "RENEWED_LINEAGE=/var/lib/acmed/live/www.example.com\n", "RENEWED_DOMAINS=www.example.com\n",
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\n", "HOME=", "USER=", "LANG=C.UTF-8\n", "\n/\n",
	} {
		if !strings.Contains("\n"+env, want) {
			t.Errorf("no %q in\n%s", want, env)
		}
	}
	if strings.Contains(env, "leaked") || strings.Contains(env, "PRIVATE KEY") {
		t.Errorf("something leaked:\n%s", env)
	}
}

func TestCommandsRunAsTheirUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if problem, _, _ := deploy.RunCommand(t.Context(), []string{"id"}, time.Minute, time.Second, "root"); problem != "only root can run it as root" {
			t.Errorf("got %q", problem)
		}
		return
	}
	if problem, _, out := deploy.RunCommand(t.Context(), sh("id -un; id -Gn; echo $HOME; exit 1"), time.Minute, time.Second, "nobody"); problem == "" || !strings.HasPrefix(out, "nobody\nnogroup\n/") {
		t.Errorf("%q, and it ran as %q", problem, out)
	}
	if problem, _, _ := deploy.RunCommand(t.Context(), []string{"id"}, time.Minute, time.Second, "no-such-user"); !strings.Contains(problem, "no user no-such-user") {
		t.Errorf("got %q", problem)
	}
}

func TestAnEndStopsWhatIsUnderWay(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	dir := folderFor(t)
	d := spec.Deploy{Reload: []string{"a.service"}, Run: []spec.Run{{Command: sh("touch " + dir + "/began; sleep 1000"), Timeout: time.Hour}, {Command: []string{"true"}, Timeout: time.Hour}}}
	done := make(chan []deploy.Answer, 1)
	go func() { done <- newExecutor(t, nil).Deploy(ctx, []deploy.Job{job(t, "www.example.com", d)}) }()
	for tick := time.NewTicker(10 * time.Millisecond); len(names(t, dir)) == 0; <-tick.C {
	}
	cancel()
	answers := <-done
	if r := answers[0].Results; len(r) != 2 || !r[0].OK || r[1].OK {
		t.Errorf("got %+v", r)
	}
}
