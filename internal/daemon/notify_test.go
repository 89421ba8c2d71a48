package daemon_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/notify"
)

// TestAFailureIsToldToAProgram goes all the way, but for the quarter of a minute in which news gather.
func TestAFailureIsToldToAProgram(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.write("tell", "#!/bin/sh\nprintf '%s' \"$ACMED_SUBJECT\" >"+s.path("subject")+"\ncat >"+s.path("tmp")+"\nmv "+s.path("tmp")+" "+s.path("message")+"\n")
	if err := os.Chmod(s.path("tell"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.configure("workers: 8", "workers: 8\nnotify: {command: ["+s.path("tell")+"]}")
	s.ca.FailValidation(www, "dns", "no A record for it")
	s.spec(www, "")
	s.start()
	var text []byte
	eventually(t, "the program was run", func() (ok bool) {
		var err error
		text, err = os.ReadFile(s.path("message"))
		return err == nil
	})
	var m notify.Message
	if err := json.Unmarshal(text, &m); err != nil || len(m.News) != 1 || m.News[0].Event != notify.Failing || !strings.Contains(m.News[0].Problem, "no A record for it") {
		t.Errorf("got %s, %v", text, err)
	}
	if subject, err := os.ReadFile(s.path("subject")); err != nil || !strings.HasSuffix(string(subject), www+" is failing") {
		t.Errorf("the subject is %q, %v", subject, err)
	}
	eventually(t, "it is remembered", func() bool {
		_, err := os.Stat(s.path("state/notices.json"))
		return err == nil && s.metric(`acmed_notifications_total{result="sent"}`) == 1
	})
}
