package spec

import (
	"fmt"
	"path/filepath"
)

var issuerKind = object(checkIssuer,
	key("directory", "the URL of the ACME directory; https only",
		func(i *Issuer) *string { return &i.Directory }, httpsKind),
	key("contact", "`mailto:` URLs, one address each",
		func(i *Issuer) *[]string { return &i.Contact }, contactsKind),
	key("termsOfServiceAgreed", "without it no account is registered",
		func(i *Issuer) *bool { return &i.TermsOfServiceAgreed }, boolKind),
	key("accountKey", "what key a new account gets. The key of an account that is registered changes with `acmed account rollover`",
		func(i *Issuer) **PrivateKey { return &i.AccountKey }, pointer(accountKeyKind)),
	key("externalAccountBinding", "the credentials of an account that you have at the CA",
		func(i *Issuer) **ExternalAccountBinding { return &i.Binding }, pointer(bindingKind)),
	key("caBundle", "PEM file of the roots of a private CA",
		func(i *Issuer) *string { return &i.CABundle }, optionalPathKind),
	key("proxy", "`http`, `https` or `socks5` URL without a password",
		func(i *Issuer) *string { return &i.Proxy }, proxyKind),
	key("proxyCredentialsFile", "a file that holds `user:password` for the proxy",
		func(i *Issuer) *string { return &i.ProxyCredentialsFile }, optionalPathKind),
	key("limits", "what acmed allows itself, so that it stays below what the CA allows. 0 means no limit",
		func(i *Issuer) *Limits { return &i.Limits }, limitsKind),
)

var accountKeyKind = object(checkPrivateKey,
	key("algorithm", "`ECDSA` or `RSA`",
		func(k *PrivateKey) *string { return &k.Algorithm }, oneOf("ECDSA", "RSA")),
	key("size", "ECDSA 256 or 384; RSA 2048, 3072 or 4096",
		func(k *PrivateKey) *int { return &k.Size }, keySizeKind),
)

// optionalPathKind reads an absolute path or "".
var optionalPathKind = like("^$|"+pathKind.schema.Pattern, scalar("an absolute path", "!!str", func(s string) (string, *fault) {
	if s == "" {
		return "", nil
	}
	return parsePath(s)
}))

func checkIssuer(v value, i *Issuer) {
	if i.Directory == "" {
		v.need("directory", "the URL of the CA's ACME directory")
	}
	if i.ProxyCredentialsFile != "" && i.Proxy == "" {
		v.at("proxyCredentialsFile").fault("there is no proxy", "write proxy: too, such as http://proxy.example.com:3128")
	}
}

var bindingKind = object(checkBinding,
	need("the CA hands it out together with the HMAC key", key("kid", "the identifier of the key that the CA handed out",
		func(b *ExternalAccountBinding) *string { return &b.KID }, word("a key identifier", parseNonEmpty))),
	key("hmacKeyFile", "a file that holds the HMAC key",
		func(b *ExternalAccountBinding) *string { return &b.HMACKeyFile }, pathKind),
	key("hmacKeyCredential", "the name of a systemd credential that holds it",
		func(b *ExternalAccountBinding) *string { return &b.HMACKeyCredential },
		like(credentialName.String(), scalar("the name of a systemd credential", "!!str", parseCredential))),
	key("algorithm", "how the binding is signed: `HS256`, `HS384` or `HS512`",
		func(b *ExternalAccountBinding) *string { return &b.Algorithm }, oneOf("HS256", "HS384", "HS512")),
)

func checkBinding(v value, _ *ExternalAccountBinding) {
	if v.has("hmacKeyFile") == v.has("hmacKeyCredential") {
		v.fault("needs either hmacKeyFile or hmacKeyCredential", "name the one that holds the HMAC key")
	}
}

// parseCredential reads the name of a file in $CREDENTIALS_DIRECTORY.
func parseCredential(s string) (string, *fault) {
	if !credentialName.MatchString(s) {
		return "", &fault{fmt.Sprintf("%q is not the name of a systemd credential", shorten(s)), "the name before the colon in LoadCredential="}
	}
	return s, nil
}

var limitsKind = object(nil,
	key("ordersPer3h", "new orders in three hours",
		func(l *Limits) *int { return &l.OrdersPer3h }, integer(0, 1<<30)),
	key("certificatesPerDomainPerWeek", "certificates of one registered domain in seven days",
		func(l *Limits) *int { return &l.PerDomainPerWeek }, integer(0, 1<<30)),
	key("certificatesPerNameSetPerWeek", "certificates of the very same names in seven days",
		func(l *Limits) *int { return &l.PerNameSetPerWeek }, integer(0, 1<<30)),
	key("failuresPerNamePerHour", "failed authorizations of one name in an hour; also limits `acmed renew --force`",
		func(l *Limits) *int { return &l.FailuresPerNamePerHour }, integer(0, 1<<30)),
	key("ordersInFlight", "orders open at once, at least 1. An order that waits for the CA or for DNS for more than a minute does not count",
		func(l *Limits) *int { return &l.OrdersInFlight }, integer(1, 1<<30)),
	key("renewalsExempt", "the CA counts renewals of unchanged names neither among new orders nor among certificates of a domain",
		func(l *Limits) *bool { return &l.RenewalsExempt }, boolKind),
)

// defaultLimits keep below what Let's Encrypt publishes: 300 orders in three hours, 50 certificates of a registered
// domain and 5 of the same names in a week, 5 failures of a name in an hour. Others publish no numbers.
func defaultLimits(name string) Limits {
	l := Limits{FailuresPerNamePerHour: 4, OrdersInFlight: 16}
	if name == "letsencrypt" || name == "letsencrypt-staging" {
		l.OrdersPer3h, l.PerDomainPerWeek, l.PerNameSetPerWeek = 270, 45, 4
		l.RenewalsExempt = true
	}
	return l
}

// baseIssuer returns what an empty file of that name means. The directory is "" unless it is built in.
func (p *parser) baseIssuer(name string) *Issuer {
	i := &Issuer{
		Name:                 name,
		Contact:              p.config.Contact,
		TermsOfServiceAgreed: p.config.TermsOfServiceAgreed,
		Limits:               defaultLimits(name),
	}
	if ca := catalogued(name); ca != nil {
		i.Directory, i.Credentials, i.Policy = ca.Directory, ca.Credentials, ca.Policy
	}
	return i
}

// ParseIssuer reads the text of an issuer of that file name with the defaults of c. The error joins values of *Problem.
func ParseIssuer(c *Config, file string, text []byte) (*Issuer, error) {
	d := (&parser{config: c}).issuer(file, text)
	return d.value, joined(d.problems)
}

func (p *parser) issuer(file string, text []byte) draft[Issuer] {
	doc := &document{file: file, lenient: p.lenient}
	root, blank := doc.parse(text)
	if root == nil {
		return draft[Issuer]{problems: doc.result()}
	}
	i := p.baseIssuer(nameOf(file))
	i.File = file
	public := i.Directory
	issuerKind.read(*root, i)
	if i.Directory != public {
		i.Credentials, i.Policy = "", nil // another CA under a name of the catalogue
	}
	if doc.refused() {
		return draft[Issuer]{problems: doc.result()}
	}
	return draft[Issuer]{value: i, blank: blank}
}

// know returns the parser for certificates that may name the issuers which files describe, those built in, and these DNS
// providers, which are sorted.
func (p *parser) know(files map[string]*Issuer, providers []string) *parser {
	known := map[string]*fault{}
	for _, ca := range Catalogue() {
		known[ca.Name] = nil
		if i := p.baseIssuer(ca.Name); ca.Credentials != "" {
			i.File = filepath.Join(p.config.IssuerDir, ca.Name+suffix)
			known[ca.Name] = &fault{ca.Name + " needs an external account binding", i.BindingHint()}
		}
	}
	for name := range files {
		known[name] = nil
	}
	return &parser{config: p.config, issuers: known, providers: providers, lenient: p.lenient, own: p.config.resolved()}
}
