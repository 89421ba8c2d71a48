package migrate_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"acmed/internal/migrate"
	"acmed/internal/spec"
)

// FuzzScalar writes a word of another client's into a spec, where it must be read as it was.
func FuzzScalar(f *testing.F) {
	for _, word := range []string{
		"", "yes", "No", "null", "~", "1", "0x1", "1e3", "a: b", "a #b", "%x", "*", "&a", "!t", "-", "--", "-c", "--all", "[", "{a}", "a,b", "'", `"`, `\`,
		"é", "\t", "\n", "\r\n", "\u2028", "\x7f", "\u0085", "a.b", "2026-01-01", "<<", "=", "/x", "http://x/", "https://x/?a=b&c",
	} {
		f.Add(word)
	}
	config := spec.DefaultConfig("/acmed.yaml")
	f.Fuzz(func(t *testing.T, word string) {
		if !utf8.ValidString(word) || strings.ContainsRune(word, 0) {
			t.Skip("no file of settings is read that holds it")
		}
		text := "dnsNames: [example.com]\ndeploy: {run: [{command: [/bin/x, " + migrate.Scalar(word) + ", y]}]}\n"
		c, err := spec.ParseCertificate(config, "x.yaml", []byte(text), nil)
		if len(text) > 60_000 || strings.ContainsFunc(word, unicode.IsControl) {
			return // a spec holds no such thing
		}
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Deploy.Run[0].Command; len(got) != 3 || got[1] != word {
			t.Errorf("%q was read as %q", word, got)
		}
	})
}
