package daemon_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/spec"
)

// shown returns the messages of entries, and all their text.
func shown(entries []control.LogEntry) (messages []string, all string) {
	for _, e := range entries {
		messages = append(messages, e.Message)
		for _, f := range e.Fields {
			all += f.Key + "=" + f.Value + "\n"
		}
	}
	return messages, all
}

func TestTheRecordShowsTheHistoryOfACertificate(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	s.ca.AllowRepeat(www)
	s.renew(control.RenewRequest{Names: []string{www}, Wait: true})
	s.ca.AllowRepeat(www)
	s.ca.FailValidation(www, "dns", "no valid \x1b[2JA records found")
	s.renew(control.RenewRequest{Names: []string{www}, Wait: true})

	entries, err := s.run.History(t.Context(), www)
	if err != nil {
		t.Fatal(err)
	}
	messages, all := shown(entries)
	if n := len(messages); n < 3 || !slices.Equal(messages[:2], []string{"certificate issued", "certificate issued"}) || !slices.Contains(messages, "issuance failed") {
		t.Errorf("the record shows %q", messages)
	}
	for _, want := range []string{"issuer=ca\n", "revision=1\n", "revision=2\n", "problem=dns\n", "hint="} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	if !slices.IsSortedFunc(entries, func(a, b control.LogEntry) int { return a.Time.Compare(b.Time) }) {
		t.Errorf("not in the order of time: %v", entries)
	}
	if _, err := s.run.History(t.Context(), "ww.example.com"); !isNotFound(err) {
		t.Errorf("of an unknown certificate the error is %v", err)
	}

	s.stop()
	config, err := spec.LoadConfig(s.path("acmed.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	same, err := daemon.History(config, www)
	if _, text := shown(same); err != nil || text != all {
		t.Errorf("without a daemon the files show\n%s, error %v", text, err)
	}
	for _, name := range []string{"ww.example.com", "../state", ""} {
		if _, err := daemon.History(config, name); !isNotFound(err) {
			t.Errorf("of %q the error is %v", name, err)
		}
	}
	config.StateDir = s.path("nowhere")
	if _, err := daemon.History(config, www); !isNotFound(err) {
		t.Errorf("without a state directory the error is %v", err)
	}
}

func isNotFound(err error) bool {
	e, ok := errors.AsType[*control.Error](err)
	return ok && e.Code == control.NotFound
}
