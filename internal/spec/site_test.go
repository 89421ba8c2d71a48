package spec_test

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	gone   map[string]time.Time // let go of by an earlier run
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
	loader, err := spec.NewLoader(spec.LoaderConfig{Config: s.config, Recall: recall, Known: maps.Clone(s.known), Departed: s.gone})
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

func cloneConfig(c *spec.Config, edit func(*spec.Config)) *spec.Config {
	clone := *c
	edit(&clone)
	return &clone
}
