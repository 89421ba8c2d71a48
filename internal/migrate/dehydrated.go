package migrate

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"strings"
)

// readDehydrated reads a directory with config, and what that leads to: domains.txt with a line for each certificate, a
// directory in certs for each, and the accounts by CA. The settings may name any place.
func readDehydrated(r *reading) (*Found, error) {
	d := &dehydrated{
		reading: r, found: &Found{}, vars: map[string]string{"BASEDIR": r.dir}, odd: map[string]bool{}, accounts: map[string]string{}, open: map[string]*tree{},
	}
	defer d.close()
	if err := d.config(); err != nil {
		return nil, err
	}
	for _, key := range []string{"BASEDIR", "CERTDIR", "DOMAINS_TXT"} {
		if d.odd[key] {
			return nil, fmt.Errorf("%s: the value of %s cannot be read; write it into the file without shell code", d.path("config"), key)
		}
	}
	d.found.Serves = [][2]string{{filepath.Join(d.place("CERTDIR", "certs"), "NAME"), "live/NAME"}}
	text, err := d.domains()
	if err != nil {
		return nil, err
	}
	at := 0
	for line := range strings.Lines(text) {
		at++
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			d.found.Certificates = append(d.found.Certificates, d.certificate(at, strings.ToLower(line)))
		}
	}
	return d.found, nil
}

// dehydrated is a directory of dehydrated's that is being read.
type dehydrated struct {
	*reading
	file     string // domains.txt
	found    *Found
	vars     map[string]string
	odd      map[string]bool   // settings that could not be read: no default counts for them
	accounts map[string]string // URLs, by directory
	open     map[string]*tree  // that the settings lead to
}

func (d *dehydrated) close() {
	for _, t := range d.open {
		t.close()
	}
}

// place is the path that a setting names; without it, it is base in BASEDIR. A relative one counts from config.
func (d *dehydrated) place(key, base string) string {
	p := cmp.Or(d.vars[key], filepath.Join(d.vars["BASEDIR"], base))
	if !filepath.IsAbs(p) {
		p = d.path(p)
	}
	return filepath.Clean(p)
}

// at opens the directory that a setting names. Its error does not hold the path.
func (d *dehydrated) at(key, dir string) (*tree, error) {
	if t := d.open[dir]; t != nil {
		return t, nil
	}
	t, err := openTree(dir)
	if err != nil {
		return nil, fmt.Errorf("opening %s: %w", key, valueFault(err))
	}
	d.open[dir] = t
	return t, nil
}

// config reads the settings for all certificates.
func (d *dehydrated) config() error {
	if err := d.settings(d.tree, "config", d.vars, d.odd, d.found.note); err != nil {
		return err
	}
	if d.vars["CONFIG_D"] == "" {
		return nil
	}
	dir, err := d.at("CONFIG_D", d.place("CONFIG_D", ""))
	if err != nil {
		return err
	}
	names, err := dir.list(".")
	if err != nil {
		return err
	}
	for _, name := range names {
		if strings.HasSuffix(name, ".sh") {
			err = errors.Join(err, d.settings(dir, name, d.vars, d.odd, d.found.note))
		}
	}
	return err
}

// settings reads one file of settings. It notes the lines that are not assignments, and which settings they hide.
func (d *dehydrated) settings(t *tree, file string, vars map[string]string, odd map[string]bool, note func(do, what string, args ...any)) error {
	text, err := t.text(file, maxText)
	if err != nil {
		return err
	}
	errs := parseShell(t.path(file), text, vars)
	unreadable(note, errs)
	for key := range vars {
		delete(odd, key) // a later file sets it
	}
	maps.Copy(odd, unread(errs))
	return nil
}

// domains is the content of domains.txt.
func (d *dehydrated) domains() (string, error) {
	d.file = d.place("DOMAINS_TXT", "domains.txt")
	t, err := d.at("the directory of DOMAINS_TXT", filepath.Dir(d.file))
	if err != nil {
		return "", err
	}
	return t.text(filepath.Base(d.file), maxList)
}

// certificate reads what a line of domains.txt, in lower case as dehydrated reads it, is about: names, and perhaps
// another one for the certificate.
func (d *dehydrated) certificate(at int, line string) Certificate {
	domains, alias, _ := strings.Cut(line, ">")
	names := strings.Fields(domains)
	c := Certificate{From: fmt.Sprintf("%s:%d", d.file, at)}
	if len(names) == 0 {
		c.Name, c.Unfit = fmt.Sprintf("line-%d", at), "no names"
		return c
	}
	c.Name = cmp.Or(strings.TrimSpace(alias), names[0])
	if strings.ContainsRune(c.Name, '/') || !filepath.IsLocal(c.Name) {
		c.Unfit = "its name is not that of a directory"
		return c
	}
	vars, odd := maps.Clone(d.vars), maps.Clone(d.odd)
	certs, err := d.certs()
	if err == nil {
		err = d.own(&c, certs, vars, odd)
	}
	if err == nil && odd["CA"] {
		err = errors.New("the value of CA cannot be read; write it into config without shell code")
	}
	c.Directory = cmp.Or(dehydratedCAs()[cmp.Or(vars["CA"], "letsencrypt")], vars["CA"])
	if err != nil {
		c.Unfit, c.Directory = err.Error(), ""
		return c
	}
	d.translate(&c, vars, odd)
	c.wantNames(names)
	c.Account = d.account(c.Directory)
	if certs == nil {
		c.Unfit = "there is no CERTDIR yet"
		return c
	}
	certs.pair(&c, path.Join(c.Name, "privkey.pem"), d.now, path.Join(c.Name, "fullchain.pem"))
	c.compare(names)
	return c
}

// certs is CERTDIR; nil: there is none yet.
func (d *dehydrated) certs() (*tree, error) {
	dir := d.place("CERTDIR", "certs")
	if !exists(dir) {
		return nil, nil
	}
	return d.at("CERTDIR", dir)
}

// own reads the settings for one certificate, which need not exist.
func (d *dehydrated) own(c *Certificate, certs *tree, vars map[string]string, odd map[string]bool) error {
	t, file := certs, path.Join(c.Name, "config")
	if d.vars["DOMAINS_D"] != "" {
		var err error
		if t, err = d.at("DOMAINS_D", d.place("DOMAINS_D", "")); err != nil {
			return err
		}
		file = c.Name
	}
	if t == nil || !exists(t.path(file)) {
		return nil
	}
	return d.settings(t, file, vars, odd, c.note)
}

// account reads the account at a CA, once, and returns its URL. Its directory is the base64url text of the CA's.
func (d *dehydrated) account(directory string) string {
	if url, done := d.accounts[directory]; done {
		return url
	}
	d.accounts[directory] = ""
	a, err := d.readAccount(directory)
	if err != nil {
		d.found.note(ownAccount, "%v", err)
		return ""
	}
	d.found.Accounts = append(d.found.Accounts, *a)
	d.accounts[directory] = a.URL
	return a.URL
}

func (d *dehydrated) readAccount(directory string) (*Account, error) {
	if d.odd["ACCOUNTDIR"] {
		return nil, errors.New("the value of ACCOUNTDIR cannot be read")
	}
	t, err := d.at("ACCOUNTDIR", d.place("ACCOUNTDIR", "accounts"))
	if err != nil {
		return nil, err
	}
	dir := base64.RawURLEncoding.EncodeToString([]byte(directory + "\n"))
	a, err := t.accountKey(path.Join(dir, "account_key.pem"), directory)
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
		if data, err := t.read(path.Join(dir, file), maxText); err == nil {
			_ = json.Unmarshal(bytes.TrimSpace(data), v) // the key alone will do: the CA returns the rest
		}
	}
	a.URL, a.Contact = accountURL(id.URL, directory), info.Contact
	return a, nil
}
