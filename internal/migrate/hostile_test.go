package migrate_test

import (
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/migrate"
	"acmed/internal/spec"
)

// FuzzTraefik reads a storage as a stranger writes it. No two certificates get one name, and a pair can be served.
func FuzzTraefik(f *testing.F) {
	real, err := os.ReadFile("testdata/traefik-3.7/acme.json")
	if err != nil {
		f.Fatal(err)
	}
	for _, seed := range append(oddStorages(), string(real)) {
		f.Add([]byte(seed))
	}
	now := time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, data []byte) {
		found, err := migrate.InTraefik(data, now)
		if err != nil {
			return
		}
		names := map[string]bool{}
		for _, c := range found.Certificates {
			name := migrate.Name(c.Name)
			if names[name] {
				t.Errorf("two are called %s", name)
			}
			names[name] = true
			if c.Pair != nil && !c.Pair.Chain.Chain[0].NotAfter.After(now) {
				t.Errorf("%s has expired", c.Name)
			}
		}
	})
}

// oddStorages are storages of Traefik's with nothing, or not all, in them.
func oddStorages() []string {
	return []string{
		`{"a": null}`, `{"a": {"Certificates": [null]}}`, `{"Certificates": []}`, `{"DomainsCertificate": {"Certs": [null]}}`, `{"": {}}`, "[", "", "null", "1",
		`{"a": {"Certificates": [{}, {}]}, "b": {"Certificates": [{}]}}`, `{"a": {"Certificates": [{"domain": {"main": "a"}}, {"domain": {"main": "a-a"}}, {"domain": {"main": "A"}}]}}`,
		`{"Account": null, "Certificates": null}`, `{"a": {"Account": {"Registration": {"uri": "%"}}, "Certificates": [{"domain": {"main": "*.a"}}]}}`,
	}
}

func TestOddFilesMakeNoInvalidSpec(t *testing.T) {
	for _, text := range oddStorages() {
		lookAtFile(t, "traefik", "acme.json", text)
	}
	for _, text := range []string{
		`{"sans": ["a.example.com"], "issuer_data": {"ca": "https://acme-v02.api.letsencrypt.org/directory"}}`, `{"sans": [""], "issuer_data": 1}`,
		`{"sans": ["a b"], "issuer_data": {"ca": 1}}`, `{"sans": ["192.0.2.1", "::1"]}`, `{"issuer_data": null}`, "{", "", "null", "[]",
	} {
		lookAtFile(t, "caddy", "certificates/"+caddyCA+"/a.example.com/a.example.com.json", text)
	}
}

// lookAtFile plans an import from a directory with one file, and compares the plan with itself.
func lookAtFile(t *testing.T, client, name, text string) {
	dir, home := t.TempDir(), t.TempDir()
	file := filepath.Join(dir, name)
	if err := errors.Join(os.MkdirAll(filepath.Dir(file), 0o755), os.WriteFile(file, []byte(text), 0o600)); err != nil {
		t.Fatal(err)
	}
	c := spec.DefaultConfig(filepath.Join(home, "acmed.yaml"))
	c.SpecDir, c.IssuerDir, c.DNSDir, c.StateDir = filepath.Join(home, "certs.d"), filepath.Join(home, "issuers.d"), filepath.Join(home, "dns.d"), filepath.Join(home, "state")
	if err := errors.Join(os.Mkdir(c.SpecDir, 0o755), os.Mkdir(c.IssuerDir, 0o755)); err != nil {
		t.Fatal(err)
	}
	p, err := migrate.Look(migrate.Options{Client: client, Dir: dir, Config: c, Now: time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		return
	}
	for _, s := range p.Certificates {
		if s.Action == migrate.Order || s.Action == migrate.Import {
			if _, err := spec.ParseCertificate(c, s.SpecFile, []byte(s.Spec), nil); err != nil && !strings.Contains(err.Error(), "unknown issuer") {
				t.Errorf("a spec that is not valid: %v\n%s", err, s.Spec)
			}
		}
	}
	if _, err := json.Marshal(p); err != nil {
		t.Error(err)
	}
}

// TestHostileInputIsBounded has files that are too large, pipes and links in the place of what is read.
func TestHostileInputIsBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		client string
		spoil  func(w *world)
		want   string // a part of what is shown
	}{
		"acme.json that is a pipe":              {"traefik", func(w *world) { w.pipe("acme.json") }, "acme.json: not a regular file"},
		"acme.json that is a link to elsewhere": {"traefik", func(w *world) { w.link("acme.json", "/etc/hostname") }, "acme.json: a link that leads out of that directory"},
		"acme.json that is a directory":         {"traefik", func(w *world) { w.write("acme.json/x", "") }, "acme.json: not a regular file"},
		"a number in the place of a key": {"traefik", func(w *world) {
			w.write("acme.json", `{"le": {"Certificates": [{"domain": {"main": "a.example.com"}, "key": 86753090912}]}}`)
		}, "acme.json: json: cannot unmarshal number into []uint8"},
		"bytes that are no JSON":          {"traefik", func(w *world) { w.write("acme.json", `{"le": secret}`) }, "acme.json: not JSON at byte"},
		"a site that is a link elsewhere": {"caddy", func(w *world) { w.link("certificates/"+caddyCA, "/etc") }, "a link that leads out of that directory"},
		"a list that is a file":           {"caddy", func(w *world) { w.write("certificates", "") }, "not a directory"},
		"a meta file that is too large": {"caddy", func(w *world) {
			w.write("certificates/"+caddyCA+"/a.example.com/a.example.com.json", strings.Repeat(" ", 1<<17))
		}, "larger than 65536 bytes"},
		"settings that are no text":      {"acme.sh", func(w *world) { w.write("a.example.com/a.example.com.conf", "Le_Domain=\xff") }, "not UTF-8 text"},
		"a directory that is a link":     {"acme.sh", func(w *world) { w.link("a.example.com", "/etc") }, "a link that leads out of that directory"},
		"a list of dehydrated, a pipe":   {"dehydrated", func(w *world) { w.write("config", ""); w.pipe("domains.txt") }, "domains.txt: not a regular file"},
		"settings of dehydrated, a link": {"dehydrated", func(w *world) { w.link("config", "/etc/hostname") }, "config: a link that leads out of that directory"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			tt.spoil(w)
			shown := ""
			p, err := migrate.Look(migrate.Options{Client: tt.client, Dir: w.dir, Config: w.config, Now: w.now})
			if err != nil {
				shown = err.Error()
			} else {
				for _, s := range p.Certificates {
					shown += s.Why
				}
				for _, n := range p.Notes {
					shown += n.What
				}
			}
			if !strings.Contains(shown, tt.want) || strings.Contains(shown, "secret") || strings.Contains(shown, "86753090912") {
				t.Errorf("it shows %q, want %q", shown, tt.want)
			}
		})
	}
}

func TestTheKeyOfATraefikAccountHasAnyEncoding(t *testing.T) {
	ec := ecKey(t)
	sec1, err := x509.MarshalECPrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(ec)
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		der []byte
		ok  bool
	}{
		"PKCS #1": {x509.MarshalPKCS1PrivateKey(rsaKey(t, 2048)), true}, "SEC 1": {sec1, true}, "PKCS #8": {pkcs8, true},
		"none": {nil, false}, "garbage": {[]byte("secret"), false},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.traefikFile("le", w.traefikEntry("a.example.com", nil, 60*day, "a.example.com"))
			text := w.text("acme.json")
			_, rest, _ := strings.Cut(text, `"PrivateKey": "`)
			old, _, _ := strings.Cut(rest, `"`)
			w.edit("acme.json", old, b64(string(tt.der)))
			p := w.apply("traefik")
			says(t, p, "a.example.com", nil, nil)
			if len(p.Accounts) > 0 != tt.ok {
				t.Errorf("accounts: %+v, notes %+v", p.Accounts, p.Notes)
			}
		})
	}
}
