package spec_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"acmed/internal/spec"
)

// settingsIn reads files in a directory, by their paths below it.
func settingsIn(t *testing.T, files map[string]string) *spec.Settings {
	t.Helper()
	dir := t.TempDir()
	for file, text := range files {
		path := filepath.Join(dir, file)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	config, err := spec.LoadConfig(filepath.Join(dir, "acmed.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := spec.NewSettings(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

const where = "specDir: certs.d\nissuerDir: issuers.d\ndnsDir: dns.d\n"

// expectSettings compares some of the settings, as "value file:line", "value built-in NAME" or "value default".
func expectSettings(t *testing.T, settings []spec.Setting, want map[string]string) {
	t.Helper()
	got := map[string]string{}
	for _, s := range settings {
		origin := "default"
		switch {
		case s.File != "":
			origin = fmt.Sprintf("%s:%d", filepath.Base(s.File), s.Line)
		case s.BuiltIn != "":
			origin = "built-in " + s.BuiltIn
		}
		if _, twice := got[s.Key]; twice {
			t.Errorf("%s is there twice", s.Key)
		}
		got[s.Key] = fmt.Sprintf("%v %s", s.Value, origin)
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %q, expected %q", key, got[key], value)
		}
	}
}

func TestEachSettingOfTheConfigurationSaysWhereItIsFrom(t *testing.T) {
	s := settingsIn(t, map[string]string{"acmed.yaml": where + `contact: ["mailto:a@example.com"]
defaults:
  renew: {before: 30d 12h}
  deploy:
    check: [nginx, -t, --password=hunter2]
    run: [{command: [/bin/push, hunter2], user: www}]
    window: {start: "02:00", duration: 4h}
notify: {url: "https://hooks.example/T0/hunter2?x=hunter2", expiring: [20%, 12.5%]}
admin: {listen: ""}
revocationPoll: 0s
`})
	settings := s.OfConfig()
	expectSettings(t, settings, map[string]string{
		"contact": "[mailto:a@example.com] acmed.yaml:4", "termsOfServiceAgreed": "false default", "defaults.renew.before": "30d 12h acmed.yaml:6",
		"defaults.renew.ari": "true default", "defaults.challenge.type": "http-01 default", "defaults.privateKey.size": "256 default",
		"defaults.deploy.check":           "[nginx (2 arguments not shown)] acmed.yaml:8",
		"defaults.deploy.run[0].command":  "[/bin/push (1 argument not shown)] acmed.yaml:9",
		"defaults.deploy.run[0].timeout":  "1m default",
		"defaults.deploy.window.start":    "02:00 acmed.yaml:10",
		"defaults.deploy.window.timezone": " default",
		"defaults.deploy.reload":          "[] default",
		"notify.url":                      "https://hooks.example/(not shown) acmed.yaml:11",
		"notify.expiring":                 "[20% 12.5%] acmed.yaml:11",
		"admin.listen":                    " acmed.yaml:12", "revocationPoll": "0s acmed.yaml:13", "workers": "16 default",
		"specDir": s.Config.SpecDir + " acmed.yaml:1", "control.socket": "/run/acmed/control/acmed.sock default",
	})
	if text := fmt.Sprint(settings); strings.Contains(text, "hunter2") {
		t.Errorf("a secret is shown: %s", text)
	}
}

func TestEachSettingOfAnIssuerSaysWhereItIsFrom(t *testing.T) {
	s := settingsIn(t, map[string]string{
		"acmed.yaml":         where + "termsOfServiceAgreed: true\ndefaults: {issuers: [own]}\n",
		"issuers.d/own.yaml": "directory: https://ca.example/dir\nlimits: {ordersInFlight: 3}\nexternalAccountBinding: {kid: k1, hmacKeyFile: /etc/acmed/secrets/own}\n",
		"certs.d/a.yaml":     "dnsNames: [a.example.com]\nissuers: [letsencrypt]\n",
	})
	if names := s.Issuers(); !strings.Contains(fmt.Sprint(names), "own") || fmt.Sprint(names) != "[letsencrypt own]" {
		t.Errorf("the issuers are %q", names)
	}
	file, own := s.OfIssuer("own")
	expectSettings(t, own, map[string]string{
		"directory": "https://ca.example/dir own.yaml:1", "termsOfServiceAgreed": "true acmed.yaml:4", "contact": "[] default",
		"limits.ordersInFlight": "3 own.yaml:2", "limits.failuresPerNamePerHour": "4 default", "accountKey": "<nil> default",
		"externalAccountBinding.kid": "k1 own.yaml:3", "externalAccountBinding.hmacKeyFile": "/etc/acmed/secrets/own own.yaml:3",
	})
	if filepath.Base(file) != "own.yaml" {
		t.Errorf("the file is %q", file)
	}
	_, builtIn := s.OfIssuer("letsencrypt")
	expectSettings(t, builtIn, map[string]string{
		"directory":          "https://acme-v02.api.letsencrypt.org/directory built-in letsencrypt",
		"limits.ordersPer3h": "270 built-in letsencrypt", "termsOfServiceAgreed": "true acmed.yaml:4",
	})
}

func TestEachSettingOfACertificateSaysWhereItIsFrom(t *testing.T) {
	s := settingsIn(t, map[string]string{
		"acmed.yaml": where + "defaults:\n  privateKey: {algorithm: RSA, size: 4096}\n  profile: short\n  deploy: {reload: [nginx.service], check: [nginx, -t]}\n",
		"certs.d/a.example.com.yaml": "privateKey: {algorithm: ECDSA}\nlabels: {team: web}\ndeploy:\n  reload: []\n  files:\n" +
			"    - {path: /srv/a.pem, content: combined}\n  probe: [{address: \"127.0.0.1:443\"}]\n",
		"certs.d/bad.yaml": "dnsName: x\n",
	})
	_, settings, err := s.OfCertificate("a.example.com")
	if err != nil {
		t.Fatal(err)
	}
	expectSettings(t, settings, map[string]string{
		"dnsNames": "[a.example.com] default", "issuers": "[letsencrypt] default", "profile": "short acmed.yaml:6",
		"privateKey.algorithm": "ECDSA a.example.com.yaml:1",
		"privateKey.size":      "256 default", // and not that of acmed.yaml, which the key replaces
		"deploy.reload":        "[] a.example.com.yaml:4", "deploy.check": "[nginx (1 argument not shown)] acmed.yaml:7",
		"deploy.files[0].path": "/srv/a.pem a.example.com.yaml:6", "deploy.files[0].mode": "<nil> default",
		"deploy.probe[0].address": "127.0.0.1:443 a.example.com.yaml:7", "labels": "map[team:web] a.example.com.yaml:2",
	})
	for _, name := range []string{"bad", "gone"} {
		if _, _, err := s.OfCertificate(name); err == nil {
			t.Errorf("%s has settings", name)
		}
	}
}

// TestADurationIsShownAsItIsWritten reads what is shown.
func TestADurationIsShownAsItIsWritten(t *testing.T) {
	for text, want := range map[string]string{"90m": "1h 30m", "30d 12h": "30d 12h", "61s": "1m 1s", "3600s": "1h"} {
		s := settingsIn(t, map[string]string{"acmed.yaml": where + "defaults: {renew: {before: " + text + "}}\n"})
		expectSettings(t, s.OfConfig(), map[string]string{"defaults.renew.before": want + " acmed.yaml:4"})
		if d, err := spec.ParseDuration(want); err != nil || d != must(spec.ParseDuration(text)) {
			t.Errorf("%s is not %s", want, text)
		}
	}
}

func must(d time.Duration, err error) time.Duration {
	if err != nil {
		panic(err)
	}
	return d
}
