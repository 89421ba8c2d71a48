package spec_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
)

// TestNoFileIsReadThatSomebodyIsStillWriting is about all files that acmed reads again and again.
func TestNoFileIsReadThatSomebodyIsStillWriting(t *testing.T) {
	const (
		whole  = 500 * time.Millisecond
		unseen = 5 * time.Second
		open   = 30 * time.Second
	)
	csr := string(request(t, ecKey(t, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"a.example.com"}}))
	for name, c := range map[string]struct {
		file, text string
		writing    spec.Writing
		reload     bool
		waits      time.Duration
	}{
		"a spec that was closed":                          {"certs/a.example.com.yaml", "{}", spec.Whole, false, whole},
		"an empty spec that was closed":                   {"certs/a.example.com.yaml", "", spec.Whole, false, whole},
		"a spec whose writer nobody has seen":             {"certs/a.example.com.yaml", "{}", spec.Unseen, false, unseen},
		"an empty spec whose writer nobody has seen":      {"certs/a.example.com.yaml", "", spec.Unseen, false, open},
		"a spec that is open":                             {"certs/a.example.com.yaml", "{}", spec.Open, false, open},
		"an empty spec that is open":                      {"certs/a.example.com.yaml", "", spec.Open, false, open},
		"an issuer that is open":                          {"issuers/corp.yaml", "directory: https://acme.corp.example/directory\n", spec.Open, false, open},
		"an issuer whose writer nobody has seen":          {"issuers/corp.yaml", "directory: https://acme.corp.example/directory\n", spec.Unseen, false, unseen},
		"a CSR that is open":                              {"www.csr", csr, spec.Open, false, open},
		"a CSR whose writer nobody has seen":              {"www.csr", csr, spec.Unseen, false, unseen},
		"the target of a link that is open":               {"target.yaml", "{}", spec.Open, false, open},
		"a spec that is open, with a reload":              {"certs/a.example.com.yaml", "{}", spec.Open, true, 0},
		"an empty spec that nobody has seen, on a reload": {"certs/a.example.com.yaml", "", spec.Unseen, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			path := filepath.Join(s.dir, c.file)
			s.write("certs/csr.yaml", "csrFile: "+filepath.Join(s.dir, "www.csr")+"\n")
			s.symlink(filepath.Join(s.dir, "target.yaml"), "certs/link.example.com.yaml")
			s.load()
			s.write(c.file, c.text)
			written := time.Now()
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			o := spec.LoadOptions{Now: c.reload, Writing: func(p string, changed time.Time) spec.Writing {
				if p != path {
					return spec.Whole
				}
				if changed.Before(info.ModTime()) || changed.After(written) {
					t.Errorf("asked about a change at %v", changed)
				}
				return c.writing
			}}
			before := len(describe(s.last.Set))
			s.now = written
			if c.waits > 0 {
				s.loadAfter(0, o)
				if again := s.last.Again; again.Before(written.Add(c.waits-time.Second)) || again.After(written.Add(c.waits)) {
					t.Errorf("to be loaded again at %v", again.Sub(written))
				}
				s.now = s.last.Again
				if got := describe(s.loadAfter(-1, o)); len(got) != before {
					t.Fatalf("read too early: %q", got)
				}
				s.now = s.now.Add(1)
			}
			if got := describe(s.loadAfter(0, o)); len(got) != before+1 {
				t.Errorf("not read: %q, problems %v", got, s.last.Set.Problems)
			}
		})
	}
}

// describe lists what is in effect and comes from a file.
func describe(set *spec.Set) (all []string) {
	for name := range set.Certificates() {
		all = append(all, name)
	}
	for name, i := range set.Issuers() {
		if i.File != "" {
			all = append(all, name)
		}
	}
	return all
}

// TestASpecWaitsForAFileThatItNames, which somebody may still be writing, as when all files come from one package or playbook.
func TestASpecWaitsForAFileThatItNames(t *testing.T) {
	const issuer, provider = "directory: https://acme.corp.example/directory\n", "exec: {command: [/bin/true]}\n"
	for sentence, tt := range map[string]struct {
		spec, file, text string
		problem          string // once the file is read
	}{
		"an issuer":                          {"issuers: [corp]\n", "issuers/corp.yaml", issuer, ""},
		"a DNS provider":                     {"challenge: {type: dns-01, provider: corp}\n", "dns/corp.yaml", provider, ""},
		"an issuer that is bad":              {"issuers: [corp]\n", "issuers/corp.yaml", "directory: [\n", `unknown issuer "corp"`},
		"one that is built in":               {"issuers: [zerossl]\n", "issuers/zerossl.yaml", "externalAccountBinding: {kid: a, hmacKeyFile: /k}\n", ""},
		"one that is built in, and would do": {"{}", "issuers/letsencrypt.yaml", "proxy: http://proxy.corp.example:3128\n", ""},
		"another bad key is known":           {"issuers: [corp]\nprofle: x\n", "issuers/corp.yaml", issuer, "profle: unknown key"},
	} {
		t.Run(sentence, func(t *testing.T) {
			s := newSite(t)
			s.config.DNSDir = filepath.Join(s.dir, "dns")
			if err := os.Mkdir(s.config.DNSDir, 0o755); err != nil {
				t.Fatal(err)
			}
			s.restart()
			s.load()
			s.write("certs/a.example.com.yaml", tt.spec)
			s.write(tt.file, tt.text)
			s.now = time.Now()
			fresh := filepath.Join(s.dir, tt.file)
			o := spec.LoadOptions{Writing: func(path string, _ time.Time) spec.Writing {
				if path == fresh {
					return spec.Unseen
				}
				return spec.Whole
			}}
			set := s.loadAfter(time.Second, o)
			if n := len(set.Problems); n > 0 && tt.problem == "" || n > 1 {
				t.Errorf("before the file is read: %v", set.Problems)
			}
			if s.last.Again.IsZero() || set.Certificate("a.example.com") != nil {
				t.Errorf("to be loaded again at %v; in effect: %v", s.last.Again, set.Certificate("a.example.com"))
			}
			set = s.loadAfter(6*time.Second, o)
			if found := set.Certificate("a.example.com") != nil; found != (tt.problem == "") {
				t.Errorf("once it is read: found is %t, problems %v", found, set.Problems)
			}
			if tt.problem != "" && !strings.Contains(fmt.Sprint(set.Problems), tt.problem) {
				t.Errorf("once it is read: %v", set.Problems)
			}
		})
	}
}

func TestATextThatSomebodyBeganToWriteMeanwhileIsThrownAway(t *testing.T) {
	s := newSite(t)
	s.write("certs/a.example.com.yaml", "")
	s.now = time.Now().Add(time.Second)
	asked := 0
	opened := spec.LoadOptions{Writing: func(string, time.Time) spec.Writing {
		if asked++; asked == 1 {
			return spec.Whole
		}
		return spec.Open // the file was opened just before it was read
	}}
	s.names(s.loadAfter(0, opened))
	if asked != 2 || s.last.Again.IsZero() {
		t.Errorf("asked %d times, again at %v", asked, s.last.Again)
	}
	s.write("certs/a.example.com.yaml", "profile: rest\n")
	s.now = time.Now().Add(time.Second)
	set := s.loadAfter(0, spec.LoadOptions{Writing: func(string, time.Time) spec.Writing { return spec.Whole }})
	if c := set.Certificate("a.example.com"); c == nil || c.Profile != "rest" {
		t.Errorf("read %+v", c)
	}
}

func TestAnEmptyFileWhoseNameHasNoDotIsRefused(t *testing.T) {
	s := newSite(t)
	for name, text := range map[string]string{"slow": "", "mail": "# to be written\n", "web": "\n\n", "host": "{}", "a.example.com": "", "b": "dnsNames: [b.example.com]\n"} {
		s.write("certs/"+name+".yaml", text)
	}
	set := s.load()
	s.names(set, "a.example.com", "b", "host")
	refused := func(name string) string {
		return "certs/" + name + ".yaml:1:1: empty, and its name has no dot (write {} for a certificate for the host " + name + ", or write dnsNames)"
	}
	s.problems(set, refused("mail"), refused("slow"), refused("web"))
}

func TestLinksAreWatchedOnTheirWay(t *testing.T) {
	s := newSite(t)
	for _, dir := range []string{"v1", "v2", "srv"} {
		if err := os.Mkdir(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	s.write("v1/a.yaml", "dnsNames: [one.example.com]\n")
	s.write("v2/a.yaml", "dnsNames: [two.example.com]\n")
	s.write("srv/b.yaml", "dnsNames: [three.example.com]\n")
	s.symlink("v1", "current")
	s.symlink("../current/a.yaml", "certs/a.yaml")
	s.symlink(filepath.Join(s.dir, "srv/b.yaml"), "certs/b.yaml")
	s.symlink("gone/c.yaml", "certs/c.yaml")
	first := s.load()
	s.names(first, "a", "b")
	at := func(file string) string { return filepath.Join(s.dir, file) }
	want := []string{at("certs/a.yaml"), at("certs/b.yaml"), at("certs/c.yaml"), at("certs/gone/c.yaml"), at("current"), at("srv/b.yaml"), at("v1/a.yaml")}
	if got := s.last.Beside; !slices.Equal(slices.Compact(slices.Sorted(slices.Values(got))), want) {
		t.Errorf("to be watched: %q, want %q", got, want)
	}
	s.symlink("v2", "current")
	second := s.loadAfter(time.Minute, spec.LoadOptions{Changed: []string{at("current")}})
	if got := diff(first, second); second.Certificate("a").DNSNames[0] == "one.example.com" && len(second.Deferred) == 0 {
		t.Errorf("the link that was switched is not noticed: %q", got)
	}
	s.write("srv/.b", "dnsNames: [three.example.com, four.example.com]\n")
	if err := os.Rename(at("srv/.b"), at("srv/b.yaml")); err != nil {
		t.Fatal(err)
	}
	third := s.loadAfter(time.Minute, spec.LoadOptions{Changed: []string{at("srv/b.yaml")}})
	if len(third.Certificate("b").DNSNames) != 2 {
		t.Error("the target that was replaced is not noticed")
	}
}
