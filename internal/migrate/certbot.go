package migrate

import (
	"encoding/json"
	"fmt"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
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
		programs, err := b.hookPrograms(dir + stage)
		if err != nil {
			return err
		}
		for _, name := range programs {
			b.found.note(stopsServer, "%s runs %s every renewal", b.path(dir+stage+"/"+name), map[string]string{"pre": "before", "post": "after"}[stage])
		}
	}
	programs, err := b.hookPrograms(dir + "deploy")
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

// hookPrograms lists the programs in a directory of hooks.
func (b *certbot) hookPrograms(dir string) ([]string, error) {
	programs, broken, err := b.programs(dir)
	for _, name := range broken {
		b.found.note("repair the link, and add its program to deploy.run", "%s cannot be followed: certbot does not run it", b.path(dir+"/"+name))
	}
	return programs, err
}

// readINI lists the keys of cli.ini, but for those that Debian's package sets there.
func (b *certbot) readINI() {
	text, err := b.text("cli.ini", maxText)
	if err != nil {
		return // there need not be one
	}
	at := 0
	for line := range strings.Lines(text) {
		at++
		line = strings.TrimSpace(line)
		key := fmt.Sprintf("an option in line %d", at)
		if m := iniKey.FindStringSubmatch(line); m != nil {
			key = keyName(m[1])
		}
		if line != "" && !strings.ContainsRune("#;[", rune(line[0])) && key != "max-log-backups" && key != "preconfigured-renewal" {
			b.found.note("write it into the specs if it still counts", "cli.ini sets %s", key)
		}
	}
}

// iniKey is a line of cli.ini that has a value.
var iniKey = regexp.MustCompile(`^([A-Za-z0-9_.-]+)\s*[=:]`)

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
	if base, ok := strings.CutSuffix(conf.get("archive_dir"), "/archive/"+name); ok {
		b.knownAs(base)
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
		c.isSet("renew_before_expiry", "write renew.before, such as 30d")
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

// accountID is what certbot calls an account: an MD5 sum.
var accountID = regexp.MustCompile(`^[0-9a-f]{8,64}$`)

// account reads the account with that ID, once, and returns its URL.
func (b *certbot) account(c *Certificate, id string) (url string) {
	if id == "" {
		return ""
	}
	if !accountID.MatchString(id) {
		b.found.note(ownAccount, "%s: account is not the name of an account", c.From)
		return ""
	}
	dir := path.Join("accounts", strings.TrimPrefix(c.Directory, "https://"), id)
	if url, done := b.accounts[dir]; done {
		return url
	}
	a, err := b.readAccount(dir, c.Directory)
	if err != nil {
		b.found.note(ownAccount, "%v", err)
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
		return nil, b.about(keyFile, valueFault(err))
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
		return nil, b.about(regFile, valueFault(err))
	}
	a.URL, a.Contact = accountURL(reg.URI, directory), reg.Body.Contact
	if err := a.usable(); err != nil {
		return nil, b.about(keyFile, err)
	}
	return a, nil
}
