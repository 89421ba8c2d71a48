package migrate

import (
	"cmp"
	"encoding/base64"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/user"
	"path"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"acmed/internal/spec"
)

// readAcmeSh reads ~/.acme.sh: a folder with NAME.conf for each certificate, and the accounts by CA in ca.
func readAcmeSh(r *reading) (*Found, error) {
	a := &acmeSh{reading: r, found: &Found{}, vars: map[string]string{}, accounts: map[string]string{}}
	if text, err := r.text("account.conf", maxText); err == nil { // there need not be one
		for _, err := range parseShell(r.path("account.conf"), text, a.vars) {
			a.found.note("see what it does: it was not executed", "%v", err)
		}
	}
	if hook := a.vars["NOTIFY_HOOK"]; hook != "" {
		a.found.note("write notify: to acmed.yaml", "%s", setTo("NOTIFY_HOOK", hook))
	}
	folders, err := r.list(".")
	if err != nil {
		return nil, err
	}
	for _, folder := range folders {
		name := strings.TrimSuffix(folder, "_ecc")
		if _, err := r.root.Stat(path.Join(folder, name+".conf")); err != nil {
			continue
		}
		c := a.certificate(folder, name)
		if name != folder && slices.Contains(folders, name) {
			c.Name = folder // beside one with an RSA key
		}
		a.found.Certificates = append(a.found.Certificates, c)
	}
	return a.found, nil
}

// acmeSh is a folder of acme.sh's that is being read.
type acmeSh struct {
	*reading
	found    *Found
	vars     map[string]string // of account.conf
	accounts map[string]string // URLs, by directory
}

// certificate reads one folder. What is wrong with it hurts no other.
func (a *acmeSh) certificate(folder, name string) Certificate {
	file := path.Join(folder, name+".conf")
	c := Certificate{Name: name, From: a.path(file)}
	c.Want.Renew.ARI = true
	c.Want.PrivateKey = spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"}
	text, err := a.text(file, maxText)
	if err != nil {
		c.Unfit = err.Error()
		return c
	}
	vars := map[string]string{}
	if errs := parseShell(a.path(file), text, vars); len(errs) > 0 {
		c.Unfit = errs[0].Error()
		return c
	}
	c.Directory = vars["Le_API"]
	if file := a.vars["CA_BUNDLE"]; path.IsAbs(file) {
		c.CABundle = path.Clean(file)
	}
	names := acmeShNames(vars)
	c.wantNames(names)
	a.translate(&c, vars)
	c.Account = a.account(c.Directory)
	a.pair(&c, path.Join(folder, name+".key"), a.now, path.Join(folder, "fullchain.cer"))
	c.compare(names)
	return c
}

// acmeShNames are the names that are wanted.
func acmeShNames(vars map[string]string) []string {
	names := []string{vars["Le_Domain"]}
	if alt := vars["Le_Alt"]; alt != "no" {
		names = append(names, strings.Split(alt, ",")...)
	}
	return slices.DeleteFunc(names, func(s string) bool { return s == "" })
}

// decoded takes acme.sh's wrapping off a value.
func decoded(s string) string {
	inside, ok := strings.CutPrefix(s, "__ACME_BASE64__START_")
	if inside, end := strings.CutSuffix(inside, "__ACME_BASE64__END_"); ok && end {
		if text, err := base64.StdEncoding.DecodeString(inside); err == nil {
			return string(text)
		}
	}
	return s
}

// translate makes a spec of the settings. What it does not know, it lists.
func (a *acmeSh) translate(c *Certificate, vars map[string]string) {
	a.challenge(c, strings.Split(vars["Le_Webroot"], ","))
	for _, f := range []struct{ key, content string }{
		{"Le_RealKeyPath", "privkey"}, {"Le_RealCertPath", "cert"}, {"Le_RealCACertPath", "chain"}, {"Le_RealFullChainPath", "fullchain"},
	} {
		if file := decoded(vars[f.key]); file != "" {
			c.Want.Deploy.Files = append(c.Want.Deploy.Files, likeNow(file, f.content))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(vars)) {
		if value := decoded(vars[key]); value != "" {
			c.acmeShOption(key, value)
		}
	}
}

func (c *Certificate) acmeShOption(key, value string) {
	switch key {
	case "Le_ReloadCmd", "Le_RenewHook":
		c.hook(value)
	case "Le_Preferred_Chain":
		c.Want.PreferredChain = value
	case "Le_Profile", "Le_CertProfile":
		c.Want.Profile = value
	case "Le_PreHook", "Le_PostHook":
		c.note("see whether it is still needed: acmed stops no server to prove control of a name, and deploy.run comes after a renewal",
			"%s", setTo(key, value))
	case "Le_DeployHook":
		c.note("write deploy.files, deploy.reload or deploy.run that do the same", "%s", setTo(key, value))
	case "Le_HTTPPort":
		c.note("have port 80 led to acmed-http.socket, or to the server that includes acmed's snippet", "%s", setTo(key, value))
	case "Le_OCSP_Staple":
		c.note("", "Le_OCSP_Staple: CAs have given up OCSP, and the next certificate comes without it")
	case "Le_RenewalDays":
		c.note("write renew.before, which counts from the end", "%s days after it was issued", setTo(key, value))
	default:
		if !slices.Contains(acmeShIgnored(), key) {
			c.note("see whether it is still needed", "%s", setTo(key, value))
		}
	}
}

// acmeShIgnored are what acme.sh keeps for itself, and what is read in other places.
func acmeShIgnored() []string {
	return []string{
		"Le_API", "Le_Alt", "Le_CertCreateTime", "Le_CertCreateTimeStr", "Le_Domain", "Le_ForceNewDomainKey", "Le_Keylength", "Le_LinkCert",
		"Le_LinkIssuer", "Le_LinkOrder", "Le_NextRenewTime", "Le_NextRenewTimeStr", "Le_OrderFinalize", "Le_RealCACertPath",
		"Le_RealCertPath", "Le_RealFullChainPath", "Le_RealKeyPath", "Le_Vlist", "Le_Webroot",
	}
}

// challenge translates how control is proved, which acme.sh knows for each name.
func (a *acmeSh) challenge(c *Certificate, ways []string) {
	c.Want.Challenge.Type = "http-01"
	way, rest := ways[0], sorted(ways)
	rest = slices.DeleteFunc(rest, func(s string) bool { return s == "" })
	switch {
	case len(rest) > 1:
		c.note("include acmed's snippet in each of their web servers", "control of the names was proved in different ways: %s",
			abbreviate(strings.Join(rest, ", ")))
	case way == "no" || way == "":
	case strings.HasPrefix(way, "/"):
		c.webroot(way)
	case strings.HasPrefix(way, "nginx"), strings.HasPrefix(way, "apache"):
		server, _, _ := strings.Cut(way, ":")
		c.snippet(server)
	case strings.HasPrefix(way, "dns_"):
		if way == "dns_nsupdate" {
			a.dynamic(c)
			return
		}
		provider := strings.ReplaceAll(strings.TrimPrefix(way, "dns_"), "_", "-")
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: provider}
		c.note("write the provider to dns.d/"+provider+".yaml", "dns-01 by %s, with credentials of %s", way, a.path("account.conf"))
	default:
		c.note("prove control by http-01, or write challenge", "%s", setTo("Le_Webroot", way))
	}
}

// likeNow has a file written whose owner and mode are those that it has now.
func likeNow(file, content string) spec.File {
	f := spec.File{Path: path.Clean(file), Content: content}
	info, err := os.Stat(file)
	if err != nil || !info.Mode().IsRegular() {
		return f
	}
	f.Mode = uint32(info.Mode().Perm())
	if content == "privkey" {
		f.Mode &^= 0o007
	}
	st := info.Sys().(*syscall.Stat_t)
	if st.Uid != 0 {
		f.Owner = strconv.Itoa(int(st.Uid))
		if u, err := user.LookupId(f.Owner); err == nil {
			f.Owner = u.Username
		}
	}
	if st.Gid != 0 {
		f.Group = strconv.Itoa(int(st.Gid))
		if g, err := user.LookupGroupId(f.Group); err == nil {
			f.Group = g.Name
		}
	}
	return f
}

// account reads the account at a CA, once, and returns its URL.
func (a *acmeSh) account(directory string) string {
	u, err := url.Parse(directory)
	if err != nil || u.Host == "" {
		return ""
	}
	if url, done := a.accounts[directory]; done {
		return url
	}
	a.accounts[directory] = ""
	dir := path.Join("ca", u.Hostname(), u.Path)
	if _, err := a.root.Stat(path.Join(dir, "account.key")); err != nil {
		dir = path.Join("ca", u.Hostname()) // until 2020
	}
	account, err := a.readAccount(dir, directory)
	if err != nil {
		a.found.note("acmed makes an account of its own", "%v", err)
		return ""
	}
	a.found.Accounts = append(a.found.Accounts, *account)
	a.accounts[directory] = account.URL
	return account.URL
}

func (a *acmeSh) readAccount(dir, directory string) (*Account, error) {
	account, err := a.accountKey(path.Join(dir, "account.key"), directory)
	if err != nil {
		return nil, err
	}
	vars := map[string]string{}
	if text, err := a.text(path.Join(dir, "ca.conf"), maxText); err == nil {
		_ = parseShell("", text, vars) // the key alone will do: the CA tells the rest
	}
	account.URL = accountURL(vars["ACCOUNT_URL"], directory)
	if mail := cmp.Or(vars["CA_EMAIL"], a.vars["ACCOUNT_EMAIL"]); strings.Contains(mail, "@") {
		account.Contact = []string{fmt.Sprintf("mailto:%s", mail)}
	}
	return account, nil
}
