package migrate_test

import (
	"strings"
	"testing"
	"time"

	"acmed/internal/migrate"
)

// caddyTree gives the world a copy of a storage that a real Caddy of that version has written at Pebble.
func caddyTree(t *testing.T, version string) *world {
	w := newWorld(t)
	w.copyTree(version)
	w.now = time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)
	return w
}

func TestWhatARealCaddyHasWrittenIsImported(t *testing.T) {
	for version, tt := range map[string]struct{ server, account string }{
		"caddy-2.11": {"", "https://127.0.0.1:24544/my-account/745d0952727c79ac"}, // which writes down the CA's directory
		"caddy-2.6":  {"https://127.0.0.1:23511/dir", "https://127.0.0.1:23511/my-account/5de3011a5e6bcb9c"},
	} {
		t.Run(version, func(t *testing.T) {
			w := caddyTree(t, version)
			p := w.at("caddy", tt.server)
			if err := p.Apply(func(int) {}); err != nil {
				t.Fatal(err)
			}
			w.isSound()
			says(t, p, "a.example.com", []string{"issuers: [\"127.0.0.1\"]", "challenge: {type: http-01}", "privateKey: {algorithm: RSA, size: 2048, rotationPolicy: Always}"},
				[]string{"certificates/local are of Caddy's own CA"})
			hasAccount(t, p, "127.0.0.1", tt.account)
			if len(p.Certificates) != 1 || p.Certificates[0].NotAfter.IsZero() {
				t.Errorf("certificates: %+v", p.Certificates)
			}
			if len(p.Next.Paths) != 2 || !strings.HasSuffix(p.Next.Paths[0].Old, "-dir/NAME/NAME.crt") {
				t.Errorf("paths: %+v", p.Next.Paths)
			}
			if again := w.at("caddy", tt.server); again.Do() {
				t.Errorf("once more: %+v", again.Certificates)
			}
		})
	}
}

const caddyCA = "acme-v02.api.letsencrypt.org-directory"

// caddySite adds what Caddy has of a site.
func (w *world) caddySite(ca, name, about string, left time.Duration, names ...string) {
	key := ecKey(w.t)
	base := "certificates/" + ca + "/" + name + "/" + name
	w.write(base+".key", keyPEM(w.t, key))
	w.write(base+".crt", w.issue(key, left, names...))
	w.write(base+".json", `{"sans": ["`+strings.Join(names, `", "`)+`"], "issuer_data": {`+about+`}}`)
}

func TestCaddysCAIsFound(t *testing.T) {
	for name, tt := range map[string]struct {
		ca, about, server string
		issuer            string // "": it is refused
	}{
		"by what Caddy has written down":        {"acme.corp.example-9000-acme-dir", `"ca": "https://acme.corp.example:9000/acme/dir"`, "", "acme.corp.example"},
		"by its name, of a known issuer":        {caddyCA, `"url": "https://acme-v02.api.letsencrypt.org/acme/cert/1"`, "", "letsencrypt"},
		"by --server":                           {"acme.corp.example-dir", "", "https://acme.corp.example/dir", "acme.corp.example"},
		"not by --server of another CA":         {"acme.corp.example-dir", "", "https://acme.other.example/dir", ""},
		"not by an address that is not its own": {"acme.corp.example-dir", `"ca": "https://evil.example/dir"`, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.caddySite(tt.ca, "a.example.com", tt.about, 60*day, "a.example.com")
			s := step(t, w.at("caddy", tt.server), "a.example.com")
			if s.Issuer != tt.issuer || (s.Action == migrate.Refuse) != (tt.issuer == "") {
				t.Errorf("%q at %q: %s", s.Action, s.Issuer, s.Why)
			}
		})
	}
}

func TestOneOfTwoCertificatesOfCaddyForANameIsImported(t *testing.T) {
	for name, tt := range map[string]struct {
		le, zerossl time.Duration // left
		want        string
	}{
		"the newer one":                       {60 * day, 80 * day, "zerossl"},
		"the one that has not expired":        {10 * day, -day, "letsencrypt"},
		"the newer one of two that have both": {-20 * day, -day, "zerossl"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.caddySite(caddyCA, "a.example.com", "", tt.le, "a.example.com")
			w.caddySite("acme.zerossl.com-v2-dv90", "a.example.com", "", tt.zerossl, "a.example.com")
			p := w.apply("caddy")
			s := step(t, p, "a.example.com")
			if len(p.Certificates) != 1 || s.Issuer != tt.want || len(s.Notes) != 1 || !strings.Contains(s.Notes[0].What, "Caddy has another certificate of that name") {
				t.Errorf("%d certificates, at %s, notes %+v", len(p.Certificates), s.Issuer, s.Notes)
			}
		})
	}
}

func TestAFaultInCaddysStorageAffectsNothingElse(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil  func(w *world)
		action migrate.Action
		why    string
	}{
		"no JSON": {func(w *world) { w.write("certificates/"+caddyCA+"/b.example.com/b.example.com.json", "{") }, migrate.Refuse, "unexpected end of JSON input"},
		"another key": {func(w *world) {
			w.write("certificates/"+caddyCA+"/b.example.com/b.example.com.key", keyPEM(w.t, ecKey(w.t)))
		}, migrate.Order, "the certificate is for another key"},
		"a pipe": {func(w *world) {
			w.remove("certificates/" + caddyCA + "/b.example.com/b.example.com.key")
			w.pipe("certificates/" + caddyCA + "/b.example.com/b.example.com.key")
		}, migrate.Order, "not a regular file"},
		"no chain": {func(w *world) { w.remove("certificates/" + caddyCA + "/b.example.com/b.example.com.crt") }, migrate.Order, "no such file or directory"},
		"no names": {func(w *world) {
			w.edit("certificates/"+caddyCA+"/b.example.com/b.example.com.json", `"sans"`, `"sants"`)
		}, migrate.Import, ""},
		"a broken user": {func(w *world) { w.write("acme/"+caddyCA+"/users/default/default.key", "no key") }, migrate.Import, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, host := range []string{"a.example.com", "b.example.com"} {
				w.caddySite(caddyCA, host, "", 60*day, host)
			}
			w.write("acme/"+caddyCA+"/users/pki@example.com/pki.key", keyPEM(t, ecKey(t)))
			w.write("acme/"+caddyCA+"/users/pki@example.com/pki.json", `{"status": "valid", "location": "`+certbotURL+`", "contact": ["mailto:pki@example.com"]}`)
			tt.spoil(w)
			p := w.apply("caddy")
			says(t, p, "a.example.com", nil, nil)
			if s := step(t, p, "b.example.com"); s.Action != tt.action || !strings.HasSuffix(s.Why, tt.why) {
				t.Errorf("%q, %q", s.Action, s.Why)
			}
			hasAccount(t, p, "letsencrypt", certbotURL)
		})
	}
}
