package migrate_test

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"acmed/internal/migrate"
)

const marker = "q7zSECRETq7z"

// setting is a value in a file of another client's.
type setting struct {
	file, key string
	with      func(value string) string // the file with that value
}

var (
	iniLine   = regexp.MustCompile(`(?m)^ *([A-Za-z0-9_.-]+) *= *(.*)$`)
	shellLine = regexp.MustCompile(`(?m)^([A-Za-z0-9_]+)=(.*)$`)
	jsonValue = regexp.MustCompile(`"([A-Za-z0-9_-]+)": *("[^"]*"|\d+)`)
	jsonItem  = regexp.MustCompile(`([\[,]) *("[^":]*") *[\],]`)
)

// settings are all values of a file, by its format.
func settings(file, text string) (all []setting) {
	pattern, quote := iniLine, func(s string) string { return s }
	switch {
	case strings.HasSuffix(file, ".json"):
		pattern = jsonValue
		for _, m := range jsonItem.FindAllStringSubmatchIndex(text, -1) {
			all = append(all, setting{file, "an element", func(value string) string { return text[:m[4]] + jsonText(value) + text[m[5]:] }})
		}
		quote = jsonText
	case !strings.Contains(file, "renewal/") && !strings.HasSuffix(file, ".ini"):
		pattern, quote = shellLine, func(s string) string { return "'" + s + "'" }
	}
	for _, m := range pattern.FindAllStringSubmatchIndex(text, -1) {
		all = append(all, setting{file, text[m[2]:m[3]], func(value string) string { return text[:m[4]] + quote(value) + text[m[5]:] }})
	}
	return all
}

// jsonText is a value in JSON: text, or a number.
func jsonText(value string) string {
	if strings.Trim(value, "0123456789") == "" {
		return value
	}
	text, _ := json.Marshal(value) // of a string: it cannot fail
	return string(text)
}

// legitimate are the keys whose values acmed uses: names, CAs, commands, paths and so on. All others are secrets.
func legitimate() map[string][]string {
	return map[string][]string{
		"acme.sh": {
			"Le_Domain", "Le_Alt", "Le_API", "Le_Webroot", "Le_RealKeyPath", "Le_RealCertPath", "Le_RealFullChainPath", "Le_ReloadCmd", "Le_RenewHook",
			"Le_Preferred_Chain", "Le_Profile", "CA_BUNDLE", "CA_EMAIL", "ACCOUNT_URL", "ACCOUNT_EMAIL",
		},
		"caddy":      {"an element", "ca", "account", "location"},
		"certbot":    {"server", "privkey", "fullchain", "renew_hook", "preferred_chain", "required_profile", "webroot_path", "www.example.com", "an element", "uri"},
		"dehydrated": {"CA", "HOOK", "CERTDIR", "PREFERRED_CHAIN", "WELLKNOWN", "DOMAINS_TXT", "url", "an element"},
		"lego":       {"domain", "an element", "server", "uri", "preferredChain", "profile", "email"},
		"traefik":    {"main", "an element", "uri", "Email"},
	}
}

// everySetting gives the world a directory of a client's in which everything is set that it knows, and more.
func everySetting(t *testing.T, client string) *world {
	switch client {
	case "acme.sh":
		return everyAcmeSh(t)
	case "caddy":
		return caddyTree(t, "caddy-2.11")
	case "certbot":
		return everyCertbot(t)
	case "dehydrated":
		w := dehydrated(t, "CA=letsencrypt\nHOOK=/etc/dehydrated/hook.sh\nWELLKNOWN=/srv/.well-known/acme-challenge\nCHALLENGETYPE=http-01\n"+
			"PREFERRED_CHAIN=x\nRENEW_DAYS=20\nKEY_ALGO=rsa\nKEYSIZE=4096\nCURL_OPTS=x\nEAB_HMAC_KEY=x\nEAB_KID=x\nCONTACT_EMAIL=x\n"+
			"CERTDIR="+t.TempDir()+"\nACCOUNTDIR=x\nCONFIG_D=x\nDOMAINS_D=x\nLOCKFILE=x\nFROBNICATE=x\nAPI_TOKEN=x\n")
		w.edit("config", "CONFIG_D=x\nDOMAINS_D=x\n", "")
		w.write("domains.txt", "a.example.com\n")
		return w
	case "lego":
		w := newWorld(t)
		w.write("accounts/acme-v02.api.letsencrypt.org/a/account.json", `{"email": "a@example.com", "keyType": "x", "frobnicate": "x", "registration": {"body": {"status": "valid", "contact": ["mailto:a@example.com"]}, "uri": "`+certbotURL+`"}}`)
		w.write("accounts/acme-v02.api.letsencrypt.org/a/keys/a.key", keyPEM(t, ecKey(t)))
		w.legoCertificate("a.example.com", 60*day, `"certStableUrl": "x", "token": "x", "preferredChain": "x", "profile": "x", `, "a.example.com")
		return w
	default:
		return traefikTree(t)
	}
}

func everyCertbot(t *testing.T) *world {
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = webroot\ninstaller = nginx\npre_hook = x\npost_hook = x\nrenew_hook = /bin/x\n"+
		"manual_auth_hook = x\nmust_staple = True\nhttp01_port = 81\nreuse_key = True\npreferred_chain = x\nrequired_profile = x\nautorenew = False\n"+
		"dns_rfc2136_credentials = /root/x\nkey_type = rsa\nrsa_key_size = 2048\nelliptic_curve = x\nfrobnicate = x\npref_challs = http-01,\n"+
		"webroot_path = /var/www,\n[[webroot_map]]\nwww.example.com = /var/www", "www.example.com")
	w.edit("renewal/www.example.com.conf", "# renew_before_expiry", "renew_before_expiry")
	w.write("cli.ini", "deploy-hook = x\ntoken = x\neab-hmac-key = x\n")
	return w
}

func everyAcmeSh(t *testing.T) *world {
	w := newWorld(t)
	w.write("account.conf", "NOTIFY_HOOK=x\nSAVED_CF_Token=x\nSAVED_SMTP_PASSWORD=x\nACCOUNT_EMAIL=a@example.com\nSAVED_NSUPDATE_KEY=/x\nSAVED_NSUPDATE_SERVER=x\n")
	w.write("ca/acme-v02.api.letsencrypt.org/directory/account.key", keyPEM(t, ecKey(t)))
	w.write("ca/acme-v02.api.letsencrypt.org/directory/ca.conf", "CA_EMAIL=a@example.com\nACCOUNT_URL="+certbotURL+"\nCA_EAB_HMAC_KEY=x\n")
	conf := "Le_Domain=a.example.com\nLe_Alt=no\nLe_API=" + letsencrypt + "\nLe_Webroot=/var/www\nLe_PreHook=x\nLe_PostHook=x\nLe_RenewHook=\nLe_ReloadCmd=/bin/x\n" +
		"Le_RealKeyPath=/etc/x.key\nLe_RealCertPath=\nLe_RealFullChainPath=/etc/x.pem\nLe_DeployHook=synology_dsm\nSAVED_SYNO_PASSWORD=x\nLe_HTTPPort=81\nLe_RenewalDays=30\n" +
		"Le_Preferred_Chain=x\nLe_Profile=x\nLe_Keylength=ec-256\nLe_ChallengeAlias=x\nLe_LocalAddress=x\nLe_OCSP_Staple=1\n"
	w.acmeSh("a.example.com_ecc", conf, "a.example.com")
	return w
}

// TestNoImporterShowsOrWritesAValueThatItDoesNotUse sets each value of each file that an importer reads to a secret, one
// after the other and in several forms, and searches for it in what is shown and in what is written.
func TestNoImporterShowsOrWritesAValueThatItDoesNotUse(t *testing.T) {
	for client := range migrate.Clients() {
		t.Run(client, func(t *testing.T) {
			w := everySetting(t, client)
			tried := 0
			for _, file := range w.textFiles() {
				text, err := os.ReadFile(filepath.Join(w.home(), file))
				if err != nil {
					t.Fatal(err)
				}
				for _, s := range settings(file, string(text)) {
					if !slices.Contains(legitimate()[client], s.key) {
						w.tryValue(client, s)
						tried++
					}
				}
				writeFile(t, filepath.Join(w.home(), file), string(text))
			}
			if tried < 5 {
				t.Errorf("only %d values were tried", tried)
			}
		})
	}
}

// tryValue gives a setting several values that hold the marker.
func (w *world) tryValue(client string, s setting) {
	forms := []string{marker, "/" + marker + "/x", "https://" + marker + ".example.com/x", `x" ` + marker + " 'y", "$" + marker, "%(" + marker + ")s", "a: " + marker + "\n" + marker}
	if strings.HasSuffix(s.file, ".json") {
		forms = append(forms, "86753090912345678901")
	}
	for i, form := range forms {
		writeFile(w.t, filepath.Join(w.home(), s.file), s.with(form))
		shown := w.everythingShown(client, i < 2)
		for _, secret := range []string{marker, strings.ToLower(marker), "86753090912345678901"} {
			if at := strings.Index(shown, secret); at >= 0 {
				w.t.Errorf("%s: %s = %q is shown or written: …%s…", s.file, s.key, form, shown[max(0, at-120):min(len(shown), at+60)])
			}
		}
	}
}

// everythingShown is what an import shows, and what it writes if it is applied.
func (w *world) everythingShown(client string, apply bool) string {
	p, err := migrate.Look(migrate.Options{Client: client, Dir: w.dir, Config: w.config, Now: w.now})
	if err != nil {
		return err.Error()
	}
	shown, err := json.Marshal(p)
	if err != nil {
		w.t.Fatal(err)
	}
	if !apply {
		return string(shown)
	}
	w.freshConfig()
	if p, err = migrate.Look(migrate.Options{Client: client, Dir: w.dir, Config: w.config, Now: w.now}); err == nil {
		err = p.Apply(func(int) {})
	}
	return string(shown) + fmt.Sprint(err) + w.written()
}

// freshConfig has acmed's directories be new ones.
func (w *world) freshConfig() {
	home := w.t.TempDir()
	w.config.File, w.config.StateDir = filepath.Join(home, "acmed.yaml"), filepath.Join(home, "state")
	w.config.SpecDir, w.config.IssuerDir, w.config.DNSDir = filepath.Join(home, "certs.d"), filepath.Join(home, "issuers.d"), filepath.Join(home, "dns.d")
	for _, dir := range []string{w.config.SpecDir, w.config.IssuerDir} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			w.t.Fatal(err)
		}
	}
}

// written is the content of all of acmed's files.
func (w *world) written() string {
	var b strings.Builder
	err := filepath.WalkDir(filepath.Dir(w.config.File), func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var text []byte
			text, err = os.ReadFile(p)
			fmt.Fprintf(&b, "%s:\n%s\n", p, text)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b.String()
}

// home is the directory that holds all of the client's files: dehydrated's are in two.
func (w *world) home() string {
	if filepath.Base(w.dir) == "etc" {
		return filepath.Dir(w.dir)
	}
	return w.dir
}

// textFiles are the client's files of settings.
func (w *world) textFiles() (files []string) {
	err := filepath.WalkDir(w.home(), func(p string, d fs.DirEntry, err error) error {
		if ext := filepath.Ext(p); err == nil && d.Type().IsRegular() && (ext == ".conf" || ext == ".json" || ext == ".ini" || d.Name() == "config") {
			p, err = filepath.Rel(w.home(), p)
			files = append(files, p)
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

func TestAFileWithACommandLineIsNotForEverybody(t *testing.T) {
	for hook, want := range map[string]os.FileMode{
		"/bin/push":                                 0o644,
		"systemctl reload nginx":                    0o644,
		"/bin/push --token 1":                       0o640,
		"curl -H \"Token: 1\" https://push.example": 0o640,
	} {
		w := certbot(t)
		w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = manual\npref_challs = dns-01,\nmanual_auth_hook = "+hook+"\nrenew_hook = "+hook, "www.example.com")
		p := w.apply("certbot")
		info, err := os.Stat(step(t, p, "www.example.com").SpecFile)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: the spec: %v, %v", hook, info.Mode(), err)
		}
		if strings.HasPrefix(hook, "systemctl") {
			continue // as a hook of DNS it is no unit to reload
		}
		info, err = os.Stat(p.Providers[0].File)
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: the provider: %v, %v", hook, info.Mode(), err)
		}
	}
}
