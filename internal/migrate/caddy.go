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

// readCaddy reads Caddy's storage: three files for each certificate and CA in certificates, and the accounts by CA in
// acme. Which sites there are, and how names are validated, is written in the Caddyfile only.
func readCaddy(r *reading) (*Found, error) {
	c := &caddy{reading: r, found: &Found{}, directories: map[string]string{}}
	cas, err := c.list("certificates")
	if err != nil {
		return nil, err
	}
	for _, ca := range cas {
		if err := c.certificates(ca); err != nil {
			return nil, err
		}
	}
	if err := c.readAccounts(); err != nil {
		return nil, err
	}
	c.newest()
	c.found.note("check the tls directives of the Caddyfile, and the command that runs Caddy",
		"Caddy's storage does not hold how names are validated: every spec without a wildcard uses http-01")
	c.found.note("write tls CERTIFICATE KEY into each site of the Caddyfile; see docs/migrate-caddy.md",
		"Caddy does not read acmed's certificates by itself")
	return c.found, nil
}

// caddy is a storage of Caddy's that is being read.
type caddy struct {
	*reading
	found       *Found
	directories map[string]string // of CAs, by what Caddy calls them
}

// caddyName is what Caddy calls a CA: the host and the path of its directory, with hyphens.
func caddyName(directory *url.URL) string {
	name := directory.Host
	if p := strings.Trim(strings.ReplaceAll(directory.Path, "/", "-"), "-"); p != "" {
		name += "-" + p
	}
	return caddySafe(name)
}

// caddySafe is a name as Caddy has it in paths.
func caddySafe(name string) string {
	return strings.NewReplacer(" ", "_", "+", "_plus_", "*", "wildcard_", ":", "-", "..", "").Replace(strings.ToLower(strings.TrimSpace(name)))
}

// certificates reads those of one CA.
func (c *caddy) certificates(ca string) error {
	dir := path.Join("certificates", ca)
	names, err := c.list(dir)
	if err != nil {
		return err
	}
	if len(names) > 0 && ca == "local" {
		c.found.note("leave them to Caddy", "%s are of Caddy's own CA, and not imported", c.path(dir))
		return nil
	}
	known := len(c.found.Certificates)
	for _, name := range names {
		if cert, ok := c.certificate(dir, name); ok {
			c.found.Certificates = append(c.found.Certificates, cert)
		}
	}
	if known < len(c.found.Certificates) {
		c.found.Serves = append(c.found.Serves,
			[2]string{c.path(path.Join(dir, "NAME/NAME.crt")), "live/NAME/fullchain.pem"}, [2]string{c.path(path.Join(dir, "NAME/NAME.key")), "live/NAME/privkey.pem"})
	}
	return nil
}

// certificate reads the files of one certificate.
func (c *caddy) certificate(dir, name string) (Certificate, bool) {
	base := path.Join(dir, name, name)
	cert := Certificate{Name: strings.ReplaceAll(name, "wildcard_", "*"), From: c.path(base + ".json")}
	if _, err := c.root.Lstat(base + ".json"); err != nil {
		return cert, false // a lock, or what an order left behind
	}
	cert.Want.Challenge.Type, cert.Want.Renew.ARI = "http-01", true
	cert.Want.PrivateKey = spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"}
	var about struct {
		SANs   []string        `json:"sans"`
		Issuer json.RawMessage `json:"issuer_data"`
	}
	if err := c.decode(base+".json", &about); err != nil {
		cert.Unfit = err.Error()
		return cert, true
	}
	cert.wantNames(about.SANs)
	if len(about.SANs) > 0 {
		cert.Name = about.SANs[0]
	}
	cert.Directory, cert.Account = c.issuer(path.Base(dir), about.Issuer)
	if cert.Directory == "" {
		cert.Unfit = "Caddy does not write down the directory of its CA; name it with --server, or write the issuer to issuers.d"
		return cert, true
	}
	c.pair(&cert, base+".key", c.now, base+".crt")
	cert.fromLeaf()
	cert.compare(about.SANs)
	c.wildcard(&cert)
	return cert, true
}

// issuer is the directory of a CA, and the URL of the account that a certificate was ordered with, as far as Caddy has
// written them down: 2.11 does, 2.6 does not. The name of the CA's directory allows no more than a comparison.
func (c *caddy) issuer(ca string, data json.RawMessage) (directory, account string) {
	var about struct {
		CA      string `json:"ca"`
		Account string `json:"account"`
	}
	_ = json.Unmarshal(data, &about) // it is another issuer's, which has other keys
	named := func(d *url.URL) bool { return caddyName(d) == ca }
	if u, err := url.Parse(about.CA); err == nil && isDirectory(about.CA) && named(u) {
		directory = about.CA
	} else if u, err := url.Parse(c.server); err == nil && isDirectory(c.server) && named(u) {
		directory = c.server
	} else {
		directory = c.only(named)
	}
	if directory == "" {
		return "", ""
	}
	c.directories[ca] = directory
	return directory, accountURL(about.Account, directory)
}

// readAccounts reads acme/CA/users/EMAIL, with two files each.
func (c *caddy) readAccounts() error {
	cas, err := c.list("acme")
	if err != nil {
		return err
	}
	for _, ca := range cas {
		users, err := c.list(path.Join("acme", ca, "users"))
		if err != nil {
			return err
		}
		directory, _ := c.issuer(ca, nil)
		if directory = cmp.Or(directory, c.directories[ca]); directory == "" {
			continue // it has no certificate either
		}
		for _, user := range users {
			c.addAccount(path.Join("acme", ca, "users", user), directory)
		}
	}
	return nil
}

func (c *caddy) addAccount(dir, directory string) {
	a, err := c.account(dir, directory)
	if err != nil {
		c.found.note(ownAccount, "%v", err)
		return
	}
	c.found.Accounts = append(c.found.Accounts, *a)
	for i := range c.found.Certificates { // as older versions write it, without an account
		if cert := &c.found.Certificates[i]; cert.Directory == directory && cert.Account == "" {
			cert.Account = a.URL
		}
	}
}

// account reads NAME.json and NAME.key, where NAME is the part of the address before the @, or a word.
func (c *caddy) account(dir, directory string) (*Account, error) {
	names, err := c.list(dir)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(names, func(name string) bool { return strings.HasSuffix(name, ".key") })
	if i < 0 {
		return nil, c.about(dir, errors.New("there is no key in it"))
	}
	a, err := c.accountKey(path.Join(dir, names[i]), directory)
	if err != nil {
		return nil, err
	}
	var about struct {
		Location string   `json:"location"`
		Contact  []string `json:"contact"`
	}
	if err := c.decode(path.Join(dir, strings.TrimSuffix(names[i], ".key")+".json"), &about); err != nil {
		return nil, err
	}
	a.URL, a.Contact = accountURL(about.Location, directory), about.Contact
	return a, nil
}

// newest keeps one certificate of each name: Caddy may have one of each CA, and serves the one that it got last.
func (c *caddy) newest() {
	best := map[string]int{}
	for i := range c.found.Certificates {
		cert := &c.found.Certificates[i]
		if j, twice := best[cert.Name]; !twice || cert.newer(&c.found.Certificates[j]) {
			best[cert.Name] = i
		}
	}
	var kept []Certificate
	for i, cert := range c.found.Certificates {
		if j := best[cert.Name]; j != i {
			other := &c.found.Certificates[j]
			other.note("", "%s is left out: Caddy has another certificate of that name", cert.From)
		}
	}
	for i := range c.found.Certificates {
		if best[c.found.Certificates[i].Name] == i {
			kept = append(kept, c.found.Certificates[i])
		}
	}
	c.found.Certificates = kept
}

// newer reports whether a certificate is the better one of two of a name: it can be served, and was issued later.
func (c *Certificate) newer(than *Certificate) bool {
	if (c.Pair != nil) != (than.Pair != nil) {
		return c.Pair != nil
	}
	return c.leaf != nil && (than.leaf == nil || c.leaf.NotBefore.After(than.leaf.NotBefore))
}
