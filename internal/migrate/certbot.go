package migrate

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"acmed/internal/spec"
)

const (
	certbotV1 = "https://acme-v01.api.letsencrypt.org/directory" // which certbot takes for the one below
	certbotV2 = "https://acme-v02.api.letsencrypt.org/directory"
)

// readCertbot reads /etc/letsencrypt: a file of renewal for each certificate, links in live to its newest files in
// archive, and the accounts by CA.
func readCertbot(r *reading) (*Found, error) {
	names, err := r.list("renewal")
	if err != nil {
		return nil, err
	}
	b := &certbot{reading: r, found: &Found{Serves: [][2]string{{r.path("live/NAME"), "live/NAME"}}}, accounts: map[string]string{}}
	if err := b.readShared(); err != nil {
		return nil, err
	}
	for _, base := range names {
		if name, ok := strings.CutSuffix(base, ".conf"); ok && name != "" {
			b.found.Certificates = append(b.found.Certificates, b.certificate(name))
		}
	}
	return b.found, nil
}

// certbot is a folder of certbot's that is being read.
type certbot struct {
	*reading
	found    *Found
	hooks    []string          // programs that run after every renewal
	accounts map[string]string // URLs of those that were read, by their folder
}

// readShared reads what is about all certificates.
func (b *certbot) readShared() error {
	const dir = "renewal-hooks/"
	for _, stage := range []string{"pre", "post"} {
		programs, err := b.programs(dir + stage)
		if err != nil {
			return err
		}
		for _, name := range programs {
			b.found.note("see whether it is still needed: acmed stops no server to prove control of a name",
				"%s runs %s every renewal", b.path(dir+stage+"/"+name), map[string]string{"pre": "before", "post": "after"}[stage])
		}
	}
	programs, err := b.programs(dir + "deploy")
	for _, name := range programs {
		b.hooks = append(b.hooks, b.path(dir+"deploy/"+name))
	}
	if len(programs) > 0 {
		b.found.note("leave that folder in place, or move them and change deploy.run in the specs",
			"the programs in %s are run from there", b.path(dir+"deploy"))
	}
	b.readINI()
	return err
}

// readINI lists what cli.ini says, but for what Debian's package writes there.
func (b *certbot) readINI() {
	text, err := b.text("cli.ini", maxText)
	if err != nil {
		return // there need not be one
	}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		key = strings.TrimSpace(key)
		if key == "" || key[0] == '#' || key[0] == ';' || key == "max-log-backups" || key == "preconfigured-renewal" {
			continue
		}
		b.found.note("write it into the specs if it still counts", "cli.ini says %s", setTo(key, strings.TrimSpace(value)))
	}
}

func setTo(key, value string) string { return fmt.Sprintf("%s = %s", key, abbreviate(value)) }

// certificate reads one certificate. What is wrong with it hurts no other.
func (b *certbot) certificate(name string) Certificate {
	file := "renewal/" + name + ".conf"
	c := Certificate{Name: name, From: b.path(file)}
	c.Want.Renew.ARI, c.Want.PrivateKey.RotationPolicy = true, "Always"
	text, err := b.text(file, maxText)
	if err != nil {
		c.Unfit = err.Error()
		return c
	}
	conf, err := parseConfigObj(b.path(file), text)
	if err != nil {
		c.Unfit = err.Error()
		return c
	}
	params := conf.sections["renewalparams"]
	if params == nil {
		c.Unfit = "there is no [renewalparams] in it"
		return c
	}
	if c.Directory = params.get("server"); c.Directory == "" || c.Directory == certbotV1 {
		c.Directory = certbotV2
	}
	t := &certbotParams{b, &c, params}
	t.translate()
	c.before(conf.get("renew_before_expiry"))
	c.Account = b.account(&c, params.get("account"))
	b.pair(&c, b.live(&c, conf, "privkey"), b.now, b.live(&c, conf, "fullchain"))
	if c.Pair == nil {
		t.withoutPair(conf.get("version"))
	}
	return c
}

// get returns a value; "" when it is not set.
func (s *section) get(key string) string {
	if v := s.values[key].String(); v != "None" {
		return v
	}
	return ""
}

// before reads how long before the end certbot renews, "30 days"; it is commented out unless somebody wants it.
func (c *Certificate) before(s string) {
	if s == "" {
		return
	}
	number, unit, _ := strings.Cut(s, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 90 || unit != "days" && unit != "day" {
		c.note("write renew.before, such as 30d", "renew_before_expiry = %s", abbreviate(s))
		return
	}
	c.Want.Renew.Before = time.Duration(n) * 24 * time.Hour
}

// live is where the link to a file is. In a copy of the folder the paths are still those of the original.
func (b *certbot) live(c *Certificate, conf *section, what string) string {
	if p, ok := b.below(conf.get(what)); ok {
		return p
	}
	return path.Join("live", c.Name, what+".pem")
}

// account reads the account with that ID, once, and returns its URL.
func (b *certbot) account(c *Certificate, id string) (url string) {
	if id == "" {
		return ""
	}
	dir := path.Join("accounts", strings.TrimPrefix(c.Directory, "https://"), id)
	if url, done := b.accounts[dir]; done {
		return url
	}
	a, err := b.readAccount(dir, c.Directory)
	if err != nil {
		b.found.note("acmed makes an account of its own", "%v", err)
	} else {
		b.found.Accounts = append(b.found.Accounts, *a)
		url = a.URL
	}
	b.accounts[dir] = url
	return url
}

func (b *certbot) readAccount(dir, directory string) (*Account, error) {
	keyFile, regFile := path.Join(dir, "private_key.json"), path.Join(dir, "regr.json")
	data, err := b.read(keyFile, maxText)
	if err != nil {
		return nil, err
	}
	a := &Account{From: b.path(keyFile), Directory: directory}
	if a.Key, err = parseJWK(data); err != nil {
		return nil, b.about(keyFile, err)
	}
	var reg struct {
		URI  string `json:"uri"`
		Body struct {
			Contact []string `json:"contact"`
		} `json:"body"`
	}
	if data, err = b.read(regFile, maxText); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &reg); err != nil {
		return nil, b.about(regFile, err)
	}
	a.URL, a.Contact = accountURL(reg.URI, directory), reg.Body.Contact
	if err := a.usable(); err != nil {
		return nil, b.about(keyFile, err)
	}
	return a, nil
}

// certbotParams are the [renewalparams] of one certificate.
type certbotParams struct {
	*certbot
	cert   *Certificate
	params *section
}

// withoutPair says what is wanted where there is nothing to go by: certbot keeps the names in the certificate alone.
func (t *certbotParams) withoutPair(version string) {
	c := t.cert
	if w := t.params.sections["webroot_map"]; w != nil {
		c.wantNames(slices.Sorted(maps.Keys(w.values)))
	}
	if data, err := t.read(path.Join("live", c.Name, "cert.pem"), maxPEM); err == nil {
		c.namesFrom(parseChain(data))
	}
	key := spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: c.Want.PrivateKey.RotationPolicy}
	if old := strings.HasPrefix(version, "0.") || strings.HasPrefix(version, "1."); t.params.get("key_type") == "rsa" ||
		t.params.get("key_type") == "" && old {
		key.Algorithm, key.Size = "RSA", 2048
		if n, err := strconv.Atoi(t.params.get("rsa_key_size")); err == nil && (n == 3072 || n == 4096) {
			key.Size = n
		}
	} else if t.params.get("elliptic_curve") == "secp384r1" {
		key.Size = 384
	}
	c.Want.PrivateKey = key
}

// translate makes a spec of what certbot was told. What it does not know, it lists.
func (t *certbotParams) translate() {
	t.challenge()
	for _, key := range slices.Sorted(maps.Keys(t.params.values)) {
		if value := t.params.get(key); value != "" {
			t.option(key, value)
		}
	}
	if t.params.get("directory_hooks") == "False" {
		return
	}
	// certbot runs these first.
	own := t.cert.Want.Deploy.Run
	t.cert.Want.Deploy.Run = nil
	for _, program := range t.hooks {
		t.cert.run(program)
	}
	t.cert.Want.Deploy.Run = append(t.cert.Want.Deploy.Run, own...)
}

// option translates one option, or lists it.
func (t *certbotParams) option(key, value string) {
	c := t.cert
	switch key {
	case "account", "server", "authenticator", "config_dir", "work_dir", "logs_dir", "key_type", "rsa_key_size", "elliptic_curve",
		"webroot_path", "pref_challs", "directory_hooks", "agree_tos", "email", "http01_address", "manual_public_ip_logging_ok":
	case "reuse_key":
		if value == "True" {
			c.Want.PrivateKey.RotationPolicy = "Never"
		}
	case "preferred_chain":
		c.Want.PreferredChain = value
	case "required_profile", "preferred_profile":
		c.Want.Profile = value
	case "renew_hook":
		c.hook(value)
	case "pre_hook", "post_hook":
		c.note("see whether it is still needed: acmed stops no server to prove control of a name, and deploy.run comes after a renewal",
			"%s = %s", key, abbreviate(value))
	case "must_staple":
		c.note("", "must_staple: CAs have given up OCSP, and the next certificate comes without it")
	case "installer":
		t.installer(value)
	case "http01_port":
		if c.Want.Challenge.Webroot == "" {
			c.note("have port 80 led to acmed-http.socket, or to the server that includes acmed's snippet", "http01_port = %s", value)
		}
	case "autorenew":
		if value == "False" {
			c.note("remove the spec, or acmed renews it", "autorenew = False: certbot does not renew it")
		}
	default:
		if !strings.HasPrefix(key, "dns_") && !strings.HasPrefix(key, "manual_") { // which challenge has listed
			c.note("see whether it is still needed", "%s", setTo(key, value))
		}
	}
}

// installer has certbot edit and reload a web server.
func (t *certbotParams) installer(name string) {
	unit := map[string]string{"nginx": "nginx.service", "apache": "apache2.service"}[name]
	if unit == "" {
		t.cert.note("write deploy.reload or deploy.run", "installer = %s", abbreviate(name))
		return
	}
	t.cert.reload(unit)
}

// challenge translates how control is proved.
func (t *certbotParams) challenge() {
	c := t.cert
	c.Want.Challenge.Type = "http-01"
	switch auth := t.params.get("authenticator"); {
	case auth == "standalone":
	case auth == "webroot":
		t.webroot()
	case auth == "nginx", auth == "apache":
		c.snippet(auth)
	case strings.HasPrefix(auth, "dns-"):
		t.dns(strings.TrimPrefix(auth, "dns-"))
	case auth == "manual":
		t.manual()
	default:
		c.note("prove control by http-01, or write challenge", "authenticator = %s", abbreviate(auth))
	}
}

// webroot has the folder that all names share written to.
func (t *certbotParams) webroot() {
	folders := slices.Clone(t.params.values["webroot_path"].words)
	if w := t.params.sections["webroot_map"]; w != nil && len(w.values) > 0 {
		folders = nil
		for _, folder := range w.values {
			folders = append(folders, folder.String())
		}
	}
	slices.Sort(folders)
	if folders = slices.Compact(folders); len(folders) == 1 {
		t.cert.webroot(folders[0])
		return
	}
	t.cert.note("include acmed's snippet in each of their web servers, for which one folder does for all names",
		"the names have different webroots: %s", abbreviate(strings.Join(folders, ", ")))
}

// dns lists what a DNS plugin needs, for acmed's providers are files of dns.d.
func (t *certbotParams) dns(plugin string) {
	c := t.cert
	c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: plugin}
	if plugin == "rfc2136" {
		provider, err := t.rfc2136(t.params.get("dns_rfc2136_credentials"))
		if c.Provider = provider; err == nil {
			return
		}
		c.note("write the provider to dns.d/rfc2136.yaml", "certbot's dns-rfc2136 plugin: %v", err)
		return
	}
	credentials := cmp.Or(t.params.get("dns_"+strings.ReplaceAll(plugin, "-", "_")+"_credentials"), "the environment")
	c.note("write the provider to dns.d/"+plugin+".yaml", "certbot's dns-%s plugin, with the credentials of %s", plugin, credentials)
}

// manual lists the programs that prove control.
func (t *certbotParams) manual() {
	c := t.cert
	dns := strings.Contains(t.params.get("pref_challs"), "dns-01")
	if dns {
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: "manual"}
		if t.params.get("manual_auth_hook") != "" {
			c.Provider = t.manualHooks()
		}
		return
	}
	for _, key := range []string{"manual_auth_hook", "manual_cleanup_hook"} {
		if value := t.params.get(key); value != "" {
			c.note("answer http-01 with acmed-http.socket, or with acmed's snippet in the web server", "%s = %s", key, abbreviate(value))
		}
	}
}
