package migrate

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"acmed/internal/spec"
)

// dehydratedCAs are the names that dehydrated has for CAs.
func dehydratedCAs() map[string]string {
	return map[string]string{
		"letsencrypt":      certbotV2,
		"letsencrypt-test": "https://acme-staging-v02.api.letsencrypt.org/directory",
		"zerossl":          "https://acme.zerossl.com/v2/DV90",
		"buypass":          "https://api.buypass.com/acme/directory",
		"buypass-test":     "https://api.test4.buypass.no/acme/directory",
		"google":           "https://dv.acme-v02.api.pki.goog/directory",
		"google-test":      "https://dv.acme-v02.test-api.pki.goog/directory",
	}
}

// dehydratedIgnored are settings that mean nothing to acmed, or are read in other places.
func dehydratedIgnored() []string {
	return []string{
		"ACCOUNTDIR", "ACCOUNT_KEYSIZE", "ALPNCERTDIR", "API", "AUTO_CLEANUP", "BASEDIR", "CA", "CERTDIR", "CHAINCACHE", "CHALLENGETYPE",
		"CONFIG_D", "CONTACT_EMAIL", "CURL_OPTS", "DEHYDRATED_GROUP", "DEHYDRATED_USER", "DOMAINS_D", "DOMAINS_TXT", "EAB_HMAC_KEY", "EAB_KID",
		"HOOK", "IP_VERSION", "KEYSIZE", "KEY_ALGO", "LOCKFILE", "OPENSSL", "OPENSSL_CNF", "PREFERRED_CHAIN", "PRIVATE_KEY_RENEW",
		"RENEW_DAYS", "WELLKNOWN", "OLDCA", "KEEP_GOING",
	}
}

// readDehydrated reads a folder with config, and what that leads to: domains.txt with a line for each certificate, a
// folder in certs for each, and the accounts by CA.
func readDehydrated(r *reading) (*Found, error) {
	d := &dehydrated{reading: r, found: &Found{}, vars: map[string]string{"BASEDIR": r.dir}, accounts: map[string]string{}}
	if err := d.config(); err != nil {
		return nil, err
	}
	base, err := openTree(d.vars["BASEDIR"])
	if err != nil {
		return nil, fmt.Errorf("opening BASEDIR: %w", err)
	}
	defer base.close()
	d.base = base
	d.found.Serves = [][2]string{{filepath.Join(cmp.Or(d.vars["CERTDIR"], base.path("certs")), "NAME"), "live/NAME"}}
	text, err := d.domains()
	if err != nil {
		return nil, err
	}
	at := 0
	for line := range strings.Lines(text) {
		at++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			d.found.Certificates = append(d.found.Certificates, d.certificate(at, line))
		}
	}
	return d.found, nil
}

// dehydrated is a folder of dehydrated's that is being read.
type dehydrated struct {
	*reading
	base     *tree  // BASEDIR
	file     string // domains.txt
	found    *Found
	vars     map[string]string
	accounts map[string]string // URLs, by directory
}

// config reads the settings for all certificates.
func (d *dehydrated) config() error {
	if err := d.settings(d.tree, "config", d.vars, d.found.note); err != nil {
		return err
	}
	if dir, ok := d.below(d.vars["CONFIG_D"]); ok && d.vars["CONFIG_D"] != "" {
		names, err := d.list(dir)
		if err != nil {
			return err
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".sh") {
				if err := d.settings(d.tree, path.Join(dir, name), d.vars, d.found.note); err != nil {
					return err
				}
			}
		}
	}
	if d.vars["DOMAINS_D"] != "" {
		d.found.note("see what it holds", "DOMAINS_D = %s is not read", abbreviate(d.vars["DOMAINS_D"]))
	}
	return nil
}

// settings reads one file of settings. What is not an assignment is listed.
func (d *dehydrated) settings(t *tree, file string, vars map[string]string, note func(do, what string, args ...any)) error {
	text, err := t.text(file, maxText)
	if err != nil {
		return err
	}
	for _, err := range parseShell(t.path(file), text, vars) {
		note("see what it does: it was not executed", "%v", err)
	}
	return nil
}

// domains is the content of domains.txt, which may lie beside config or in BASEDIR.
func (d *dehydrated) domains() (string, error) {
	d.file = cmp.Or(d.vars["DOMAINS_TXT"], filepath.Join(d.vars["BASEDIR"], "domains.txt"))
	for _, t := range []*tree{d.tree, d.base} {
		if p, ok := t.below(d.file); ok {
			return t.text(p, maxList)
		}
	}
	return "", fmt.Errorf("reading DOMAINS_TXT: %s is neither in %s nor in %s", d.file, d.dir, d.base.dir)
}

// certificate reads what a line of domains.txt is about: names, and perhaps another one for the certificate.
func (d *dehydrated) certificate(at int, line string) Certificate {
	domains, alias, _ := strings.Cut(line, ">")
	names := strings.Fields(domains)
	c := Certificate{From: fmt.Sprintf("%s:%d", d.file, at)}
	if len(names) == 0 {
		c.Name, c.Unfit = abbreviate(line), "no names"
		return c
	}
	c.Name = cmp.Or(strings.TrimSpace(alias), names[0])
	vars := maps.Clone(d.vars)
	dir, ok := d.base.below(filepath.Join(cmp.Or(d.vars["CERTDIR"], filepath.Join(d.base.dir, "certs")), c.Name))
	if !ok || strings.ContainsRune(c.Name, '/') {
		c.Unfit = "its folder is not in " + d.base.dir
		return c
	}
	own := path.Join(dir, "config")
	if _, err := d.base.root.Lstat(own); err == nil {
		if err := d.settings(d.base, own, vars, c.note); err != nil {
			c.Unfit = err.Error()
			return c
		}
	}
	c.Directory = cmp.Or(dehydratedCAs()[cmp.Or(vars["CA"], "letsencrypt")], vars["CA"])
	d.translate(&c, vars)
	c.wantNames(names)
	c.Account = d.account(c.Directory)
	d.base.pair(&c, path.Join(dir, "privkey.pem"), d.now, path.Join(dir, "fullchain.pem"))
	c.compare(names)
	return c
}

// translate makes a spec of the settings for one certificate.
func (d *dehydrated) translate(c *Certificate, vars map[string]string) {
	c.Want.Renew.ARI = true
	c.Want.PrivateKey = dehydratedKey(vars)
	c.Want.PreferredChain = vars["PREFERRED_CHAIN"]
	if n, err := strconv.Atoi(vars["RENEW_DAYS"]); err == nil && n > 0 && n <= 90 {
		c.Want.Renew.Before = time.Duration(n) * 24 * time.Hour
	}
	d.challenge(c, vars)
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		off := vars[key] == "" || vars[key] == "no"
		if !off && !slices.Contains(dehydratedIgnored(), key) {
			c.note("see whether it is still needed", "%s", setTo(key, vars[key]))
		}
	}
	if hook := vars["HOOK"]; hook != "" {
		c.note("all its other operations are not called", "HOOK = %s is called with deploy_cert alone", hook)
		c.run("/bin/sh", "-c", fmt.Sprintf(`exec %s deploy_cert "$0" "$ACMED_LIVE/privkey.pem" "$ACMED_LIVE/cert.pem" "$ACMED_LIVE/fullchain.pem" "$ACMED_LIVE/chain.pem" "$(date +%%s)"`, shellQuote(hook)), c.Name)
	}
}

// dehydratedKey is what kind of key is asked for.
func dehydratedKey(vars map[string]string) spec.PrivateKey {
	k := spec.PrivateKey{Algorithm: "ECDSA", Size: 384, RotationPolicy: "Always"}
	switch vars["KEY_ALGO"] {
	case "prime256v1":
		k.Size = 256
	case "rsa":
		k.Algorithm, k.Size = "RSA", 4096
		if n, err := strconv.Atoi(vars["KEYSIZE"]); err == nil && (n == 2048 || n == 3072) {
			k.Size = n
		}
	}
	if vars["PRIVATE_KEY_RENEW"] == "no" {
		k.RotationPolicy = "Never"
	}
	return k
}

// challenge translates how control is proved. WELLKNOWN is the folder of the proofs themselves.
func (d *dehydrated) challenge(c *Certificate, vars map[string]string) {
	switch kind := cmp.Or(vars["CHALLENGETYPE"], "http-01"); kind {
	case "dns-01":
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: "hook"}
		c.note("write an exec provider to dns.d/hook.yaml that does the same", "dns-01 by HOOK = %s", vars["HOOK"])
	case "http-01":
		c.Want.Challenge.Type = "http-01"
		known := cmp.Or(vars["WELLKNOWN"], "/var/www/dehydrated")
		if root, ok := strings.CutSuffix(strings.TrimRight(known, "/"), "/.well-known/acme-challenge"); ok && root != "" {
			c.webroot(root)
			return
		}
		c.note("have the web server serve /run/acmed/http-01/ in its place, as acmed's snippets do", "proofs were served from %s", known)
	default:
		c.Want.Challenge.Type = "http-01"
		c.note("prove control by http-01, or write challenge", "%s", setTo("CHALLENGETYPE", kind))
	}
}

// account reads the account at a CA, once, and returns its URL. Its folder is the base64url text of the directory.
func (d *dehydrated) account(directory string) string {
	if url, done := d.accounts[directory]; done {
		return url
	}
	folder := base64.RawURLEncoding.EncodeToString([]byte(directory + "\n"))
	dir, ok := d.base.below(filepath.Join(cmp.Or(d.vars["ACCOUNTDIR"], filepath.Join(d.base.dir, "accounts")), folder))
	d.accounts[directory] = ""
	if !ok {
		d.found.note("acmed makes an account of its own", "ACCOUNTDIR = %s is not in %s", d.vars["ACCOUNTDIR"], d.base.dir)
		return ""
	}
	a, err := d.readAccount(dir, directory)
	if err != nil {
		d.found.note("acmed makes an account of its own", "%v", err)
		return ""
	}
	d.found.Accounts = append(d.found.Accounts, *a)
	d.accounts[directory] = a.URL
	return a.URL
}

func (d *dehydrated) readAccount(dir, directory string) (*Account, error) {
	a, err := d.base.accountKey(path.Join(dir, "account_key.pem"), directory)
	if err != nil {
		return nil, err
	}
	var id struct {
		URL string `json:"url"`
	}
	var info struct {
		Contact []string `json:"contact"`
	}
	for file, v := range map[string]any{"account_id.json": &id, "registration_info.json": &info} {
		if data, err := d.base.read(path.Join(dir, file), maxText); err == nil {
			_ = json.Unmarshal(bytes.TrimSpace(data), v) // the key alone will do: the CA tells the rest
		}
	}
	a.URL, a.Contact = accountURL(id.URL, directory), info.Contact
	return a, nil
}
