package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/migrate"
)

// program writes an executable file outside of the client's directory.
func (w *world) program(name string) string {
	w.t.Helper()
	path := filepath.Join(w.t.TempDir(), name)
	writeFile(w.t, path, "#!/bin/sh\n")
	if err := os.Chmod(path, 0o755); err != nil {
		w.t.Fatal(err)
	}
	return path
}

func TestAHookThatIsALinkRunsOrIsNoted(t *testing.T) {
	for name, tt := range map[string]struct {
		hook func(w *world)
		run  bool
		note string
	}{
		"to a program elsewhere": {func(w *world) { w.link("renewal-hooks/deploy/x", w.program("push")) }, true, "are run from there"},
		"to a program of the same place": {func(w *world) {
			w.link("renewal-hooks/deploy/x", "../y")
			w.write("renewal-hooks/y", "#!/bin/sh")
			w.executable("renewal-hooks/y")
		}, true, "are run from there"},
		"by way of another link":            {func(w *world) { w.link("renewal-hooks/deploy/x", w.dir+"/y"); w.link("y", w.program("push")) }, true, "are run from there"},
		"to nothing":                        {func(w *world) { w.link("renewal-hooks/deploy/x", "/nowhere/push") }, false, "renewal-hooks/deploy/x cannot be followed"},
		"to itself":                         {func(w *world) { w.link("renewal-hooks/deploy/x", "x") }, false, "renewal-hooks/deploy/x cannot be followed"},
		"to nothing, before every renewal":  {func(w *world) { w.link("renewal-hooks/pre/x", "/nowhere/stop") }, false, "renewal-hooks/pre/x cannot be followed"},
		"to a program, after every renewal": {func(w *world) { w.link("renewal-hooks/post/x", w.program("start")) }, false, "renewal-hooks/post/x runs after every renewal"},
		"to a file that is no program":      {func(w *world) { w.link("renewal-hooks/deploy/x", w.dir+"/y"); w.write("y", "") }, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
			tt.hook(w)
			p := w.apply("certbot")
			s := step(t, p, "www.example.com")
			if want := "{command: [" + w.dir + "/renewal-hooks/deploy/x], timeout: 10m}"; strings.Contains(s.Spec, want) != tt.run {
				t.Errorf("the spec is\n%s", s.Spec)
			}
			if tt.note == "" && len(p.Notes) > 0 || tt.note != "" && (len(p.Notes) != 1 || !strings.Contains(p.Notes[0].What, tt.note)) {
				t.Errorf("notes: %+v", p.Notes)
			}
		})
	}
}

func (w *world) executable(name string) {
	w.t.Helper()
	if err := os.Chmod(filepath.Join(w.dir, name), 0o755); err != nil {
		w.t.Fatal(err)
	}
}

func TestAnAbsoluteLinkInsideIsFollowed(t *testing.T) {
	const v1, v2 = "accounts/acme-v01.api.letsencrypt.org/directory", "accounts/acme-v02.api.letsencrypt.org/directory"
	for name, change := range map[string]func(t *testing.T, w *world){
		"of the accounts, as certbot makes it": func(t *testing.T, w *world) {
			w.move(v2, v1)
			w.link(v2, w.dir+"/"+v1)
		},
		"of one account": func(t *testing.T, w *world) {
			w.move(v2+"/"+certbotID, "elsewhere")
			w.link(v2+"/"+certbotID, w.dir+"/elsewhere")
		},
		"of the accounts, in a copy of the directory": func(t *testing.T, w *world) {
			w.move(v2, v1)
			w.link(v2, "/etc/letsencrypt/"+v1)
		},
		"of a directory of live": func(t *testing.T, w *world) {
			w.move("live/www.example.com", "live/moved")
			w.link("live/www.example.com", w.dir+"/live/moved")
		},
		"of a key": func(t *testing.T, w *world) {
			w.remove("live/www.example.com/privkey.pem")
			w.link("live/www.example.com/privkey.pem", w.dir+"/archive/www.example.com/privkey2.pem")
		},
		"of a chain, in a copy of the directory": func(t *testing.T, w *world) {
			w.remove("live/www.example.com/fullchain.pem")
			w.link("live/www.example.com/fullchain.pem", "/etc/letsencrypt/archive/www.example.com/fullchain2.pem")
		},
		"of a directory that is itself reached by a link": func(t *testing.T, w *world) {
			w.remove("live/www.example.com/privkey.pem")
			w.link("live/www.example.com/privkey.pem", w.dir+"/archive/www.example.com/privkey2.pem")
			link := filepath.Join(t.TempDir(), "link")
			if err := os.Symlink(w.dir, link); err != nil {
				t.Fatal(err)
			}
			w.dir = link
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
			change(t, w)
			p := w.apply("certbot")
			says(t, p, "www.example.com", nil, nil)
			hasAccount(t, p, "letsencrypt", certbotURL)
		})
	}
}

func (w *world) move(from, to string) {
	w.t.Helper()
	from, to = filepath.Join(w.dir, from), filepath.Join(w.dir, to)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		w.t.Fatal(err)
	}
	if err := os.Rename(from, to); err != nil {
		w.t.Fatal(err)
	}
}

func TestALinkThatLeadsOutSaysWhatToDo(t *testing.T) {
	for name, target := range map[string]string{
		"an absolute one":          "/etc/hostname",
		"a relative one":           "../../../../../../../../../../../../etc/hostname",
		"one that ends in a loop":  "privkey.pem",
		"one by way of another":    "../out/hostname",
		"one to nothing elsewhere": "/nowhere/privkey.pem",
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
			w.link("live/out", "/etc")
			w.remove("live/www.example.com/privkey.pem")
			w.link("live/www.example.com/privkey.pem", target)
			s := step(t, w.apply("certbot"), "www.example.com")
			want := "a link that leads out of that directory; copy it with cp -RL, and import the copy with --dir"
			if target == "privkey.pem" {
				want = "too many links"
			}
			if s.Action != migrate.Order || !strings.HasSuffix(s.Why, "privkey.pem: "+want) {
				t.Errorf("%q, %q", s.Action, s.Why)
			}
		})
	}
}
