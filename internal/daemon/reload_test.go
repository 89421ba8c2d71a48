package daemon_test

import (
	"encoding/base64"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

func TestAReloadTellsWhatItChanged(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	for _, n := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		s.spec(n, "")
	}
	s.start()
	s.reload(false)
	if r := s.reload(false); len(r.Added)+len(r.Edited)+len(r.Removed)+len(r.Problems) > 0 || r.Held != nil {
		t.Errorf("a reload of what is in force says %+v", r)
	}
	s.remove("a.example.com")
	s.spec("b.example.com", "dnsNames: [b.example.com, www.b.example.com]\n")
	s.spec("bad.example.com", "{")
	s.spec("d.example.com", "")
	r := s.reload(false)
	if !slices.Equal(r.Added, []string{"d.example.com"}) || !slices.Equal(r.Edited, []string{"b.example.com"}) ||
		!slices.Equal(r.Removed, []string{"a.example.com"}) || len(r.Problems) != 1 || filepath.Base(r.Problems[0].File) != "bad.example.com.yaml" {
		t.Errorf("reload says %+v", r)
	}
	asked := s.run.log.entries("reload requested")
	if len(asked) != 3 || asked[2]["problems"] != 1.0 || asked[2]["uid"] != float64(os.Getuid()) {
		t.Errorf("the log tells of who asked: %v", asked)
	}
}

func TestSIGHUPReloads(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "dnsNames: [a.example.com, b.example.com]\n")
	process := s.startChild(nil)
	s.await(www, 1)
	s.configure("level: info", "level: debug")
	s.spec(www, "dnsNames: [a.example.com]\n") // which would wait without a reload
	if err := process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.await(www, 2)
	if len(s.run.log.entries("ordered")) == 0 {
		t.Error("acmed.yaml was not read: the log does not show details")
	}
}

func TestTheLogLevelChangesAtReload(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec("a.example.com", "")
	s.start()
	s.await("a.example.com", 1)
	s.configure("level: info", "level: debug")
	s.reload(false)
	s.spec("b.example.com", "") // after the reload: the watch may be faster than it
	s.await("b.example.com", 1)
	s.configure("level: info", "level: error")
	s.reload(false)
	s.spec("c.example.com", "")
	s.await("c.example.com", 1)
	if got := s.run.log.entries("ordered"); len(got) != 1 || got[0].text("cert") != "b.example.com" {
		t.Errorf("details were logged of %v, want b.example.com", got)
	}
}

func TestABrokenConfigurationKeepsTheLastGoodOne(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	s.configure("defaults:", "default:")
	for range 2 {
		r := s.reload(false)
		if len(r.Problems) != 1 || r.Problems[0].File != s.path("acmed.yaml") || r.Problems[0].Line != 4 || !r.Problems[0].Kept {
			t.Errorf("reload says %+v", r.Problems)
		}
	}
	if got := len(s.run.log.entries("found a problem")); got != 1 {
		t.Errorf("the log tells %d times of it, want once", got)
	}
	if c := s.list()[www]; c.Phase != control.Valid || len(s.info().Problems) != 1 || s.metric("acmed_spec_problems") != 1 {
		t.Errorf("list shows %+v", c)
	}
	if err := os.Remove(s.path("acmed.yaml")); err != nil {
		t.Fatal(err)
	}
	if r := s.reload(false); len(r.Problems) != 1 || r.Problems[0].Problem != "is gone" || r.Problems[0].Hint == "" {
		t.Errorf("without the file reload says %+v", r.Problems)
	}
	s.configure()
	if r := s.reload(false); len(r.Problems) != 0 || len(s.info().Problems) != 0 {
		t.Errorf("after it was mended reload says %+v", r.Problems)
	}
}

func TestAKeyThatOnlyAStartReadsStaysAProblemUntilThen(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.start()
	s.configure("workers: 8", "workers: 9", "stateDir: state", "stateDir: elsewhere", "issuers: [ca]", "issuers: [nobody]")
	s.spec(www, "issuers: [ca]\n")
	for range 2 {
		var fields []string
		for _, p := range s.reload(false).Problems {
			fields = append(fields, p.Field+": "+p.Hint)
		}
		if want := []string{"stateDir: systemctl restart acmed", "workers: systemctl restart acmed"}; !slices.Equal(fields, want) {
			t.Errorf("reload says %v, want %v", fields, want)
		}
	}
	if info := s.info(); info.StateDir != s.path("state") || len(info.Problems) != 2 {
		t.Errorf("info shows %+v", info)
	}
	s.spec("x.example.com", "") // of the new default issuer, which is in force
	if r := s.reload(false); len(r.Problems) != 3 {
		t.Errorf("reload says %+v", r.Problems)
	}
	s.configure()
	if r := s.reload(false); len(r.Problems) != 0 {
		t.Errorf("with the old values reload says %+v", r.Problems)
	}
	s.await(www, 1)
}

func TestAnEditedIssuerConcernsItsCertificates(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	other := s.addCA("other", acmetest.Config{Prevalidated: true}, "") // its tokens are those of the other CA
	s.spec("a.example.com", "")
	s.spec("b.example.com", "issuers: [other]\n")
	s.start()
	s.await("a.example.com", 1)
	s.await("b.example.com", 1)

	file := "issuers.d/other.yaml"
	text, err := os.ReadFile(s.path(file))
	if err != nil {
		t.Fatal(err)
	}
	s.write(file, string(text)+"limits: {ordersInFlight: 3}\n")
	if r := s.reload(false); !slices.Equal(r.Edited, []string{"b.example.com"}) {
		t.Errorf("reload says %+v", r)
	}
	s.write(file, "directory: http://insecure.example.com/\n")
	if r := s.reload(false); len(r.Problems) != 1 || !r.Problems[0].Kept || len(r.Edited) != 0 {
		t.Errorf("with a bad issuer reload says %+v", r)
	}
	mended, err := os.ReadFile(s.path("issuers.d/ca.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.write(file, string(mended)) // the same name, another CA
	s.await("b.example.com", 2)
	if s.ca.Count("newOrder") != 2 || other.Count("newOrder") != 1 {
		t.Errorf("the CAs saw %d and %d orders, want 2 and 1", s.ca.Count("newOrder"), other.Count("newOrder"))
	}
}

func TestAReloadTriesWhatTheOperatorMayHaveMended(t *testing.T) {
	t.Parallel()
	key := []byte("a key of 32 bytes for HMAC-SHA256")
	s := newSite(t, acmetest.Config{})
	s.addCA("bound", acmetest.Config{Prevalidated: true, RequireEAB: true, EAB: map[string][]byte{"kid": key}},
		"externalAccountBinding: {kid: kid, hmacKeyFile: "+s.path("hmac")+"}\n")
	s.ca.Down(true)
	s.spec("a.example.com", "")
	s.spec("b.example.com", "issuers: [bound]\n")
	s.start()
	eventually(t, "both have failed", func() bool {
		list := s.list()
		return list["a.example.com"].Error != "" && list["b.example.com"].Error != ""
	})
	if c := s.list()["a.example.com"]; !strings.Contains(c.Reason, "cannot be reached") || c.Phase != control.BackingOff {
		t.Errorf("list shows %+v", c)
	}
	f := s.status("b.example.com").Failures
	if len(f) != 1 || f[0].Kind != "permanent" || !strings.Contains(f[0].Detail, s.path("hmac")) || !strings.Contains(f[0].Hint, "acmed reload") {
		t.Errorf("status shows %+v", f)
	}
	s.ca.Down(false)
	s.write("hmac", base64.RawURLEncoding.EncodeToString(key))
	if r := s.reload(false); len(r.Edited) > 0 {
		t.Errorf("reload says %+v", r)
	}
	s.await("a.example.com", 1)
	s.await("b.example.com", 1)
}
