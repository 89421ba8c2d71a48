package migrate_test

import (
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/migrate"
)

// traefikEntry is a certificate as versions 2 and 3 write it.
func (w *world) traefikEntry(main string, sans []string, left time.Duration, names ...string) string {
	key := ecKey(w.t)
	list := ""
	if len(sans) > 0 {
		list = `, "sans": ["` + strings.Join(sans, `", "`) + `"]`
	}
	return fmt.Sprintf(`{"domain": {"main": "%s"%s}, "certificate": "%s", "key": "%s", "Store": "default"}`, main, list,
		b64(w.issue(key, left, names...)), b64(keyPEM(w.t, key)))
}

// traefikAccount is the account of a resolver.
func traefikAccount(key *rsa.PrivateKey, url string) string {
	return fmt.Sprintf(`{"Email": "pki@example.com", "Registration": {"body": {"status": "valid", "contact": ["mailto:pki@example.com"]}, "uri": "%s"}, "PrivateKey": "%s", "KeyType": "4096"}`,
		url, b64(string(x509.MarshalPKCS1PrivateKey(key))))
}

// traefikFile writes acme.json with one resolver.
func (w *world) traefikFile(resolver string, certificates ...string) {
	w.write("acme.json", `{"`+resolver+`": {"Account": `+traefikAccount(rsaKey(w.t, 2048), certbotURL)+`, "Certificates": [`+strings.Join(certificates, ", ")+`]}}`)
}

// traefikTree is a storage with all that there can be.
func traefikTree(t *testing.T) *world {
	w := newWorld(t)
	w.traefikFile("le", w.traefikEntry("a.example.com", []string{"www.a.example.com"}, 60*day, "a.example.com", "www.a.example.com"))
	w.edit("acme.json", `"status": "valid"`, `"status": "valid", "orders": "x", "termsOfServiceAgreed": "x"`)
	w.edit("acme.json", `"Store": "default"`, `"Store": "default", "frobnicate": "x"`)
	return w
}

func TestTraefiksStorageIsImported(t *testing.T) {
	w := newWorld(t)
	w.write("acme.json", `{
  "le": {"Account": `+traefikAccount(rsaKey(t, 2048), certbotURL)+`, "Certificates": [`+
		w.traefikEntry("a.example.com", []string{"www.a.example.com"}, 60*day, "a.example.com", "www.a.example.com")+`, `+
		w.traefikEntry("b.example.com", nil, 60*day, "b.example.com")+`, `+
		w.traefikEntry("a.example.com", nil, 60*day, "a.example.com")+`]},
  "private": {"Account": `+traefikAccount(rsaKey(t, 2048), "https://acme.corp.example:9000/acct/1")+`, "Certificates": [`+
		w.traefikEntry("a.example.com", nil, 60*day, "a.example.com")+`]},
  "unused": {"Account": null, "Certificates": null}
}`)
	p := w.at("traefik", "https://acme.corp.example:9000/dir")
	if err := p.Apply(func(int) {}); err != nil {
		t.Fatal(err)
	}
	w.isSound()
	says(t, p, "a.example.com", []string{"dnsNames: [a.example.com, www.a.example.com]", "issuers: [letsencrypt]", "challenge: {type: http-01}"},
		[]string{"acme.json does not hold how names are validated", "Traefik does not read acmed's certificates by itself"})
	says(t, p, "b.example.com", []string{"issuers: [letsencrypt]"}, nil)
	says(t, p, "a.example.com-le", []string{"dnsNames: [a.example.com]", "issuers: [letsencrypt]"}, nil)
	says(t, p, "a.example.com-private", []string{"dnsNames: [a.example.com]", "issuers: [acme.corp.example]"}, nil)
	if len(p.Accounts) != 2 || p.Accounts[0].Action != migrate.Import || p.Accounts[1].Action != migrate.Import {
		t.Errorf("accounts: %+v", p.Accounts)
	}
	if len(p.Next.Paths) > 0 || !strings.Contains(p.Next.Stop, "certResolver") {
		t.Errorf("next: %+v", p.Next)
	}
}

func TestTheStorageOfEveryVersionOfTraefikIsRead(t *testing.T) {
	for name, tt := range map[string]struct {
		write   func(w *world, cert, key string)
		account string
	}{
		"versions 2 and 3": {func(w *world, cert, key string) {
			w.write("acme.json", `{"le": {"Account": `+traefikAccount(rsaKey(w.t, 2048), certbotURL)+`, "Certificates": [{"domain": {"main": "a.example.com"}, "certificate": "`+cert+`", "key": "`+key+`", "Store": "default"}]}}`)
		}, certbotURL},
		"version 1.7": {func(w *world, cert, key string) {
			w.write("acme.json", `{"Account": `+traefikAccount(rsaKey(w.t, 2048), certbotURL)+`, "Certificates": [{"Domain": {"Main": "a.example.com", "SANs": null}, "Certificate": "`+cert+`", "Key": "`+key+`"}], "HTTPChallenges": {}, "TLSChallenges": {}}`)
		}, certbotURL},
		"version 1.4, with an account of ACME v1": {func(w *world, cert, key string) {
			account := traefikAccount(rsaKey(w.t, 2048), "https://acme-v01.api.letsencrypt.org/acme/reg/1")
			w.write("acme.json", strings.TrimSuffix(account, "}")+`, "DomainsCertificate": {"Certs": [{"Domains": {"Main": "a.example.com", "SANs": []}, "Certificate": {"Domain": "a.example.com", "PrivateKey": "`+key+`", "Certificate": "`+cert+`"}}]}, "ChallengeCerts": {}}`)
		}, ""},
		"a resolver that is called as a key of version 1": {func(w *world, cert, key string) {
			w.write("acme.json", `{"Certificates": {"Account": `+traefikAccount(rsaKey(w.t, 2048), certbotURL)+`, "Certificates": [{"domain": {"main": "a.example.com"}, "certificate": "`+cert+`", "key": "`+key+`"}]}}`)
		}, certbotURL},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := ecKey(t)
			tt.write(w, b64(w.issue(key, 60*day, "a.example.com")), b64(keyPEM(t, key)))
			p := w.apply("traefik")
			says(t, p, "a.example.com", []string{"issuers: [letsencrypt]", "privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}"}, nil)
			hasAccount(t, p, "letsencrypt", tt.account)
		})
	}
}

func TestTraefiksStorageCanBeNamedByItsFileOrItsDirectory(t *testing.T) {
	w := newWorld(t)
	w.traefikFile("le", w.traefikEntry("a.example.com", nil, 60*day, "a.example.com"))
	w.write("other.json", strings.ReplaceAll(`{"le": {"Certificates": [`+w.traefikEntry("b.example.com", nil, 60*day, "b.example.com")+`]}}`, "\n", ""))
	w.write("broken.json", "[1]")
	w.write("empty.json", "")
	if p := w.at("traefik", letsencrypt); len(p.Certificates) != 2 || !strings.Contains(fmt.Sprint(p.Notes), "broken.json: json: cannot unmarshal array") {
		t.Errorf("a directory: %+v, %+v", p.Certificates, p.Notes)
	}
	w.dir = filepath.Join(w.dir, "acme.json")
	p := w.look("traefik")
	if len(p.Certificates) != 1 || p.Certificates[0].Name != "a.example.com" {
		t.Errorf("a file: %+v", p.Certificates)
	}
	if err := os.Remove(w.dir); err != nil {
		t.Fatal(err)
	}
	_, err := migrate.Look(migrate.Options{Client: "traefik", Dir: w.dir, Config: w.config, Now: w.now})
	if err == nil || !strings.HasSuffix(err.Error(), "acme.json: no such file or directory; name Traefik's storage with --dir") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestAFaultInTraefiksStorageAffectsNothingElse(t *testing.T) {
	for name, tt := range map[string]struct {
		entry  func(w *world) string
		action migrate.Action
		why    string
	}{
		"no key": {func(w *world) string {
			return `{"domain": {"main": "b.example.com"}, "certificate": "` + b64(w.issue(ecKey(w.t), 60*day, "b.example.com")) + `", "key": ""}`
		}, migrate.Order, "key: no private key in it"},
		"the key of another one": {func(w *world) string {
			return `{"domain": {"main": "b.example.com"}, "certificate": "` + b64(w.issue(ecKey(w.t), 60*day, "b.example.com")) + `", "key": "` + b64(keyPEM(w.t, ecKey(w.t))) + `"}`
		}, migrate.Order, "the certificate is for another key"},
		"no certificate": {func(w *world) string {
			return `{"domain": {"main": "b.example.com", "sans": ["c.example.com"]}, "certificate": "", "key": "` + b64(keyPEM(w.t, ecKey(w.t))) + `"}`
		}, migrate.Order, "there is no certificate in it"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.traefikFile("le", w.traefikEntry("a.example.com", nil, 60*day, "a.example.com"), tt.entry(w))
			p := w.apply("traefik")
			says(t, p, "a.example.com", nil, nil)
			if s := step(t, p, "b.example.com"); s.Action != tt.action || !strings.HasSuffix(s.Why, tt.why) {
				t.Errorf("%q, %q", s.Action, s.Why)
			}
			hasAccount(t, p, "letsencrypt", certbotURL)
		})
	}
}

func TestTheCAOfAResolverIsNotGuessed(t *testing.T) {
	for name, tt := range map[string]struct{ account, server, issuer string }{
		"an issuer that acmed knows":     {certbotURL, "", "letsencrypt"},
		"the one that --server names":    {"https://acme.corp.example/acct/1", "https://acme.corp.example/dir", "acme.corp.example"},
		"not the --server of another CA": {"https://acme.corp.example/acct/1", "https://acme.other.example/dir", ""},
		"not where there are several":    {"https://acme.sectigo.com/v2/OV/account/1", "", ""},
		"not with no account":            {"", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write("acme.json", `{"le": {"Account": `+traefikAccount(rsaKey(t, 2048), tt.account)+`, "Certificates": [`+w.traefikEntry("a.example.com", nil, 60*day, "a.example.com")+`]}}`)
			s := step(t, w.at("traefik", tt.server), "a.example.com")
			if s.Issuer != tt.issuer || (s.Action == migrate.Refuse) != (tt.issuer == "") {
				t.Errorf("%q at %q: %s", s.Action, s.Issuer, s.Why)
			}
		})
	}
}

// TestWhatARealTraefikHasWrittenIsImported reads what Traefik 3.7.13 has written at Pebble, for two resolvers.
func TestWhatARealTraefikHasWrittenIsImported(t *testing.T) {
	w := newWorld(t)
	w.copyTree("traefik-3.7")
	w.now = time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)
	p := w.at("traefik", "https://127.0.0.1:22574/dir")
	if err := p.Apply(func(int) {}); err != nil {
		t.Fatal(err)
	}
	w.isSound()
	for name, lines := range map[string][]string{
		"a.example.com":       {"dnsNames: [a.example.com, www.a.example.com]", "privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}"},
		"b.example.com":       {`issuers: ["127.0.0.1"]`},
		"a.example.com-other": {"dnsNames: [a.example.com]", "privateKey: {algorithm: RSA, size: 2048, rotationPolicy: Always}"},
	} {
		says(t, p, name, lines, nil)
	}
	hasAccount(t, p, "127.0.0.1", "https://127.0.0.1:22574/my-account/1358940de6a8882e") // that of most
	if again := w.at("traefik", "https://127.0.0.1:22574/dir"); again.Do() {
		t.Errorf("once more: %+v", again.Certificates)
	}
}
