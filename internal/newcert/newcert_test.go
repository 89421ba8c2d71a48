package newcert_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"acmed/internal/newcert"
	"acmed/internal/spec"
)

func configIn(t *testing.T) *spec.Config {
	t.Helper()
	dir := t.TempDir()
	c := spec.DefaultConfig(filepath.Join(dir, "acmed.yaml"))
	c.SpecDir, c.IssuerDir, c.DNSDir = filepath.Join(dir, "certs.d"), filepath.Join(dir, "issuers.d"), filepath.Join(dir, "dns.d")
	for file, text := range map[string]string{
		"issuers.d/true.yaml": "directory: https://ca.example/dir\n",
		"dns.d/own.yaml":      "httpReq: {url: https://dns.example}\n",
	} {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(c.SpecDir, 0o755); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestTheFileSaysWhatWasWanted(t *testing.T) {
	for sentence, c := range map[string]struct {
		wish newcert.Wish
		name string
		want []string // lines of the file
	}{
		"the name of the file is the first name": {
			newcert.Wish{Names: []string{"WWW.Example.com", "example.com", "example.com"}}, "www.example.com", []string{`dnsNames: ["WWW.Example.com", example.com]`},
		},
		"a wildcard gets a file name without a star": {
			newcert.Wish{Names: []string{"*.example.com", "example.com"}, Provider: "own", Issuers: []string{"true"}}, "wildcard.example.com",
			[]string{`dnsNames: ["*.example.com", example.com]`, `issuers: ["true"]`, `challenge: {type: dns-01, provider: own}`},
		},
		"a name with letters beyond ASCII gets a file name of A-labels": {
			newcert.Wish{Names: []string{"bücher.example"}}, "xn--bcher-kva.example", []string{`dnsNames: ["bücher.example"]`},
		},
		"addresses are told from names": {
			newcert.Wish{Names: []string{"2001:db8::1", "192.0.2.1"}, Profile: "shortlived"}, "ip-2001-db8--1",
			[]string{`ipAddresses: ["2001:db8::1", "192.0.2.1"]`, "profile: shortlived"},
		},
		"a unit may lack its suffix, as with systemctl": {
			newcert.Wish{Names: []string{"a.example.com"}, Reload: []string{"nginx", "php8.3-fpm"}, Restart: []string{"vsftpd.service"}, Probe: []string{"127.0.0.1:443"}, Name: "a"}, "a",
			[]string{"dnsNames: [a.example.com]", "  reload: [nginx.service, php8.3-fpm.service]", "  restart: [vsftpd.service]", `  probe: [{address: "127.0.0.1:443"}]`},
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			d := newcert.New(configIn(t), c.wish)
			if len(d.Problems) > 0 || d.Certificate == nil {
				t.Fatalf("problems: %v\n%s", d.Problems, d.Text)
			}
			if d.Name != c.name || filepath.Base(d.Path) != c.name+".yaml" {
				t.Errorf("the name is %s, and the path %s", d.Name, d.Path)
			}
			lines := strings.Split(d.Text, "\n")
			if got := lines[2 : len(lines)-1]; !reflect.DeepEqual(without(got, "deploy:"), c.want) {
				t.Errorf("wrote %q", got)
			}
		})
	}
}

func without(lines []string, line string) (out []string) {
	for _, l := range lines {
		if l != line {
			out = append(out, l)
		}
	}
	return out
}

func TestNoWordBreaksOutOfTheFile(t *testing.T) {
	for _, evil := range []string{"a\nissuers: [x]", `a", b: "c`, "a]", "#", "*x", "&x", "", "\x00", "\xff", "a: b", "~", "{}", "\u0085", "\u202e"} {
		for name, w := range map[string]newcert.Wish{
			"names": {Names: []string{evil}, Name: "x"}, "name": {Names: []string{"a.example.com"}, Name: evil + "/"},
			"issuers": {Names: []string{"a.example.com"}, Issuers: []string{evil}},
			"unit":    {Names: []string{"a.example.com"}, Reload: []string{evil}}, "probe": {Names: []string{"a.example.com"}, Probe: []string{evil}},
		} {
			d := newcert.New(configIn(t), w)
			if len(d.Problems) == 0 {
				t.Errorf("%s: %q is accepted:\n%s", name, evil, d.Text)
			}
		}
	}
}

func TestAFileIsNeverWrittenOverAnotherOne(t *testing.T) {
	c := configIn(t)
	d := newcert.New(c, newcert.Wish{Names: []string{"www.example.com"}})
	if err := d.Write(); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(d.Path)
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, error %v", info.Mode(), err)
	}
	for sentence, occupy := range map[string]func() error{
		"a file":          func() error { return os.WriteFile(d.Path, []byte("{}"), 0o600) },
		"a dangling link": func() error { return os.Symlink("/nowhere", d.Path) },
		"a directory":     func() error { return os.Mkdir(d.Path, 0o700) },
	} {
		if err := errors.Join(os.Remove(d.Path), occupy()); err != nil {
			t.Fatal(err)
		}
		if err := d.Write(); !errors.Is(err, fs.ErrExist) {
			t.Errorf("%s: the error is %v", sentence, err)
		}
	}
	entries, err := os.ReadDir(c.SpecDir)
	if err != nil || len(entries) != 1 {
		t.Errorf("temporary files stay: %v, %v", entries, err)
	}
}
