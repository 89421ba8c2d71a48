package spec

import (
	"fmt"
	"net/netip"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
)

var (
	dnsNameKind = like(`^(\*\.)?`+hostChars+`$`, scalar("a DNS name", "!!str", parseDNSName))
	hostKind    = like(`^`+hostChars+`$`, scalar("a DNS name", "!!str", parseHostOnly))
)

// hostChars are what ASCII a host name may hold, and all that is not ASCII.
const hostChars = `[^\x00-\x2c\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]+`

// ParseDNSName reads a name as specs write it and returns it in A-labels and lower case. A wildcard is a name too.
func ParseDNSName(s string) (string, error) {
	name, wrong := parseDNSName(s)
	if wrong != nil {
		return "", wrong.err()
	}
	return name, nil
}

// parseDNSName reads a name for a certificate: a host, or a wildcard whose first label is *.
func parseDNSName(s string) (string, *fault) {
	base, wild := strings.CutPrefix(s, "*.")
	if s == "*" || strings.Contains(base, "*") {
		return "", &fault{fmt.Sprintf("%q is not a DNS name", shorten(s)), "a wildcard is *. before a name, such as *.example.com"}
	}
	host, wrong := parseHost(base)
	switch {
	case wrong != nil:
		return "", wrong
	case !wild:
		return host, nil
	case len(host) > 251:
		return "", &fault{fmt.Sprintf("%q is over 253 bytes", shorten(s)), ""}
	}
	return "*." + host, nil
}

// parseHostOnly is parseHost where an address has no place beside the names.
func parseHostOnly(s string) (string, *fault) {
	host, wrong := parseHost(s)
	if _, err := netip.ParseAddr(s); err == nil {
		wrong.hint = "remove it: only host names are needed here"
	}
	return host, wrong
}

// parseHost returns a host name as A-labels in lower case (RFC 5890).
func parseHost(s string) (string, *fault) {
	quoted := fmt.Sprintf("%q", shorten(s))
	if _, err := netip.ParseAddr(s); err == nil {
		return "", &fault{quoted + " is an IP address", "write it under ipAddresses"}
	}
	if name, dot := strings.CutSuffix(s, "."); dot && name != "" {
		return "", &fault{quoted + " ends with a dot", "write " + shorten(name)}
	}
	ascii := s
	if !isPlainHost(s) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(s); err != nil {
			return "", &fault{quoted + " is not a DNS name", whyNot(s)}
		}
	}
	if len(ascii) > 253 {
		return "", &fault{quoted + " is over 253 bytes", ""}
	}
	for label := range strings.SplitSeq(ascii, ".") {
		if len(label) < 1 || len(label) > 63 {
			return "", &fault{quoted + " is not a DNS name", "each part between the dots has 1 to 63 letters"}
		}
	}
	if strings.Trim(ascii[strings.LastIndexByte(ascii, '.')+1:], "0123456789") == "" { // RFC 3696 §2
		return "", &fault{quoted + " is not a DNS name", "the last part has a letter; an IPv4 address has four numbers of up to 255"}
	}
	return ascii, nil
}

// UnicodeName returns an A-label name as people write it (RFC 5890); "" for one that has no such form, or whose form
// stands for another name.
func UnicodeName(name string) string {
	if !strings.Contains(name, "xn--") {
		return ""
	}
	base, wild := strings.CutPrefix(name, "*.")
	text, err := idna.Lookup.ToUnicode(base)
	if err != nil || text == base || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return ""
	}
	if back, wrong := parseHost(text); wrong != nil || back != base {
		return ""
	}
	if wild {
		text = "*." + text
	}
	return text
}

// isPlainHost reports whether s is letters, digits and inner hyphens in lower case, which is most names.
func isPlainHost(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9', c == '.':
		case c == '-' && i > 0 && i+1 < len(s) && s[i-1] != '-' && s[i-1] != '.' && s[i+1] != '.':
		default:
			return false
		}
	}
	return s != ""
}

func whyNot(s string) string {
	_, network := netip.ParsePrefix(s)
	_, port := netip.ParseAddrPort(s)
	switch {
	case network == nil:
		return "write single addresses under ipAddresses: a CA certifies no networks"
	case port == nil:
		return "write the address without the port under ipAddresses"
	case strings.Contains(s, "://"):
		return "write the name alone, without " + s[:strings.Index(s, "://")+3]
	case strings.Contains(s, "_"):
		return "no CA certifies names with _"
	case strings.ContainsAny(s, ":/"):
		return "write the name alone, without port or path"
	case strings.Contains(s, "@"):
		return "write the part after the @"
	}
	return "labels of letters, digits and inner hyphens"
}
