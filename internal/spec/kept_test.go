package spec_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
)

// TestTheLastValidVersionStaysAcrossARestart is about every check of a spec that depends on another file or on the machine.
func TestTheLastValidVersionStaysAcrossARestart(t *testing.T) {
	const directory = "directory: https://acme.corp.example/directory\n"
	const provider = "acmeDNS: {url: \"https://dns.example\", accountFile: /a}\n"
	for name, c := range map[string]struct {
		text   string
		before func(*site)
		after  func(*site) // while acmed runs; nil: only while it is stopped
		off    func(*site)
	}{
		"an issuer that is removed while acmed runs": {
			text: "issuers: [letsencrypt, corp]\n", after: func(s *site) { s.remove("issuers/corp.yaml") },
		},
		"an issuer that is removed while acmed is stopped": {
			text: "issuers: [letsencrypt, corp]\n", off: func(s *site) { s.remove("issuers/corp.yaml") },
		},
		"an issuer of the defaults": {
			before: func(s *site) { s.config.Defaults.Issuers = []string{"corp"}; s.restart() },
			off:    func(s *site) { s.remove("issuers/corp.yaml") },
		},
		"an external account binding that a CA of the catalogue needs": {
			text: "issuers: [zerossl]\n", before: func(s *site) { s.write("issuers/zerossl.yaml", "externalAccountBinding: {kid: a, hmacKeyFile: /b}\n") },
			off: func(s *site) { s.remove("issuers/zerossl.yaml") },
		},
		"a DNS provider": {
			text: "challenge: {type: dns-01, provider: zone}\n", off: func(s *site) { s.remove("dns/zone.yaml") },
		},
		"the file of the DNS providers' directory": {
			text: "challenge: {type: dns-01, provider: zone}\n", after: func(s *site) { s.write("dns/zone.yaml", "acmeDNS: 1\n") },
		},
		"a CSR": {
			text: "csrFile: DIR/a.csr\n", before: func(s *site) {
				s.write("a.csr", string(request(s.t, ecKey(s.t, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"csr.example.com"}})))
			},
			off: func(s *site) { s.remove("a.csr") },
		},
		"a CSR that is invalid now": {
			text: "csrFile: DIR/a.csr\n", before: func(s *site) {
				s.write("a.csr", string(request(s.t, ecKey(s.t, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"csr.example.com"}})))
			},
			after: func(s *site) { s.write("a.csr", "none") },
		},
		"the right to read the file": {
			text: "profile: one\n", off: func(s *site) {
				s.remove("certs/a.example.com.yaml")
				s.symlink("nowhere", "certs/a.example.com.yaml")
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.config.DNSDir = filepath.Join(s.dir, "dns")
			if err := os.Mkdir(s.config.DNSDir, 0o755); err != nil {
				t.Fatal(err)
			}
			s.restart()
			s.write("issuers/corp.yaml", directory)
			s.write("dns/zone.yaml", provider)
			if c.before != nil {
				c.before(s)
			}
			s.write("certs/a.example.com.yaml", strings.ReplaceAll(c.text, "DIR", s.dir))
			first := s.load()
			s.problems(first)
			if c.after != nil {
				c.after(s)
				s.load()
			}
			if c.off != nil {
				c.off(s)
			}
			for range 2 {
				s.restart()
				set := s.load()
				s.names(set, "a.example.com")
				if len(set.Problems) == 0 || !set.Problems[len(set.Problems)-1].Kept {
					t.Errorf("problems %v", set.Problems)
				}
				if a, b := first.Certificate("a.example.com"), set.Certificate("a.example.com"); b != nil && a.Request() != b.Request() {
					t.Errorf("%+v became %+v", a, b)
				}
			}
		})
	}
}

// TestTheLastValidVersionStaysAcrossAnUpgrade is about checks that are stricter than those of the acmed that stored a version.
func TestTheLastValidVersionStaysAcrossAnUpgrade(t *testing.T) {
	const meaning = `# acmed: was read as {"DNSNames":["a_b.example.com"],"Issuers":["letsencrypt"],"Challenge":{"Type":"http-01"},"PrivateKey":{"Algorithm":"ECDSA","Size":256}}`
	for name, c := range map[string]struct {
		key, stored string
		want        string // a name of the certificate; "": no certificate
	}{
		"a key that is gone":                     {"certs/a.example.com.yaml", "ocspMustStaple: true\n", "a.example.com"},
		"a name that is refused now":             {"certs/a.example.com.yaml", "dnsNames: [a_b.example.com]\n", "a_b.example.com"},
		"a time zone that is gone":               {"certs/a.example.com.yaml", "deploy: {window: {start: \"02:00\", duration: 1h, timezone: US/Pacific-New}}\n", "a.example.com"},
		"a size of keys that is gone":            {"certs/a.example.com.yaml", "privateKey: {algorithm: RSA, size: 1024}\n", "a.example.com"},
		"an empty file":                          {"certs/host.yaml", "", "host"},
		"a value that is no text any more":       {"certs/a.example.com.yaml", "{\n" + meaning + "\n", "a_b.example.com"},
		"the text of an operator with our words": {"certs/a.example.com.yaml", "# acmed: was read as nothing\ndnsNames: [b.example.com]\n", "b.example.com"},
		"no meaning at all":                      {"certs/a.example.com.yaml", "{\n", ""},
		"a meaning without a name":               {"certs/a.example.com.yaml", "{\n# acmed: was read as {}\n", ""},
		"an issuer's key that is gone":           {"issuers/corp.yaml", "directory: https://acme.corp.example/directory\nrateLimit: 1\n", "issuer"},
		"a provider's key that is gone":          {"dns/zone.yaml", "rfc2136: {server: \"192.0.2.1:53\", nonce: 1}\n", "provider"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.config.DNSDir = filepath.Join(s.dir, "dns")
			if err := os.Mkdir(s.config.DNSDir, 0o755); err != nil {
				t.Fatal(err)
			}
			s.write(c.key, "nonsense: [\n")
			info, err := os.Stat(filepath.Join(s.dir, c.key))
			if err != nil {
				t.Fatal(err)
			}
			s.texts[c.key], s.known[c.key] = c.stored, info.ModTime()
			s.restart()
			set := s.load()
			got := ""
			for _, cert := range set.Certificates() {
				got = cert.DNSNames[0]
			}
			if set.Issuer("corp") != nil {
				got = "issuer"
			}
			if set.Provider("zone") != nil {
				got = "provider"
			}
			if got != c.want || len(set.Problems) != 1 || set.Problems[0].Kept != (c.want != "") {
				t.Errorf("%q is in effect, want %q; problems %v", got, c.want, set.Problems)
			}
		})
	}
}

func TestARememberedVersionGivesWayOnlyInThePathsThatOthersWrite(t *testing.T) {
	const file = "deploy: {files: [{path: /x, content: cert}, {path: /NAME, content: cert}]}\n"
	s := newSite(t)
	for _, name := range []string{"a.example.com", "b.example.com"} { // an upgrade, or a crash between two writes of the store
		s.texts["certs/"+name+".yaml"] = strings.ReplaceAll(file, "NAME", name)
		s.write("certs/"+name+".yaml", "nonsense: 1\n")
		s.known["certs/"+name+".yaml"] = s.now
	}
	s.restart()
	set := s.load()
	s.names(set, "a.example.com", "b.example.com")
	if a, b := set.Certificate("a.example.com").Deploy.Files, set.Certificate("b.example.com").Deploy.Files; len(a) != 2 || len(b) != 1 || b[0].Path != "/b.example.com" {
		t.Errorf("files %v and %v", a, b)
	}
}

func TestATimeZoneThatTheMachineDoesNotKnowDoesNotRefuseTheConfiguration(t *testing.T) {
	const text = "defaults: {deploy: {window: {start: \"02:00\", duration: 1h, timezone: US/Pacific-New}}}\n"
	file := filepath.Join(t.TempDir(), "acmed.yaml")
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	c, err := spec.LoadConfig(file)
	if err != nil || c.Defaults.Deploy.Window.Timezone != "US/Pacific-New" || len(c.Doubts) != 1 {
		t.Fatalf("config %+v, %v", c, err)
	}
	if problems := spec.CheckFiles(c, []string{file}); len(problems) != 1 || !strings.Contains(problems[0].Problem, "US/Pacific-New") {
		t.Errorf("check finds %v", problems)
	}
	cert, err := spec.ParseCertificate(c, "/certs/a.example.com.yaml", nil, nil)
	if err != nil || cert.Deploy.Window.Next(time.Now()).IsZero() {
		t.Errorf("the window of %+v is never open: %v", cert, err)
	}
	if _, err := spec.ParseCertificate(c, "/certs/a.example.com.yaml", []byte("deploy: {window: {start: \"02:00\", duration: 1h, timezone: US/Pacific-New}}\n"), nil); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Error("a new spec may name an unknown time zone")
	}
}
