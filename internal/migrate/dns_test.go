package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/migrate"
)

// provider is the text of a file of dns.d, and that of the secret it names.
func (w *world) provider(name string) (text, secret string) {
	w.t.Helper()
	data, err := os.ReadFile(filepath.Join(w.config.DNSDir, name+".yaml"))
	if err != nil {
		w.t.Fatal(err)
	}
	if file := filepath.Join(filepath.Dir(w.config.File), "secrets/tsig-"+name); strings.Contains(string(data), file) {
		key, err := os.ReadFile(file)
		if err != nil {
			w.t.Fatal(err)
		}
		secret = string(key)
	}
	return string(data), secret
}

const iniText = `# a comment
dns_rfc2136_server = 192.0.2.1
dns_rfc2136_port = 5353
dns_rfc2136_name = acme.
dns_rfc2136_secret = c2VjcmV0
dns_rfc2136_algorithm = HMAC-SHA512
`

// TestTheServerOfDynamicUpdatesKeepsItsPort is about the ways in which clients spell a DNS server.
func TestTheServerOfDynamicUpdatesKeepsItsPort(t *testing.T) {
	for lines, want := range map[string]string{
		"dns_rfc2136_server = 192.0.2.1\n":                                   `"192.0.2.1"`,
		"dns_rfc2136_server = ns.example.com\ndns_rfc2136_port = 5353\n":     `"ns.example.com:5353"`,
		"dns_rfc2136_server = 2001:db8::1\ndns_rfc2136_port = 5353\n":        `"[2001:db8::1]:5353"`,
		"dns_rfc2136_server = '[2001:db8::1]'\ndns_rfc2136_port = 53\n":      `"[2001:db8::1]:53"`,
		"dns_rfc2136_server = 192.0.2.1:5354\ndns_rfc2136_port = 53\n":       `"192.0.2.1:5354"`,
		"dns_rfc2136_server = '[2001:db8::1]:5354'\ndns_rfc2136_port = 53\n": `"[2001:db8::1]:5354"`,
	} {
		w := certbot(t)
		w.write("rfc2136.ini", lines)
		w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = dns-rfc2136\ndns_rfc2136_credentials = "+w.dir+"/rfc2136.ini", "www.example.com")
		w.apply("certbot")
		if text, _ := w.provider("rfc2136"); !strings.HasSuffix(text, "rfc2136: {server: "+want+"}\n") {
			t.Errorf("%q becomes\n%s", lines, text)
		}
	}
}

func TestDynamicUpdatesOfCertbotGoOn(t *testing.T) {
	w := certbot(t)
	params := "authenticator = dns-rfc2136\ndns_rfc2136_credentials = " + w.dir
	w.write("rfc2136.ini", iniText)
	w.write("other.ini", "dns_rfc2136_server = ns.example.com\n")
	w.lineage("wild.example.com", ecKey(t), 60*day, params+"/rfc2136.ini\ndns_rfc2136_propagation_seconds = 60", "*.example.com", "example.com")
	w.lineage("www.example.com", ecKey(t), 60*day, params+"/rfc2136.ini", "www.example.com")
	w.lineage("zz.example.com", ecKey(t), 60*day, params+"/other.ini", "zz.example.com")
	p := w.apply("certbot")

	for name, provider := range map[string]string{"wild.example.com": "rfc2136", "www.example.com": "rfc2136", "zz.example.com": "rfc2136-2"} {
		says(t, p, name, []string{"challenge: {type: dns-01, provider: " + provider + "}"}, nil)
	}
	text, secret := w.provider("rfc2136")
	want := `rfc2136: {server: "192.0.2.1:5353", tsigKeyName: acme., tsigAlgorithm: hmac-sha512, tsigKeyFile: ` +
		filepath.Join(filepath.Dir(w.config.File), "secrets/tsig-rfc2136") + "}\n"
	if !strings.HasSuffix(text, want) || secret != "c2VjcmV0\n" {
		t.Errorf("the provider is\n%s%s", text, secret)
	}
	if text, _ := w.provider("rfc2136-2"); !strings.HasSuffix(text, "rfc2136: {server: ns.example.com}\n") {
		t.Errorf("the other one is\n%s", text)
	}
	info, err := os.Stat(filepath.Join(filepath.Dir(w.config.File), "secrets/tsig-rfc2136"))
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the secret: %v, %v", info, err)
	}
	if again := w.apply("certbot"); again.Do() {
		t.Errorf("once more: %+v", again.Providers)
	}
}

func TestAProviderThatIsThereIsUsed(t *testing.T) {
	w := certbot(t)
	w.write("rfc2136.ini", iniText)
	params := "authenticator = dns-rfc2136\ndns_rfc2136_credentials = " + w.dir + "/rfc2136.ini"
	w.lineage("a.example.com", ecKey(t), 60*day, params, "a.example.com")
	file := w.apply("certbot").Certificates[0].SpecFile
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	p := w.apply("certbot")
	if len(p.Providers) > 0 {
		t.Errorf("another one is written: %+v", p.Providers)
	}
	says(t, p, "a.example.com", []string{"challenge: {type: dns-01, provider: rfc2136}"}, nil)
}

func TestCredentialsThatCannotBeUsed(t *testing.T) {
	for name, tt := range map[string]struct{ ini, note string }{
		"MD5":       {strings.Replace(iniText, "HMAC-SHA512", "HMAC-MD5", 1), "asks for hmac-md5, which is not safe"},
		"no TSIG":   {strings.Replace(iniText, "HMAC-SHA512", "HMAC-SHA3", 1), "asks for an algorithm that acmed does not know"},
		"no server": {"dns_rfc2136_name = acme.\n", "names no server"},
		"no secret": {"dns_rfc2136_server = ::1\ndns_rfc2136_name = a\ndns_rfc2136_algorithm = HMAC-SHA256\n", "has no secret"},
		"prose":     {"prose", "rfc2136.ini:1: neither a section nor a key with a value"},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.write("rfc2136.ini", tt.ini)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = dns-rfc2136\ndns_rfc2136_credentials = "+w.dir+"/rfc2136.ini", "www.example.com")
			s := step(t, w.apply("certbot"), "www.example.com")
			if s.Action != migrate.Refuse || len(s.Notes) != 1 || !strings.Contains(s.Notes[0].What, tt.note) {
				t.Errorf("%q, %q, %+v", s.Action, s.Why, s.Notes)
			}
		})
	}
}

func TestHooksOfCertbotProveControl(t *testing.T) {
	w := certbot(t)
	params := "authenticator = manual\npref_challs = dns-01,\nmanual_auth_hook = /usr/lib/acme/auth --zone example.com\nmanual_cleanup_hook = '''rm \"$X\"; true'''"
	w.lineage("www.example.com", ecKey(t), 60*day, params, "www.example.com", "*.www.example.com")
	w.lineage("zz.example.com", ecKey(t), 60*day, params, "zz.example.com")
	p := w.apply("certbot")
	for _, name := range []string{"www.example.com", "zz.example.com"} {
		says(t, p, name, []string{"challenge: {type: dns-01, provider: manual}"}, nil)
	}
	text, _ := w.provider("manual")
	want := "exec:\n  command: [/usr/lib/acme/auth, --zone, example.com]\n  mode: certbot\n  cleanUp: [/bin/sh, -c, \"rm \\\"$X\\\"; true\"]\n  timeout: 10m\n  user: root\n"
	if !strings.HasSuffix(text, want) {
		t.Errorf("the provider is\n%s", text)
	}
}

func TestDynamicUpdatesOfAcmeShGoOn(t *testing.T) {
	for name, tt := range map[string]struct {
		key  string
		want migrate.Action
	}{
		"a key of tsig-keygen": {"key \"acme\" {\n\talgorithm hmac-sha256;\n\tsecret \"c2VjcmV0\";\n};\n", migrate.Import},
		"another file":         {"c2VjcmV0\n", migrate.Refuse},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			key := ecKey(t)
			w.write("key", tt.key)
			w.write("account.conf", "SAVED_NSUPDATE_SERVER='ns1.example.com'\nSAVED_NSUPDATE_KEY='"+w.dir+"/key'\n")
			w.write("a.example.com_ecc/a.example.com.conf", "Le_Domain='a.example.com'\nLe_Alt='no'\nLe_Webroot='dns_nsupdate'\nLe_API='"+letsencrypt+"'\n")
			w.write("a.example.com_ecc/a.example.com.key", keyPEM(t, key))
			w.write("a.example.com_ecc/fullchain.cer", w.issue(key, 60*day, "a.example.com"))
			s := step(t, w.apply("acme.sh"), "a.example.com")
			if s.Action != tt.want {
				t.Fatalf("%q, %q", s.Action, s.Why)
			}
			if tt.want == migrate.Refuse {
				return
			}
			text, secret := w.provider("nsupdate")
			if !strings.Contains(text, `{server: ns1.example.com, tsigKeyName: acme, tsigAlgorithm: hmac-sha256, `) || secret != "c2VjcmV0\n" {
				t.Errorf("the provider is\n%s%s", text, secret)
			}
		})
	}
}
