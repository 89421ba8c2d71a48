package spec_test

import (
	"testing"

	"acmed/internal/spec"
)

func TestUnicodeNames(t *testing.T) {
	for sentence, tt := range map[string]struct{ name, want string }{
		"a plain name":                         {"www.example.com", ""},
		"an umlaut":                            {"xn--bcher-kva.example", "bücher.example"},
		"a wildcard":                           {"*.xn--bcher-kva.example", "*.bücher.example"},
		"several labels":                       {"xn--bcher-kva.xn--strae-oqa.example", "bücher.straße.example"},
		"from right to left":                   {"xn--mgbh0fb.example", "مثال.example"},
		"no Punycode at all":                   {"xn--a--.example", ""},
		"what would be another name":           {"xn--abc-.example", ""},
		"a sign":                               {"xn--39h.example", "⛥.example"},
		"in the middle of a label, no A-label": {"www.axn--b.example", ""},
	} {
		if got := spec.UnicodeName(tt.name); got != tt.want {
			t.Errorf("%s: %q, want %q", sentence, got, tt.want)
		}
	}
	for _, name := range []string{"bücher.example", "*.bücher.example", "straße.example", "例え.テスト", "ελληνικά.example"} {
		ascii, err := spec.ParseDNSName(name)
		if err != nil || spec.UnicodeName(ascii) != name {
			t.Errorf("%s became %s and %s, %v", name, ascii, spec.UnicodeName(ascii), err)
		}
	}
}
