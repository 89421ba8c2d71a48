package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/migrate"
)

func TestAnExpiredCertificateKeepsItsNamesAndItsKindOfKey(t *testing.T) {
	names := []string{"c.example.com", "a.example.com", "b.example.com"}
	for client, add := range map[string]func(w *world){
		"lego":    func(w *world) { w.legoCertificate("c.example.com", -day, "", names...) },
		"caddy":   func(w *world) { w.caddySite(caddyCA, "c.example.com", "", -day, names...) },
		"traefik": func(w *world) { w.traefikFile("le", w.traefikEntry("c.example.com", nil, -day, names...)) },
		"certbot": func(w *world) {
			w.lineage("c.example.com", ecKey(w.t), -day, "authenticator = standalone", names...)
		},
	} {
		t.Run(client, func(t *testing.T) {
			w := newWorld(t)
			add(w)
			s := step(t, w.apply(client), "c.example.com")
			if got := strings.Join(s.Names, " "); s.Action != migrate.Order || got != "c.example.com a.example.com b.example.com" || s.Key != "ECDSA-256" {
				t.Errorf("%q %s for %q: %s", s.Action, s.Key, got, s.Why)
			}
		})
	}
}

func TestAWildcardIsValidatedByDNS(t *testing.T) {
	for name, tt := range map[string]struct {
		providers []string
		want      migrate.Action
		provider  string
	}{
		"by the only provider that there is":   {[]string{"ours"}, migrate.Import, "ours"},
		"and is refused where there is none":   {nil, migrate.Refuse, "dns"},
		"and is refused where there are two":   {[]string{"ours", "theirs"}, migrate.Refuse, "dns"},
		"by the one with the name in the note": {[]string{"dns", "theirs"}, migrate.Import, "dns"},
	} {
		t.Run(name, func(t *testing.T) {
			for client, add := range map[string]func(w *world){
				"caddy":   func(w *world) { w.caddySite(caddyCA, "wildcard_.example.com", "", 60*day, "*.example.com") },
				"traefik": func(w *world) { w.traefikFile("le", w.traefikEntry("*.example.com", nil, 60*day, "*.example.com")) },
				"lego":    func(w *world) { w.legoCertificate("*.example.com", 60*day, "", "*.example.com") },
			} {
				w := newWorld(t)
				if err := os.MkdirAll(w.config.DNSDir, 0o755); err != nil {
					t.Fatal(err)
				}
				for _, p := range tt.providers {
					writeFile(t, filepath.Join(w.config.DNSDir, p+".yaml"), "exec: {command: [/bin/true], mode: certbot}\n")
				}
				add(w)
				s := step(t, w.look(client), "wildcard.example.com")
				if s.Action != tt.want || !strings.Contains(s.Spec, "challenge: {type: dns-01, provider: "+tt.provider+"}") {
					t.Errorf("%s: %q, %q\n%s", client, s.Action, s.Why, s.Spec)
				}
			}
		})
	}
}
