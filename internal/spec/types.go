// Package spec reads what the operator asked for: acmed.yaml, the issuers of issuers.d and the certificates of certs.d.
// It owns the wording of every complaint about those files, and which version of each is in force: the last good one.
// It never writes to the disk, never blocks on a strange file, knows no CA and no certificate that was issued, and
// never lets one bad file touch another.
package spec

import (
	"net/netip"
	"time"
)

// Config is acmed.yaml with every default applied.
type Config struct {
	File                 string
	Contact              []string
	TermsOfServiceAgreed bool
	Defaults             Defaults
	SpecDir              string
	IssuerDir            string
	DNSDir               string
	StateDir             string
	RuntimeDir           string
	DeploySocket         string
	HTTP                 HTTP
	TLSALPN              TLSALPN
	Admin                Admin
	Control              Control
	Log                  Log
	Notify               Notify
	LabelNames           []string      // labels that acmed_certificate_info carries
	RevocationPoll       time.Duration // between two looks at revocation lists; zero: there are none
	Workers              int
	Doubts               []*Problem // values that this machine does not know, such as a time zone; they are kept
}

// HTTP says who answers http-01.
type HTTP struct {
	Solver   string // "responder", "listen" or "off"
	Listen   string // host:port of the daemon's own listener with Solver "listen"; "": only a listener that systemd hands over
	Fallback string // "notFound" or "redirect"
}

// TLSALPN says where tls-alpn-01 is answered.
type TLSALPN struct{ Listen string }

// Admin is the listener of /metrics, /healthz, /readyz and the status page.
type Admin struct {
	Listen             string   // "": none
	CertificateMetrics string   // "auto", "on" or "off"
	Hosts              []string // further names by which it may be asked
	Insecure           bool     // allow an address that is not loopback without TLS and password
}

// Notify says who is told of certificates that need people. Without a command and a webhook, nobody is.
type Notify struct {
	Command   []string  // argv
	URL       string    // of a webhook
	URLFile   string    // holds the URL, where that is a secret
	TokenFile string    // holds a bearer token for the webhook
	Events    []string  // that are told; nil: all
	Expiring  []float64 // shares of the lifetime left, in (0, 1); nil: the usual
}

// Wanted tells whether somebody is to be told.
func (n *Notify) Wanted() bool { return len(n.Command) > 0 || n.webhook() }

func (n *Notify) webhook() bool { return n.URL != "" || n.URLFile != "" }

// Control is the socket that the command line talks to.
type Control struct{ Socket string }

// Log says what is logged and how.
type Log struct {
	Level  string // "debug", "info", "warn" or "error"
	Format string // "auto", "console", "json" or "journal"
}

// Defaults are what a spec file that is silent means. A key of a spec replaces its default, never merges with it.
type Defaults struct {
	Issuers        []string
	Challenge      Challenge
	Profile        string
	PreferredChain string
	PrivateKey     PrivateKey
	Renew          Renew
	Placeholder    bool
	Deploy         Deploy // Check, Reload, Run and Window only
}

// Issuer is one CA and how to have an account there: a file of issuers.d, or built in.
type Issuer struct {
	Name                 string
	File                 string // "": built in
	Directory            string // https URL
	Contact              []string
	TermsOfServiceAgreed bool
	AccountKey           *PrivateKey             // of a new account, without RotationPolicy; nil: ECDSA 256, or what the CA accepts
	Binding              *ExternalAccountBinding // nil: none
	Credentials          string                  // how to get a binding at this CA, after "get one"; "": not known, or none is needed
	Policy               *Policy                 // what this CA is known to refuse; nil: nothing is known
	CABundle             string                  // file of PEM roots; "": the system's
	Proxy                string                  // URL; "": HTTPS_PROXY and NO_PROXY decide
	ProxyCredentialsFile string                  // holds user:password for Proxy, and is read on use; "": it wants none
	Limits               Limits
}

// ExternalAccountBinding says where the credentials of RFC 8555 §7.3.4 are. The key is read on use, never kept.
type ExternalAccountBinding struct {
	KID               string
	HMACKeyFile       string // "" when HMACKeyCredential is set
	HMACKeyCredential string // name of a systemd credential
	Algorithm         string // "HS256", "HS384" or "HS512"; "": HS256
}

// Limits are what acmed allows itself at one issuer, below what the CA publishes. Zero: no limit.
type Limits struct {
	OrdersPer3h            int // new orders of the account in three hours
	PerDomainPerWeek       int // certificates of one registered domain in seven days
	PerNameSetPerWeek      int // certificates of the very same names in seven days
	FailuresPerNamePerHour int // failed authorizations of one name in an hour
	OrdersInFlight         int // orders open at once; never zero
	// RenewalsExempt reports whether the CA counts renewals of unchanged names neither among the orders of the account nor
	// among the certificates of a domain.
	RenewalsExempt bool
}

// Certificate is one file of specDir with the defaults applied. It is immutable.
type Certificate struct {
	Name           string // the file's base name without .yaml: the identity everywhere
	File           string
	DNSNames       []string     // A-labels in lower case, unique, in the order given
	IPAddresses    []netip.Addr // unique, in the order given
	Issuers        []string     // in failover order, at least one
	Challenge      Challenge
	Profile        string
	PreferredChain string
	PrivateKey     PrivateKey
	CSRFile        string // "": acmed makes the key
	CSR            *CSR   // what CSRFile holds; nil: there is none
	Renew          Renew
	Placeholder    bool // a self-signed certificate is live until the first of a CA
	Labels         map[string]string
	Deploy         Deploy
}

// Challenge says how control is proved.
type Challenge struct {
	Type     string // "http-01", "tls-alpn-01", "dns-01" or "dns-account-01"
	Webroot  string // http-01: a folder that a web server serves; "" for acmed's own way
	Provider string // dns-01, dns-account-01: a file of dns.d
}

// ByDNS tells whether a TXT record proves it.
func (c Challenge) ByDNS() bool { return c.Type == "dns-01" || c.Type == "dns-account-01" }

// PrivateKey says what key a certificate gets.
type PrivateKey struct {
	Algorithm      string // "ECDSA" or "RSA"
	Size           int    // 256, 384; 2048, 3072, 4096
	RotationPolicy string // "Always" or "Never"; "Never" with a CSR
}

// Renew says when.
type Renew struct {
	Before   time.Duration // before expiry; zero: Fraction counts
	Fraction float64       // of the lifetime left, in (0, 1); zero: one third, or one half under ten days
	ARI      bool          // follow RFC 9773
}

// Deploy says who consumes the certificate.
type Deploy struct {
	Files  []File
	Check  []string // argv
	Reload []string // systemd units
	// Restart are systemd units that a reload does not give a new certificate.
	Restart []string
	Run     []Run
	Probe   []Probe
	Window  *Window // nil: at any time
}

// Wanted tells whether there is anything to do.
func (d *Deploy) Wanted() bool {
	return len(d.Files)+len(d.Check)+len(d.Reload)+len(d.Restart)+len(d.Run)+len(d.Probe) > 0 || d.Window != nil
}

// File is one copy for a consumer.
type File struct {
	Path         string
	Content      string // "privkey", "cert", "chain", "fullchain", "combined" or "pkcs12"
	Owner, Group string // "": the process's own
	Mode         uint32 // permission bits; zero: 0600 for what holds a key, else 0644
	PasswordFile string // pkcs12 only
}

// Run is one command.
type Run struct {
	Command []string // argv
	Timeout time.Duration
	User    string // "": the process's own
	Privkey bool   `json:",omitzero"` // with User: the command finds the private key as well; without, it always does
}

// Probe is one address where the new leaf must be served.
type Probe struct {
	Address    string // host:port
	StartTLS   string // a protocol, such as "smtp"; "": TLS from the start
	ServerName string // "": the first name
}

// Window is when a certificate may be activated.
type Window struct {
	Start               string // "02:00"
	Duration            time.Duration
	Timezone            string // IANA name; "": local
	UnlessExpiresWithin time.Duration
}
