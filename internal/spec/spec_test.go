package spec_test

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
)

func TestLoadConfigWithEveryKey(t *testing.T) {
	dir, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	got, err := spec.LoadConfig("testdata/good/config/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := &spec.Config{
		File:                 dir + "/config/full.yaml",
		Contact:              []string{"mailto:pki@example.com"},
		TermsOfServiceAgreed: true,
		Defaults: spec.Defaults{
			Issuers:        []string{"letsencrypt", "corp"},
			Challenge:      spec.Challenge{Type: "http-01", Webroot: "/var/www"},
			Profile:        "classic",
			PreferredChain: "ISRG Root X2",
			PrivateKey:     spec.PrivateKey{Algorithm: "RSA", Size: 3072, RotationPolicy: "Never"},
			Renew:          spec.Renew{Before: 732 * time.Hour},
			Placeholder:    true,
			Deploy: spec.Deploy{
				Check:  []string{"nginx", "-t"},
				Reload: []string{"nginx.service"}, Restart: []string{"vsftpd.service"},
				Run:    []spec.Run{{Command: []string{"/bin/true"}, Timeout: time.Minute}},
				Window: &spec.Window{Start: "02:00", Duration: 4 * time.Hour},
			},
		},
		SpecDir:    dir + "/config/certs",
		IssuerDir:  dir + "/issuers",
		DNSDir:     "/etc/acmed/dns.d",
		StateDir:   dir + "/config/state",
		RuntimeDir: dir + "/config/run", DeploySocket: dir + "/config/run/helper.sock",
		HTTP:    spec.HTTP{Solver: "listen", Listen: ":80", Fallback: "redirect"},
		Admin:   spec.Admin{Listen: "0.0.0.0:9402", CertificateMetrics: "on", Insecure: true},
		Control: spec.Control{Socket: dir + "/config/run/control.sock"},
		Log:     spec.Log{Level: "debug", Format: "json"},
		Notify: spec.Notify{
			Command: []string{"/usr/local/bin/tell", "pki"}, URLFile: dir + "/config/secrets/hook", TokenFile: "/etc/acmed/secrets/token",
			Events: []string{"failing", "expiring"}, Expiring: []float64{0.25, 0.025},
		},
		LabelNames:     []string{"team"},
		RevocationPoll: 30 * time.Minute, Workers: 4,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestEmptyConfigMeansTheDefaults(t *testing.T) {
	got, err := spec.LoadConfig("testdata/good/config/empty.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if want := spec.DefaultConfig(got.File); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if got.Control.Socket != "/run/acmed/control/acmed.sock" || got.DeploySocket != "/run/acmed/deploy.sock" {
		t.Errorf("sockets %s, %s", got.Control.Socket, got.DeploySocket)
	}
}

func TestSocketsFollowTheRuntimeFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "acmed.yaml")
	if err := os.WriteFile(file, []byte("runtimeDir: here\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := spec.LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[string]string{c.Control.Socket: "here/control/acmed.sock", c.DeploySocket: "here/deploy.sock"} {
		if want = filepath.Join(filepath.Dir(file), want); got != want {
			t.Errorf("socket %s, want %s", got, want)
		}
	}
}

func TestLoadConfigFailures(t *testing.T) {
	dir := t.TempDir()
	if _, err := spec.LoadConfig(filepath.Join(dir, "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	var p *spec.Problem
	if _, err := spec.LoadConfig(dir); !errors.As(err, &p) || p.File != dir {
		t.Errorf("a folder: %v", err)
	}
	_, err := spec.LoadConfig("testdata/bad/config/defaults.yaml")
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok || len(joined.Unwrap()) != 4 || !errors.As(err, &p) || p.Line != 2 {
		t.Errorf("four problems: %v", err)
	}
}

func TestParseCertificateWithEveryKey(t *testing.T) {
	text, err := os.ReadFile("testdata/good/certs/full.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c := spec.DefaultConfig("")
	c.Defaults.Deploy.Check = []string{"replaced"}
	c.Defaults.PreferredChain = "replaced"
	got, err := spec.ParseCertificate(c, "/certs/full.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := &spec.Certificate{
		Name:        "full",
		File:        "/certs/full.yaml",
		DNSNames:    []string{"www.example.com", "xn--bcher-kva.example", "host"},
		IPAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
		Issuers:     []string{"letsencrypt", "corp", "zerossl"},
		Challenge:   spec.Challenge{Type: "http-01", Webroot: "/srv/www"},
		Profile:     "shortlived",
		PrivateKey:  spec.PrivateKey{Algorithm: "ECDSA", Size: 384, RotationPolicy: "Always"},
		Renew:       spec.Renew{Fraction: 0.33, ARI: true},
		Labels:      map[string]string{"team": "web", "empty": ""},
		Deploy: spec.Deploy{
			Files: []spec.File{
				{Path: "/etc/postgresql/tls.key", Content: "privkey", Owner: "postgres", Group: "postgres", Mode: 0o600},
				{Path: "/etc/haproxy/certs/www.pem", Content: "combined", Group: "haproxy", Mode: 0o640},
				{Path: "/etc/tomcat/tls.p12", Content: "pkcs12", Owner: "tomcat", PasswordFile: "/etc/acmed/secrets/p12"},
			},
			Check:  []string{"nginx", "-t"},
			Reload: []string{"nginx.service", "postfix@-.service"}, Restart: []string{"unbound.service"},
			Run: []spec.Run{
				{Command: []string{"/usr/local/lib/push-cert", ""}, Timeout: 90 * time.Second, User: "deploy", Privkey: true},
				{Command: []string{"/bin/true"}, Timeout: time.Minute},
			},
			Probe: []spec.Probe{
				{Address: "127.0.0.1:443"},
				{Address: "[::1]:25", StartTLS: "smtp", ServerName: "mail.example.com"},
			},
			Window: &spec.Window{Start: "02:00", Duration: 4 * time.Hour, Timezone: "Europe/Berlin", UnlessExpiresWithin: 72 * time.Hour},
		},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestKeysReplaceTheirDefaults(t *testing.T) {
	c := spec.DefaultConfig("")
	c.Defaults = spec.Defaults{
		Issuers:    []string{"corp"},
		Challenge:  spec.Challenge{Type: "http-01", Webroot: "/srv"},
		Profile:    "p",
		PrivateKey: spec.PrivateKey{Algorithm: "RSA", Size: 4096, RotationPolicy: "Never"},
		Renew:      spec.Renew{Fraction: 0.5},
		Deploy:     spec.Deploy{Reload: []string{"a.service"}, Window: &spec.Window{Start: "01:00", Duration: time.Hour}},
	}
	for text, edit := range map[string]func(*spec.Certificate){
		"":                               func(*spec.Certificate) {},
		"profile: ''":                    func(c *spec.Certificate) { c.Profile = "" },
		"challenge: {}":                  func(c *spec.Certificate) { c.Challenge = spec.Challenge{Type: "http-01"} },
		"placeholder: true":              func(c *spec.Certificate) { c.Placeholder = true },
		"renew: {before: 2d}":            func(c *spec.Certificate) { c.Renew = spec.Renew{Before: 48 * time.Hour, ARI: true} },
		"privateKey: {size: 384}":        func(c *spec.Certificate) { c.PrivateKey = spec.PrivateKey{"ECDSA", 384, "Always"} },
		"privateKey: {algorithm: RSA}":   func(c *spec.Certificate) { c.PrivateKey = spec.PrivateKey{"RSA", 2048, "Always"} },
		"deploy: {check: [a]}":           func(c *spec.Certificate) { c.Deploy.Check = []string{"a"} },
		"deploy: {reload: []}":           func(c *spec.Certificate) { c.Deploy.Reload = []string{} },
		"deploy: {restart: [b.service]}": func(c *spec.Certificate) { c.Deploy.Restart = []string{"b.service"} },
		"deploy: {window: {}}":           func(c *spec.Certificate) { c.Deploy.Window = nil },
		"issuers: [other]":               func(c *spec.Certificate) { c.Issuers = []string{"other"} },
		"ipAddresses: [192.0.2.1]": func(c *spec.Certificate) {
			c.DNSNames, c.IPAddresses = nil, []netip.Addr{netip.MustParseAddr("192.0.2.1")}
		},
	} {
		got, err := spec.ParseCertificate(c, "/a.example.com.yaml", []byte(text), nil)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		d := c.Defaults
		want := &spec.Certificate{
			Name: "a.example.com", File: "/a.example.com.yaml", DNSNames: []string{"a.example.com"}, Issuers: d.Issuers,
			Challenge: d.Challenge, Profile: d.Profile, PrivateKey: d.PrivateKey, Renew: d.Renew, Deploy: d.Deploy,
		}
		edit(want)
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", text, got, want)
		}
	}
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"30d 12h":               732 * time.Hour,
		"30d12h":                732 * time.Hour,
		"90m":                   90 * time.Minute,
		"1h  30s":               time.Hour + 30*time.Second,
		"0s":                    0,
		"-1h":                   0,
		"1.5h":                  0,
		"1w":                    0,
		"h":                     0,
		"":                      0,
		"36501d":                0,
		"36500d":                36500 * 24 * time.Hour,
		"999999999d 999999999d": 0,
	} {
		c, err := spec.ParseCertificate(spec.DefaultConfig(""), "/a.yaml", []byte("renew: {before: '"+text+"'}"), nil)
		switch {
		case want == 0 && err == nil && text != "":
			t.Errorf("%q is %v", text, c.Renew.Before)
		case want != 0 && (err != nil || c.Renew.Before != want):
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestRequestChangesWithWhatNeedsANewCertificate(t *testing.T) {
	base := spec.Certificate{
		Name:        "a",
		DNSNames:    []string{"a.example.com", "b.example.com"},
		IPAddresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")},
		PrivateKey:  spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
	}
	if got := base.Request(); got != "c4086bb5e0127665" {
		t.Errorf("the hash is %s: a stored one would no longer match", got)
	}
	for what, test := range map[string]struct {
		edit func(*spec.Certificate)
		same bool
	}{
		"the order of the names":     {func(c *spec.Certificate) { c.DNSNames = []string{"b.example.com", "a.example.com"} }, true},
		"the order of the addresses": {func(c *spec.Certificate) { c.IPAddresses = []netip.Addr{c.IPAddresses[1], c.IPAddresses[0]} }, true},
		"the issuers":                {func(c *spec.Certificate) { c.Issuers = []string{"corp"} }, true},
		"the deployment":             {func(c *spec.Certificate) { c.Deploy.Check = []string{"x"} }, true},
		"when to renew":              {func(c *spec.Certificate) { c.Renew.ARI = true }, true},
		"the rotation of keys":       {func(c *spec.Certificate) { c.PrivateKey.RotationPolicy = "Never" }, true},
		"a name":                     {func(c *spec.Certificate) { c.DNSNames = c.DNSNames[:1] }, false},
		"an address":                 {func(c *spec.Certificate) { c.IPAddresses = c.IPAddresses[:1] }, false},
		"the size of the key":        {func(c *spec.Certificate) { c.PrivateKey.Size = 384 }, false},
		"the profile":                {func(c *spec.Certificate) { c.Profile = "shortlived" }, false},
		"the chain":                  {func(c *spec.Certificate) { c.PreferredChain = "X2" }, false},
	} {
		c := base
		test.edit(&c)
		if same := c.Request() == base.Request(); same != test.same {
			t.Errorf("%s: same is %v", what, same)
		}
	}
}

func TestKeyInWords(t *testing.T) {
	if got := (spec.PrivateKey{Algorithm: "ECDSA", Size: 256}).String(); got != "ECDSA-256" {
		t.Error(got)
	}
}

func TestProblemInWords(t *testing.T) {
	for want, p := range map[string]spec.Problem{
		"a.yaml: is a folder":                        {File: "a.yaml", Problem: "is a folder"},
		"a.yaml:3: is not YAML (quote it)":           {File: "a.yaml", Line: 3, Problem: "is not YAML", Hint: "quote it"},
		"a.yaml:3:4: profle: unknown key (profile?)": {"a.yaml", 3, 4, "profle", "unknown key", "profile?", true},
	} {
		if got := p.Error(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

func TestHeldInWords(t *testing.T) {
	h := &spec.Held{Certificates: strings.Fields("a b c d e f g"), Issuers: []string{"corp"}}
	want := "the files of 1 issuer (corp) and of 7 certificates (a, b, c, d, e and 2 more) vanished; " +
		"they stay in effect until `acmed reload --accept-removals`"
	if got := h.String(); got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestCheckFilesWithoutFilesLintsAll(t *testing.T) {
	dir := t.TempDir()
	write := func(file, text string) {
		t.Helper()
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("acmed.yaml", "worker: 1\nspecDirs: certs\n")
	write("issuers/corp.yaml", "directory: x\n")
	write("certs/a.yaml", "issuers: [corp]\n")
	write("certs/b.yml", "")
	write("certs/c.yaml", "deploy: {files: [{path: /x, content: cert}]}\n")
	write("else/d.yaml", "deploy: {files: [{path: /x, content: cert}]}\n")
	c := spec.DefaultConfig(filepath.Join(dir, "acmed.yaml"))
	c.SpecDir, c.IssuerDir = filepath.Join(dir, "certs"), filepath.Join(dir, "issuers")
	check := func(files ...string) string {
		var b strings.Builder
		for _, p := range spec.CheckFiles(c, files) {
			b.WriteString(strings.ReplaceAll(p.Error(), dir+"/", "") + "\n")
		}
		return b.String()
	}
	want := `acmed.yaml:1:1: worker: unknown key (did you mean workers?)
acmed.yaml:2:1: specDirs: unknown key (did you mean specDir?)
certs/a.yaml:1:11: issuers[0]: unknown issuer "corp" (known: letsencrypt, letsencrypt-staging)
certs/b.yml: is not read (rename it to b.yaml)
issuers/corp.yaml:1:12: directory: "x" is not a URL (such as https://acme.example.com/directory)
`
	if got := check(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	want = `acmed.yaml:1:1: worker: unknown key (did you mean workers?)
acmed.yaml:2:1: specDirs: unknown key (did you mean specDir?)
certs/b.yml: is not read (rename it to b.yaml)
certs/none.yaml: does not exist (give the path of a file, such as /etc/acmed/certs.d/NAME.yaml)
else/d.yaml:1:25: deploy.files[0].path: /x is written by c.yaml already (write to another path)
`
	in := func(file string) string { return filepath.Join(dir, file) }
	if got := check(in("acmed.yaml"), in("certs/b.yml"), in("certs/none.yaml"), in("certs/c.yaml"), in("else/d.yaml")); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
	if err := os.Remove(in("acmed.yaml")); err != nil {
		t.Fatal(err)
	}
	if got := check(in("acmed.yaml")); got != "" {
		t.Error(got)
	}
}

func TestBlankSaysNothingAtAll(t *testing.T) {
	for text, want := range map[string]bool{
		"": true, "\n": true, "# a remark\n": true, "---\n": true, "~\n": true,
		"{}": false, "{} # all defaults": false, "profile: ''": false, "\t": false, "[": false, "{}\n---\n": false,
	} {
		if got := spec.Blank([]byte(text)); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}
