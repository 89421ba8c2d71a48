package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/migrate"
	"acmed/internal/store"
)

const acmeShConf = "Le_Domain='a.example.com'\nLe_Alt='no'\nLe_Webroot='no'\nLe_API='" + letsencrypt + "'\n"

// TestOneOddSettingCostsNoCertificate tries settings that acmed cannot use. What can be had is imported, and the rest is
// noted by its key.
func TestOneOddSettingCostsNoCertificate(t *testing.T) {
	for name, tt := range map[string]struct {
		conf  string
		lines []string // of the spec
		note  string   // "": none
	}{
		"a quoted value over two lines":  {"Le_PostHook='one\ntwo'\nLe_Profile='shortlived'\n", []string{"profile: shortlived"}, "Le_PostHook is set"},
		"a value with a quote in it":     {"SAVED_PASSWORD='it's'\nLe_Profile='shortlived'\n", []string{"profile: shortlived"}, "a.example.com.conf:5: SAVED_PASSWORD: a quote without its end"},
		"a value that would be executed": {"Le_LocalAddress=$(id)\nLe_Profile=x\n", []string{"profile: x"}, "a.example.com.conf:5: Le_LocalAddress: shell code"},
		"a line that is no setting":      {"if true\nLe_Profile=x\n", []string{"profile: x"}, "a.example.com.conf:5: not an assignment"},
		"a relative path": {"Le_RealKeyPath='ssl/a.key'\nLe_RealFullChainPath='/etc/a.pem'\n", []string{"    - {path: /etc/a.pem, content: fullchain}"},
			"Le_RealKeyPath is not an absolute path"},
		"a path that is used twice": {"Le_RealCertPath='/etc/a.pem'\nLe_RealFullChainPath='/etc/./a.pem'\n", []string{"    - {path: /etc/a.pem, content: cert}"},
			"Le_RealFullChainPath is the path of another file, too"},
		"a path that no spec accepts": {"Le_RealKeyPath='/'\nLe_RealFullChainPath='/etc/a.pem'\n", []string{"    - {path: /etc/a.pem, content: fullchain}"},
			"an element of deploy.files is left out"},
		"a profile that no spec accepts":       {"Le_Profile='a\tb'\n", nil, "profile is left out"},
		"a chain that no spec accepts":         {"Le_Preferred_Chain='a\tb'\n", nil, "preferredChain is left out"},
		"a webroot that no spec accepts":       {"Le_Webroot='/a\tb'\n", []string{"challenge: {type: http-01}"}, "challenge.webroot is left out"},
		"a validation that acmed has not":      {"Le_Webroot='frobnicate'\n", []string{"challenge: {type: http-01}"}, "Le_Webroot is set"},
		"a command of several lines":           {"Le_ReloadCmd='one\ntwo'\n", nil, "Le_ReloadCmd is a hook of several lines"},
		"an empty command":                     {"Le_ReloadCmd='__ACME_BASE64__START_IiI=__ACME_BASE64__END_'\n", nil, ""},
		"a command that does nothing":          {"Le_ReloadCmd='true'\nLe_RenewHook=' : '\n", nil, ""},
		"a command that is a comment":          {"Le_RenewHook='# systemctl reload nginx'\n", nil, ""},
		"a unit that is no name of one":        {"Le_ReloadCmd='systemctl reload @'\nLe_RealKeyPath=/etc/a.key\n", []string{"    - {path: /etc/a.key, content: privkey}"}, "an element of deploy.reload is left out"},
		"an encoding that cannot be taken off": {"Le_ReloadCmd='__ACME_BASE64__START_%%__ACME_BASE64__END_'\n", nil, "Le_ReloadCmd becomes a command of deploy.run"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.acmeSh("a.example.com_ecc", acmeShConf+tt.conf, "a.example.com")
			p := w.apply("acme.sh")
			s := step(t, p, "a.example.com")
			says(t, p, "a.example.com", tt.lines, []string{tt.note})
			if own := len(s.Notes); own > 1 || tt.note == "" && (own > 0 || strings.Contains(s.Spec, "deploy")) {
				t.Errorf("notes %+v, spec\n%s", s.Notes, s.Spec)
			}
		})
	}
}

func TestASettingThatSaysWhatACertificateIsMustBeReadable(t *testing.T) {
	for _, key := range []string{"Le_Domain", "Le_Alt", "Le_API"} {
		w := newWorld(t)
		w.acmeSh("a.example.com_ecc", strings.Replace(acmeShConf, key+"='", key+"=$(x)'", 1), "a.example.com")
		s := step(t, w.look("acme.sh"), "a.example.com")
		if s.Action != migrate.Refuse || !strings.HasSuffix(s.Why, key+": shell code") {
			t.Errorf("%s: %q, %q", key, s.Action, s.Why)
		}
	}
}

func TestAPathOfTwoCertificatesIsWrittenForOne(t *testing.T) {
	w := newWorld(t)
	for _, host := range []string{"a.example.com", "b.example.com"} {
		w.acmeSh(host, strings.ReplaceAll(acmeShConf, "a.example.com", host)+"Le_RealKeyPath=/etc/own-"+host+"\nLe_RealFullChainPath=/etc/both.pem\n", host)
	}
	p := w.apply("acme.sh")
	says(t, p, "a.example.com", []string{"    - {path: /etc/both.pem, content: fullchain}"}, nil)
	says(t, p, "b.example.com", []string{"    - {path: /etc/own-b.example.com, content: privkey}"}, []string{"an element of deploy.files is left out"})
}

func TestCertificatesOfAcmeShCanLieElsewhere(t *testing.T) {
	w := newWorld(t)
	w.acmeSh("certs/a.example.com_ecc", acmeShConf, "a.example.com")
	home := filepath.Join(t.TempDir(), "certs")
	if err := os.Rename(filepath.Join(w.dir, "certs"), home); err != nil {
		t.Fatal(err)
	}
	w.write("account.conf", "CERT_HOME='"+home+"'\n")
	says(t, w.apply("acme.sh"), "a.example.com", nil, nil)
	w.write("account.conf", "CERT_HOME='/nowhere/at/all'\n")
	_, err := migrate.Look(migrate.Options{Client: "acme.sh", Dir: w.dir, Config: w.config, Now: w.now})
	if err == nil || err.Error() != "importing from acme.sh: opening CERT_HOME: no such file or directory" {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestDehydratedReadsItsListInLowerCase(t *testing.T) {
	for line, name := range map[string]string{
		"WWW.Example.COM Example.com":             "www.example.com",
		"www.example.com EXAMPLE.com >Shop":       "shop",
		"  Www.example.com\tExample.com  > SHOP ": "shop",
	} {
		w := dehydrated(t, "")
		w.write("domains.txt", line+"\r\n")
		w.owned(name, "www.example.com", "example.com")
		s := step(t, w.apply("dehydrated"), name)
		if s.Action != migrate.Import || len(s.Notes) != 1 { // that of WELLKNOWN
			t.Errorf("%q: %q, %q, %+v", line, s.Action, s.Why, s.Notes)
		}
	}
}

// TestTheSettingsOfDehydratedLeadAnywhere moves each directory that a setting can name.
func TestTheSettingsOfDehydratedLeadAnywhere(t *testing.T) {
	for key, from := range map[string]string{"CERTDIR": "lib/certs", "ACCOUNTDIR": "lib/accounts", "DOMAINS_TXT": "etc/domains.txt", "CONFIG_D": "etc/conf.d", "DOMAINS_D": "etc/domains.d"} {
		t.Run(key, func(t *testing.T) {
			to := filepath.Join(t.TempDir(), "moved")
			w := dehydrated(t, "RENEW_DAYS=20\n"+key+"="+to+"\n")
			w.write("domains.txt", "www.example.com\n")
			w.write("conf.d/1.sh", "RENEW_DAYS=21\n")
			w.write("domains.d/www.example.com", "RENEW_DAYS=22\n")
			w.owned("www.example.com", "www.example.com")
			if err := os.Rename(filepath.Join(w.home(), from), to); err != nil {
				t.Fatal(err)
			}
			p := w.apply("dehydrated")
			days := map[string]string{"CONFIG_D": "21d", "DOMAINS_D": "22d"}[key]
			if days == "" {
				days = "20d"
			}
			says(t, p, "www.example.com", []string{"renew: {before: " + days + "}"}, nil)
			hasAccount(t, p, "letsencrypt", certbotURL)
		})
	}
}

// text is a file of the client's.
func (w *world) text(name string) string {
	w.t.Helper()
	text, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil {
		w.t.Fatal(err)
	}
	return string(text)
}

// TestWhatCannotBeReadIsNotTakenForTheDefault has settings of dehydrated's that only a shell can read.
func TestWhatCannotBeReadIsNotTakenForTheDefault(t *testing.T) {
	for setting, want := range map[string]string{
		`CA="${MY_CA}"`:                "the value of CA cannot be read; write it into config without shell code",
		`CERTDIR="$(pwd)/certs"`:       "the value of CERTDIR cannot be read; write it into the file without shell code",
		`DOMAINS_TXT="${HOME}/list"`:   "the value of DOMAINS_TXT cannot be read; write it into the file without shell code",
		`BASEDIR="$(dirname "$0")"`:    "the value of BASEDIR cannot be read; write it into the file without shell code",
		`WELLKNOWN="${HOME}/proofs"`:   "CHALLENGETYPE and WELLKNOWN cannot both be read",
		`CHALLENGETYPE="${CHALLENGE}"`: "CHALLENGETYPE and WELLKNOWN cannot both be read",
		`ACCOUNTDIR="${HOME}/acc"`:     "the value of ACCOUNTDIR cannot be read",
		`HOOK="${HOME}/hook.sh"`:       "HOOK: a variable that is not set here",
	} {
		key, _, _ := strings.Cut(setting, "=")
		t.Run(key, func(t *testing.T) {
			w := dehydrated(t, setting+"\n")
			w.write("domains.txt", "www.example.com\n")
			w.owned("www.example.com", "www.example.com")
			p, err := migrate.Look(migrate.Options{Client: "dehydrated", Dir: w.dir, Config: w.config, Now: w.now})
			if err != nil {
				if !strings.HasSuffix(err.Error(), want) {
					t.Error(err)
				}
				return
			}
			s := step(t, p, "www.example.com")
			shown := s.Why
			for _, n := range append(p.Notes, s.Notes...) {
				shown += "\n" + n.What
			}
			if !strings.Contains(shown, want) || strings.Contains(s.Spec, "/var/www") || strings.Contains(s.Spec, "run:") {
				t.Errorf("it shows %s\n%s", shown, s.Spec)
			}
		})
	}
}

func TestAHookOfDehydratedIsAnAbsolutePath(t *testing.T) {
	for hook, want := range map[string]string{
		"./hooks/hook.py":  "lib/hooks/hook.py",
		"hooks/hook.py":    "lib/hooks/hook.py",
		"../etc/beside.sh": "etc/beside.sh",
		"beside.sh":        "etc/beside.sh",
		"./missing.sh":     "",
		"./notes.txt":      "",
		"python3":          "",
	} {
		t.Run(hook, func(t *testing.T) {
			w := dehydrated(t, "HOOK=\""+hook+"\"\n")
			for _, name := range []string{"../lib/hooks/hook.py", "beside.sh"} {
				w.write(name, "#!/bin/sh\n")
				w.executable(name)
			}
			w.write("notes.txt", "")
			w.write("domains.txt", "www.example.com\n")
			w.owned("www.example.com", "www.example.com")
			p := w.apply("dehydrated")
			s := step(t, p, "www.example.com")
			if want == "" {
				says(t, p, "www.example.com", nil, []string{"HOOK is not the path of a program that is there"})
				if strings.Contains(s.Spec, "run:") {
					t.Errorf("the spec is\n%s", s.Spec)
				}
			} else if !strings.Contains(s.Spec, "exec "+w.home()+"/"+want+" deploy_cert ") {
				t.Errorf("the spec is\n%s", s.Spec)
			}
		})
	}
}

// TestWhatARealAcmeShHasWrittenIsImported reads what acme.sh 3.1 has written at Pebble, told a relative path, a path twice,
// an empty reload command and a hook of two lines.
func TestWhatARealAcmeShHasWrittenIsImported(t *testing.T) {
	w := newWorld(t)
	w.copyTree("acme.sh-3.1")
	w.now = time.Date(2026, 12, 15, 0, 0, 0, 0, time.UTC)
	p := w.look("acme.sh")
	if err := p.Apply(func(int) {}); err != nil {
		t.Fatal(err)
	}
	for _, err := range store.Check(w.config.StateDir) {
		t.Error(err)
	}
	says(t, p, "a.example.com", []string{"dnsNames: [a.example.com, www.a.example.com]", "    - {path: /srv/acme/full.pem, content: cert}"},
		[]string{"Le_RealKeyPath is not an absolute path", "Le_RealFullChainPath is the path of another file, too", "Le_PostHook is set"})
	if s := step(t, p, "a.example.com"); strings.Contains(s.Spec, "run:") {
		t.Errorf("the spec is\n%s", s.Spec)
	}
	says(t, p, "b.example.com", []string{"privateKey: {algorithm: RSA, size: 2048, rotationPolicy: Always}", "  reload: [nginx.service]"}, nil)
	hasAccount(t, p, "127.0.0.1", "https://127.0.0.1:29448/my-account/3340c96076491d44")
}
