package migrate_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAHookBecomesADeployment has each kind of command line in the settings of each client that has hooks.
func TestAHookBecomesADeployment(t *testing.T) {
	for name, tt := range map[string]struct {
		hook, want string // "": the spec has no deploy
		notes      int
	}{
		"systemctl":                        {"systemctl reload nginx", "reload: [nginx.service]", 0},
		"systemctl by its path":            {"/usr/bin/systemctl -q try-reload-or-restart nginx postfix.service", "reload: [nginx.service, postfix.service]", 0},
		"service":                          {"service apache2 reload", "reload: [apache2.service]", 0},
		"a script of init":                 {"/etc/init.d/exim4 force-reload", "reload: [exim4.service]", 0},
		"a program":                        {"/usr/local/bin/push --all", "{command: [/usr/local/bin/push, --all], timeout: 10m}", 0},
		"a restart, which is not a reload": {"systemctl restart nginx", `{command: [/bin/sh, -c, "systemctl restart nginx"], timeout: 10m}`, 1},
		"two commands":                     {"systemctl reload nginx; /bin/push", `{command: [/bin/sh, -c, "systemctl reload nginx; /bin/push"], timeout: 10m}`, 1},
		"spaces alone":                     {"   ", "", 0},
		"empty double quotes":              {`""`, "", 0},
		"empty single quotes with spaces":  {" '' ", "", 0},
		"true":                             {"true", "", 0},
		"true by its path":                 {"/bin/true", "", 0},
		"a colon":                          {":", "", 0},
		"a comment":                        {"# later", "", 0},
		"a program whose name is not true": {"/bin/truest", "{command: [/bin/truest], timeout: 10m}", 0},
		"quotes that are not the whole":    {`"" x`, `{command: [/bin/sh, -c, "\"\" x"], timeout: 10m}`, 1},
		"several lines":                    {"one\ntwo", "", 1},
		"a unit with an instance":          {"systemctl reload foo@bar", "reload: [foo@bar.service]", 0},
		"a unit that is not a service":     {"systemctl reload a.socket", "reload: [a.socket.service]", 0},
	} {
		t.Run(name, func(t *testing.T) {
			for client, add := range map[string]func(w *world){
				"acme.sh": func(w *world) {
					w.acmeSh("a.example.com", acmeShConf+"Le_ReloadCmd='__ACME_BASE64__START_"+b64(tt.hook)+"__ACME_BASE64__END_'\n", "a.example.com")
				},
				"certbot": func(w *world) {
					w.lineage("a.example.com", ecKey(t), 60*day, "authenticator = standalone\nrenew_hook = '''"+tt.hook+"'''", "a.example.com")
				},
			} {
				if strings.HasSuffix(tt.hook, "'") || strings.Contains(tt.hook, "''") && client == "certbot" {
					continue // ConfigObj would write it in other quotes
				}
				w := newWorld(t)
				add(w)
				s := step(t, w.look(client), "a.example.com")
				_, deploy, found := strings.Cut(s.Spec, "deploy:\n")
				if found != (tt.want != "") || !strings.Contains(deploy, tt.want) || len(s.Notes) != tt.notes {
					t.Errorf("%s: notes %+v, spec\n%s", client, s.Notes, s.Spec)
				}
			}
		})
	}
}

func TestACopyKeepsItsOwnerAndItsMode(t *testing.T) {
	for name, tt := range map[string]struct {
		key, content string
		mode         os.FileMode
		want         string // of the element in deploy.files, after the content
	}{
		"a certificate for everybody":           {"Le_RealFullChainPath", "fullchain", 0o644, `, mode: "0644"`},
		"a private key":                         {"Le_RealKeyPath", "privkey", 0o600, `, mode: "0600"`},
		"a private key that everybody may read": {"Le_RealKeyPath", "privkey", 0o644, `, mode: "0640"`},
		"a private key that a group may read":   {"Le_RealKeyPath", "privkey", 0o440, `, mode: "0440"`},
		"the chain written to a device":         {"Le_RealCACertPath", "chain", os.ModeDevice, ""},
		"the certificate that is not there yet": {"Le_RealCertPath", "cert", 0, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w, file := newWorld(t), filepath.Join(t.TempDir(), "copy")
			switch tt.mode {
			case os.ModeDevice:
				file = "/dev/null"
			case 0:
			default:
				writeFile(t, file, "")
				if err := os.Chmod(file, tt.mode); err != nil {
					t.Fatal(err)
				}
			}
			w.acmeSh("a.example.com", acmeShConf+tt.key+"='"+file+"'\n", "a.example.com")
			s := step(t, w.look("acme.sh"), "a.example.com")
			if want := "    - {path: " + file + ", content: " + tt.content + tt.want + "}\n"; os.Geteuid() == 0 && !strings.Contains(s.Spec, want) {
				t.Errorf("no %q in\n%s", want, s.Spec)
			}
		})
	}
}

func TestWhatCertbotHasForAllIsNoted(t *testing.T) {
	for name, tt := range map[string]struct{ ini, note string }{ // "": none
		"an option":                     {"deploy-hook = /bin/x", "cli.ini sets deploy-hook"},
		"an option with a colon":        {"email: pki@example.com", "cli.ini sets email"},
		"an option in quotes":           {`"deploy-hook" = x`, "cli.ini sets an option in line 1"},
		"a flag":                        {"agree-tos", "cli.ini sets an option in line 1"},
		"the line that goes on another": {"    --token 1", "cli.ini sets an option in line 1"},
		"a comment":                     {"# deploy-hook = x\n; y = z\n", ""},
		"a section":                     {"[main]\n", ""},
		"what Debian writes":            {"max-log-backups = 0\npreconfigured-renewal = True\n", ""},
		"a very long name":              {strings.Repeat("a", 70) + " = x", "cli.ini sets a key with an unusual name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
			w.write("cli.ini", tt.ini)
			p := w.look("certbot")
			if tt.note == "" && len(p.Notes) > 0 || tt.note != "" && (len(p.Notes) != 1 || p.Notes[0].What != tt.note) {
				t.Errorf("notes: %+v", p.Notes)
			}
		})
	}
}
