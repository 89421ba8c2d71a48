package spec_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"acmed/internal/spec"
)

// loadChanged loads a minute after the last time, looking at these files only.
func (s *site) loadChanged(files ...string) *spec.Set {
	changed := []string{}
	for _, file := range files {
		changed = append(changed, filepath.Join(s.dir, file))
	}
	return s.loadAfter(time.Minute, spec.LoadOptions{Changed: changed})
}

func (s *site) symlink(target, file string) {
	s.t.Helper()
	tmp := filepath.Join(s.dir, file+"_tmp")
	if err := os.Symlink(target, tmp); err != nil {
		s.t.Fatal(err)
	}
	if err := os.Rename(tmp, filepath.Join(s.dir, file)); err != nil {
		s.t.Fatal(err)
	}
}

func TestOnlyWhatMayHaveChangedIsLookedAt(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.names(s.loadChanged(), "a.example.com") // the first load looks at everything
	s.write("certs/b.example.com.yaml", "")
	s.write("certs/c.example.com.yaml", "")
	s.names(s.loadChanged(), "a.example.com")
	s.names(s.loadChanged("certs/b.example.com.yaml", "certs/b.example.com.yaml", "certs/none.yaml"), "a.example.com", "b.example.com")
	s.remove("certs/a.example.com.yaml", "certs/b.example.com.yaml")
	s.names(s.loadChanged("certs/a.example.com.yaml", "certs/.a.example.com.yaml.swp"), "b.example.com")
	s.write("issuers/ours.yaml", "directory: https://ca.example.com/dir\n")
	if set := s.loadChanged("issuers/ours.yaml"); set.Issuer("ours") == nil {
		t.Error("the new issuer is not there")
	}
	s.write("certs/b.example.com.yaml", "issuers: [ours]")
	s.problems(s.loadChanged("certs/b.example.com.yaml"))
	s.remove("issuers/ours.yaml")
	s.problems(s.loadChanged("issuers/ours.yaml"),
		`+certs/b.example.com.yaml:1:11: issuers[0]: unknown issuer "ours" (known: letsencrypt, letsencrypt-staging)`)
	s.names(s.load(), "b.example.com", "c.example.com")
}

func TestWhatIsNotSettledIsLookedAtAgain(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.load()
	s.write("certs/b.example.com.yaml", "")
	s.now = time.Now()
	s.names(s.loadAfter(0, spec.LoadOptions{Changed: []string{filepath.Join(s.dir, "certs/b.example.com.yaml")}}), "a.example.com")
	if s.last.Again.IsZero() {
		t.Error("no other load is asked for")
	}
	s.names(s.loadChanged(), "a.example.com", "b.example.com")
}

func TestEverythingIsLookedAtWhenThatMayBeNeeded(t *testing.T) {
	for sentence, change := range map[string]func(*site) (changed string){
		"the folder was replaced": func(s *site) string {
			if err := os.Rename(filepath.Join(s.dir, "certs"), filepath.Join(s.dir, "was")); err != nil {
				s.t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(s.dir, "certs"), 0o755); err != nil {
				s.t.Fatal(err)
			}
			s.write("certs/a.example.com.yaml", "profile: new")
			return "certs/b.example.com.yaml"
		},
		"a link that files lead through was replaced": func(s *site) string {
			s.write("two/a.yaml", "profile: new")
			s.symlink("../two", "certs/..data")
			return "certs/..data"
		},
		"something above the folder changed": func(s *site) string {
			s.write("one/a.yaml", "profile: new")
			return "acmed.yaml"
		},
		"the folder itself changed": func(s *site) string {
			s.write("one/a.yaml", "profile: new")
			return "certs"
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newSite(t)
			for _, dir := range []string{"one", "two"} {
				if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			s.write("one/a.yaml", "profile: old")
			s.symlink("../one", "certs/..data")
			s.symlink("..data/a.yaml", "certs/a.example.com.yaml")
			s.load()
			set := s.loadChanged(change(s))
			if got := set.Certificate("a.example.com").Profile; got != "new" {
				t.Errorf("the profile is %q, want new", got)
			}
		})
	}
}

func TestStraysAreSeenComingAndGoing(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.load()
	s.write("certs/b.example.com.yml", "")
	s.problems(s.loadChanged("certs/b.example.com.yml"), "certs/b.example.com.yml: is not read (rename it to b.example.com.yaml)")
	s.remove("certs/b.example.com.yml")
	s.problems(s.loadChanged("certs/b.example.com.yml"))
}

func TestMissingFolderIsFoundAgain(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.load()
	certs, away := filepath.Join(s.dir, "certs"), filepath.Join(s.dir, "away")
	if err := os.Rename(certs, away); err != nil {
		t.Fatal(err)
	}
	if set := s.loadChanged("certs/a.example.com.yaml"); set.Held == nil {
		t.Error("nothing is held although the folder is gone")
	}
	if err := os.Rename(away, certs); err != nil {
		t.Fatal(err)
	}
	if set := s.loadChanged(); set.Held != nil || len(set.Problems) > 0 {
		t.Errorf("held %v, problems %v", set.Held, set.Problems)
	}
}
