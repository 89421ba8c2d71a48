package spec_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/spec"
)

func TestSectigoFile(t *testing.T) {
	const good = `# yaml-language-server: $schema=/usr/share/acmed/schema/sectigo.json
url: https://hard.cert-manager.com/api
customerUri: example
login: acme-robot
passwordFile: /etc/acmed/secrets/scm
organization: 1841
`
	for sentence, test := range map[string]struct{ text, want string }{
		"all keys":                             {good, ""},
		"nothing: the flags may say it all":    {"", ""},
		"a password is never written here":     {"password: hunter2\n", ":1:1: password: unknown key (did you mean passwordFile?)"},
		"a key in another case":                {"customerURI: a\n", ":1:1: customerURI: unknown key (did you mean customerUri?)"},
		"a number for a word":                  {"login: 17\n", `:1:8: login: expected a login, found the number 17 (quote it: "17")`},
		"a word for a number":                  {"organization: one\n", ":1:15: organization: expected a number from 1 to 2147483647"},
		"a path that depends on who asks":      {"passwordFile: secrets/scm\n", `"secrets/scm" is not an absolute path (begin with /)`},
		"a customer that says nothing":         {"customerUri: \"\"\n", ":1:14: customerUri: is empty"},
		"a file that was torn by a crash":      {"login: a\x00b\n", "holds a NUL byte"},
		"an organization that there cannot be": {"organization: 0\n", "expected a number from 1"},
	} {
		t.Run(sentence, func(t *testing.T) {
			c := spec.DefaultConfig(filepath.Join(t.TempDir(), "acmed.yaml"))
			if err := os.WriteFile(c.SectigoFile(), []byte(test.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := spec.LoadSectigo(c.SectigoFile())
			problems := spec.CheckFiles(c, []string{c.SectigoFile()})
			if test.want == "" {
				if err != nil || len(problems) > 0 || judge(t, readSchema(t, "sectigo"), test.text) != nil {
					t.Fatalf("%v, %v", err, problems)
				}
				want := spec.Sectigo{File: c.SectigoFile()}
				if test.text != "" {
					want = spec.Sectigo{File: c.SectigoFile(), URL: "https://hard.cert-manager.com/api", CustomerURI: "example",
						Login: "acme-robot", PasswordFile: "/etc/acmed/secrets/scm", Organization: 1841}
				}
				if *got != want {
					t.Errorf("got %+v, want %+v", *got, want)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.want) || len(problems) != 1 || !strings.Contains(problems[0].Error(), test.want) {
				t.Errorf("got %v and %v, want %q", err, problems, test.want)
			}
		})
	}
}

func TestSectigoFileNeedNotExist(t *testing.T) {
	c := spec.DefaultConfig(filepath.Join(t.TempDir(), "acmed.yaml"))
	if _, err := spec.LoadSectigo(c.SectigoFile()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if err := os.Mkdir(c.SectigoFile(), 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := spec.LoadSectigo(c.SectigoFile()); err == nil || errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: %v", err)
	}
}
