package migrate

import (
	"cmp"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
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

// readAcmeSh reads ~/.acme.sh: a directory with NAME.conf for each certificate, and the accounts by CA in ca.
func readAcmeSh(r *reading) (*Found, error) {
	a := &acmeSh{reading: r, found: &Found{}, vars: map[string]string{}, accounts: map[string]string{}, certs: r.tree}
	if text, err := r.text("account.conf", maxText); err == nil { // there need not be one
		unreadable(a.found.note, parseShell(a.path("account.conf"), text, a.vars))
	}
	if a.vars["NOTIFY_HOOK"] != "" {
		a.found.note("write notify: to acmed.yaml", "NOTIFY_HOOK is set")
	}
	if home := a.vars["CERT_HOME"]; path.IsAbs(home) {
		certs, err := openTree(home)
		if err != nil {
			return nil, fmt.Errorf("opening CERT_HOME: %w", valueFault(err))
		}
		defer certs.close()
		a.certs = certs
	}
	return a.found, a.certificates()
}

// acmeSh is a directory of acme.sh's that is being read.
type acmeSh struct {
	*reading
	certs    *tree // CERT_HOME
	found    *Found
	vars     map[string]string // of account.conf
	accounts map[string]string // URLs, by directory
}

func (a *acmeSh) certificates() error {
	folders, err := a.certs.list(".")
	if err != nil {
		return err
	}
	for _, folder := range folders {
		name := strings.TrimSuffix(folder, "_ecc")
		if _, err := a.certs.root.Stat(path.Join(folder, name+".conf")); errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
			continue
		}
		c := a.certificate(folder, name)
		if name != folder && slices.Contains(folders, name) {
			c.Name = folder // beside one with an RSA key
		}
		a.found.Certificates = append(a.found.Certificates, c)
	}
	return nil
}

// certificate reads one directory. A fault of it affects no other, and a fault of one setting does not affect the rest,
// unless the setting says what certificate it is.
func (a *acmeSh) certificate(folder, name string) Certificate {
	file := path.Join(folder, name+".conf")
	c := Certificate{Name: name, From: a.certs.path(file)}
	c.Want.Renew.ARI = true
	c.Want.PrivateKey = spec.PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"}
	text, err := a.certs.text(file, maxText)
	if err != nil {
		c.Unfit = err.Error()
		return c
	}
	vars := map[string]string{}
	errs := parseShell(c.From, text, vars)
	odd := unread(errs)
	for _, key := range []string{"Le_Domain", "Le_Alt", "Le_API"} {
		if odd[key] {
			c.Unfit = errs[slices.IndexFunc(errs, func(err error) bool { return unread([]error{err})[key] })].Error()
			return c
		}
	}
	unreadable(c.note, errs)
	c.Directory = vars["Le_API"]
	if file := a.vars["CA_BUNDLE"]; path.IsAbs(file) {
		c.CABundle = path.Clean(file)
	}
	names := acmeShNames(vars)
	c.wantNames(names)
	a.translate(&c, vars)
	c.Account = a.account(c.Directory)
	a.certs.pair(&c, path.Join(folder, name+".key"), a.now, path.Join(folder, "fullchain.cer"))
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
		a.found.note(ownAccount, "%v", err)
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
		_ = parseShell("", text, vars) // the key alone will do: the CA returns the rest
	}
	account.URL = accountURL(vars["ACCOUNT_URL"], directory)
	if mail := cmp.Or(vars["CA_EMAIL"], a.vars["ACCOUNT_EMAIL"]); strings.Contains(mail, "@") {
		account.Contact = []string{fmt.Sprintf("mailto:%s", mail)}
	}
	return account, nil
}
