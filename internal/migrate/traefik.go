package migrate

import (
	"cmp"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// maxStore bounds acme.json, which holds all certificates.
const maxStore = 64 << 20

// readTraefik reads what Traefik calls the storage of its certificate resolvers: acme.json, or each *.json in a
// directory. Which CA a resolver uses, and how names are validated, is written in Traefik's static configuration only.
func readTraefik(r *reading) (*Found, error) {
	t := &traefik{reading: r, found: &Found{}, names: map[string]bool{}}
	files := []string{r.file}
	if r.file == "" {
		names, err := r.list(".")
		if err != nil {
			return nil, err
		}
		files = slices.DeleteFunc(names, func(name string) bool { return !strings.HasSuffix(name, ".json") })
	}
	var errs []error
	for _, file := range files {
		if err := t.storage(file); err != nil {
			errs = append(errs, err)
			t.found.note("check whether it is Traefik's storage", "%v", err)
		}
	}
	if len(t.found.Certificates) == 0 && len(errs) > 0 {
		return nil, fmt.Errorf("%w; name Traefik's storage with --dir", errs[0])
	}
	t.found.note("check certificatesResolvers in Traefik's static configuration: caServer, httpChallenge, tlsChallenge, dnsChallenge and keyType are there only",
		"acme.json does not hold how names are validated: every spec without a wildcard uses http-01")
	t.found.note("point tls.certificates of its dynamic configuration at acmed's files, and remove certResolver from its routers; see docs/migrate-traefik.md",
		"Traefik does not read acmed's certificates by itself")
	return t.found, nil
}

// traefik is a storage of Traefik's that is being read.
type traefik struct {
	*reading
	found *Found
	names map[string]bool // of certificates, taken
}

// traefikStore is what Traefik keeps for one resolver. Version 1 has one for all, with other cases of the same keys.
type traefikStore struct {
	Account      *traefikAccount
	Certificates []traefikCertificate
}

type traefikAccount struct {
	Email        string
	PrivateKey   []byte // DER
	Registration struct {
		URI  string `json:"uri"`
		Body struct {
			Contact []string `json:"contact"`
		} `json:"body"`
	}
}

type traefikCertificate struct {
	Domain           traefikDomain
	Certificate, Key []byte // PEM
}

type traefikDomain struct {
	Main string
	SANs []string
}

// traefikOld is the storage before version 1.5.
type traefikOld struct {
	traefikAccount
	DomainsCertificate struct {
		Certs []struct {
			Domains     traefikDomain
			Certificate struct{ Certificate, PrivateKey []byte }
		}
	}
}

// storage reads one file.
func (t *traefik) storage(file string) error {
	data, err := t.read(file, maxStore)
	if err != nil {
		return err
	}
	stores, err := traefikStores(data)
	if err != nil {
		return t.about(file, valueFault(err))
	}
	for _, resolver := range slices.Sorted(maps.Keys(stores)) {
		t.resolver(t.path(file), resolver, stores[resolver])
	}
	return nil
}

// traefikStores reads the storage of any version, by resolver. Version 1 has one resolver without a name.
func traefikStores(data []byte) (map[string]traefikStore, error) {
	if len(data) == 0 { // as the operator creates it
		return nil, nil
	}
	var top map[string]json.RawMessage
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	if top["DomainsCertificate"] != nil {
		var old traefikOld
		err := json.Unmarshal(data, &old)
		return map[string]traefikStore{"": old.store()}, err
	}
	if list := string(top["Certificates"]); list == "null" || strings.HasPrefix(list, "[") {
		var one traefikStore
		err := json.Unmarshal(data, &one)
		return map[string]traefikStore{"": one}, err
	}
	var stores map[string]traefikStore
	return stores, json.Unmarshal(data, &stores)
}

func (o *traefikOld) store() traefikStore {
	s := traefikStore{Account: &o.traefikAccount}
	for _, c := range o.DomainsCertificate.Certs {
		s.Certificates = append(s.Certificates, traefikCertificate{c.Domains, c.Certificate.Certificate, c.Certificate.PrivateKey})
	}
	return s
}

// resolver takes the account and the certificates of one resolver.
func (t *traefik) resolver(from, resolver string, store traefikStore) {
	if resolver != "" {
		from += ": " + keyName(resolver)
	}
	directory, accountURL := t.directory(&store), ""
	if store.Account != nil && directory != "" {
		a, err := store.Account.account(from, directory)
		if err != nil {
			t.found.note(ownAccount, "%s: the account: %v", from, err)
		} else {
			t.found.Accounts, accountURL = append(t.found.Accounts, *a), a.URL
		}
	}
	for i := range store.Certificates {
		c := t.certificate(from, resolver, &store.Certificates[i])
		if c.Directory, c.Account = directory, accountURL; directory == "" {
			c.Pair, c.Unfit = nil, "acme.json does not hold which CA it is of; name its directory with --server, or write the issuer to issuers.d"
		}
		t.found.Certificates = append(t.found.Certificates, c)
	}
}

// directory finds the CA of a resolver by the URL of its account: the one that --server names, or the only issuer that
// acmed knows on that host.
func (t *traefik) directory(s *traefikStore) string {
	if s.Account == nil || s.Account.Registration.URI == "" {
		return t.server
	}
	u, err := url.Parse(s.Account.Registration.URI)
	if err != nil {
		return t.server
	}
	if u.Host == "acme-v01.api.letsencrypt.org" { // whose accounts are those of its second API, too
		return certbotV2
	}
	if server, err := url.Parse(t.server); err == nil && server.Host == u.Host {
		return t.server
	}
	return t.only(func(d *url.URL) bool { return d.Host == u.Host })
}

// account is the account of a resolver.
func (a *traefikAccount) account(from, directory string) (*Account, error) {
	key, err := parseDER(a.PrivateKey)
	if err != nil {
		return nil, err
	}
	out := &Account{From: from, Directory: directory, Key: key, URL: accountURL(a.Registration.URI, directory), Contact: a.Registration.Body.Contact}
	if len(out.Contact) == 0 && strings.Contains(a.Email, "@") {
		out.Contact = []string{"mailto:" + a.Email}
	}
	return out, out.usable()
}

// parseDER reads a private key without PEM around it.
func parseDER(der []byte) (crypto.Signer, error) {
	if key, err := x509.ParsePKCS1PrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParseECPrivateKey(der); err == nil {
		return key, nil
	}
	if key, err := x509.ParsePKCS8PrivateKey(der); err == nil {
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, errors.New("PrivateKey is not a key that is supported")
}

// certificate reads one certificate.
func (t *traefik) certificate(from, resolver string, s *traefikCertificate) Certificate {
	c := Certificate{Name: s.Domain.Main, From: from}
	c.Want.Challenge.Type, c.Want.Renew.ARI = "http-01", true
	c.Want.PrivateKey = spec.PrivateKey{Algorithm: "RSA", Size: 4096, RotationPolicy: "Always"} // Traefik's default
	names := slices.DeleteFunc(append([]string{s.Domain.Main}, s.Domain.SANs...), func(name string) bool { return name == "" })
	c.wantNames(names)
	key, err := parseKey(s.Key)
	if err != nil {
		err = fmt.Errorf("key: %w", err)
	}
	c.taken(key, parseChain(s.Certificate), err, t.now)
	c.fromLeaf()
	c.compare(names)
	if c.Name == "" && c.leaf != nil && len(c.leaf.DNSNames) > 0 {
		c.Name = c.leaf.DNSNames[0]
	}
	t.wildcard(&c)
	c.Name = t.free(c.Name, resolver)
	return c
}

// free is a name that no certificate has yet: Traefik may have several with one main name.
func (t *traefik) free(name, resolver string) string {
	free := name
	if t.names[Name(free)] && resolver != "" {
		free = name + "-" + resolver
	}
	for n := 2; t.names[Name(free)]; n++ {
		free = fmt.Sprintf("%s-%d", name, n)
	}
	t.names[Name(free)] = true
	return free
}

// split returns the directory and the name of what a client keeps in one file; no name for a directory.
func split(p string) (dir, file string) {
	info, err := os.Stat(p)
	if err == nil && info.IsDir() || errors.Is(err, fs.ErrNotExist) && filepath.Ext(p) == "" {
		return p, ""
	}
	return cmp.Or(filepath.Dir(p), "."), filepath.Base(p)
}
