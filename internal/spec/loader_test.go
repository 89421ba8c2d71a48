package spec_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/spec"
)

// A site is a pair of folders, a loader over them and what a caller remembers.
type site struct {
	t      *testing.T
	dir    string
	config *spec.Config
	loader *spec.Loader
	now    time.Time
	texts  map[string]string
	known  map[string]time.Time
	last   *spec.Loaded
}

func newSite(t *testing.T) *site {
	s := &site{t: t, dir: t.TempDir(), now: time.Now().Add(time.Hour), texts: map[string]string{}, known: map[string]time.Time{}}
	s.config = spec.DefaultConfig(filepath.Join(s.dir, "acmed.yaml"))
	s.config.SpecDir, s.config.IssuerDir = filepath.Join(s.dir, "certs"), filepath.Join(s.dir, "issuers")
	for _, dir := range []string{s.config.SpecDir, s.config.IssuerDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.restart()
	return s
}

// restart makes a new loader that knows what was remembered.
func (s *site) restart() {
	s.t.Helper()
	recall := func(key string) ([]byte, error) {
		text, ok := s.texts[key]
		if !ok {
			return nil, fmt.Errorf("recalling %s: %w", key, fs.ErrNotExist)
		}
		return []byte(text), nil
	}
	loader, err := spec.NewLoader(spec.LoaderConfig{Config: s.config, Recall: recall, Known: maps.Clone(s.known)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.loader = loader
}

func (s *site) write(file, text string) {
	s.t.Helper()
	path := filepath.Join(s.dir, file)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) remove(files ...string) {
	s.t.Helper()
	for _, file := range files {
		if err := os.Remove(filepath.Join(s.dir, file)); err != nil {
			s.t.Fatal(err)
		}
	}
}

// load loads a minute after the last time and remembers what it is told to.
func (s *site) load() *spec.Set { return s.loadAfter(time.Minute, spec.LoadOptions{}) }

func (s *site) loadAfter(d time.Duration, o spec.LoadOptions) *spec.Set {
	s.now = s.now.Add(d)
	s.last = s.loader.Load(s.now, o)
	for _, good := range s.last.Good {
		s.texts[good.Key], s.known[good.Key] = string(good.Text), good.ModTime
	}
	for _, key := range s.last.Gone {
		if _, ok := s.texts[key]; !ok {
			s.t.Errorf("%s is to be forgotten but was never remembered", key)
		}
		delete(s.texts, key)
		delete(s.known, key)
	}
	return s.last.Set
}

// names fails unless the certificates of set are those.
func (s *site) names(set *spec.Set, want ...string) {
	s.t.Helper()
	var got []string
	for name, c := range set.Certificates() {
		if c.Name != name || set.Certificate(name) != c {
			s.t.Errorf("%s is found as %v", name, set.Certificate(name))
		}
		got = append(got, name)
	}
	if !slices.Equal(got, want) || set.Len() != len(want) {
		s.t.Errorf("certificates %q, want %q", got, want)
	}
}

// problems fails unless the set has just these, without the folder and marked with "+" when the old version is kept.
func (s *site) problems(set *spec.Set, want ...string) {
	s.t.Helper()
	var got []string
	for _, p := range set.Problems {
		text := strings.ReplaceAll(p.Error(), s.dir+"/", "")
		if p.Kept {
			text = "+" + text
		}
		got = append(got, text)
	}
	if !slices.Equal(got, want) {
		s.t.Errorf("problems\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(want, "\n\t"))
	}
}

func diff(old, new *spec.Set) string {
	var out []string
	for name, change := range spec.Diff(old, new) {
		out = append(out, name+" "+change.String())
	}
	return strings.Join(out, ", ")
}

func TestFilesComeChangeAndGo(t *testing.T) {
	s := newSite(t)
	s.write("certs/b.example.com.yaml", "")
	s.write("certs/a.example.com.yaml", "profile: one\n")
	first := s.load()
	s.names(first, "a.example.com", "b.example.com")
	s.problems(first)
	if got := diff(nil, first); got != "a.example.com added, b.example.com added" {
		t.Error(got)
	}
	if len(s.last.Good) != 2 || !s.last.Again.IsZero() {
		t.Errorf("loaded %+v", s.last)
	}

	if again := s.load(); again != first || len(s.last.Good) != 0 {
		t.Error("a load without changes made a new set")
	}

	s.write("certs/a.example.com.yaml", "profile: two # changed\n")
	second := s.load()
	if got := diff(first, second); got != "a.example.com edited" {
		t.Error(got)
	}
	if first.Certificate("a.example.com").Profile != "one" || second.Certificate("a.example.com").Profile != "two" {
		t.Error("the old set changed")
	}

	s.write("certs/a.example.com.yaml", "profile: two # only a comment changed\n")
	third := s.load()
	if third.Certificate("a.example.com") != second.Certificate("a.example.com") || len(s.last.Good) != 1 {
		t.Error("a comment made a new certificate, or was not remembered")
	}

	s.remove("certs/b.example.com.yaml")
	fourth := s.load()
	if got := diff(third, fourth); got != "b.example.com removed" {
		t.Error(got)
	}
	if !slices.Equal(s.last.Gone, []string{"certs/b.example.com.yaml"}) {
		t.Errorf("gone %q", s.last.Gone)
	}
}

func TestOnlyYAMLFilesWithFitNamesAreRead(t *testing.T) {
	s := newSite(t)
	for _, file := range []string{".hidden.yaml", "x.yaml~", "x.yaml.bak", "README", ".x.yml", "a.example.com.yaml", "#a.yaml#"} {
		s.write("certs/"+file, "{}")
	}
	s.write("certs/b.example.com.yml", "{}")
	s.write("certs/Www.yaml", "{}")
	s.write("certs/"+strings.Repeat("a", 129)+".yaml", "{}")
	set := s.load()
	s.names(set, "a.example.com")
	unfit := "is not read: its name is not fit for a name (lower-case letters, digits, dots, _ and - only, a letter or digit first, at most 128)"
	s.problems(set,
		"certs/Www.yaml: "+unfit,
		"certs/"+strings.Repeat("a", 129)+".yaml: "+unfit,
		"certs/b.example.com.yml: is not read (rename it to b.example.com.yaml)")
}

func TestFileIsReadOnceItStoodStill(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	written := time.Now()
	s.now = written
	s.names(s.loadAfter(-10*time.Millisecond, spec.LoadOptions{}))
	if again := s.last.Again; again.IsZero() || again.After(written.Add(time.Second)) {
		t.Errorf("again at %v", again)
	}
	s.now = s.last.Again
	s.names(s.loadAfter(-time.Nanosecond, spec.LoadOptions{Now: true}))
	s.names(s.loadAfter(time.Nanosecond, spec.LoadOptions{}), "a.example.com")
	if !s.last.Again.IsZero() {
		t.Errorf("again at %v", s.last.Again)
	}
}

func TestFileFromTheFutureIsReadOnceSeenForLongEnough(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.now = time.Now().Add(-24 * 365 * time.Hour)
	s.names(s.loadAfter(0, spec.LoadOptions{}))
	if want := s.now.Add(500 * time.Millisecond); !s.last.Again.Equal(want) {
		t.Errorf("again at %v, want %v", s.last.Again, want)
	}
	s.names(s.loadAfter(500*time.Millisecond-1, spec.LoadOptions{}))
	s.names(s.loadAfter(1, spec.LoadOptions{}), "a.example.com")
}

func TestBadFileHurtsOnlyItself(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "profile: good\n")
	s.write("certs/b.example.com.yaml", "profle: x\n")
	s.write("certs/c.example.com.yaml", "{}")
	set := s.load()
	s.names(set, "a.example.com", "c.example.com")
	s.problems(set, "certs/b.example.com.yaml:1:1: profle: unknown key (did you mean profile?)")

	s.write("certs/a.example.com.yaml", "profile: [\n")
	kept := s.load()
	s.problems(kept,
		"+certs/a.example.com.yaml:1: is not YAML: did not find expected node content",
		"certs/b.example.com.yaml:1:1: profle: unknown key (did you mean profile?)")
	if diff(set, kept) != "" || kept.Certificate("a.example.com").Profile != "good" {
		t.Error("the last good version did not stay")
	}

	s.write("certs/a.example.com.yaml", "profile: better\n")
	s.write("certs/b.example.com.yaml", "profile: x\n")
	mended := s.load()
	s.problems(mended)
	if got := diff(kept, mended); got != "a.example.com edited, b.example.com added" {
		t.Error(got)
	}
}

func TestEmptiedFile(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "{profile: a}")
	s.write("certs/b.example.com.yaml", "")
	s.load()
	s.write("certs/a.example.com.yaml", "# nothing left\n")
	s.write("certs/b.example.com.yaml", "\n") // still says nothing, as before
	set := s.load()
	s.problems(set, "+certs/a.example.com.yaml:1:1: empty (write {} for defaults)")
	s.names(set, "a.example.com", "b.example.com")
	s.write("certs/a.example.com.yaml", "{}")
	if set = s.load(); set.Certificate("a.example.com").Profile != "" {
		t.Error("{} does not mean defaults")
	}
	s.problems(set)
	s.config = cloneConfig(s.config, func(c *spec.Config) { c.Defaults.Profile = "new" })
	s.loader.SetConfig(s.config)
	set = s.load()
	s.problems(set)
	if set.Certificate("b.example.com").Profile != "new" {
		t.Error("an empty file does not follow the defaults")
	}
}

func cloneConfig(c *spec.Config, edit func(*spec.Config)) *spec.Config {
	clone := *c
	edit(&clone)
	return &clone
}

func TestWhatIsNoRegularFileIsRefusedWithoutBlocking(t *testing.T) {
	s := newSite(t)
	path := func(name string) string { return filepath.Join(s.config.SpecDir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	s.write("good.yaml", "dnsNames: [linked.example.com]\n")
	s.write("certs/held.yaml", "dnsNames: [held.example.com]\n")
	s.load()
	s.remove("certs/held.yaml")
	must(syscall.Mkfifo(path("held.yaml"), 0o644))
	must(syscall.Mkfifo(path("fifo.yaml"), 0o644))
	must(os.Mkdir(path("folder.yaml"), 0o755))
	must(os.Symlink("loop.yaml", path("loop.yaml")))
	must(os.Symlink("nowhere", path("dangling.yaml")))
	must(os.Symlink("/dev/zero", path("device.yaml")))
	must(os.Symlink("../good.yaml", path("linked.yaml")))
	socket, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	must(err)
	defer syscall.Close(socket)
	must(syscall.Bind(socket, &syscall.SockaddrUnix{Name: path("socket.yaml")}))
	must(os.Truncate(path("linked.yaml"), 31))
	s.write("certs/huge.yaml", "")
	must(os.Truncate(path("huge.yaml"), 1<<30))

	set := s.load()
	s.names(set, "held", "linked")
	plain := " (put a regular file here, or a symbolic link to one)"
	want := []string{
		"certs/dangling.yaml: is a symbolic link to a file that does not exist (point it at a regular file, or remove it)",
		"certs/device.yaml: is a device" + plain,
		"certs/fifo.yaml: is a named pipe" + plain,
		"certs/folder.yaml: is a folder" + plain,
		"+certs/held.yaml: is a named pipe" + plain,
		"certs/huge.yaml: over 64 KiB (a file describes one thing only)",
		"certs/loop.yaml: is a symbolic link that leads back to itself (point it at a regular file)",
		"certs/socket.yaml: is a socket" + plain,
	}
	s.problems(set, want...)
	if s.load() != set {
		t.Error("the same refusals made another set")
	}
}

func TestEditThatRemovesNamesWaits(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "dnsNames: [a.example.com, b.example.com]\nipAddresses: [192.0.2.1]\n")
	s.load()
	s.write("certs/a.yaml", "dnsNames: [a.example.com, c.example.com]\n")
	set := s.loadAfter(time.Minute, spec.LoadOptions{})
	until := s.now.Add(30 * time.Second)
	if got := set.Certificate("a").DNSNames; !slices.Equal(got, []string{"a.example.com", "b.example.com"}) {
		t.Errorf("names %q", got)
	}
	if len(set.Deferred) != 1 || !set.Deferred[0].Until.Equal(until) ||
		!slices.Equal(set.Deferred[0].Removes, []string{"b.example.com", "192.0.2.1"}) {
		t.Errorf("deferred %+v", set.Deferred)
	}
	if !s.last.Again.Equal(until) || len(s.last.Good) != 0 {
		t.Errorf("again at %v, good %v", s.last.Again, s.last.Good)
	}
	if s.loadAfter(30*time.Second-1, spec.LoadOptions{}) != set {
		t.Error("the wait ended early")
	}
	set = s.loadAfter(1, spec.LoadOptions{})
	if got := set.Certificate("a").DNSNames; !slices.Equal(got, []string{"a.example.com", "c.example.com"}) {
		t.Errorf("names %q", got)
	}
	if len(set.Deferred) != 0 || len(s.last.Good) != 1 || !s.last.Again.IsZero() {
		t.Errorf("still waiting: %+v", s.last)
	}
}

func TestReloadRemovesNamesAtOnce(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "dnsNames: [a.example.com, b.example.com]\n")
	s.load()
	s.write("certs/a.yaml", "dnsNames: [a.example.com]\n")
	s.load()
	if set := s.loadAfter(0, spec.LoadOptions{Now: true}); len(set.Certificate("a").DNSNames) != 1 {
		t.Error("a reload did not remove the name")
	}
}

func TestEditThatIsTakenBackInTime(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "dnsNames: [a.example.com, b.example.com]\n")
	first := s.load()
	s.write("certs/a.yaml", "dnsNames: [a.example.com]\n")
	s.load()
	s.write("certs/a.yaml", "dnsNames: [a.example.com, b.example.com] # really\n")
	set := s.loadAfter(time.Second, spec.LoadOptions{})
	if diff(first, set) != "" || len(set.Deferred) != 0 {
		t.Error("the edit left something behind")
	}
}

func TestManyThatVanishAreHeld(t *testing.T) {
	for name, test := range map[string]struct {
		had, lost int
		held      bool
	}{
		"three of three are removed":   {3, 3, false},
		"two of four are removed":      {4, 2, false},
		"three of four are held":       {4, 3, true},
		"all of ten are held":          {10, 10, true},
		"half of ten are removed":      {10, 5, false},
		"just over half are held":      {11, 6, true},
		"the only one is let go":       {1, 1, false},
		"one of many is a normal edit": {8, 1, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			var all []string
			for i := range test.had {
				name := fmt.Sprintf("n%02d", i)
				all = append(all, name)
				s.write("certs/"+name+".yaml", "{}")
			}
			before := s.load()
			for _, name := range all[:test.lost] {
				s.remove("certs/" + name + ".yaml")
			}
			set := s.load()
			if !test.held {
				s.names(set, all[test.lost:]...)
				return
			}
			if diff(before, set) != "" || set.Held == nil || !slices.Equal(set.Held.Certificates, all[:test.lost]) {
				t.Errorf("held %+v, changes %s", set.Held, diff(before, set))
			}
			if s.load() != set {
				t.Error("held does not last")
			}
			s.restart()
			if set = s.load(); diff(before, set) != "" || set.Held == nil {
				t.Errorf("after a restart: held %+v, changes %s", set.Held, diff(before, set))
			}
			set = s.loadAfter(0, spec.LoadOptions{AcceptRemovals: true})
			s.names(set, all[test.lost:]...)
			if set.Held != nil || len(s.last.Gone) != test.lost || len(s.texts) != test.had-test.lost {
				t.Errorf("after accepting: held %+v, gone %q", set.Held, s.last.Gone)
			}
		})
	}
}

func TestHeldFileThatComesBack(t *testing.T) {
	s := newSite(t)
	if err := os.Rename(s.config.SpecDir, s.config.SpecDir+".away"); err != nil {
		t.Fatal(err)
	}
	set := s.load()
	s.problems(set, "certs: does not exist (create the folder, or mount what holds it)")
	if err := os.Rename(s.config.SpecDir+".away", s.config.SpecDir); err != nil {
		t.Fatal(err)
	}
	s.write("certs/a.yaml", "{}")
	set = s.load()
	if err := os.Rename(s.config.SpecDir, s.config.SpecDir+".away"); err != nil {
		t.Fatal(err)
	}
	held := s.loadAfter(0, spec.LoadOptions{Now: true})
	s.names(held, "a")
	s.problems(held, "certs: does not exist (create the folder, or mount what holds it)")
	want := "the files of 1 certificate (a) vanished at once; they stay in force until `acmed reload --accept-removals`"
	if held.Held == nil || held.Held.String() != want {
		t.Errorf("held %v", held.Held)
	}
	if err := os.Rename(s.config.SpecDir+".away", s.config.SpecDir); err != nil {
		t.Fatal(err)
	}
	back := s.load()
	if back.Held != nil || diff(set, back) != "" {
		t.Errorf("held %v, changes %s", back.Held, diff(set, back))
	}
}

func TestRemovalWaitsUntilTheFolderStandsStill(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "{}")
	s.write("certs/b.yaml", "{}")
	s.load()
	s.remove("certs/a.yaml")
	s.now = time.Now()
	s.names(s.loadAfter(0, spec.LoadOptions{}), "a", "b")
	if s.last.Again.IsZero() {
		t.Fatal("nothing pends")
	}
	s.now = s.last.Again
	s.names(s.loadAfter(0, spec.LoadOptions{}), "b")
}

func TestRestartWithABrokenFileRecallsTheLastGoodText(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "profile: good\n")
	s.write("certs/b.yaml", "profile: good\n")
	s.write("certs/c.yaml", "dnsNames: [a.example.com, b.example.com]\n")
	s.write("issuers/corp.yaml", "directory: https://acme.corp.example/directory\n")
	first := s.load()
	s.write("certs/a.yaml", "profile: [\n")
	s.write("certs/b.yaml", "")
	s.write("certs/c.yaml", "dnsNames: [a.example.com]\n")
	s.write("issuers/corp.yaml", "directory: 5\n")
	s.restart()
	set := s.load()
	if got := diff(first, set); got != "" {
		t.Error(got)
	}
	s.problems(set,
		"+certs/a.yaml:1: is not YAML: did not find expected node content",
		"+certs/b.yaml:1:1: empty (write {} for defaults)",
		`+issuers/corp.yaml:1:12: directory: expected an https URL, found the number 5 (such as https://acme.example.com/directory)`)
	if len(set.Deferred) != 1 {
		t.Errorf("deferred %+v", set.Deferred)
	}
}

func TestRestartWithoutChangesRemembersNothingAnew(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "")
	first := s.load()
	s.restart()
	if set := s.load(); diff(first, set) != "" || len(s.last.Good) != 0 || len(set.Problems) != 0 {
		t.Errorf("loaded %+v, problems %v", s.last, set.Problems)
	}
}

func TestOnePathHasOneWriter(t *testing.T) {
	file := func(path string) string { return "deploy: {files: [{path: " + path + ", content: cert}]}\n" }
	taken := func(name, by, path string) string {
		return "certs/" + name + ".yaml:1:25: deploy.files[0].path: " + path + " is written by " + by + ".yaml already (write to another path)"
	}
	s := newSite(t)
	s.write("certs/b.yaml", file("/x"))
	s.write("certs/c.yaml", file("/x"))
	set := s.load()
	s.names(set, "b")
	s.problems(set, taken("c", "b", "/x"))

	s.write("certs/a.yaml", file("/x")) // first in the alphabet, but b had the path first
	s.write("certs/c.yaml", file("/y"))
	set = s.load()
	s.names(set, "b", "c")
	s.problems(set, taken("a", "b", "/x"))

	s.restart()
	set = s.load()
	s.names(set, "b", "c")
	s.problems(set, taken("a", "b", "/x"))

	s.write("certs/c.yaml", file("/x")) // the last good version has /y
	set = s.load()
	s.problems(set, taken("a", "b", "/x"), "+"+taken("c", "b", "/x"))
	if set.Certificate("c").Deploy.Files[0].Path != "/y" {
		t.Error("the last good version of c did not stay")
	}

	s.write("certs/b.yaml", file("/z")) // gives /x back, to the first in the alphabet
	set = s.load()
	s.names(set, "a", "b", "c")
	s.problems(set, "+"+taken("c", "a", "/x"))

	s.remove("certs/a.yaml")
	set = s.load()
	s.names(set, "b", "c")
	s.problems(set)
}

func TestIssuers(t *testing.T) {
	s := newSite(t)
	s.config.Contact, s.config.TermsOfServiceAgreed = []string{"mailto:pki@example.com"}, true
	s.restart()
	s.write("issuers/zerossl.yaml", "externalAccountBinding: {kid: a, hmacKeyFile: /b}\nlimits: {ordersInFlight: 2}\n")
	s.write("certs/a.yaml", "issuers: [zerossl, corp]\n")
	s.write("certs/b.yaml", "")
	set := s.load()
	s.names(set, "b")
	s.problems(set, `certs/a.yaml:1:20: issuers[1]: unknown issuer "corp" (known: letsencrypt, letsencrypt-staging, zerossl)`)
	zerossl := set.Issuer("zerossl")
	if zerossl.Directory != "https://acme.zerossl.com/v2/DV90" || zerossl.Binding.KID != "a" ||
		zerossl.Limits != (spec.Limits{FailuresPerNamePerHour: 4, OrdersInFlight: 2}) || !zerossl.TermsOfServiceAgreed {
		t.Errorf("zerossl %+v", zerossl)
	}
	le := set.Issuer("letsencrypt")
	if le.File != "" || le.Limits.OrdersPer3h != 270 || !slices.Equal(le.Contact, s.config.Contact) {
		t.Errorf("letsencrypt %+v", le)
	}

	s.write("issuers/corp.yaml", "directory: https://acme.corp.example/directory\n")
	before, set := set, s.load()
	if got := diff(before, set); got != "a added" {
		t.Error(got)
	}
	s.problems(set)

	s.write("issuers/corp.yaml", "directory: https://acme.corp.example/other\n")
	before, set = set, s.load()
	if got := diff(before, set); got != "a edited" {
		t.Error(got)
	}

	s.remove("issuers/corp.yaml")
	before, set = set, s.load()
	if got := diff(before, set); got != "a edited" || set.Issuer("corp") != nil {
		t.Errorf("changes %s, corp %v", got, set.Issuer("corp"))
	}
	s.problems(set, `+certs/a.yaml:1:20: issuers[1]: unknown issuer "corp" (known: letsencrypt, letsencrypt-staging, zerossl)`)
}

func TestIssuersOfTheDefaultsMustBeKnown(t *testing.T) {
	s := newSite(t)
	s.config.Defaults.Issuers = []string{"corp"}
	s.restart()
	s.write("certs/a.yaml", "")
	s.problems(s.load(), `certs/a.yaml:1:1: issuers: unknown issuer "corp" in the defaults of acmed.yaml (known: letsencrypt, letsencrypt-staging)`)
}

func TestSetConfigParsesAgainOnlyWhatItMust(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "profile: own\n")
	s.write("certs/b.yaml", "")
	first := s.load()
	s.loader.SetConfig(cloneConfig(s.config, func(*spec.Config) {}))
	if s.load() != first {
		t.Error("the same configuration made another set")
	}
	s.loader.SetConfig(cloneConfig(s.config, func(c *spec.Config) { c.Defaults.Profile = "shared" }))
	second := s.load()
	if got := diff(first, second); got != "b edited" || len(s.last.Good) != 0 {
		t.Errorf("changes %s, good %v", got, s.last.Good)
	}
}

func TestSetConfigMovesTheFolder(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "")
	s.load()
	if err := os.Mkdir(filepath.Join(s.dir, "other"), 0o755); err != nil {
		t.Fatal(err)
	}
	s.write("other/b.yaml", "")
	s.loader.SetConfig(cloneConfig(s.config, func(c *spec.Config) { c.SpecDir = filepath.Join(s.dir, "other") }))
	s.names(s.load(), "b")
}

func TestNewLoaderNeedsAConfig(t *testing.T) {
	if _, err := spec.NewLoader(spec.LoaderConfig{}); err == nil {
		t.Error("no error")
	}
}

func TestFolderThatCannotBeListed(t *testing.T) {
	s := newSite(t)
	s.write("file", "")
	s.config.SpecDir = filepath.Join(s.dir, "file")
	s.restart()
	s.problems(s.load(), "file: cannot be read: not a directory")
}
