package spec_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/spec"
)

// TestANewSpecIsCheckedBesideTheFilesThatExist expects for each text what is wrong, or "".
func TestANewSpecIsCheckedBesideTheFilesThatExist(t *testing.T) {
	dir := t.TempDir()
	config := spec.DefaultConfig(filepath.Join(dir, "acmed.yaml"))
	config.SpecDir, config.IssuerDir, config.DNSDir = filepath.Join(dir, "certs.d"), filepath.Join(dir, "issuers.d"), filepath.Join(dir, "dns.d")
	for file, text := range map[string]string{
		"certs.d/www.yaml":     "dnsNames: [www.example.com]\nipAddresses: [192.0.2.7]\nprofile: shortlived\ndeploy: {files: [{path: /srv/www.pem, content: cert}]}\n",
		"certs.d/invalid.yaml": "dnsName: [other.example.com]\n",
		"issuers.d/ca.yaml":    "directory: https://ca.example/dir\n",
		"issuers.d/bad.yaml":   "directry: https://ca.example/dir\n",
		"dns.d/broken.yaml":    "typo: 1\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, c := range map[string]struct{ file, text, want string }{
		"a good one is accepted":                            {"new.yaml", "dnsNames: [new.example.com]\nissuers: [ca]\n", ""},
		"a name of another certificate is refused":          {"new.yaml", "dnsNames: [new.example.com, WWW.example.com]\n", "dnsNames[1]: www.example.com is a name of the certificate www"},
		"an address of another certificate is refused":      {"new.yaml", "ipAddresses: [192.0.2.7]\nissuers: [ca]\n", "ipAddresses[0]: 192.0.2.7 is a name of the certificate www"},
		"a path that another certificate writes is taken":   {"new.yaml", "dnsNames: [a.example.com]\ndeploy: {files: [{path: /srv/www.pem, content: cert}]}\n", "/srv/www.pem is written by www.yaml already"},
		"an unknown issuer is refused with the nearest":     {"new.yaml", "dnsNames: [a.example.com]\nissuers: [letsencrpt]\n", "did you mean letsencrypt?"},
		"an issuer with an invalid file names that file":    {"new.yaml", "dnsNames: [a.example.com]\nissuers: [bad]\n", "issuers.d/bad.yaml:1:1: directry: unknown key"},
		"a provider with an invalid file names that file":   {"new.yaml", "dnsNames: [a.example.com]\nchallenge: {type: dns-01, provider: broken}\n", "dns.d/broken.yaml:1:"},
		"what a built-in issuer refuses is found":           {"new.yaml", "ipAddresses: [192.0.2.1]\nissuers: [letsencrypt]\n", "issues for IP addresses only with the profile shortlived"},
		"a name with that profile is accepted":              {"new.yaml", "ipAddresses: [192.0.2.1]\nissuers: [letsencrypt]\nprofile: shortlived\n", ""},
		"a file that acmed would not read is refused":       {"New.yaml", "dnsNames: [a.example.com]\n", "its name is not fit for a name"},
		"a file with another suffix is refused":             {"new.yml", "dnsNames: [a.example.com]\n", "rename it to new.yaml"},
		"a wildcard without dns-01 is refused":              {"new.yaml", "dnsNames: [\"*.example.com\"]\n", "a wildcard needs dns-01"},
		"the file that is being replaced does not conflict": {"www.yaml", "dnsNames: [www.example.com]\n", ""},
	} {
		t.Run(name, func(t *testing.T) {
			_, problems := spec.CheckNew(config, filepath.Join(config.SpecDir, c.file), []byte(c.text))
			var said []string
			for _, p := range problems {
				said = append(said, p.Error())
			}
			all := strings.Join(said, "\n")
			if c.want == "" && all != "" || !strings.Contains(all, c.want) {
				t.Errorf("found %q, expected %q", all, c.want)
			}
		})
	}
}

func TestANameIsMadeOfAnything(t *testing.T) {
	for s, want := range map[string]string{
		"www.example.com": "www.example.com", "*.example.com": "wildcard.example.com", "192.0.2.1": "192.0.2.1",
		"2001:db8::1": "2001-db8--1", "::1": "1", "UPPER.example.com": "upper.example.com", "../../etc": "etc", "*": "unnamed",
		"xn--bcher-kva.example": "xn--bcher-kva.example",
	} {
		if got := spec.NameFor(s); got != want || !spec.ValidName(got) {
			t.Errorf("%q becomes %q, not %q", s, got, want)
		}
	}
}
