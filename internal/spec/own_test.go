package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/spec"
)

// ownLand is a machine with acmed's directories, a web site, and links between them.
func ownLand(t *testing.T) (*site, *strings.Replacer) {
	t.Helper()
	s := newSite(t)
	s.config.StateDir, s.config.DNSDir, s.config.RuntimeDir = filepath.Join(s.dir, "lib/state"), filepath.Join(s.dir, "dns"), filepath.Join(s.dir, "run/acmed")
	s.config.Notify.URLFile = filepath.Join(s.dir, "hooks/url")
	for _, dir := range []string{"lib/state/live", "dns", "run/acmed/http-01", "secrets", "www/html", "lib/www", "hooks"} {
		if err := os.MkdirAll(filepath.Join(s.dir, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"www/state": "../lib/state", "www/live": s.config.StateDir + "/live", "www/lib": "../lib", "www/specs": "../certs", "www/self": "self",
		"www/chain": "live", "www/ok": "html", "www/soon": "../lib/state/none/such", "www/up": "..",
	} {
		if err := os.Symlink(target, filepath.Join(s.dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	s.loader.SetConfig(s.config)
	s.restart()
	return s, strings.NewReplacer("DIR", s.dir)
}

// webroots are webroots below DIR, and what is said of them; "": nothing.
var webroots = map[string]string{
	"DIR/www/html":            "",
	"DIR/www":                 "",
	"DIR/www/ok":              "",
	"DIR/www/none/yet":        "",
	"DIR/www/self":            "",
	"DIR/lib/www":             "",
	"DIR/lib/state2":          "",
	"DIR/lib/state":           "DIR/lib/state is in the state directory DIR/lib/state",
	"DIR/lib/state/live":      "is in the state directory",
	"DIR/lib/state/none/such": "is in the state directory",
	"DIR/lib":                 "DIR/lib holds the state directory DIR/lib/state, which a web server must not serve",
	"DIR":                     "holds the state directory",
	"DIR/www/state":           "DIR/www/state leads to DIR/lib/state, which is in the state directory DIR/lib/state",
	"DIR/www/live":            "leads to DIR/lib/state/live, which is in the state directory",
	"DIR/www/state/certs":     "is in the state directory",
	"DIR/www/chain":           "leads to DIR/lib/state/live, which is in the state directory",
	"DIR/www/soon":            "is in the state directory",
	"DIR/www/lib":             "leads to DIR/lib, which holds the state directory",
	"DIR/www/up":              "holds the state directory",
	"DIR/certs":               "is in the directory of the specs",
	"DIR/www/specs":           "is in the directory of the specs",
	"DIR/issuers/x":           "is in the directory of the issuers",
	"DIR/dns":                 "is in the directory of the DNS providers",
	"DIR/run/acmed/http-01":   "is in the runtime directory",
	"DIR/run":                 "holds the runtime directory",
	"DIR/secrets":             "is in the directory of the secrets",
	"DIR/hooks":               "holds notify.urlFile",
	"/var/lib/acmed-deploy/x": "is in the directory of the deploy helper",
	"/var/lib":                "holds the directory of the deploy helper",
}

func TestAWebrootIsNoDirectoryOfAcmeds(t *testing.T) {
	s, in := ownLand(t)
	for webroot, want := range webroots {
		webroot, want = in.Replace(webroot), in.Replace(want)
		t.Run(webroot, func(t *testing.T) {
			s.t = t
			s.write("certs/www.example.com.yaml", "challenge:\n  webroot: "+webroot+"\n")
			set := s.load()
			defer s.remove("certs/www.example.com.yaml")
			switch {
			case want == "":
				s.problems(set)
			case len(set.Problems) != 1 || set.Problems[0].Line != 2 || set.Problems[0].Column != 12 || set.Problems[0].Field != "challenge.webroot" ||
				!strings.Contains(set.Problems[0].Problem, want) || set.Problems[0].Hint == "":
				t.Errorf("got %v, want %q", set.Problems, want)
			}
			s.config.Defaults.Challenge.Webroot = webroot
			_, err := spec.ParseCertificate(s.config, "/certs/b.example.com.yaml", nil, nil)
			s.config.Defaults.Challenge.Webroot = ""
			if (err != nil) != (want != "") || err != nil && !strings.Contains(err.Error(), " in the defaults of "+s.config.File) {
				t.Errorf("as a default: %v", err)
			}
			text := fmt.Appendf(nil, "stateDir: lib/state\nspecDir: certs\nissuerDir: issuers\ndnsDir: dns\nruntimeDir: run/acmed\n"+
				"notify: {urlFile: %s}\ndefaults: {challenge: {webroot: %s}}\n", s.config.Notify.URLFile, webroot)
			c, err := spec.ParseConfig(s.config.File, text)
			if err != nil || (len(c.Doubts) > 0) != (want != "") || want != "" && (c.Doubts[0].Line != 7 || !strings.Contains(c.Doubts[0].Problem, want)) {
				t.Errorf("in acmed.yaml: %v, %v", c.Doubts, err)
			}
		})
	}
}

func TestFilesAreNotDeployedIntoAcmedsDirectories(t *testing.T) {
	s, in := ownLand(t)
	for path, want := range map[string]string{
		"DIR/www/html/key.pem":       "",
		"DIR/secrets/key.pem":        "",
		"DIR/www/live":               "", // the link is replaced
		"DIR/lib/state/live/x/a.pem": "is in the state directory",
		"DIR/www/state/a.pem":        "leads to DIR/lib/state/a.pem, which is in the state directory",
		"DIR/certs/evil.yaml":        "is in the directory of the specs",
		"DIR/www/specs/evil.yaml":    "leads to DIR/certs/evil.yaml, which is in the directory of the specs",
		"DIR/run/acmed/http-01/key":  "is in the runtime directory",
	} {
		s.write("certs/www.example.com.yaml", in.Replace("deploy:\n  files: [{content: privkey, path: "+path+"}]\n"))
		set := s.load()
		s.remove("certs/www.example.com.yaml")
		s.load()
		if want == "" && len(set.Problems) > 0 || want != "" && (len(set.Problems) != 1 || set.Problems[0].Line != 2 || !strings.Contains(set.Problems[0].Problem, in.Replace(want))) {
			t.Errorf("%s: got %v, want %q", path, set.Problems, want)
		}
	}
}

// TestAWebrootInEffectStays is about an acmed that accepted it, and was upgraded.
func TestAWebrootInEffectStays(t *testing.T) {
	s, in := ownLand(t)
	s.write("certs/www.example.com.yaml", in.Replace("challenge: {webroot: DIR/www/html}\n"))
	s.load()
	if err := os.Remove(filepath.Join(s.dir, "www/html")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("../lib/state", filepath.Join(s.dir, "www/html")); err != nil {
		t.Fatal(err)
	}
	s.restart()
	set := s.load()
	if c := set.Certificate("www.example.com"); c == nil || c.Challenge.Webroot == "" || len(set.Problems) != 1 || !set.Problems[0].Kept {
		t.Errorf("in effect %v, problems %v", c, set.Problems)
	}
}

func TestWhereAWebrootLeadsIsJudgedAgain(t *testing.T) {
	s, in := ownLand(t)
	for to, good := range map[string]bool{"DIR/www/html": true, "DIR/elsewhere": true, "DIR/lib/state": false, "DIR/lib/state/live": false, "DIR/certs": false, "DIR/secrets/x": false} {
		if err := s.config.WebrootLeads(in.Replace("DIR/www/html"), in.Replace(to)); (err == nil) != good {
			t.Errorf("%s: %v", to, err)
		}
	}
}
