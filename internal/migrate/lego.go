package migrate

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/url"
	"path"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// readLego reads lego's folder: three files for each certificate, and the accounts by the host of their CA. How control
// is proved and what is done afterwards is written in the command that runs it, and not there.
func readLego(r *reading) (*Found, error) {
	l := &lego{reading: r, found: &Found{Serves: [][2]string{
		{r.path("certificates/NAME.crt"), "live/NAME/fullchain.pem"}, {r.path("certificates/NAME.key"), "live/NAME/privkey.pem"},
	}}}
	names, err := l.list("certificates")
	if err != nil {
		return nil, err
	}
	if err := l.readAccounts(); err != nil {
		return nil, err
	}
	for _, base := range names {
		if name, ok := strings.CutSuffix(base, ".json"); ok && name != "" {
			l.found.Certificates = append(l.found.Certificates, l.certificate(name))
		}
	}
	l.found.note("see the command or the timer that runs lego: its --http, --http.webroot, --dns and hooks are written there only",
		"every spec proves control by http-01, and none has deploy")
	return l.found, nil
}

// lego is a folder of lego's that is being read.
type lego struct {
	*reading
	found *Found
}

// certificate reads the files that begin with name, which is the first domain with _ for *.
func (l *lego) certificate(name string) Certificate {
	file := "certificates/" + name + ".json"
	c := Certificate{Name: strings.ReplaceAll(name, "_", "*"), From: l.path(file)}
	c.Want.Challenge.Type, c.Want.Renew.ARI = "http-01", true
	c.Want.PrivateKey = spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"}
	var about struct {
		Domain         string   `json:"domain"`
		Domains        []string `json:"domains"` // since version 5
		CertURL        string   `json:"certUrl"`
		PreferredChain string   `json:"preferredChain"`
		Profile        string   `json:"profile"`
	}
	if err := l.decode(file, &about); err != nil {
		c.Unfit = err.Error()
		return c
	}
	c.Name = cmp.Or(about.Domain, c.Name)
	c.Want.PreferredChain, c.Want.Profile = about.PreferredChain, about.Profile
	c.wantNames(about.Domains)
	if len(about.Domains) == 0 && about.Domain != "" {
		c.wantNames([]string{about.Domain})
	}
	c.Directory = l.directory(about.CertURL)
	if c.Directory == "" {
		c.Unfit = "lego does not write down which CA it is of: name its directory with --server"
		return c
	}
	if i := slices.IndexFunc(l.found.Accounts, func(a Account) bool { return a.Directory == c.Directory }); i >= 0 {
		c.Account = l.found.Accounts[i].URL
	}
	l.pair(&c, "certificates/"+name+".key", l.now, l.chain(name)...)
	if len(about.Domains) == 0 {
		c.fromLeaf()
	}
	l.wildcard(&c)
	return c
}

// chain names the files of a certificate's chain: without --no-bundle, the first one holds it whole.
func (l *lego) chain(name string) []string {
	whole := "certificates/" + name + ".crt"
	if data, err := l.read(whole, maxPEM); err == nil && len(parseChain(data)) == 1 {
		return []string{whole, "certificates/" + name + ".issuer.crt"}
	}
	return []string{whole}
}

// decode reads a JSON file.
func (t *tree) decode(file string, v any) error {
	data, err := t.read(file, maxText)
	if err == nil {
		if err = json.Unmarshal(data, v); err != nil {
			err = t.about(file, valueFault(err))
		}
	}
	return err
}

// directory finds the CA that a URL is of: among the issuers that acmed knows, the only one on that host.
func (l *lego) directory(of string) string {
	if l.server != "" {
		return l.server
	}
	u, err := url.Parse(of)
	if err != nil || u.Host == "" {
		return ""
	}
	return l.only(func(d *url.URL) bool { return d.Host == u.Host })
}

// only is the directory of the issuers that match, if that is one.
func (r *reading) only(match func(*url.URL) bool) string {
	var found []string
	for _, i := range r.known {
		if u, err := url.Parse(i.Directory); err == nil && match(u) {
			found = append(found, i.Directory)
		}
	}
	if found = sorted(found); len(found) == 1 {
		return found[0]
	}
	return ""
}

// readAccounts reads accounts/HOST/ID/account.json and the key beside or below it.
func (l *lego) readAccounts() error {
	hosts, err := l.list("accounts")
	if err != nil {
		return err
	}
	for _, host := range hosts {
		ids, err := l.list("accounts/" + host)
		if err != nil {
			return err
		}
		for _, id := range ids {
			dir := path.Join("accounts", host, id)
			a, err := l.account(dir, host, id)
			if err != nil {
				l.found.note(ownAccount, "%v", err)
				continue
			}
			l.found.Accounts = append(l.found.Accounts, *a)
		}
	}
	return nil
}

func (l *lego) account(dir, host, id string) (*Account, error) {
	var about struct {
		Email        string `json:"email"`
		Server       string `json:"server"` // since version 5
		Registration struct {
			URI string `json:"uri"`
			URL string `json:"accountURL"` // since version 5
		} `json:"registration"`
	}
	file := path.Join(dir, "account.json")
	if err := l.decode(file, &about); err != nil {
		return nil, err
	}
	directory := cmp.Or(l.server, about.Server, l.only(func(d *url.URL) bool { return strings.ReplaceAll(d.Host, ":", "_") == host }))
	if directory == "" {
		return nil, l.about(file, errors.New("lego does not write down which CA it is of: name its directory with --server"))
	}
	keyFile := path.Join(dir, "keys", id+".key")
	if _, err := l.root.Lstat(keyFile); err != nil {
		keyFile = path.Join(dir, id+".key") // since version 5
	}
	a, err := l.accountKey(keyFile, directory)
	if err != nil {
		return nil, err
	}
	a.URL = accountURL(cmp.Or(about.Registration.URI, about.Registration.URL), directory)
	if strings.Contains(about.Email, "@") {
		a.Contact = []string{"mailto:" + about.Email}
	}
	return a, nil
}
