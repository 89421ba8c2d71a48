package daemon_test

import (
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

// A writer makes the file of a spec in two steps, between which the daemon looks at the files.
type writer struct {
	begin func(s *site)
	end   func(s *site)
}

const (
	half = "dnsNames: [half.example.com]\n"
	full = "dnsNames: [www.example.com]\n"
)

// inPlace writes two parts of a file through one descriptor, with flags besides those for writing.
func inPlace(name string, flags int, first, second string) writer {
	var f *os.File
	return writer{
		func(s *site) {
			var err error
			if f, err = os.OpenFile(s.path(name), os.O_WRONLY|flags, 0o644); err != nil {
				s.t.Fatal(err)
			}
			put(s, f, first)
		},
		func(s *site) { put(s, f, second); s.must(f.Close()) },
	}
}

func put(s *site, f *os.File, text string) {
	s.t.Helper()
	if text == "" {
		return
	}
	_, err := f.WriteString(text)
	s.must(err)
}

func (s *site) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// TestNoOrderComesFromAFileThatSomebodyIsStillWriting is about the ways in which files are written.
func TestNoOrderComesFromAFileThatSomebodyIsStillWriting(t *testing.T) {
	const file = "certs.d/" + www + ".yaml"
	for name, w := range map[string]writer{
		"a shell that redirects a slow command":     inPlace(file, os.O_CREATE|os.O_TRUNC, "", full),
		"a program that pauses between two writes":  inPlace(file, os.O_CREATE|os.O_TRUNC, half+"#", "\n"),
		"a shell that appends":                      inPlace(file, os.O_CREATE|os.O_APPEND, "# "+half, full),
		"the target of a link that is written late": link(inPlace("srv/www.yaml", os.O_CREATE|os.O_TRUNC, "", full)),
		"a copy of a file under its final name":     inPlace(file, os.O_CREATE|os.O_EXCL, half[:10], half[10:]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			s.mkdir("srv")
			s.start()
			w.begin(s)
			s.loadTwice()
			if n := s.ca.Count("newOrder"); n != 0 {
				t.Errorf("%d orders while the file was open: %v", n, s.list())
			}
			began := time.Now()
			w.end(s)
			s.await(www, 1)
			if took := time.Since(began); took > 15*time.Second {
				t.Errorf("the closed file was read after %v", took)
			}
			if n := s.ca.Count("newOrder"); n != 1 {
				t.Errorf("the CA saw %d orders, want 1", n)
			}
		})
	}
}

func link(w writer) writer {
	begin := w.begin
	w.begin = func(s *site) {
		s.must(os.Symlink(s.path("srv/www.yaml"), s.path("certs.d/"+www+".yaml")))
		s.loadTwice()
		begin(s)
	}
	return w
}

// loadTwice waits until the daemon has looked at the files again, because of other files.
func (s *site) loadTwice() {
	s.t.Helper()
	for _, name := range []string{"one", "two"} {
		before := s.metric("acmed_spec_loads_total")
		s.write("certs.d/"+name+".off", "")
		eventually(s.t, "the daemon looks at the files", func() bool { return s.metric("acmed_spec_loads_total") > before })
	}
}

// TestAFileThatIsWholeIsReadSoon is about the ways in which a whole file comes.
func TestAFileThatIsWholeIsReadSoon(t *testing.T) {
	const file = "certs.d/" + www + ".yaml"
	for name, w := range map[string]func(s *site){
		"touch":                          func(s *site) { s.must(os.WriteFile(s.path(file), nil, 0o644)) },
		"sed -i, rsync and most editors": func(s *site) { s.write(file, full) },
		"a hard link":                    func(s *site) { s.write("new", full); s.must(os.Link(s.path("new"), s.path(file))) },
		"a hard link that takes its name": func(s *site) {
			s.write("new", full)
			s.must(errors.Join(os.Link(s.path("new"), s.path(file)), os.Remove(s.path("new"))))
		},
		"a symbolic link to a closed file": func(s *site) {
			s.write("srv/www.yaml", full)
			s.must(os.Symlink("../srv/www.yaml", s.path(file)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			s.start()
			began := time.Now()
			w(s)
			s.await(www, 1)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("read after %v", took)
			}
		})
	}
}

func TestAFileWithoutEventsMustStandStill(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec(www, full) // before the start
	written := time.Now()
	s.start()
	s.spec("seen.example.com", "")
	s.await("seen.example.com", 1)
	if _, known := s.list()[www]; known && time.Since(written) < 5*time.Second {
		t.Error("a file that was written before the start was read at once")
	}
	s.await(www, 1)
}

func TestAReloadReadsAFileThatIsOpen(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.start()
	w := inPlace("certs.d/"+www+".yaml", os.O_CREATE, full, "# the end\n")
	w.begin(s)
	if r := s.reload(false); !slices.Equal(r.Added, []string{www}) {
		t.Errorf("reload says %+v", r)
	}
	s.await(www, 1)
	w.end(s)
}

// TestLinksAreFollowedLikeFiles is about specs and directories that are links: what they lead to, and where.
func TestLinksAreFollowedLikeFiles(t *testing.T) {
	for name, c := range map[string]struct{ before, edit func(s *site) }{
		"the directory is a link that is switched": {
			func(s *site) { s.switchLink("v1", "certs.d") },
			func(s *site) { s.switchLink("v2", "certs.d") },
		},
		"the directory's parent is a link that is switched": {
			func(s *site) {
				s.configure("specDir: certs.d", "specDir: now/certs.d")
				s.must(errors.Join(os.MkdirAll(s.path("r1"), 0o755), os.MkdirAll(s.path("r2"), 0o755), os.Rename(s.path("v1"), s.path("r1/certs.d")), os.Rename(s.path("v2"), s.path("r2/certs.d"))))
				s.switchLink("r1", "now")
			},
			func(s *site) { s.switchLink("r2", "now") },
		},
		"a spec is a link whose target is replaced": {
			func(s *site) { s.mkdir("certs.d"); s.must(os.Symlink("../v1/a.yaml", s.path("certs.d/a.yaml"))) },
			func(s *site) { s.rename("v2/a.yaml", "v1/a.yaml") },
		},
		"a spec is a link whose target is edited": {
			func(s *site) { s.mkdir("certs.d"); s.must(os.Symlink(s.path("v1/a.yaml"), s.path("certs.d/a.yaml"))) },
			func(s *site) {
				s.must(os.WriteFile(s.path("v1/a.yaml"), []byte("dnsNames: [a.example.com, b.example.com]\n"), 0o644))
			},
		},
		"a spec leads through a link that is switched, as a ConfigMap does": {
			func(s *site) {
				s.mkdir("certs.d")
				s.rename("v1", "certs.d/..1")
				s.rename("v2", "certs.d/..2")
				s.switchLink("..1", "certs.d/..data")
				s.must(os.Symlink("..data/a.yaml", s.path("certs.d/a.yaml")))
			},
			func(s *site) { s.switchLink("..2", "certs.d/..data") },
		},
		"a spec leads through a link elsewhere": {
			func(s *site) {
				s.mkdir("certs.d")
				s.mkdir("elsewhere")
				s.switchLink("../v1", "elsewhere/current")
				s.must(os.Symlink("../elsewhere/current/a.yaml", s.path("certs.d/a.yaml")))
			},
			func(s *site) { s.switchLink("../v2", "elsewhere/current") },
		},
		"the directory of the target is replaced": {
			func(s *site) {
				s.mkdir("certs.d")
				s.must(os.Symlink("../v1/a.yaml", s.path("certs.d/a.yaml")))
			},
			func(s *site) { s.rename("v1", "gone"); s.rename("v2", "v1") },
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			s.must(os.Remove(s.path("certs.d")))
			s.write("v1/a.yaml", "dnsNames: [a.example.com]\n")
			s.write("v2/a.yaml", "dnsNames: [a.example.com, b.example.com]\n")
			c.before(s)
			s.start()
			s.await("a", 1)
			began := time.Now()
			c.edit(s)
			s.await("a", 2)
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("the edit was noticed after %v", took)
			}
			if s.list()["a"].Phase != control.Valid {
				t.Errorf("list shows %+v", s.list()["a"])
			}
		})
	}
}

// switchLink makes name a link to target, in one step.
func (s *site) switchLink(target, name string) {
	s.t.Helper()
	tmp := s.path(name) + ".tmp"
	s.must(errors.Join(os.Symlink(target, tmp), os.Rename(tmp, s.path(name))))
}
