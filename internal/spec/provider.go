package spec

import (
	"fmt"
	"net"
	"regexp"
	"strings"
	"time"
)

// Provider is one way to write DNS records: a file of dns.d. Exactly one of RFC2136, ACMEDNS, HTTPReq and Exec is set.
// What it names in files is read on use.
type Provider struct {
	Name        string
	File        string
	TTL         time.Duration // of the records
	Propagation Propagation
	Zones       []string // in lower case, at which the search for a record's zone begins; nil: at the public suffix plus one label
	FollowCNAME *bool    // whether records are written where a CNAME leads; nil: unless a wildcard made it
	RFC2136     *RFC2136
	ACMEDNS     *ACMEDNS
	HTTPReq     *HTTPReq
	Exec        *Exec
}

// Propagation says how acmed makes sure that the CA will see a record.
type Propagation struct {
	Timeout   time.Duration // after which an attempt has failed
	Check     bool          // ask the zone's own servers; false: wait for Delay alone
	Delay     time.Duration // after the servers have it; zero: none
	Resolvers []string      // host:port, that find the zone and its servers; nil: those of /etc/resolv.conf
}

// RFC2136 writes records by dynamic updates (RFC 2136), signed with TSIG (RFC 8945).
type RFC2136 struct {
	Server        string // host:port
	Zone          string // that is updated, in lower case; "": the one that holds the record
	TSIGKeyName   string // "": updates are not signed
	TSIGAlgorithm string // such as "hmac-sha256"
	TSIGKeyFile   string // holds the key in base64, or a file of tsig-keygen
}

// ACMEDNS writes records by an acme-dns server, to which _acme-challenge is delegated.
type ACMEDNS struct {
	URL         string
	AccountFile string // JSON of one registration, or of many by domain
}

// HTTPReq writes records by the protocol that lego calls httpreq.
type HTTPReq struct {
	URL          string
	Mode         string // "default" or "raw"
	Username     string
	PasswordFile string
}

// Exec writes records by a program of the operator's.
type Exec struct {
	Command []string // argv; the protocol of lego's exec
	Mode    string   // "default", "raw" or "certbot"
	CleanUp []string // argv, for Mode "certbot": its --manual-cleanup-hook; Command is the --manual-auth-hook
	Timeout time.Duration
	User    string   // "": to whom the state folder belongs
	Aliases []string // with Mode "default": zones in lower case, into which CNAMEs of _acme-challenge may lead; nil: none
}

const (
	usualTTL         = time.Minute
	usualPropagation = 2 * time.Minute
)

var providerKind = object(checkProvider,
	key("rfc2136", "dynamic updates, as BIND, Knot, PowerDNS and Windows DNS take them",
		func(p *Provider) **RFC2136 { return &p.RFC2136 }, pointer(rfc2136Kind)),
	key("acmeDNS", "an acme-dns server, to which a CNAME of `_acme-challenge` leads",
		func(p *Provider) **ACMEDNS { return &p.ACMEDNS }, pointer(acmeDNSKind)),
	key("httpReq", "a web service that speaks the protocol of lego's `httpreq`",
		func(p *Provider) **HTTPReq { return &p.HTTPReq }, pointer(httpReqKind)),
	key("exec", "a program, called as lego or certbot call theirs",
		func(p *Provider) **Exec { return &p.Exec }, pointer(execKind)),
	key("ttl", "of the records",
		func(p *Provider) *time.Duration { return &p.TTL }, durationKind),
	key("zones", "zones that the records are in, where no public name server knows them, such as `corp.lan`",
		func(p *Provider) *[]string { return &p.Zones }, list("a list of zones", dnsZoneKind)),
	key("followCNAME", "`true` writes a record wherever a CNAME of its name leads, `false` at the name itself; unless given, a CNAME that a wildcard makes is not followed",
		func(p *Provider) **bool { return &p.FollowCNAME }, pointer(boolKind)),
	key("propagation", "how acmed makes sure that the CA will see a record",
		func(p *Provider) *Propagation { return &p.Propagation }, propagationKind),
)

func checkProvider(v value, _ *Provider) {
	var ways []string
	for _, way := range []string{"rfc2136", "acmeDNS", "httpReq", "exec"} {
		if v.has(way) {
			ways = append(ways, way)
		}
	}
	switch len(ways) {
	case 0:
		v.fault("names no way to write records", "write one of rfc2136, acmeDNS, httpReq, exec")
	case 1:
	default:
		v.at(ways[1]).fault("is a second way, beside "+ways[0], "keep one: another provider is another file")
	}
}

var rfc2136Kind = object(checkRFC2136,
	need("the primary server of the zone", key("server", "the server that takes updates; port 53 unless given",
		func(r *RFC2136) *string { return &r.Server }, dnsServerKind)),
	key("zone", "the zone that is updated; unless given, the one that holds the record",
		func(r *RFC2136) *string { return &r.Zone }, dnsZoneKind),
	key("tsigKeyName", "the name of the TSIG key",
		func(r *RFC2136) *string { return &r.TSIGKeyName }, word("the name of a key", parseNonEmpty)),
	key("tsigAlgorithm", "`hmac-sha256`, `hmac-sha384`, `hmac-sha512` or `hmac-sha1`",
		func(r *RFC2136) *string { return &r.TSIGAlgorithm }, oneOf("hmac-sha256", "hmac-sha384", "hmac-sha512", "hmac-sha1")),
	key("tsigKeyFile", "a file that holds the key: what `tsig-keygen` prints, or its base64 alone",
		func(r *RFC2136) *string { return &r.TSIGKeyFile }, pathKind),
)

func checkRFC2136(v value, r *RFC2136) {
	if v.has("tsigKeyName") != v.has("tsigKeyFile") {
		v.fault("a TSIG key is a name and a file", "give both tsigKeyName and tsigKeyFile")
	}
	if r.TSIGAlgorithm == "" {
		r.TSIGAlgorithm = "hmac-sha256"
	}
}

var acmeDNSKind = object(nil,
	key("url", "the server's API", func(a *ACMEDNS) *string { return &a.URL }, webhookKind),
	need("what the server's /register has answered", key("accountFile", "a file that holds the JSON of a registration, or of many by domain",
		func(a *ACMEDNS) *string { return &a.AccountFile }, pathKind)),
)

var httpReqKind = object(func(v value, h *HTTPReq) {
	if v.has("username") != v.has("passwordFile") {
		v.fault("a login is a name and a file", "give both username and passwordFile")
	}
	if h.Mode == "" {
		h.Mode = "default"
	}
},
	need("where the service is", key("url", "where `/present` and `/cleanup` are", func(h *HTTPReq) *string { return &h.URL }, webhookKind)),
	key("mode", "`default` sends name and value of the record, `raw` the domain, token and key authorization",
		func(h *HTTPReq) *string { return &h.Mode }, oneOf("default", "raw")),
	key("username", "for basic authentication", func(h *HTTPReq) *string { return &h.Username }, word("a user's name", parseNonEmpty)),
	key("passwordFile", "a file that holds the password", func(h *HTTPReq) *string { return &h.PasswordFile }, pathKind),
)

var execKind = object(checkExec,
	need("the program", key("command", "a list of words; no shell", func(e *Exec) *[]string { return &e.Command }, some("no command", argvKind))),
	key("mode", "`default` and `raw` call it as lego's exec provider does, `certbot` as a manual-auth-hook",
		func(e *Exec) *string { return &e.Mode }, oneOf("default", "raw", "certbot")),
	key("cleanUp", "with `certbot`: the manual-cleanup-hook, a list of words",
		func(e *Exec) *[]string { return &e.CleanUp }, argvKind),
	key("timeout", "how long it may take", func(e *Exec) *time.Duration { return &e.Timeout }, durationKind),
	key("user", "who runs it", func(e *Exec) *string { return &e.User }, accountKind),
	key("aliases", "with `default`: zones into which CNAMEs of `_acme-challenge` lead; as root, it is called for no other names",
		func(e *Exec) *[]string { return &e.Aliases }, list("a list of zones", dnsZoneKind)),
)

func checkExec(v value, e *Exec) {
	if e.Mode == "" {
		e.Mode = "default"
	}
	if e.Timeout == 0 {
		e.Timeout = time.Minute
	}
	if v.has("cleanUp") && e.Mode != "certbot" {
		v.at("cleanUp").fault("is for mode: certbot only", "remove it: the command is called with cleanup")
	}
	if v.has("aliases") && e.Mode != "default" {
		v.at("aliases").fault("is for mode: default only", "remove it: with mode: "+e.Mode+" the program is told the domain, and finds the record by itself")
	}
}

var propagationKind = object(nil,
	key("timeout", "how long the servers may take to have the record",
		func(p *Propagation) *time.Duration { return &p.Timeout }, durationKind),
	key("check", "ask every server of the zone, before the CA does",
		func(p *Propagation) *bool { return &p.Check }, boolKind),
	key("delay", "how long to wait besides, for servers that cannot be asked",
		func(p *Propagation) *time.Duration { return &p.Delay }, durationKind),
	key("resolvers", "who is asked which servers a zone has; those of /etc/resolv.conf unless given",
		func(p *Propagation) *[]string { return &p.Resolvers }, list("a list of servers", dnsServerKind)),
)

var dnsServerKind = like(`^[0-9A-Za-z.:\[\]-]+$`, scalar("a server such as 192.0.2.53 or ns1.example.com:53", "!!str", parseDNSServer))

var dnsZoneKind = like(`^[0-9A-Za-z._-]+$`, scalar("the name of a zone", "!!str", parseDNSZone))

// plainZone is a name that may have underscores, as those of records do.
var plainZone = regexp.MustCompile(`^([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// parseDNSZone returns a zone in lower case, without the dot at its end.
func parseDNSZone(s string) (string, *fault) {
	zone := strings.ToLower(strings.TrimSuffix(s, "."))
	if len(zone) > 253 || !plainZone.MatchString(zone) {
		return "", &fault{fmt.Sprintf("%q is not the name of a zone", shorten(s)), "such as acme.example.net"}
	}
	return zone, nil
}

// ParseDNSServer returns the address of a DNS server, to which it adds port 53 where there is none. It accepts what the
// files of dns.d accept: an IP address, in brackets or not, or a host name.
func ParseDNSServer(s string) (string, error) {
	at, wrong := parseDNSServer(s)
	if wrong != nil {
		return "", wrong.err()
	}
	return at, nil
}

func parseDNSServer(s string) (string, *fault) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), "53"
	}
	at, wrong := parseHostPort(net.JoinHostPort(host, port))
	if wrong != nil {
		return "", &fault{fmt.Sprintf("%q is not a server", shorten(s)), "such as 192.0.2.53 or ns1.example.com:53"}
	}
	return at, nil
}

// ParseProvider reads the text of a DNS provider of that file name. The error joins values of *Problem.
func ParseProvider(file string, text []byte) (*Provider, error) {
	d := parseProvider(file, text)
	return d.value, joined(d.problems)
}

func parseProvider(file string, text []byte) draft[Provider] {
	return parseProviderAs(&document{file: file}, text)
}

func parseProviderAs(doc *document, text []byte) draft[Provider] {
	root, blank := doc.parse(text)
	if root == nil {
		return draft[Provider]{problems: doc.result()}
	}
	p := &Provider{
		Name: nameOf(doc.file), File: doc.file, TTL: usualTTL,
		Propagation: Propagation{Timeout: usualPropagation, Check: true},
	}
	providerKind.read(*root, p)
	if doc.refused() {
		return draft[Provider]{problems: doc.result()}
	}
	return draft[Provider]{value: p, blank: blank}
}
