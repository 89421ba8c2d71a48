package spec_test

import (
	"strings"
	"testing"

	"acmed/internal/spec"
)

// TestADNSServerWithoutAPortHasThePortOfDNS is about every place that takes such an address: flags and provider files.
func TestADNSServerWithoutAPortHasThePortOfDNS(t *testing.T) {
	for given, want := range map[string]string{
		"127.0.0.1":            "127.0.0.1:53",
		"127.0.0.1:5353":       "127.0.0.1:5353",
		"2001:db8::53":         "[2001:db8::53]:53",
		"[2001:db8::53]":       "[2001:db8::53]:53",
		"[2001:db8::53]:5353":  "[2001:db8::53]:5353",
		"::1":                  "[::1]:53",
		"ns1.example.com":      "ns1.example.com:53",
		"ns1.example.com:5353": "ns1.example.com:5353",
		"localhost":            "localhost:53",
		"":                     "",
		"192.0.2.53:":          "",
		"192.0.2.53:domain":    "",
		"192.0.2.53:70000":     "",
		"udp://192.0.2.53":     "",
	} {
		if got, err := spec.ParseDNSServer(given); got != want || (err == nil) == (want == "") {
			t.Errorf("ParseDNSServer(%q) = %q, %v", given, got, err)
		}
		p, err := spec.ParseProvider("/etc/acmed/dns.d/x.yaml", []byte("rfc2136: {server: \""+given+"\"}\npropagation: {resolvers: [\""+given+"\"]}\n"))
		switch {
		case want == "" && err == nil:
			t.Errorf("%q: a provider takes it", given)
		case want != "" && (err != nil || p.RFC2136.Server != want || p.Propagation.Resolvers[0] != want):
			t.Errorf("%q: a provider makes of it %+v, %v", given, p, err)
		}
	}
}

// TestAnAddressAmongNamesGetsTheHintOfItsKey is about addresses where names belong: only a certificate has a place for them.
func TestAnAddressAmongNamesGetsTheHintOfItsKey(t *testing.T) {
	for text, want := range map[string]string{
		"dnsNames: [192.0.2.1]":         "write it under ipAddresses",
		"dnsNames: [2001:db8::1]":       "write it under ipAddresses",
		"dnsNames: [192.0.2.0/24]":      "a CA certifies no networks",
		"dnsNames: [\"2001:db8::/64\"]": "a CA certifies no networks",
		"dnsNames: [\"192.0.2.1:443\"]": "without the port under ipAddresses",
		"dnsNames: [\"[::1]:8443\"]":    "without the port under ipAddresses",
		"dnsNames: [\"a.example:443\"]": "write the name alone, without port or path",
		"deploy: {probe: [{address: \"127.0.0.1:443\", serverName: 192.0.2.1}]}":                        "only host names are needed here",
		"deploy: {reload: [nginx.service], check: [/]}\ndnsNames: [a.example]\nchallenge: {webroot: /}": "name a file or directory below it",
	} {
		_, err := spec.ParseCertificate(spec.DefaultConfig("/etc/acmed/acmed.yaml"), "/etc/acmed/certs.d/www.example.com.yaml", []byte(text+"\n"), nil)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
	if _, err := spec.ParseConfig("/etc/acmed/acmed.yaml", []byte("admin: {hosts: [192.0.2.1]}\n")); err == nil || !strings.Contains(err.Error(), "only host names are needed here") {
		t.Errorf("admin.hosts: %v", err)
	}
}

// TestAnAddressThatLacksItsPortIsShownWithOne is about addresses whose port acmed cannot know.
func TestAnAddressThatLacksItsPortIsShownWithOne(t *testing.T) {
	for given, want := range map[string]string{
		"mail.example.com": "(add the port, such as mail.example.com:443)",
		"192.0.2.1":        "(add the port, such as 192.0.2.1:443)",
		"2001:db8::1":      "(add the port, such as [2001:db8::1]:443)",
		"[2001:db8::1]":    "(add the port, such as [2001:db8::1]:443)",
		"8443":             "(such as 127.0.0.1:8443 or [::1]:8443)",
		"https://a.b":      "(such as 127.0.0.1:443 or [::1]:443)",
	} {
		_, err := spec.ParseCertificate(spec.DefaultConfig("/etc/acmed/acmed.yaml"), "/etc/acmed/certs.d/www.example.com.yaml", []byte("deploy: {probe: [{address: \""+given+"\"}]}\n"), nil)
		if err == nil || !strings.HasSuffix(err.Error(), "is not an address with a port "+want) {
			t.Errorf("%s: got %v", given, err)
		}
	}
}
