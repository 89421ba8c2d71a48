package spec

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// suffix is that of every file that is read.
const suffix = ".yaml"

// maxNames is the most names and addresses that one certificate may have.
const maxNames = 100

const notYet = "not available in this version"

var certificateKind = object(nil,
	key("dnsNames", "host names. Names with letters beyond ASCII are accepted and stored as A-labels in lower case",
		func(c *Certificate) *[]string { return &c.DNSNames }, sized(0, maxNames, list("a list of DNS names", dnsNameKind))),
	key("ipAddresses", "IPv4 and IPv6 addresses (RFC 8738). Names and addresses together: at most 100",
		func(c *Certificate) *[]netip.Addr { return &c.IPAddresses }, sized(0, maxNames, list("a list of IP addresses", addressKind))),
	key("issuers", "in the order in which they are tried",
		func(c *Certificate) *[]string { return &c.Issuers }, issuersKind),
	key("challenge", "how control of the names is proved",
		func(c *Certificate) *Challenge { return &c.Challenge }, challengeKind),
	key("profile", "an ACME profile, such as `shortlived` at Let's Encrypt",
		func(c *Certificate) *string { return &c.Profile }, stringKind),
	key("preferredChain", "the common name of the root or of the topmost issuer. A chain that ends at this issuer wins over a chain that only contains it; the shortest wins a tie. A change waits for the next certificate: `acmed renew` brings it now",
		func(c *Certificate) *string { return &c.PreferredChain }, stringKind),
	key("privateKey", "what key it gets",
		func(c *Certificate) *PrivateKey { return &c.PrivateKey }, privateKeyKind),
	key("csrFile", "a certificate signing request of your own, PEM or DER, whose private key never comes here",
		func(c *Certificate) *string { return &c.CSRFile }, pathKind),
	key("renew", "when it is renewed",
		func(c *Certificate) *Renew { return &c.Renew }, renewKind),
	key("placeholder", "a self-signed certificate stands in until the first real one, so that a server can start",
		func(c *Certificate) *bool { return &c.Placeholder }, boolKind),
	key("labels", "for logs and metrics. Letters, digits and `_`; values are strings",
		func(c *Certificate) *map[string]string { return &c.Labels }, labelsKind),
	key("deploy", "who consumes the certificate",
		func(c *Certificate) *Deploy { return &c.Deploy }, deployKind),
)

// A place is where in a file something is written.
type place struct{ line, column int }

// A draft is what became of one text.
type draft[T any] struct {
	value    *T // nil: refused
	problems []*Problem
	blank    bool    // the text says nothing at all
	paths    []place // of Deploy.Files, in their order
	beside   beside
	waits    bool // to be read again: a file that it depends on is not read yet
}

// A parser reads texts in the light of acmed.yaml and of the issuers there are. It never changes.
type parser struct {
	config    *Config
	issuers   map[string]*fault // what speaks against naming it in a spec; nil: nothing. A nil map knows every issuer, and every provider
	providers []string          // sorted
	awaited   []string          // keys of the files of issuers and providers that have to stand still before they are read
	lenient   bool              // for a text that was valid: what a check refuses stays as it is written
	// read reads csrFile; nil: as it is on the disk.
	read  func(path string) ([]byte, stamp, error)
	own   []ownDir // acmed's directories; nil: not looked for yet
	apart bool     // the text may come from a user with fewer rights: where its paths lead is not looked at
}

// ParseCertificate reads the text of a spec of that file name with the defaults of c, and csrFile, where it names one,
// by read; nil: as it is on the disk. Which issuers exist is not looked at. The error joins values of *Problem.
func ParseCertificate(c *Config, file string, text []byte, read func(path string) ([]byte, error)) (*Certificate, error) {
	p := &parser{config: c}
	if read != nil {
		p.read = func(path string) ([]byte, stamp, error) {
			text, err := read(path)
			return text, stamp{}, err
		}
	}
	d := p.certificate(file, text)
	return d.value, joined(d.problems)
}

// Blank tells whether a text says nothing at all, not even {}: fine for a new certificate, suspicious for one that said
// something before.
func Blank(text []byte) bool {
	_, blank := (&document{}).parse(text)
	return blank
}

func joined(problems []*Problem) error {
	errs := make([]error, len(problems))
	for i, p := range problems {
		errs[i] = p
	}
	return errors.Join(errs...)
}

func (p *parser) certificate(file string, text []byte) draft[Certificate] {
	doc := &document{file: file, lenient: p.lenient}
	root, blank := doc.parse(text)
	if root == nil {
		return draft[Certificate]{problems: doc.result()}
	}
	defaults := &p.config.Defaults
	c := &Certificate{
		Name:           nameOf(file),
		File:           file,
		Issuers:        defaults.Issuers,
		Challenge:      defaults.Challenge,
		Profile:        defaults.Profile,
		PreferredChain: defaults.PreferredChain,
		PrivateKey:     defaults.PrivateKey,
		Renew:          defaults.Renew,
		Placeholder:    defaults.Placeholder,
		Deploy:         defaults.Deploy,
	}
	certificateKind.read(*root, c)
	b := p.readCSR(*root, c)
	checkNames(*root, c)
	if blank && !strings.Contains(c.Name, ".") {
		root.fault("empty, and its name has no dot", "write {} for a certificate for the host "+c.Name+", or write dnsNames")
	}
	p.checkIssuers(*root, c)
	p.checkProvider(*root, c)
	p.checkOwn(*root, c)
	if doc.refused() || doc.waits {
		return draft[Certificate]{problems: doc.result(), beside: b, waits: doc.waits && !doc.refused()}
	}
	return draft[Certificate]{value: c, blank: blank, paths: pathsOf(*root), beside: b}
}

// nameOf shares the memory of file.
func nameOf(file string) string {
	return strings.TrimSuffix(filepath.Base(file), suffix)
}

// checkNames settles which names the certificate has and whether http-01 can prove them.
func checkNames(v value, c *Certificate) {
	switch {
	case v.has("csrFile") && !v.has("dnsNames") && !v.has("ipAddresses"): // they are those of the CSR
		checkProofs(v.at("csrFile"), c)
	case !v.has("dnsNames") && !v.has("ipAddresses"):
		if _, wrong := parseDNSName(c.Name); wrong != nil {
			v.fault("the file's name is no DNS name", "write dnsNames")
			return
		}
		c.DNSNames = []string{c.Name}
	case len(v.at("dnsNames").elements())+len(v.at("ipAddresses").elements()) == 0 && v.onlyLists("dnsNames", "ipAddresses"):
		v.at("dnsNames").fault("no name at all", "name at least one, or remove the key for the file's name")
	}
	if n := len(v.at("dnsNames").elements()) + len(v.at("ipAddresses").elements()); n > maxNames {
		v.at("dnsNames").fault(fmt.Sprintf("%d names and addresses", n), fmt.Sprintf("at most %d fit in one certificate: split it", maxNames))
	}
	for _, e := range v.at("dnsNames").elements() {
		if !c.Challenge.ByDNS() && strings.HasPrefix(e.Value, "*.") {
			e.fault("a wildcard needs dns-01", "write challenge: {type: dns-01, provider: NAME}, or name each host")
		}
	}
	for _, e := range v.at("ipAddresses").elements() {
		if c.Challenge.ByDNS() {
			e.fault("an address cannot be proved by dns-01", "use http-01, or another certificate for addresses (RFC 8738 §7)")
		}
	}
	c.DNSNames, c.IPAddresses = unique(c.DNSNames), unique(c.IPAddresses)
}

// checkProofs sees that control of the names of a CSR can be proved, of which the spec says where it is only.
func checkProofs(at value, c *Certificate) {
	for _, name := range c.DNSNames {
		if !c.Challenge.ByDNS() && strings.HasPrefix(name, "*.") {
			at.fault(fmt.Sprintf("the CSR asks for %q, and a wildcard needs dns-01", name), "write challenge: {type: dns-01, provider: NAME}")
		}
	}
	if c.Challenge.ByDNS() && len(c.IPAddresses) > 0 {
		at.fault(fmt.Sprintf("the CSR asks for %s, and an address cannot be proved by dns-01", c.IPAddresses[0]), "use http-01, or another CSR for addresses (RFC 8738 §7)")
	}
}

// onlyLists reports whether those of the keys that are there hold lists.
func (v value) onlyLists(keys ...string) bool {
	return !slices.ContainsFunc(keys, func(k string) bool { return v.has(k) && v.at(k).elements() == nil })
}

// unique drops repetitions from s, in place.
func unique[T comparable](s []T) []T {
	if len(s) < 2 {
		return s
	}
	seen := make(map[T]bool, len(s))
	return slices.DeleteFunc(s, func(e T) bool {
		twice := seen[e]
		seen[e] = true
		return twice
	})
}

// checkIssuers refuses issuers that cannot be asked.
func (p *parser) checkIssuers(v value, c *Certificate) {
	if p.issuers == nil {
		return
	}
	for i, name := range c.Issuers {
		wrong, known := p.issuers[name]
		if !known {
			wrong = &fault{fmt.Sprintf("unknown issuer %q", shorten(name)), suggest(name, p.usable())}
		}
		switch at := v.at("issuers"); {
		case slices.Contains(p.awaited, issuersPrefix+name+suffix): // also if one is built in, which is not what somebody wants
			v.doc.waits = true
		case wrong == nil:
		case v.has("issuers") && len(at.Content) == len(c.Issuers):
			at.elements()[i].fault(wrong.problem, wrong.hint)
		case !v.has("issuers"):
			at.fault(wrong.problem+" in the defaults of "+p.config.File, wrong.hint)
		}
	}
}

// checkProvider refuses a DNS provider that no file describes.
func (p *parser) checkProvider(v value, c *Certificate) {
	name := c.Challenge.Provider
	if p.issuers == nil || !c.Challenge.ByDNS() || name == "" || slices.Contains(p.providers, name) {
		return
	}
	if slices.Contains(p.awaited, providersPrefix+name+suffix) {
		v.doc.waits = true
		return
	}
	hint := "write " + filepath.Join(p.config.DNSDir, name+suffix)
	if near := nearest(name, p.providers); near != "" {
		hint = "did you mean " + near + "?"
	}
	at, where := v.at("challenge"), ""
	if !v.has("challenge") {
		where = " in the defaults of " + p.config.File
	} else if at.has("provider") {
		at = at.at("provider")
	}
	at.fault(fmt.Sprintf("unknown DNS provider %q%s", shorten(name), where), hint)
}

// usable returns the sorted names of the issuers that a spec may name.
func (p *parser) usable() []string {
	var out []string
	for name, wrong := range p.issuers {
		if wrong == nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

var issuersKind = some("no issuer", list("a list of issuers", word("an issuer", parseNonEmpty)))

// some makes a kind refuse an empty list.
func some[T any](empty string, k kind[[]T]) kind[[]T] {
	read := k.read
	k.read = func(v value, into *[]T) {
		read(v, into)
		if v.elements() != nil && len(v.Content) == 0 {
			v.fault(empty, "name at least one, or remove the key")
		}
	}
	return sized(1, 0, k)
}

var challengeKind = fresh(Challenge{}, object(checkChallenge,
	key("type", "how control is proved: `http-01`, `tls-alpn-01`, `dns-01` or `dns-account-01`",
		func(c *Challenge) *string { return &c.Type }, oneOf("http-01", "tls-alpn-01", "dns-01", "dns-account-01")),
	key("webroot", "a folder that your web server serves; `.well-known/acme-challenge` is made below it",
		func(c *Challenge) *string { return &c.Webroot }, pathKind),
	key("provider", "for `dns-01` and `dns-account-01`: a file of dns.d",
		func(c *Challenge) *string { return &c.Provider }, word("a file of dns.d", parseNonEmpty)),
))

func checkChallenge(v value, c *Challenge) {
	if !v.has("type") {
		c.Type = "http-01"
	}
	switch {
	case c.Type == "":
	case !c.ByDNS() && c.Provider != "":
		v.at("provider").fault("is for dns-01 and dns-account-01 only", "remove it")
	case c.ByDNS() && c.Provider == "":
		v.fault(c.Type+" without a provider", "name a file of dns.d in provider")
	case c.Type != "http-01" && c.Webroot != "":
		v.at("webroot").fault("is for http-01 only", "remove it")
	}
}

var privateKeyKind = fresh(PrivateKey{RotationPolicy: "Always"}, object(checkPrivateKey,
	key("algorithm", "`ECDSA` or `RSA`",
		func(k *PrivateKey) *string { return &k.Algorithm }, oneOf("ECDSA", "RSA")),
	key("size", "ECDSA 256 or 384; RSA 2048, 3072 or 4096",
		func(k *PrivateKey) *int { return &k.Size }, keySizeKind),
	key("rotationPolicy", "`Always`: a new key with each certificate; `Never`: the same one",
		func(k *PrivateKey) *string { return &k.RotationPolicy }, oneOf("Always", "Never")),
))

var (
	ecdsaSizes  = []int{256, 384}
	rsaSizes    = []int{2048, 3072, 4096}
	keySizeKind = among(slices.Concat(ecdsaSizes, rsaSizes), integer(1, 1<<16))
)

func checkPrivateKey(v value, k *PrivateKey) {
	if !v.has("algorithm") {
		k.Algorithm = "ECDSA"
	}
	sizes, hint := ecdsaSizes, "256 or 384"
	if k.Algorithm == "RSA" {
		sizes, hint = rsaSizes, "2048, 3072 or 4096"
	}
	switch {
	case k.Algorithm == "":
	case !v.has("size"):
		k.Size = sizes[0]
	case k.Size != 0 && !slices.Contains(sizes, k.Size):
		v.at("size").fault(fmt.Sprintf("%s has no size %d", k.Algorithm, k.Size), hint)
	}
}

var renewKind = fresh(Renew{ARI: true}, object(nil,
	key("before", "how much of the lifetime is left when it is renewed: `33%` or `30d`",
		func(r *Renew) *Renew { return r }, beforeKind),
	key("ari", "follow the CA's own suggestion (RFC 9773)",
		func(r *Renew) *bool { return &r.ARI }, boolKind),
))

var percentText = regexp.MustCompile(`^[0-9]{1,2}(\.[0-9]{1,9})?%$`)

var beforeText = like("^$|"+percentText.String()+"|"+durationText.String(),
	scalar("a percentage such as 33% or a duration such as 30d", "!!str", parseText))

var beforeKind = kind[Renew]{what: beforeText.what, schema: beforeText.schema, read: readBefore, shown: shownBefore}

// readBefore reads a part of the lifetime or a duration.
func readBefore(v value, into *Renew) {
	var s string
	beforeText.read(v, &s)
	if !strings.HasSuffix(s, "%") {
		if s != "" {
			durationKind.read(v, &into.Before)
		}
		return
	}
	share, wrong := parseShare(s)
	if wrong != nil {
		v.fault(wrong.problem, wrong.hint)
		return
	}
	into.Fraction = share
}

var labelName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]{0,63}$`)

var labelsSchema = schema{
	Type:                 "object",
	PropertyNames:        &schema{Pattern: labelName.String()},
	AdditionalProperties: stringKind.schema,
}

var labelsKind = kind[map[string]string]{what: "a mapping of labels", schema: labelsSchema, read: func(v value, into *map[string]string) {
	if v.ShortTag() != "!!map" {
		v.want("a mapping of labels", "such as {team: web}")
		return
	}
	out := make(map[string]string, len(v.Content)/2)
	for i := 0; i+1 < len(v.Content); i += 2 {
		k := value{v.Content[i], join(v.path, shorten(v.Content[i].Value)), v.doc}
		_, twice := out[k.Value]
		switch {
		case !labelName.MatchString(k.Value):
			k.fault("not the name of a label", "letters, digits and _ only, no digit first")
		case twice:
			k.fault("the same key again", "remove one of them")
		default:
			var label string
			stringKind.read(value{v.Content[i+1], k.path, v.doc}, &label)
			out[k.Value] = label
		}
	}
	*into = out
}}
