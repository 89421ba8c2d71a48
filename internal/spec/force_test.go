package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acmed/internal/spec"
)

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

// TestWhatAnEarlierRunLetGoOfCounts has four specs in effect, one of which is removed: a normal edit by itself.
func TestWhatAnEarlierRunLetGoOfCounts(t *testing.T) {
	ago := func(d time.Duration, names ...string) map[string]time.Duration {
		gone := map[string]time.Duration{}
		for _, n := range names {
			gone[n] = d
		}
		return gone
	}
	for sentence, c := range map[string]struct {
		gone map[string]time.Duration
		held bool
	}{
		"nothing was removed":                       {nil, false},
		"three were removed half an hour ago":       {ago(30*time.Minute, "x", "y", "z"), true},
		"three were removed more than an hour ago":  {ago(61*time.Minute, "x", "y", "z"), false},
		"two were removed: it is half of all":       {ago(30*time.Minute, "x", "y"), false},
		"three were removed, and one has come back": {ago(30*time.Minute, "n0", "y", "z"), false},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newSite(t)
			s.gone = map[string]time.Time{}
			for name, d := range c.gone {
				s.gone[name] = s.now.Add(-d)
			}
			s.restart()
			for i := range 4 {
				s.write(fmt.Sprintf("certs/n%d.yaml", i), "{}")
			}
			s.load()
			s.remove("certs/n3.yaml")
			if set := s.loadAfter(time.Second, spec.LoadOptions{Now: true}); (set.Held != nil) != c.held {
				t.Errorf("held %v", set.Held)
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
	want := "the files of 1 certificate (a) vanished; they stay in effect until `acmed reload --accept-removals`"
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
		"+certs/b.yaml:1:1: empty, and its name has no dot (write {} for a certificate for the host b, or write dnsNames)",
		`+issuers/corp.yaml:1:12: directory: expected an https URL, found the number 5 (such as https://acme.example.com/directory)`)
	if len(set.Deferred) != 1 {
		t.Errorf("deferred %+v", set.Deferred)
	}
}

func TestRestartWithoutChangesRemembersNothingAnew(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.yaml", "{}")
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

// TestRemovalsWithinAnHourCountTogether is about all ways to remove most specs that are not one load.
func TestRemovalsWithinAnHourCountTogether(t *testing.T) {
	for name, c := range map[string]struct {
		every  time.Duration
		accept int // after so many removals the operator accepts; zero: never
		kept   int // of twelve
		held   int
	}{
		"one at a time, in a loop":              {1600 * time.Millisecond, 0, 12, 12},
		"one in ten seconds":                    {10 * time.Second, 0, 6, 6},
		"one in four minutes":                   {4 * time.Minute, 0, 6, 6},
		"one in twenty minutes":                 {20 * time.Minute, 0, 4, 4},
		"one in an hour":                        {time.Hour, 0, 0, 0},
		"the operator accepts after the fourth": {4 * time.Minute, 4, 4, 4},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			names := []string{"a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"}
			for _, n := range names {
				s.write("certs/"+n+".yaml", "{}")
			}
			s.load()
			for i, n := range names {
				s.remove("certs/" + n + ".yaml")
				s.touch("certs")
				for at := s.now.Add(c.every); s.now.Before(at); {
					s.loadAfter(min(at.Sub(s.now), 2*time.Second), spec.LoadOptions{AcceptRemovals: c.accept > 0 && i+1 == c.accept})
				}
			}
			set := s.loadAfter(time.Minute, spec.LoadOptions{})
			held := 0
			if set.Held != nil {
				held = len(set.Held.Certificates)
			}
			if set.Len() != c.kept || held != c.held {
				t.Errorf("%d are kept and %d held, want %d and %d", set.Len(), held, c.kept, c.held)
			}
		})
	}
}

// touch gives a directory the time of the site, as a change of its content does.
func (s *site) touch(dir string) {
	s.t.Helper()
	if err := os.Chtimes(filepath.Join(s.dir, dir), s.now, s.now); err != nil {
		s.t.Fatal(err)
	}
}
