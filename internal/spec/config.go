package spec

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"
)

var configKind = object(checkConfig,
	key("contact", "`mailto:` URLs, for the accounts at all issuers",
		func(c *Config) *[]string { return &c.Contact }, contactsKind),
	key("termsOfServiceAgreed", "that you agree to the terms of service of the issuers you use",
		func(c *Config) *bool { return &c.TermsOfServiceAgreed }, boolKind),
	key("defaults", "as in a certificate, for all that do not say otherwise",
		func(c *Config) *Defaults { return &c.Defaults }, defaultsKind),
	key("specDir", "the folder of the certificates",
		func(c *Config) *string { return &c.SpecDir }, anyPathKind),
	key("issuerDir", "the folder of the issuers; need not exist",
		func(c *Config) *string { return &c.IssuerDir }, anyPathKind),
	key("dnsDir", "the folder of the DNS providers, for dns-01",
		func(c *Config) *string { return &c.DNSDir }, anyPathKind),
	key("stateDir", "keys, certificates, accounts",
		func(c *Config) *string { return &c.StateDir }, anyPathKind),
	key("runtimeDir", "sockets and challenge tokens",
		func(c *Config) *string { return &c.RuntimeDir }, anyPathKind),
	key("deploySocket", "who delivers certificates as root is asked here; without that socket the daemon does it itself",
		func(c *Config) *string { return &c.DeploySocket }, anyPathKind),
	key("http", "who answers http-01, and how",
		func(c *Config) *HTTP { return &c.HTTP }, httpKind),
	key("tlsALPN", "where tls-alpn-01 is answered",
		func(c *Config) *TLSALPN { return &c.TLSALPN }, tlsALPNKind),
	key("admin", "metrics, health and status page",
		func(c *Config) *Admin { return &c.Admin }, adminKind),
	key("control", "what the command line talks to",
		func(c *Config) *Control { return &c.Control }, controlKind),
	key("log", "what is logged and how",
		func(c *Config) *Log { return &c.Log }, logKind),
	key("notify", "who is told of certificates that need people",
		func(c *Config) *Notify { return &c.Notify }, notifyKind),
	key("labelNames", "labels of certificates that metrics carry",
		func(c *Config) *[]string { return &c.LabelNames }, list("a list of labels", labelNameKind)),
	key("revocationPoll", "how often the revocation lists of certificates are read whose CA does not advise when to renew; `0s`: never",
		func(c *Config) *time.Duration { return &c.RevocationPoll }, revocationPollKind),
	key("workers", "certificates that are worked on at once, up to 1024",
		func(c *Config) *int { return &c.Workers }, integer(1, 1024)),
)

// revocationPollKind keeps acmed from asking those who serve lists all the time.
var revocationPollKind = like(durationText.String()+"|^0s$", scalar("a duration such as 1h", "!!str", func(s string) (time.Duration, *fault) {
	if s == "0s" {
		return 0, nil
	}
	d, wrong := parseDuration(s)
	if wrong == nil && d < leastRevocationPoll {
		wrong = &fault{"less than a minute", "1h is usual: lists change a few times a day"}
	}
	return d, wrong
}))

const leastRevocationPoll = time.Minute

var contactsKind = list("a list of contacts", contactKind)

var defaultsKind = object(nil,
	key("issuers", "in the order in which they are tried",
		func(d *Defaults) *[]string { return &d.Issuers }, issuersKind),
	key("challenge", "how control of the names is proved",
		func(d *Defaults) *Challenge { return &d.Challenge }, challengeKind),
	key("profile", "an ACME profile, such as `shortlived` at Let's Encrypt",
		func(d *Defaults) *string { return &d.Profile }, stringKind),
	key("preferredChain", "the common name of the root or of the topmost issuer. A chain that ends at this issuer wins over a chain that only contains it; the shortest wins a tie. A change waits for the next certificate: `acmed renew` brings it now",
		func(d *Defaults) *string { return &d.PreferredChain }, stringKind),
	key("privateKey", "what key it gets",
		func(d *Defaults) *PrivateKey { return &d.PrivateKey }, privateKeyKind),
	key("renew", "when it is renewed",
		func(d *Defaults) *Renew { return &d.Renew }, renewKind),
	key("placeholder", "a self-signed certificate stands in until the first real one, so that a server can start",
		func(d *Defaults) *bool { return &d.Placeholder }, boolKind),
	key("deploy", "who consumes the certificate",
		func(d *Defaults) *Deploy { return &d.Deploy }, object(checkDeploy, deployDefaults...)),
)

var httpKind = object(checkHTTP,
	key("solver", "who answers http-01: `responder` (its own process, from a token folder), `listen` (the daemon itself), `off`",
		func(h *HTTP) *string { return &h.Solver }, oneOf("responder", "listen", "off")),
	key("listen", "with `solver: listen`: the address, such as `\":80\"`. Empty: only a listener that systemd hands over",
		func(h *HTTP) *string { return &h.Listen }, listenKind),
	key("fallback", "what other requests get: `notFound`, or `redirect` to https",
		func(h *HTTP) *string { return &h.Fallback }, oneOf("notFound", "redirect")),
)

func checkHTTP(v value, h *HTTP) {
	if h.Listen != "" && h.Solver != "listen" {
		v.at("listen").fault("acmed listens itself only with solver: listen", "write solver: listen, or remove listen")
	}
}

var tlsALPNKind = object(nil, key("listen", "the address at which tls-alpn-01 is answered, such as `\":443\"`. Empty: only a listener that systemd hands over", func(t *TLSALPN) *string { return &t.Listen }, listenKind))

var adminKind = object(checkAdmin,
	key("listen", "metrics, health and status page; `\"\"`: none",
		func(a *Admin) *string { return &a.Listen }, listenKind),
	key("certificateMetrics", "metrics for each certificate: `on`, `off`, or `auto` up to 10,000 certificates",
		func(a *Admin) *string { return &a.CertificateMetrics }, oneOf("auto", "on", "off")),
	key("hosts", "further host names by which requests may come, beside addresses, `localhost` and the name of the machine",
		func(a *Admin) *[]string { return &a.Hosts }, list("a list of host names", hostKind)),
	key("insecure", "allow an address that is not loopback",
		func(a *Admin) *bool { return &a.Insecure }, boolKind),
)

func checkAdmin(v value, a *Admin) {
	if a.Listen != "" && !a.Insecure && !isLoopback(a.Listen) {
		v.at("listen").fault(a.Listen+" is not loopback, and TLS with a password is "+notYet,
			"listen on 127.0.0.1, or set insecure: true")
	}
}

func isLoopback(listen string) bool {
	host, _, _ := net.SplitHostPort(listen)
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

var controlKind = object(nil, key("socket", "where the command line finds the daemon",
	func(c *Control) *string { return &c.Socket }, anyPathKind))

var logKind = object(nil,
	key("level", "`debug`, `info`, `warn`, `error`",
		func(l *Log) *string { return &l.Level }, oneOf("debug", "info", "warn", "error")),
	key("format", "`console`, `json`, `journal`; `auto` looks at where the log goes",
		func(l *Log) *string { return &l.Format }, oneOf("auto", "console", "json", "journal")),
)

var labelNameKind = like(labelName.String(), scalar("the name of a label", "!!str", parseLabelName))

// parseLabelName reads what Prometheus accepts and does not keep for itself.
func parseLabelName(s string) (string, *fault) {
	if !labelName.MatchString(s) || strings.HasPrefix(s, "__") {
		return "", &fault{fmt.Sprintf("%q is not the name of a label", shorten(s)), "letters, digits and _ only, no digit first"}
	}
	if s == "cert" || s == "issuer" {
		return "", &fault{s + " is a label of every certificate already", "choose another name"}
	}
	return s, nil
}

func checkConfig(_ value, c *Config) { c.LabelNames = unique(c.LabelNames) }

// DefaultConfig returns what an empty file means.
func DefaultConfig(file string) *Config {
	c := &Config{
		File: file,
		Defaults: Defaults{
			Issuers:    []string{"letsencrypt"},
			Challenge:  Challenge{Type: "http-01"},
			PrivateKey: PrivateKey{Algorithm: "ECDSA", Size: 256, RotationPolicy: "Always"},
			Renew:      Renew{ARI: true},
		},
		SpecDir:    "/etc/acmed/certs.d",
		IssuerDir:  "/etc/acmed/issuers.d",
		DNSDir:     "/etc/acmed/dns.d",
		StateDir:   "/var/lib/acmed",
		RuntimeDir: "/run/acmed",
		HTTP:       HTTP{Solver: "responder", Fallback: "notFound"},
		Admin:      Admin{Listen: "127.0.0.1:9402", CertificateMetrics: "auto"},
		Log:        Log{Level: "info", Format: "auto"},
		Workers:    16,

		RevocationPoll: time.Hour,
	}
	c.resolve("")
	return c
}

// resolve makes the paths absolute and gives the sockets their defaults.
func (c *Config) resolve(dir string) {
	for _, path := range []*string{&c.SpecDir, &c.IssuerDir, &c.DNSDir, &c.StateDir, &c.RuntimeDir, &c.DeploySocket, &c.Control.Socket,
		&c.Notify.URLFile, &c.Notify.TokenFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
	if c.Control.Socket == "" {
		c.Control.Socket = filepath.Join(c.RuntimeDir, "control", "acmed.sock")
	}
	if c.DeploySocket == "" {
		c.DeploySocket = filepath.Join(c.RuntimeDir, "deploy.sock")
	}
}

// Foreign returns the path of a configuration beside that of c which belongs to another program of acmed's name, "" when
// there is none. It is not read.
func Foreign(c *Config) string {
	file := filepath.Join(filepath.Dir(c.File), "acmed.toml")
	if _, err := os.Lstat(file); c.File == "" || err != nil {
		return ""
	}
	return file
}

// LoadConfig reads acmed.yaml. Its relative paths are taken from the folder of the file. A file that is not there is
// an error that wraps fs.ErrNotExist; what is wrong in the file comes as joined values of *Problem.
func LoadConfig(file string) (*Config, error) {
	absolute, err := filepath.Abs(file)
	if err != nil {
		return nil, fmt.Errorf("reading config %s: %w", file, err)
	}
	text, err := readText(absolute)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("reading config: %w", err)
	case err != nil:
		return nil, fileProblem(absolute, err)
	}
	return ParseConfig(absolute, text)
}

// ParseConfig reads the text of the acmed.yaml at the absolute path file. What is wrong in it comes as joined values
// of *Problem.
func ParseConfig(file string, text []byte) (*Config, error) {
	doc := &document{file: file, tolerant: true}
	c := DefaultConfig(file)
	c.Control.Socket, c.DeploySocket = "", ""
	root, _ := doc.parse(text)
	if root != nil {
		configKind.read(*root, c)
	}
	if err := joined(doc.result()); err != nil {
		return nil, err
	}
	c.resolve(filepath.Dir(file))
	checkDefaultWebroot(*root, c)
	c.Doubts = doc.doubts
	return c, nil
}
