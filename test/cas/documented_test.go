//go:build e2e

package cas_test

import (
	"net/url"
	"regexp"
	"strings"
	"testing"

	"acmed/test/site"
)

// documentedIssuer uses the issuer file that docs/issuers.md prints for the CA. Only the host name, the directory of the
// files and the key identifier are others: the CA chooses the latter.
func documentedIssuer(t *testing.T, l *lab, start func(options) subject) {
	text := issuerText(t, strings.Split(t.Name(), "/")[2])
	authority := start(options{bound: strings.Contains(text, "externalAccountBinding")})
	p := l.newPlace(t, authority, binding{})
	address, err := url.Parse(authority.directory)
	if err != nil {
		t.Fatal(err)
	}
	printed := regexp.MustCompile(`https://([^/\s]+)(/\S+)`).FindStringSubmatch(text)
	if printed == nil || printed[2] != address.Path {
		t.Fatalf("the directory %s is printed as %q", authority.directory, printed)
	}
	text = strings.Replace(text, printed[1], address.Host, 1)
	text = strings.ReplaceAll(text, "/etc/acmed/", p.Path("etc")+"/")
	p.Write(t, strings.TrimPrefix(value(text, "caBundle"), p.Dir), string(readFile(t, authority.caBundle)))
	if kid := value(text, "kid"); kid != "" {
		b := authority.bindings[0]
		p.Write(t, strings.TrimPrefix(value(text, "hmacKeyFile"), p.Dir), b.key)
		text = strings.Replace(text, kid, b.kid, 1)
	}
	p.Write(t, "issuers.d/ca.yaml", text)
	p.publish("web", 1)
	p.spec(t, "web", "")
	p.Run(t, "check")
	d := p.Start(t)
	p.await(t, "web", 1, site.Patience)
	d.Stop(t)
}

// value of a key in YAML; "": the key is not there.
func value(text, key string) string {
	found := regexp.MustCompile(`\b` + key + `: ([^,}\s]+)`).FindStringSubmatch(text)
	if found == nil {
		return ""
	}
	return found[1]
}

// issuerText returns the issuer file of docs/issuers.md that has the name of a CA.
func issuerText(t *testing.T, ca string) string {
	t.Helper()
	const head = `    # /etc/acmed/issuers.d/`
	document := string(readFile(t, "../../docs/issuers.md"))
	_, rest, ok := strings.Cut(document, head+strings.ToLower(ca)+".yaml\n")
	if !ok {
		t.Fatalf("docs/issuers.md prints no issuer file for %s", ca)
	}
	block, _, _ := strings.Cut(rest, "\n\n")
	return strings.ReplaceAll(block, "    ", "") + "\n"
}
