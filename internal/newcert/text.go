package newcert

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// text returns the spec as YAML. It contains only the keys that w sets.
func (w Wish) text() string {
	var b strings.Builder
	b.WriteString("# yaml-language-server: $schema=/usr/share/acmed/schema/certificate.json\n")
	b.WriteString("# Created by acmed add. acmed reads this file again after each edit.\n")
	names, addresses := w.split()
	writeList(&b, "dnsNames", names)
	writeList(&b, "ipAddresses", addresses)
	writeList(&b, "issuers", w.Issuers)
	if w.Profile != "" {
		fmt.Fprintf(&b, "profile: %s\n", scalar(w.Profile))
	}
	if w.Provider != "" {
		fmt.Fprintf(&b, "challenge: {type: dns-01, provider: %s}\n", scalar(w.Provider))
	}
	if len(w.Reload)+len(w.Restart)+len(w.Probe) == 0 {
		return b.String()
	}
	b.WriteString("deploy:\n")
	writeList(&b, "  reload", units(w.Reload))
	writeList(&b, "  restart", units(w.Restart))
	if len(w.Probe) > 0 {
		probes := make([]string, len(w.Probe))
		for i, address := range w.Probe {
			probes[i] = "{address: " + scalar(address) + "}"
		}
		fmt.Fprintf(&b, "  probe: [%s]\n", strings.Join(probes, ", "))
	}
	return b.String()
}

// split returns the DNS names and the IP addresses of w.
func (w Wish) split() (names, addresses []string) {
	for _, s := range w.Names {
		if slices.Contains(names, s) || slices.Contains(addresses, s) {
			continue
		}
		if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
			addresses = append(addresses, s)
		} else {
			names = append(names, s)
		}
	}
	return names, addresses
}

// units returns the names with the suffix that systemctl adds, too.
func units(names []string) []string {
	out := slices.Clone(names)
	for i, name := range out {
		if !unitSuffix.MatchString(name) {
			out[i] = name + ".service"
		}
	}
	return out
}

var unitSuffix = regexp.MustCompile(`\.(service|socket|target|path|timer|mount|automount|swap|slice|scope|device)$`)

func writeList(b *strings.Builder, key string, words []string) {
	if len(words) == 0 {
		return
	}
	out := make([]string, len(words))
	for i, word := range words {
		out[i] = scalar(word)
	}
	fmt.Fprintf(b, "%s: [%s]\n", key, strings.Join(out, ", "))
}

// plain is a string that YAML reads as one without quotes: no number starts with a letter.
var plain = regexp.MustCompile(`^[a-z][a-z0-9-]*(\.[a-z0-9-]+)*$`)

// scalar returns a string as YAML.
func scalar(s string) string {
	if !plain.MatchString(s) || slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "off", "y", "n"}, s) {
		return strconv.Quote(strings.ToValidUTF8(s, "\uFFFD"))
	}
	return s
}
