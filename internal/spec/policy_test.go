package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/spec"
)

// named returns n names as a list.
func named(n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("h%d.example.com", i))
	}
	return "[" + strings.Join(names, ", ") + "]"
}

// TestWhatBuiltInIssuersRefuse is what acmed check, acmed plan and a load say of the same spec.
func TestWhatBuiltInIssuersRefuse(t *testing.T) {
	const (
		byDNS = "challenge: {type: dns-01, provider: zone}\n"
		zone  = "exec: {command: [/bin/true]}\n"
	)
	for sentence, tt := range map[string]struct {
		text   string
		issuer string // file of letsencrypt; "": none
		want   string // problem and hint of each, joined; "": none
	}{
		"an IP address needs the profile shortlived": {"ipAddresses: [192.0.2.1]\n", "",
			"ipAddresses: letsencrypt issues for IP addresses only with the profile shortlived (set profile: shortlived)"},
		"and not another one": {"ipAddresses: [192.0.2.1]\nprofile: tlsserver\n", "",
			"ipAddresses: letsencrypt issues for IP addresses only with the profile shortlived (set profile: shortlived)"},
		"it has it": {"ipAddresses: [192.0.2.1]\nprofile: shortlived\n", "", ""},
		"a profile that is not known is believed":  {"ipAddresses: [192.0.2.1]\nprofile: later\n", "", ""},
		"a hundred names":                          {"dnsNames: " + named(100) + "\n", "", ""},
		"25 names with the profile tlsserver":      {"dnsNames: " + named(25) + "\nprofile: tlsserver\n", "", ""},
		"26 names are too many for that profile":   {"dnsNames: " + named(26) + "\nprofile: tlsserver\n", "", "dnsNames: letsencrypt issues for at most 25 names and addresses with the profile tlsserver, not 26 (split the certificate, or set another profile)"},
		"addresses count among the names":          {"dnsNames: " + named(25) + "\nipAddresses: [192.0.2.1]\nprofile: shortlived\n", "", "dnsNames: letsencrypt issues for at most 25 names and addresses with the profile shortlived, not 26 (split the certificate, or set another profile)"},
		"a name that a wildcard covers":            {byDNS + `dnsNames: [x.example.com, "*.example.com"]` + "\n", "", "dnsNames: letsencrypt refuses x.example.com beside *.example.com, which covers it (remove x.example.com)"},
		"a wildcard and its domain":                {byDNS + `dnsNames: [example.com, "*.example.com"]` + "\n", "", ""},
		"a wildcard covers one label only":         {byDNS + `dnsNames: [x.y.example.com, "*.example.com"]` + "\n", "", ""},
		"a wildcard below another one":             {byDNS + `dnsNames: ["*.y.example.com", "*.example.com"]` + "\n", "", ""},
		"another CA accepts it":                    {"ipAddresses: [192.0.2.1]\nissuers: [corp]\n", "", ""},
		"each issuer of the list says so":          {"ipAddresses: [192.0.2.1]\nissuers: [corp, letsencrypt-staging]\n", "", "ipAddresses: letsencrypt-staging issues for IP addresses only with the profile shortlived (set profile: shortlived)"},
		"a file with limits leaves what is known":  {"ipAddresses: [192.0.2.1]\n", "limits: {ordersInFlight: 2}\n", "ipAddresses: letsencrypt issues for IP addresses only with the profile shortlived (set profile: shortlived)"},
		"another CA with that name is not that CA": {"ipAddresses: [192.0.2.1]\n", "directory: https://ca.example/directory\n", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			dir := t.TempDir()
			writeIn(t, dir, "acmed.yaml", "{contact: [], termsOfServiceAgreed: true, specDir: certs.d, issuerDir: issuers.d, dnsDir: dns.d}\n")
			writeIn(t, dir, "certs.d/www.yaml", tt.text)
			writeIn(t, dir, "issuers.d/corp.yaml", "directory: https://corp.example/directory\n")
			writeIn(t, dir, "dns.d/zone.yaml", zone)
			if tt.issuer != "" {
				writeIn(t, dir, "issuers.d/letsencrypt.yaml", tt.issuer)
			}
			config, err := spec.LoadConfig(filepath.Join(dir, "acmed.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(dir, "certs.d", "www.yaml")
			set, err := spec.Preview(spec.LoaderConfig{Config: config})
			if err != nil {
				t.Fatal(err)
			}
			if set.Certificate("www") == nil || len(set.Problems) > 0 {
				t.Errorf("the file is refused: %v", set.Problems)
			}
			for what, problems := range map[string][]*spec.Problem{
				"check of all": spec.CheckFiles(config, nil), "check of the file": spec.CheckFiles(config, []string{file}),
				"plan of all": set.Refusals(), "plan of the file": set.Refusals("www", "gone"),
			} {
				var got []string
				for _, p := range problems {
					if p.File != file {
						t.Errorf("%s: %v", what, p)
					}
					got = append(got, strings.TrimPrefix(p.Error(), file+": "))
				}
				if text := strings.Join(got, "\n"); text != tt.want {
					t.Errorf("%s: got %s\nwant %s", what, text, tt.want)
				}
			}
		})
	}
}

// writeIn writes a file below dir.
func writeIn(t *testing.T, dir, file, text string) {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
