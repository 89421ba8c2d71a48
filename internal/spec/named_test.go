package spec_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"acmed/internal/spec"
)

// TestADraftTellsNothingOfFilesThatItsAuthorCannotRead has the answer be the same whatever is on the disk, for each key by
// which a draft names a path.
func TestADraftTellsNothingOfFilesThatItsAuthorCannotRead(t *testing.T) {
	csr := request(t, ecKey(t, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"secret.example.com"}})
	for _, key := range []string{"csrFile: %s", "challenge: {webroot: %s}", "deploy: {files: [{path: %s, content: cert}]}",
		"deploy: {files: [{path: /srv/p12, content: pkcs12, passwordFile: %s}]}", "deploy: {run: [{command: [%s]}]}", "deploy: {check: [cat, %s]}",
		"deploy: {window: {start: \"02:00\", duration: 1h, timezone: ../../..%s}}", "challenge: {type: dns-01, provider: ../../..%[1]s}", "issuers: [../../..%s]"} {
		t.Run(key, func(t *testing.T) {
			answers := map[string][]string{}
			for sentence, prepare := range map[string]func(s *site, path string) error{
				"nothing": func(*site, string) error { return nil },
				"a CSR":   func(_ *site, path string) error { return os.WriteFile(path, csr, 0o600) },
				"a key": func(_ *site, path string) error {
					return os.WriteFile(path, []byte("-----BEGIN PRIVATE KEY-----\n"), 0o600)
				},
				"an empty file":       func(_ *site, path string) error { return os.WriteFile(path, nil, 0o600) },
				"a huge file":         func(_ *site, path string) error { return os.WriteFile(path, make([]byte, 65<<10), 0o600) },
				"a directory":         func(_ *site, path string) error { return os.Mkdir(path, 0o700) },
				"a named pipe":        func(_ *site, path string) error { return syscall.Mkfifo(path, 0o600) },
				"a link to a secret":  func(_ *site, path string) error { return os.Symlink("/etc/shadow", path) },
				"a link into acmed's": func(s *site, path string) error { return os.Symlink(s.config.StateDir, path) },
				"a link to the specs": func(s *site, path string) error { return os.Symlink(s.config.SpecDir, path) },
				"a link to nowhere":   func(_ *site, path string) error { return os.Symlink("nowhere", path) },
			} {
				s := newSite(t)
				s.config.StateDir = filepath.Join(s.dir, "state")
				path := filepath.Join(s.dir, "it")
				if err := prepare(s, path); err != nil {
					t.Fatal(err)
				}
				set, names, err := spec.Draft(s.config, s.load(), map[string][]byte{"/draft/www.example.com.yaml": fmt.Appendf(nil, key+"\n", path)}, map[string]spec.Beside{})
				if err != nil {
					t.Fatal(err)
				}
				answer := strings.ReplaceAll(fmt.Sprint(set.Problems, names, set.Certificate("www.example.com") != nil), s.dir, "DIR")
				answers[answer] = append(answers[answer], sentence)
			}
			if len(answers) != 1 {
				t.Errorf("the answer tells what is there: %q", answers)
			}
		})
	}
}

func TestADraftIsReadWithTheFilesThatItsAuthorPassed(t *testing.T) {
	csr := request(t, ecKey(t, elliptic.P256()), x509.CertificateRequest{DNSNames: []string{"hsm.example.com"}})
	s := newSite(t)
	inForce := s.load()
	file := filepath.Join(s.dir, "www.csr")
	text := []byte("csrFile: " + file + "\n")
	for sentence, tt := range map[string]struct {
		prepare func() error
		problem string // "": none
	}{
		"a CSR":                  {func() error { return os.WriteFile(file, csr, 0o600) }, ""},
		"something else":         {func() error { return os.WriteFile(file, []byte("hello"), 0o600) }, "www.csr holds no CSR"},
		"nothing":                {func() error { return nil }, "www.csr does not exist (put the CSR there)"},
		"a directory":            {func() error { return os.Mkdir(file, 0o755) }, "www.csr is a folder"},
		"a named pipe":           {func() error { return syscall.Mkfifo(file, 0o600) }, "www.csr is a named pipe"},
		"too much for one thing": {func() error { return os.WriteFile(file, make([]byte, 65<<10), 0o600) }, "www.csr over 64 KiB"},
	} {
		t.Run(sentence, func(t *testing.T) {
			if err := tt.prepare(); err != nil {
				t.Fatal(err)
			}
			passed := spec.ReadBeside(text)
			if err := os.RemoveAll(file); err != nil {
				t.Fatal(err)
			}
			set, names, err := spec.Draft(s.config, inForce, map[string][]byte{"/draft/hsm.yaml": text}, passed)
			switch {
			case err != nil:
				t.Fatal(err)
			case tt.problem != "":
				if len(set.Problems) != 1 || !strings.Contains(set.Problems[0].Error(), tt.problem) || len(names) > 0 {
					t.Errorf("problems %v, names %v", set.Problems, names)
				}
			case len(set.Problems) > 0 || len(names) != 1 || set.Certificate("hsm").DNSNames[0] != "hsm.example.com":
				t.Errorf("problems %v, names %v", set.Problems, names)
			}
		})
	}
	for _, text := range []string{"{", "", "csrFile: x.csr", "csrFile: [/a]", "csrFile: /../a", "- csrFile"} {
		if got := spec.ReadBeside([]byte(text)); len(got) > 0 {
			t.Errorf("%q names %v", text, got)
		}
	}
}
