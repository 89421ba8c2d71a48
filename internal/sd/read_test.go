package sd_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/sd"
)

// playJournalctl puts a script in the place of journalctl.
func playJournalctl(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "journalctl"), []byte("#!/bin/sh\n"+script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":/usr/bin:/bin")
}

func read(t *testing.T, q sd.JournalQuery) (all []string, err error) {
	t.Helper()
	err = sd.ReadJournal(t.Context(), q, func(e sd.JournalEntry) error {
		all = append(all, fmt.Sprintf("%d %d %s %q %q", e.Time.Unix(), e.Priority, e.UID, e.Message, e.Fields))
		return nil
	})
	return all, err
}

func TestAnEntryOfTheJournalIsTakenApart(t *testing.T) {
	const common = `"__REALTIME_TIMESTAMP":"1764547200000000","_UID":"7","PRIORITY":"4","__CURSOR":"c"`
	for sentence, c := range map[string]struct{ line, want string }{
		"a message without fields is itself": {
			`{"MESSAGE":"ready"}`, `"ready" []`,
		},
		"fields are those that the entry has, in their order": {
			`{"MESSAGE":"attempt did not work cert=a.example notAfter=2026 error=\"a b\\nc\"","ACMED_CERTIFICATE":"a.example","ACMED_NOTAFTER":"2026","ACMED_ERROR":"a b"}`,
			`"attempt did not work" [{"cert" "a.example"} {"notAfter" "2026"} {"error" "a b\nc"}]`,
		},
		"an equals sign in the message is no field": {
			`{"MESSAGE":"a=b took=3s","ACMED_TOOK":"3s"}`, `"a=b" [{"took" "3s"}]`,
		},
		"what a terminal would obey is replaced": {
			`{"MESSAGE":"x error=\"\\x1b[2J\\u009b1m\"","ACMED_ERROR":"e"}`, `"x" [{"error" "�[2J�1m"}]`,
		},
		"bytes that are no text are read, and replaced": {
			`{"MESSAGE":[120,27,255]}`, `"x��" []`,
		},
		"a broken quote ends nothing": {
			`{"MESSAGE":"x error=\"abc","ACMED_ERROR":"abc"}`, `"x" [{"error" "\"abc"}]`,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "out")
			line := strings.TrimSuffix(c.line, "}") + "," + common + "}\n"
			if err := os.WriteFile(file, []byte(line), 0o600); err != nil {
				t.Fatal(err)
			}
			playJournalctl(t, "cat "+file+"\n")
			got, err := read(t, sd.JournalQuery{})
			if want := "1764547200 4 7 " + c.want; err != nil || len(got) != 1 || got[0] != want {
				t.Errorf("read %q, expected %q, error %v", got, want, err)
			}
		})
	}
}

func TestAJournalThatCannotBeReadSaysWhy(t *testing.T) {
	for sentence, c := range map[string]struct {
		script string
		want   error
		words  string
	}{
		"there are no files":                  {"echo 'No journal files were found.' >&2; echo '-- No entries --' >&2; exit 0", sd.ErrNoJournal, ""},
		"no file may be opened":               {"echo 'No journal files were opened due to insufficient permissions.' >&2; exit 1", sd.ErrJournalDenied, ""},
		"only the user's own file was opened": {"echo 'Hint: You are currently not seeing messages from other users and the system.' >&2; exit 0", sd.ErrJournalDenied, ""},
		"nothing is said of files":            {"exit 0", errNoneHere(), ""},
		"journalctl fails":                    {"echo 'Failed to add match' >&2; exit 1", nil, "Failed to add match"},
		"journalctl writes something else":    {"echo '-- Logs begin'", nil, "reading the journal"},
	} {
		t.Run(sentence, func(t *testing.T) {
			playJournalctl(t, c.script)
			_, err := read(t, sd.JournalQuery{})
			if err == nil && c.script == "exit 0" && c.want == nil {
				return // a journal without entries about it
			}
			if err == nil || c.want != nil && !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.words) {
				t.Errorf("the error is %v", err)
			}
		})
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := read(t, sd.JournalQuery{}); !errors.Is(err, sd.ErrNoJournal) {
		t.Errorf("without journalctl the error is %v", err)
	}
}

// errNoneHere is ErrNoJournal where the machine of the test has no journal.
func errNoneHere() error {
	for _, dir := range []string{"/var/log/journal", "/run/log/journal"} {
		if files, _ := filepath.Glob(dir + "/*/*.journal"); len(files) > 0 {
			return nil
		}
	}
	return sd.ErrNoJournal
}

func TestAQueryIsWhatJournalctlIsAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "args")
	playJournalctl(t, `echo "$LC_ALL $*" >>`+file+"; echo '{}'\n")
	at := time.Unix(1764547200, 0)
	for _, q := range []sd.JournalQuery{{Match: []string{"A=b c"}}, {Since: at}, {Since: at, After: "s=1", Follow: true}} {
		if _, err := read(t, q); err != nil {
			t.Fatal(err)
		}
	}
	const want = `C --output=json --all --no-pager --no-tail A=b c
C --output=json --all --no-pager --no-tail --since=@1764547200
C --output=json --all --no-pager --no-tail --follow --after-cursor=s=1
`
	if got, err := os.ReadFile(file); err != nil || string(got) != want {
		t.Errorf("asked for %s, error %v", got, err)
	}
}

func TestFollowingEndsWithTheContext(t *testing.T) {
	playJournalctl(t, `echo '{"MESSAGE":"one"}'; exec sleep 60`+"\n")
	ctx, cancel := context.WithCancel(t.Context())
	err := sd.ReadJournal(ctx, sd.JournalQuery{Follow: true}, func(sd.JournalEntry) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
}
