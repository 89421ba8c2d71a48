package migrate

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"acmed/internal/spec"
)

// This file writes specs as a person would: what is the default is left out.

// specText is the file of a certificate, on a machine with these defaults.
func specText(client string, s *Step, c *spec.Certificate, defaults *spec.Defaults) string {
	w := &writer{}
	w.comment("yaml-language-server: $schema=/usr/share/acmed/schema/certificate.json")
	w.comment("imported from " + client + ": " + s.From)
	for _, n := range s.Notes {
		w.comment("see to: " + n.What)
	}
	if len(c.IPAddresses) > 0 || len(c.DNSNames) != 1 || c.DNSNames[0] != s.Name {
		w.list("dnsNames", c.DNSNames)
	}
	w.list("ipAddresses", stringsOf(c.IPAddresses))
	w.list("issuers", c.Issuers)
	w.line("challenge: {%s}", pairs("type", c.Challenge.Type, "webroot", c.Challenge.Webroot, "provider", c.Challenge.Provider))
	if c.Profile != defaults.Profile {
		w.line("profile: %s", scalar(c.Profile))
	}
	if c.PreferredChain != defaults.PreferredChain {
		w.line("preferredChain: %s", scalar(c.PreferredChain))
	}
	w.line("privateKey: {algorithm: %s, size: %d, rotationPolicy: %s}", c.PrivateKey.Algorithm, c.PrivateKey.Size, c.PrivateKey.RotationPolicy)
	if c.Renew.Before > 0 {
		w.line("renew: {before: %dd}", int(c.Renew.Before/(24*time.Hour)))
	}
	w.deploy(&c.Deploy)
	return w.String()
}

func issuerFile(client string, i *spec.Issuer) IssuerFile {
	w := &writer{}
	w.comment("yaml-language-server: $schema=/usr/share/acmed/schema/issuer.json")
	w.comment("imported from " + client + ". The account exists: no external account binding is needed.")
	w.word("directory", i.Directory)
	w.word("caBundle", i.CABundle)
	return IssuerFile{Name: i.Name, Directory: i.Directory, File: i.File, text: w.String()}
}

// writer writes YAML.
type writer struct{ strings.Builder }

func (w *writer) line(format string, args ...any) { fmt.Fprintf(w, format+"\n", args...) }

// comment writes a line that nothing in s can end.
func (w *writer) comment(s string) {
	w.line("# %s", strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s))
}

func (w *writer) word(key, value string) {
	if value != "" {
		w.line("%s: %s", key, scalar(value))
	}
}

func (w *writer) list(key string, words []string) {
	if len(words) > 0 {
		w.line("%s: %s", key, flow(words))
	}
}

func (w *writer) deploy(d *spec.Deploy) {
	if len(d.Files)+len(d.Reload)+len(d.Run) == 0 {
		return
	}
	w.line("deploy:")
	if len(d.Files) > 0 {
		w.line("  files:")
	}
	for _, f := range d.Files {
		mode := ""
		if f.Mode != 0 {
			mode = fmt.Sprintf("%04o", f.Mode)
		}
		w.line("    - {%s}", pairs("path", f.Path, "content", f.Content, "owner", f.Owner, "group", f.Group, "mode", mode))
	}
	if len(d.Reload) > 0 {
		w.line("  reload: %s", flow(d.Reload))
	}
	if len(d.Run) > 0 {
		w.line("  run:")
	}
	for _, r := range d.Run {
		w.line("    - {command: %s, timeout: %dm}", flow(r.Command), int(r.Timeout/time.Minute))
	}
}

// pairs are the keys that have a value, in flow style.
func pairs(keysAndValues ...string) string {
	var out []string
	for i := 0; i+1 < len(keysAndValues); i += 2 {
		if keysAndValues[i+1] != "" {
			out = append(out, keysAndValues[i]+": "+scalar(keysAndValues[i+1]))
		}
	}
	return strings.Join(out, ", ")
}

func flow(words []string) string {
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = scalar(word)
	}
	return "[" + strings.Join(out, ", ") + "]"
}

// plain is what YAML takes for text without quotes, whatever stands around it, but for the words below.
var plain = regexp.MustCompile(`^(/[A-Za-z0-9._/-]*|https://[A-Za-z0-9._:/-]*[A-Za-z0-9/]|--?[a-z][a-z0-9-]*|[A-Za-z][A-Za-z0-9._@/-]*)$`)

// notText are words that some take for something else.
func notText() []string { return []string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"} }

// scalar writes a string. Go's quotes are YAML's as well.
func scalar(s string) string {
	if plain.MatchString(s) && !slices.Contains(notText(), strings.ToLower(s)) {
		return s
	}
	return strconv.QuoteToGraphic(s)
}

func stringsOf(addresses []netip.Addr) (out []string) {
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}
