package deploy_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"acmed/internal/deploy"
	"acmed/internal/spec"
)

func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func TestCommands(t *testing.T) {
	const usual, soon = time.Minute, time.Second
	for sentence, c := range map[string]struct {
		argv    []string
		timeout time.Duration
		problem string
		note    string
		output  string // the end of it
	}{
		"succeed, and what they say is not kept": {argv: sh("echo fine"), timeout: usual},
		"fail":                                   {argv: sh("echo sorry >&2; exit 7"), timeout: usual, problem: "exited with status 7", output: "sorry\n"},
		"end by a signal":                        {argv: sh("kill -KILL $$"), timeout: usual, problem: "was ended by a signal: killed"},
		"end with a core dump":                   {argv: sh("ulimit -c 0; kill -SEGV $$"), timeout: usual, problem: "was ended by a signal: segmentation fault"},
		"read nothing":                           {argv: sh("cat; exit 1"), timeout: usual, problem: "exited with status 1"},
		"hang":                                   {argv: sh("echo waiting; sleep 1000"), timeout: soon, problem: "took longer than 1s and was killed", output: "waiting\n"},
		"ignore SIGTERM":                         {argv: sh("trap '' TERM; while :; do sleep 1000; done"), timeout: soon, problem: "took longer than 1s and was killed"},
		"obey SIGTERM":                           {argv: sh("trap 'exit 0' TERM; while :; do sleep 0.01; done"), timeout: soon, problem: "took longer than 1s and was killed"},
		"say good-bye":                           {argv: sh("trap 'echo bye; exit 3' TERM; while :; do sleep 0.01; done"), timeout: soon, problem: "took longer than 1s and was killed", output: "bye\n"},
		"leave a process in their group":         {argv: sh("sleep 1000 & echo forked"), timeout: usual, note: "left a process behind, which was ended"},
		"leave a process elsewhere":              {argv: sh("setsid sleep 1000 & echo forked"), timeout: usual, note: "left a process behind, which was ended"},
		"leave a silent one":                     {argv: sh("sleep 1000 </dev/null >/dev/null 2>&1 &"), timeout: usual},
		"never stop talking":                     {argv: []string{"yes", "no"}, timeout: soon, problem: "took longer than 1s and was killed", output: "no\nno\nno\n"},
		"talk a lot":                             {argv: sh("yes | head -c 20000000; echo the end; exit 3"), timeout: usual, problem: "exited with status 3", output: "y\nthe end\n"},
		"are not there": {argv: []string{"no-such-program"}, timeout: usual,
			problem: `there is no program "no-such-program" in /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin`},
		"are not where said":    {argv: []string{"/no/such"}, timeout: usual, problem: "there is no program /no/such"},
		"are no programs":       {argv: []string{"/etc/passwd"}, timeout: usual, problem: "/etc/passwd is not a program that may be run"},
		"are folders":           {argv: []string{"/etc"}, timeout: usual, problem: "/etc is not a program that may be run"},
		"are in a file":         {argv: []string{"/etc/passwd/x"}, timeout: usual, problem: "looking for the program: stat /etc/passwd/x: not a directory"},
		"are relative":          {argv: []string{"./a"}, timeout: usual, problem: `"./a" is neither a name nor an absolute path`},
		"get words as they are": {argv: []string{"sh", "-c", `printf '%s\n' "$@"; exit 1`, "sh", "$(id) ; `id`", "a b"}, timeout: usual, problem: "exited with status 1", output: "$(id) ; `id`\na b\n"},
		"say strange things":    {argv: sh(`printf 'a\033[2Jb\377\302\233c\342\200\256d\r\ne\tf'; exit 1`), timeout: usual, problem: "exited with status 1", output: "a\uFFFD[2Jb\uFFFD\uFFFDc\uFFFDd\ne\tf"},
		"say nothing but noise": {argv: sh(`yes "$(printf '\001\002')" | head -c 300000; exit 1`), timeout: usual, problem: "exited with status 1", output: "\uFFFD\uFFFD\n"},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel()
			problem, note, output := deploy.RunCommand(t.Context(), c.argv, c.timeout, 200*time.Millisecond, "")
			if problem != c.problem || note != c.note || !strings.HasSuffix(output, c.output) || problem == "" && output != "" {
				t.Errorf("got %q, %q, %.200q", problem, note, output)
			}
			if len(output) > 64<<10 {
				t.Errorf("%d bytes are kept", len(output))
			}
		})
	}
}

func TestAProgramOfAnotherFormat(t *testing.T) {
	file := folderFor(t) + "/program"
	write(t, file, "\x7fELF and nothing else", 0o755)
	if problem, _, _ := deploy.RunCommand(t.Context(), []string{file}, time.Minute, time.Second, ""); !strings.HasPrefix(problem, "cannot be started: ") {
		t.Errorf("got %q", problem)
	}
}

// TestNothingOutlivesItsTime starts processes that ignore SIGTERM, in its group, in sessions of their own, and orphans
// of both kinds, one of which has forgotten its environment.
func TestNothingOutlivesItsTime(t *testing.T) {
	file := folderFor(t) + "/pids"
	script := fmt.Sprintf(`trap '' TERM; here=%s; echo $$ >>$here
sleep 1234 & echo $! >>$here
setsid sleep 1234 & echo $! >>$here
setsid env -i sleep 1234 & echo $! >>$here
(setsid sh -c 'sleep 1234 & echo $! >>$0; exec sleep 1234' $here &)
(setsid setsid sh -c 'trap "" TERM; echo $$ >>$0; while :; do sleep 0.1; done' $here &)
sleep 1234`, file)
	problem, _, _ := deploy.RunCommand(t.Context(), sh(script), 2*time.Second, 50*time.Millisecond, "")
	if problem != "took longer than 2s and was killed" {
		t.Errorf("got %q", problem)
	}
	pids := strings.Fields(read(t, file))
	if len(pids) < 6 {
		t.Errorf("it started %v", pids)
	}
	for _, pid := range pids {
		gone(t, pid)
	}
}

// gone waits for the end of a process that was killed.
func gone(t *testing.T, pid string) {
	t.Helper()
	late := time.After(time.Minute) // the kernel ends what was killed when it comes to it
	for tick := time.NewTicker(time.Millisecond); lives(pid); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("process %s lives on", pid)
		}
	}
}

// lives tells whether a process is more than what its parent has not yet taken note of.
func lives(pid string) bool {
	state, err := os.ReadFile("/proc/" + pid + "/stat")
	return err == nil && !strings.Contains(string(state), ") Z ")
}

func TestOthersLiveOn(t *testing.T) {
	other := folderFor(t) + "/pid"
	if problem, _, _ := deploy.RunCommand(t.Context(), sh(`setsid sh -c 'echo $$ >$0; exec sleep 1235' `+other+` </dev/null >/dev/null 2>&1 & until test -s `+other+`; do sleep 0.01; done`), time.Minute, time.Second, ""); problem != "" {
		t.Fatal(problem)
	}
	pid := strings.TrimSpace(read(t, other))
	deploy.RunCommand(t.Context(), sh("sleep 1000"), 100*time.Millisecond, 50*time.Millisecond, "")
	if !lives(pid) {
		t.Error("the time of one command was the end of another's")
	}
	if problem, _, _ := deploy.RunCommand(t.Context(), []string{"kill", pid}, time.Minute, time.Second, ""); problem != "" {
		t.Error(problem)
	}
}

func TestTheEnvironmentIsClean(t *testing.T) {
	for _, name := range []string{"NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "CREDENTIALS_DIRECTORY", "INVOCATION_ID", "SECRET"} {
		t.Setenv(name, "leaked")
	}
	dir := folderFor(t)
	j := job(t, "www.example.com", spec.Deploy{
		Check: sh("env >" + dir + "/check"),
		Run:   []spec.Run{{Command: sh("env >" + dir + "/run; pwd >>" + dir + "/run"), Timeout: time.Minute}},
	})
	j.Want.DNSNames = append(j.Want.DNSNames, "example.com")
	one(t, newExecutor(t, nil), j)
	usual := []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=", "USER=", "LOGNAME=", "LANG=C.UTF-8", "ACMED_RUN="}
	about := []string{
		"ACMED_CERT=www.example.com", "ACMED_LIVE=COPY/www.example.com", "ACMED_NAMES=www.example.com example.com",
		"ACMED_SHA256=" + j.Leaf, "RENEWED_LINEAGE=COPY/www.example.com", "RENEWED_DOMAINS=www.example.com example.com", "/",
	}
	for name, want := range map[string][]string{"check": usual, "run": append(about, usual...)} {
		env := regexp.MustCompile(`=/\S*/copies/copy-[A-Z2-7]{26}/`).ReplaceAllString(read(t, dir+"/"+name), "=COPY/")
		for _, line := range want {
			if !strings.Contains("\n"+env, "\n"+line) {
				t.Errorf("%s: no %q in\n%s", name, line, env)
			}
		}
		if strings.Contains(env, "leaked") {
			t.Errorf("%s: something leaked:\n%s", name, env)
		}
	}
}

func TestCommandsRunAsTheirUser(t *testing.T) {
	if os.Geteuid() != 0 {
		if problem, _, _ := deploy.RunCommand(t.Context(), []string{"id"}, time.Minute, time.Second, "root"); problem != "only root can run it as root" {
			t.Errorf("got %q", problem)
		}
		return
	}
	const script = "id -un; id -Gn; echo $HOME $USER; exit 1"
	for user, want := range map[string]string{
		"nobody": "nobody\nnogroup\n/nonexistent nobody\n", "65534": "nobody\nnogroup\n/nonexistent nobody\n", "root": "root\nroot\n/root root\n", "": "root\n",
	} {
		if problem, _, out := deploy.RunCommand(t.Context(), sh(script), time.Minute, time.Second, user); problem == "" || !strings.HasPrefix(out, want) {
			t.Errorf("%q: %q, and it ran as %q", user, problem, out)
		}
	}
}

func TestUnknownUsersRunNothing(t *testing.T) {
	for _, user := range []string{"no-such-user", "4294967294"} {
		if problem, _, _ := deploy.RunCommand(t.Context(), []string{"id"}, time.Minute, time.Second, user); problem != "there is no user "+user+" on this machine" {
			t.Errorf("got %q", problem)
		}
	}
}

// TestAnotherUsersCommandEndsInTime is about processes that root may end, though they show their environment to nobody
// else.
func TestAnotherUsersCommandEndsInTime(t *testing.T) {
	user, dir := "", folderFor(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		user = "nobody"
	}
	script := "setsid sleep 1236 & echo $! >" + dir + "/pid; sleep 1236"
	if problem, _, _ := deploy.RunCommand(t.Context(), sh(script), time.Second, 50*time.Millisecond, user); problem != "took longer than 1s and was killed" {
		t.Errorf("got %q", problem)
	}
	gone(t, strings.TrimSpace(read(t, dir+"/pid")))
}
