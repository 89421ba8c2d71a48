package daemon_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
)

const www = "www.example.com"

func TestADroppedFileBecomesACertificate(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{RenewalInfo: true})
	s.start()
	if got := s.list(); len(got) != 0 {
		t.Fatalf("there are certificates already: %v", got)
	}
	s.spec(www, "") // an empty new file means: the name is the file's name
	s.spec("shop", "dnsNames: [shop.example.com, b.example.com, c.example.com, d.example.com]\ndeploy: {run: [{command: [ls]}]}\n")
	s.await(www, 1)
	s.await("shop", 1)

	c := s.list()[www]
	if c.Issuer != "ca" || c.Problem || c.Error != "" || c.Reason != "as the CA advises" || !c.Next.After(time.Now()) || !c.Next.Before(c.NotAfter) {
		t.Errorf("list shows %+v", c)
	}
	if c := s.list()["shop"]; !slices.Equal(c.Names, []string{"shop.example.com", "b.example.com", "c.example.com"}) || c.MoreNames != 1 {
		t.Errorf("list shows the names %v and %d more", c.Names, c.MoreNames)
	}
	st := s.status(www)
	if len(st.Notes) != 0 || st.Current == nil || st.Current.Number != 1 || st.Next.Do != "renew" || !st.Next.At.Equal(c.Next) || st.SpecFile != s.path("certs.d/"+www+".yaml") {
		t.Errorf("status shows %+v", st)
	}
	if st.Renewal == nil || st.Renewal.Source != "ari" || st.Renewal.WindowEnd.IsZero() {
		t.Errorf("status shows the renewal %+v", st.Renewal)
	}
	if _, err := os.Stat(filepath.Join(st.Live, "fullchain.pem")); err != nil {
		t.Error(err)
	}
	if got := s.metric(`acmed_certificates{phase="valid"}`); got != 2 {
		t.Errorf("metrics count %v valid certificates, want 2", got)
	}
	if got := len(s.run.log.entries("issued certificate")); got != 2 {
		t.Errorf("the log tells of %d certificates, want 2", got)
	}
	if info := s.info(); info.Certificates != 2 || info.Phases[control.Valid] != 2 || !strings.HasPrefix(info.HTTP01, "acmed listens on "+s.host) {
		t.Errorf("info shows %+v", info)
	}
}

func TestAnEditThatAddsANameIsReissuedAndOneThatRemovesANameWaits(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "dnsNames: [a.example.com]\n")
	s.start()
	s.await(www, 1)
	s.spec(www, "dnsNames: [a.example.com, b.example.com]\n")
	s.await(www, 2)

	began := time.Now()
	s.spec(www, "dnsNames: [b.example.com]\n")
	const waiting = "waiting with an edit that takes names away"
	eventually(t, "the removal waits", func() bool { return len(s.run.log.entries(waiting)) > 0 })
	e := s.run.log.entries(waiting)[0]
	if next, err := time.Parse(time.RFC3339Nano, e.text("next")); err != nil || next.Before(began.Add(29*time.Second)) || time.Until(next) > 30*time.Second {
		t.Errorf("it waits until %v (%v), want 30 s", next, err)
	}
	if c := s.status(www); c.Current.Number != 2 || len(c.DNSNames) != 2 {
		t.Errorf("status shows revision %d for %v before the time", c.Current.Number, c.DNSNames)
	}
	if r := s.reload(false); !slices.Equal(r.Edited, []string{www}) || len(r.Problems) > 0 {
		t.Errorf("reload says %+v", r)
	}
	s.await(www, 3)
	if c := s.status(www); !slices.Equal(c.DNSNames, []string{"b.example.com"}) {
		t.Errorf("status shows %v", c.DNSNames)
	}
	if got := s.ca.Count("newOrder"); got != 3 {
		t.Errorf("the CA saw %d orders, want 3", got)
	}
}

func TestABrokenFileHurtsOnlyItself(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "dnsNames: [www.example.com]\n")
	s.start()
	s.await(www, 1)

	s.spec(www, "dnsNames: [www.example.com]\ndnsName: b.example.com\n")
	s.spec("good", "dnsNames: [good.example.com]\n")
	s.await("good", 1)
	s.expectProblem(www, 2, "dnsName: unknown key")

	s.spec(www, "") // an editor or a full disk left it empty
	eventually(t, "the file is seen to be empty", func() bool { p := s.status(www).SpecProblem; return p != nil && p.Problem == "empty" })
	s.expectProblem(www, 1, "empty")

	s.spec(www, "dnsNames: [www.example.com] # mended\n")
	eventually(t, "the problem is gone", func() bool { return s.metric("acmed_spec_problems") == 0 })
	if c := s.list()[www]; c.Problem || c.Error != "" || s.status(www).SpecProblem != nil || len(s.info().Problems) > 0 {
		t.Errorf("after it was mended the list shows %+v", c)
	}
	if got := s.run.log.entries("problem is gone"); len(got) != 2 || got[1].text("problem") != "empty" {
		t.Errorf("the log tells of what was mended: %v", got)
	}
	if got := s.ca.Count("newOrder"); got != 2 {
		t.Errorf("the CA saw %d orders, want 2", got)
	}
}

// expectProblem fails unless the file of a valid certificate is bad and everybody says so, the log once.
func (s *site) expectProblem(name string, line int, text string) {
	s.t.Helper()
	r := s.reload(false)
	if len(r.Problems) != 1 || r.Problems[0].Line != line || !r.Problems[0].Kept || r.Problems[0].Hint == "" {
		s.t.Errorf("reload says %+v", r.Problems)
	}
	c, st := s.list()[name], s.status(name)
	if c.Phase != control.Valid || !c.Problem || !c.InvalidSpec || c.Error != fmt.Sprintf("line %d: %s", line, text) || !strings.HasSuffix(c.Error, text) {
		s.t.Errorf("list shows %+v", c)
	}
	if st.SpecProblem == nil || st.SpecProblem.Line != line || !slices.Equal(st.DNSNames, []string{name}) {
		s.t.Errorf("status shows %+v, %v", st.SpecProblem, st.DNSNames)
	}
	if info := s.info(); len(info.Problems) != 1 || info.Problems[0].Line != line {
		s.t.Errorf("info shows %+v", info.Problems)
	}
	if got := s.metric("acmed_spec_problems"); got != 1 {
		s.t.Errorf("metrics count %v problems, want 1", got)
	}
	told := slices.DeleteFunc(s.run.log.entries("found a problem"), func(e entry) bool { return !strings.Contains(e.text("error"), text) })
	if len(told) != 1 || told[0]["kept"] != true {
		s.t.Errorf("the log tells %d times of it, want once: %v", len(told), told)
	}
}

func TestAFileThatHasNeverBeenGoodIsSeen(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.start()
	s.spec(www, "issuers: [nobody]\n")
	eventually(t, "the list shows it", func() bool { return len(s.list()) == 1 })
	if c := s.list()[www]; c.Phase != control.Parked || !c.Problem || c.Reason != control.NeverValid || !strings.Contains(c.Error, "nobody") {
		t.Errorf("list shows %+v", c)
	}
	_, err := s.run.Status(t.Context(), www)
	expectError(t, err, control.NotFound, www+".yaml:1:11: ", "mend the file")
	s.spec(www, "issuers: [ca]\n")
	s.await(www, 1)
}

func TestARemovedSpecIsRetiredAndItsFilesStay(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "")
	s.start()
	s.await(www, 1)
	s.remove(www)
	eventually(t, "it is retired", func() bool { return s.status(www).Phase == control.Retired })
	eventually(t, "it is listed so", func() bool { return s.list()[www].Phase == control.Retired })
	if got := s.list(); len(got) != 1 || got[www].Problem {
		t.Errorf("list shows %v", got)
	}
	c := s.status(www)
	if c.Current == nil || c.Next.Do != "" || c.Next.Reason != "its spec is gone" || c.SpecFile != "" || c.Renewal != nil {
		t.Errorf("status shows %+v", c)
	}
	if _, err := os.Stat(filepath.Join(c.Live, "privkey.pem")); err != nil {
		t.Error(err)
	}
	eventually(t, "that is in the log", func() bool { return len(s.run.log.entries("stopped renewing: its spec is gone, its files stay")) == 1 })
	s.spec(www, "")
	s.await(www, 1)
	if got := s.ca.Count("newOrder"); got != 1 {
		t.Errorf("the CA saw %d orders, want 1: the certificate was still good", got)
	}
}

func TestMassRemovalIsHeldUntilItIsAccepted(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	names := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
	for _, n := range names {
		s.spec(n, "")
	}
	s.start()
	for _, n := range names {
		s.await(n, 1)
	}
	s.remove(names[1:]...)
	eventually(t, "the removal is held", func() bool { return s.metric("acmed_spec_removals_held") == 3 })
	s.expectHeld(names)

	s.stop()
	s.start()
	s.expectHeld(names)
	r := s.reload(true)
	if !slices.Equal(r.Removed, names[1:]) || r.Held != nil {
		t.Errorf("reload says %+v", r)
	}
	wanted := 0
	for _, c := range s.list() {
		if c.Phase != control.Retired {
			wanted++
		}
	}
	if wanted != 1 || s.metric("acmed_spec_removals_held") != 0 {
		t.Errorf("list still shows %v", s.list())
	}
}

// TestARestartDoesNotForgetWhatWasRemovedLately removes specs one after the other, with restarts in between.
func TestARestartDoesNotForgetWhatWasRemovedLately(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	names := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com", "e.example.com", "f.example.com"}
	for _, n := range names {
		s.spec(n, "")
	}
	s.start()
	for _, n := range names {
		s.await(n, 1)
	}
	for _, n := range names[:3] {
		s.remove(n)
		eventually(t, n+" is let go of", func() bool { return s.list()[n].Phase == control.Retired })
		s.stop()
		s.start()
	}
	s.remove(names[3])
	eventually(t, "the removal is held", func() bool { return s.metric("acmed_spec_removals_held") == 1 })
	if c := s.list()[names[3]]; c.Phase != control.Valid {
		t.Errorf("it is not in force: %+v", c)
	}
}

// expectHeld fails unless all of names are in force although the files of all but the first are gone.
func (s *site) expectHeld(names []string) {
	s.t.Helper()
	r := s.reload(false)
	if r.Held == nil || !slices.Equal(r.Held.Names, names[1:]) || !strings.Contains(r.Held.Reason, "acmed reload --accept-removals") || len(r.Removed) > 0 {
		s.t.Errorf("reload says %+v, %+v", r, r.Held)
	}
	if got := s.list(); len(got) != len(names) || s.info().Held == nil {
		s.t.Errorf("list shows %v", got)
	}
	if got := len(s.run.log.entries("holding removals")); got != 1 {
		s.t.Errorf("the log tells %d times of it, want once", got)
	}
}

func TestAFileThatBrokeWhileTheDaemonWasDownKeepsItsLastGoodVersion(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, "dnsNames: [www.example.com]\n")
	s.start()
	s.await(www, 1)
	s.stop()
	s.spec(www, "dnsNames: [www.example.com]\nkey: x\n")
	s.start()
	s.await(www, 1)
	s.expectProblem(www, 2, "key: unknown key")
	if got := s.ca.Count("newOrder"); got != 1 {
		t.Errorf("the CA saw %d orders, want 1", got)
	}
}

func TestForeignFilesAreNoObstacle(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.start()
	if err := syscall.Mkfifo(s.path("certs.d/pipe.yaml"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"old.yml", "Shop.yaml", "README", ".hidden.yaml", "www.yaml.dpkg-old"} {
		s.write("certs.d/"+name, "no: spec\n")
	}
	s.mkdir("certs.d/folder.yaml")
	s.spec(www, "")
	s.await(www, 1)
	var said []string
	for _, p := range s.info().Problems {
		said = append(said, filepath.Base(p.File)+" "+p.Problem+"; "+p.Hint)
	}
	want := []string{
		"Shop.yaml is not read: its name is not fit for a name; rename it: up to 128 lower-case letters, digits, dots, _ and -, the first a letter or digit, no two dots in a row",
		"folder.yaml is a folder; put a regular file here, or a symbolic link to one",
		"old.yml is not read; rename it to old.yaml",
		"pipe.yaml is a named pipe; put a regular file here, or a symbolic link to one",
	}
	if !slices.Equal(said, want) {
		t.Errorf("info shows\n%s\nwant\n%s", strings.Join(said, "\n"), strings.Join(want, "\n"))
	}
}

func TestASpecFolderThatIsReplacedIsFollowed(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec("a.example.com", "")
	s.start()
	s.await("a.example.com", 1)
	s.write("new.d/a.example.com.yaml", "")
	s.write("new.d/b.example.com.yaml", "")
	s.rename("certs.d", "old.d")
	s.rename("new.d", "certs.d")
	s.await("b.example.com", 1)
	s.spec("c.example.com", "") // in the new folder
	s.await("c.example.com", 1)
	s.write("old.d/d.example.com.yaml", "")
	s.reload(false)
	if got := s.list(); len(got) != 3 {
		t.Errorf("list shows %v", got)
	}
}

func (s *site) rename(from, to string) {
	s.t.Helper()
	if err := os.Rename(s.path(from), s.path(to)); err != nil {
		s.t.Fatal(err)
	}
}

func TestAMissingSpecFolderIsAwaited(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.configure("specDir: certs.d", "specDir: mnt/acmed/certs.d")
	s.start()
	if p := s.info().Problems; len(p) != 1 || p[0].Problem != "does not exist" || p[0].Hint == "" {
		t.Errorf("info shows %+v", p)
	}
	s.write("mnt/acmed/certs.d/www.example.com.yaml", "")
	s.await(www, 1)
	s.rename("mnt/acmed/certs.d", "aside.d")
	eventually(t, "that is seen", func() bool { return s.info().Held != nil })
	if c := s.list()[www]; c.Phase != control.Valid {
		t.Errorf("without the folder the list shows %+v", c)
	}
	s.rename("aside.d", "mnt/acmed/certs.d")
	eventually(t, "all is well again", func() bool { i := s.info(); return i.Held == nil && len(i.Problems) == 0 })
}

func TestAStormOfEventsIsOneLoadAndOneForRemovals(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	for _, n := range []string{"a.example.com", "b.example.com"} {
		s.spec(n, "")
	}
	s.start()
	s.await("b.example.com", 1)
	s.reload(false) // what is left of the start
	began, before := time.Now(), s.metric("acmed_spec_loads_total")
	for i := range 1000 { // each is several events
		s.write("certs.d/swap", "x")
		if i%100 == 0 {
			s.spec("c.example.com", strings.Repeat("# edited\n", i)+"{}\n")
		}
	}
	s.remove("a.example.com")
	// One when all is quiet, and one for the removal, when the directory has stood still. On a slow machine the storm pauses.
	most := 2 + float64(time.Since(began)/(500*time.Millisecond))
	s.await("c.example.com", 1)
	eventually(t, "the list is that of the folder", func() bool {
		got := s.list()
		return len(got) == 3 && got["a.example.com"].Phase == control.Retired && got["b.example.com"].Phase == control.Valid
	})
	if loads := s.metric("acmed_spec_loads_total") - before; loads > most {
		t.Errorf("it took %v loads, want %v", loads, most)
	}
}

func TestEventsWithoutEndOrLostOnesAreFollowedByALoad(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds ...float64) (events []time.Time) {
		for _, s := range seconds {
			events = append(events, begin.Add(time.Duration(s*float64(time.Second))))
		}
		return events
	}
	for name, c := range map[string]struct {
		events []time.Time
		want   time.Time
	}{
		"nothing is due without an event":      {nil, time.Time{}},
		"a load follows when the file is calm": {at(0), begin.Add(505 * time.Millisecond)},
		"the last event counts":                {at(0, 0.3, 0.6, 1), begin.Add(1505 * time.Millisecond)},
		"but events without end are overtaken": {at(0, 1, 2, 3, 4, 4.9), begin.Add(5 * time.Second)},
	} {
		if got := daemon.Due(c.events...); !got.Equal(c.want) {
			t.Errorf("%s: due at %v, want %v", name, got, c.want)
		}
	}
	book := &logbook{}
	if !daemon.Loses(book, fsnotify.ErrEventOverflow) || book.String() != "" {
		t.Errorf("an overflow is followed by no load, or by %q", book)
	}
	if !daemon.Loses(book, os.ErrPermission) || len(book.entries("watching the specs")) != 1 {
		t.Errorf("an error is followed by no load, or by %q", book)
	}
}

// expectError fails unless err is of that code, and its message and hint contain these words.
func expectError(t *testing.T, err error, code control.Code, message, hint string) {
	t.Helper()
	e, ok := err.(*control.Error)
	if !ok || e.Code != code || !strings.Contains(e.Message, message) || !strings.Contains(e.Hint, hint) {
		t.Errorf("error %#v, want %s: %s: %s", err, code, message, hint)
	}
}
