//go:build e2e

package cas_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"acmed/test/cas"
	"acmed/test/matrix"
	"acmed/test/process"
)

// scenario tries features at one CA. start starts that CA.
type scenario struct {
	name string
	cas  []string // nil: all of cas.CAs
	slow bool     // only with -cas.full
	run  func(t *testing.T, l *lab, start func(options) subject)
}

func scenarios() []scenario {
	late := []string{"step-ca", "Caddy"} // whose orders have a notAfter of their own
	bound := []string{"Pebble", "step-ca", "Vault"}
	return []scenario{
		{name: "certificates and account", run: certificatesAndAccount},
		{name: "documented issuer", run: documentedIssuer},
		{name: "requests", run: requests},
		{name: "renewal", run: renewal},
		{name: "binding", cas: bound, run: boundAccount},
		{name: "bad binding", cas: bound, run: badBindings},
		{name: "kill", run: kill},
		{name: "CA killed", run: killCA},
		{name: "late DNS", run: lateDNS},
		{name: "late server", run: lateServer},
		{name: "wrong server", run: wrongServer},
		{name: "no server", run: noServer},
		{name: "hanging orders", run: hanging},
		{name: "fallback", slow: true, run: fallback},
		{name: "late order", cas: late, slow: true, run: lateOrder},
		{name: "unreachable", cas: []string{"step-ca"}, run: unreachable},
		{name: "profile", cas: []string{"Pebble"}, run: profileOfTheCA},
		{name: "terms", cas: []string{"step-ca"}, run: newTerms},
		{name: "RS256 accounts only", cas: []string{"step-ca", "Pebble"}, run: rs256Only},
		{name: "leaf alone", cas: []string{"Vault"}, run: leafAlone},
	}
}

// TestCAs has the real daemon do everything at each CA, all at the same time, and compares what was seen with
// docs/compatibility.md.
func TestCAs(t *testing.T) {
	l := newLab(t)
	t.Run("at", func(t *testing.T) {
		for _, ca := range cas.CAs() {
			if !slices.Contains(strings.Split(*only, ","), ca) {
				continue
			}
			for _, s := range scenarios() {
				if s.cas != nil && !slices.Contains(s.cas, ca) || s.slow && !*full {
					continue
				}
				t.Run(ca+"/"+s.name, func(t *testing.T) {
					t.Parallel()
					s.run(t, l, func(o options) subject { return starters()[ca](t, o) })
				})
			}
		}
	})
	compare(t, l.seen)
}

// document is what compare reads, and with UPDATE=1 writes.
const document = "../../docs/compatibility.md"

// compare holds what was seen against the document. Cells that were not tried are not compared.
func compare(t *testing.T, seen cas.Seen) {
	t.Helper()
	old := string(readFile(t, document))
	cas.Keep(seen, matrix.Section(old, cas.Section))
	text, err := matrix.Rewrite(old, map[string]string{cas.Section: cas.Table(seen, versions(t))})
	switch {
	case err != nil:
		t.Fatal(err)
	case text == old:
	case os.Getenv("UPDATE") != "":
		if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/compatibility.md is not what was seen; UPDATE=1 writes it:\n%s", matrix.Difference(old, text))
	}
}

// versions are those that the modules in tools pin.
func versions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, module := range map[string][2]string{
		"Pebble":  {"pebble", "github.com/letsencrypt/pebble/v2"},
		"step-ca": {"step-ca", "github.com/smallstep/certificates"},
		"Caddy":   {"caddy", "github.com/caddyserver/caddy/v2"},
		"Vault":   {"vault", "github.com/hashicorp/vault"},
	} {
		version, err := process.ToolVersion(module[0], module[1])
		if err != nil {
			t.Fatal(err)
		}
		all[name] = version
	}
	return all
}
