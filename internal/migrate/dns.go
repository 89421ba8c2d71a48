package migrate

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"acmed/internal/spec"
)

// Provider is a way to write DNS records that a client was told.
type Provider struct {
	Name   string // that is wanted here; another way that has it gets a number
	From   string // the file that says so
	Way    spec.Provider
	Secret []byte // the TSIG key; nil: there is none
}

// ProviderFile is a file of dns.d that is missing.
type ProviderFile struct {
	Name       string `json:"name"`
	From       string `json:"from"`
	File       string `json:"file"`
	SecretFile string `json:"secretFile,omitempty"`
	text       string
	secret     []byte
	commands   []spec.Run
}

// algorithms are those of TSIG that acmed knows.
var algorithms = regexp.MustCompile(`^hmac-sha(1|256|384|512)$`)

// update is dynamic DNS with a key.
func update(name, from, server, port, key, algorithm, secret string) (*Provider, error) {
	algorithm = strings.ToLower(algorithm)
	switch {
	case server == "":
		return nil, fmt.Errorf("%s names no server", from)
	case key != "" && algorithm == "hmac-md5":
		return nil, fmt.Errorf("%s asks for hmac-md5, which is not safe: give the zone a key of hmac-sha256", from)
	case key != "" && !algorithms.MatchString(algorithm):
		return nil, fmt.Errorf("%s asks for an algorithm that acmed does not know: give the zone a key of hmac-sha256", from)
	case key != "" && secret == "":
		return nil, fmt.Errorf("%s has no secret", from)
	}
	r := &spec.RFC2136{Server: server}
	if _, _, err := net.SplitHostPort(server); err != nil && port != "" {
		r.Server = net.JoinHostPort(strings.Trim(server, "[]"), port)
	}
	p := &Provider{Name: name, From: from, Way: spec.Provider{RFC2136: r}}
	if key != "" {
		r.TSIGKeyName, r.TSIGAlgorithm, p.Secret = key, algorithm, []byte(secret+"\n")
	}
	return p, nil
}

// rfc2136 reads the credentials of certbot's plugin of that name.
func (t *certbotParams) rfc2136(file string) (*Provider, error) {
	if !filepath.IsAbs(file) {
		return nil, fmt.Errorf("the credentials are not known")
	}
	const from = "the file that dns_rfc2136_credentials names"
	text, err := textAt(file)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", from, err)
	}
	ini, err := parseConfigObj("rfc2136.ini", text)
	if err != nil {
		return nil, err
	}
	get := func(key string) string { return ini.get("dns_rfc2136_" + key) }
	return update("rfc2136", from, get("server"), get("port"), get("name"), cmp.Or(get("algorithm"), "hmac-md5"), get("secret"))
}

// manualHooks makes a provider of certbot's hooks.
func (t *certbotParams) manualHooks() *Provider {
	e := &spec.Exec{Command: words(t.params.get("manual_auth_hook")), Mode: "certbot", Timeout: hookTimeout, User: "root"} // as certbot ran them
	if hook := t.params.get("manual_cleanup_hook"); hook != "" {
		e.CleanUp = words(hook)
	}
	return &Provider{Name: "manual", From: t.cert.From, Way: spec.Provider{Exec: e}}
}

// dynamic translates acme.sh's dns_nsupdate.
func (a *acmeSh) dynamic(c *Certificate) {
	provider, err := a.nsupdate()
	if err != nil {
		c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: "nsupdate"}
		c.note("write the provider to dns.d/nsupdate.yaml", "dns-01 by dns_nsupdate: %v", err)
		return
	}
	c.Provider = provider
}

// textAt reads a file of settings that another one names. Its error does not hold the path.
func textAt(file string) (string, error) {
	dir, err := openTree(filepath.Dir(file))
	if err != nil {
		return "", valueFault(err)
	}
	defer dir.close()
	text, err := dir.text(filepath.Base(file), maxText)
	if err != nil {
		return "", valueFault(errors.Unwrap(err)) // without the path that about adds
	}
	return text, nil
}

// tsigKey is a key as tsig-keygen writes it.
var tsigKey = regexp.MustCompile(`(?s)^\s*key\s+"?([^"\s{]+)"?\s*\{\s*algorithm\s+"?([\w-]+)"?;\s*secret\s+"([A-Za-z0-9+/=]+)";\s*\};\s*$`)

// nsupdate reads what acme.sh's dns_nsupdate was told.
func (a *acmeSh) nsupdate() (*Provider, error) {
	get := func(key string) string { return cmp.Or(a.vars["SAVED_NSUPDATE_"+key], a.vars["NSUPDATE_"+key]) }
	from, file := a.path("account.conf"), get("KEY")
	if !filepath.IsAbs(file) {
		return nil, fmt.Errorf("%s names no file of a key", from)
	}
	text, err := textAt(file)
	if err != nil {
		return nil, fmt.Errorf("reading the file that NSUPDATE_KEY names: %w", err)
	}
	m := tsigKey.FindStringSubmatch(text)
	if m == nil {
		return nil, errors.New("the file that NSUPDATE_KEY names is not what tsig-keygen writes")
	}
	return update("nsupdate", from, cmp.Or(get("SERVER"), "localhost"), get("SERVER_PORT"), m[1], m[2], m[3])
}

// provider finds the provider that a certificate needs, or makes one, and returns its name.
func (p *planner) provider(want *Provider) string {
	for n := 1; ; n++ {
		f := p.providerFile(want, n)
		have, planned := p.providers[f.Name]
		old, err := os.ReadFile(f.File)
		switch {
		case planned && have.text == f.text, err == nil && string(old) == f.text:
			return f.Name
		case !planned && !exists(f.File) && p.set.Provider(f.Name) == nil && secretFree(&f):
			p.providers[f.Name] = f
			return f.Name
		}
	}
}

// providerFile is the file of a provider whose name comes up for the nth time.
func (p *planner) providerFile(want *Provider, n int) ProviderFile {
	name := want.Name
	if n > 1 {
		name = fmt.Sprintf("%s-%d", name, n)
	}
	f := ProviderFile{Name: name, From: want.From, File: filepath.Join(p.config.DNSDir, name+".yaml"), secret: want.Secret}
	if f.secret != nil {
		f.SecretFile = filepath.Join(filepath.Dir(p.config.File), "secrets", "tsig-"+name)
	}
	f.text = providerText(p.Client, &f, &want.Way)
	if e := want.Way.Exec; e != nil {
		f.commands = []spec.Run{{Command: e.Command}, {Command: e.CleanUp}}
	}
	return f
}

// secretFree tells that the secret can be written: an import that was cut short may have done so.
func secretFree(f *ProviderFile) bool {
	if f.SecretFile == "" {
		return true
	}
	old, err := os.ReadFile(f.SecretFile)
	return err != nil && !exists(f.SecretFile) || bytes.Equal(old, f.secret)
}

// allProviders are those that specs name, there or planned. A file that would be bad is none.
func (p *planner) allProviders() (out []*spec.Provider) {
	for _, f := range p.providers {
		if way, err := spec.ParseProvider(f.File, []byte(f.text)); err == nil {
			out = append(out, way)
		}
	}
	for i := range p.Certificates {
		name := p.Certificates[i].have.Want.Challenge.Provider
		if have := p.set.Provider(name); have != nil && !slices.Contains(out, have) {
			out = append(out, have)
		}
	}
	return out
}

// write writes the secret, for root and the group of the daemon, and then the file that names it.
func (f *ProviderFile) write(gid int) error {
	if err := folder(filepath.Dir(f.File), 0o755, -1); err != nil {
		return err
	}
	if f.SecretFile != "" {
		if err := folder(filepath.Dir(f.SecretFile), 0o750, gid); err != nil {
			return err
		}
		if old, err := os.ReadFile(f.SecretFile); err != nil || !bytes.Equal(old, f.secret) {
			if err := createFor(f.SecretFile, string(f.secret), 0o640, gid); err != nil {
				return fmt.Errorf("writing the key of DNS provider %s: %w", f.Name, err)
			}
		}
	}
	if err := createHiding(f.commands, f.File, f.text, gid); err != nil {
		return fmt.Errorf("writing DNS provider %s: %w", f.Name, err)
	}
	return nil
}

// providerText is the file of a provider.
func providerText(client string, f *ProviderFile, way *spec.Provider) string {
	w := &writer{}
	w.comment("yaml-language-server: $schema=/usr/share/acmed/schema/dns.json")
	w.comment("imported from " + client)
	if r := way.RFC2136; r != nil {
		w.line("rfc2136: {%s}", pairs("server", r.Server, "tsigKeyName", r.TSIGKeyName, "tsigAlgorithm", r.TSIGAlgorithm, "tsigKeyFile", f.SecretFile))
	}
	if e := way.Exec; e != nil {
		w.line("exec:")
		w.line("  command: %s", flow(e.Command))
		w.line("  mode: %s", e.Mode)
		if len(e.CleanUp) > 0 {
			w.line("  cleanUp: %s", flow(e.CleanUp))
		}
		w.line("  timeout: %dm", int(e.Timeout.Minutes()))
		if e.User != "" {
			w.line("  user: %s", e.User)
		}
	}
	return w.String()
}
