package spec

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The kinds of plain values.
var (
	stringKind   = like(`^[^\x00-\x1f\x7f]*$`, scalar("a string", "!!str", parseText))
	boolKind     = scalar("true or false", "!!bool", parseBool)
	durationKind = like(durationText.String(), scalar("a duration such as 30d 12h", "!!str", parseDuration))
	pathKind     = like(`^(/[^/\x00-\x1f\x7f]+)+$`, scalar("an absolute path", "!!str", parsePath))
	hostPortKind = like(`.:[0-9]{1,5}$`, scalar("an address with a port", "!!str", parseHostPort))
	listenKind   = like(`^$|^([0-9.]*|localhost|\[[^\]]*\]):[0-9]{1,5}$`, scalar("an address with a port", "!!str", parseBindTo))
	modeKind     = like(`^0*[0-7]{3}$`, scalar(`permissions such as "0640"`, "!!str", parseMode))
	unitKind     = like(unitSuffix.String(), scalar("a systemd unit", "!!str", parseUnit))
	accountKind  = like(accountName.String(), scalar("a user or group", "!!str", parseAccount))
	contactKind  = like(`^mailto:[^?, @]+@[^?, @]+$`, scalar("a contact such as mailto:pki@example.com", "!!str", parseContact))
	httpsKind    = like(`^[Hh][Tt][Tt][Pp][Ss]://.`, scalar("an https URL", "!!str", parseHTTPS))
	proxyKind    = like(`^$|^[A-Za-z0-9]+://.`, scalar("the URL of a proxy", "!!str", parseProxy))
	addressKind  = like(`^[0-9A-Fa-f.:]+$`, scalar("an IP address", "!!str", parseAddress))
	clockKind    = like(clockTime.String(), scalar("a time of day such as 02:00", "!!str", parseClock))
	zoneKind     = kind[string]{what: zoneText.what, schema: zoneText.schema, read: readZone}
	anyPathKind  = word("a path", parseNonEmpty)
	argvKind     = showing(shownCommand, list("a command as a list of words", stringKind))
)

// word is a kind for strings that are not empty.
func word(what string, parse func(string) (string, *fault)) kind[string] {
	return like(`^[^\x00-\x1f\x7f]+$`, scalar(what, "!!str", parse))
}

// parseText refuses what no name, path or argument may hold and what would garble a log or a terminal.
func parseText(s string) (string, *fault) {
	if strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return "", &fault{"holds a control character", "write it on one line"}
	}
	return s, nil
}

func parseNonEmpty(s string) (string, *fault) {
	if s == "" {
		return "", &fault{"is empty", "write a value or remove the key"}
	}
	return parseText(s)
}

func parseBool(s string) (bool, *fault) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "yes", "on":
		return false, &fault{"not a boolean", "write true"}
	case "no", "off":
		return false, &fault{"not a boolean", "write false"}
	}
	return false, nil
}

// integer is a kind for numbers from least to most.
func integer(least, most int) kind[int] {
	what := fmt.Sprintf("a number from %d to %d", least, most)
	return ranging(least, most, scalar(what, "!!int", func(s string) (int, *fault) {
		n, err := strconv.Atoi(s)
		if err != nil || n < least || n > most {
			return 0, &fault{fmt.Sprintf("expected %s, found %s", what, shorten(s)), ""}
		}
		return n, nil
	}))
}

// oneOf is a kind for strings out of a list.
func oneOf(words ...string) kind[string] {
	what := "one of " + strings.Join(words, ", ")
	return among(words, scalar(what, "!!str", func(s string) (string, *fault) {
		if slices.Contains(words, s) {
			return s, nil
		}
		hint := ""
		if near := nearest(s, words); near != "" {
			hint = "did you mean " + near + "?"
		}
		return "", &fault{fmt.Sprintf("expected %s, found %q", what, shorten(s)), hint}
	}))
}

var (
	durationPart = regexp.MustCompile(`([0-9]{1,9})([dhms])`)
	durationText = regexp.MustCompile(`^( *[0-9]{1,9}[dhms])+ *$`)
)

// parseDuration reads "30d 12h", "90m" and the like, up to a hundred years.
// ParseDuration reads a duration as specs write it: days, hours, minutes and seconds, such as "30d 12h".
func ParseDuration(s string) (time.Duration, error) {
	d, wrong := parseDuration(s)
	if wrong != nil {
		return 0, wrong.err()
	}
	return d, nil
}

func parseDuration(s string) (time.Duration, *fault) {
	const most = 100 * 365 * 24 * time.Hour
	units := map[string]time.Duration{"d": 24 * time.Hour, "h": time.Hour, "m": time.Minute, "s": time.Second}
	if !durationText.MatchString(s) {
		return 0, &fault{fmt.Sprintf("%q is not a duration", shorten(s)), "write days, hours, minutes or seconds, such as 30d 12h or 90m"}
	}
	var sum time.Duration
	for _, m := range durationPart.FindAllStringSubmatch(s, -1) {
		n, _ := strconv.Atoi(m[1])
		if time.Duration(n) > most/units[m[2]] || sum > most-time.Duration(n)*units[m[2]] {
			return 0, &fault{fmt.Sprintf("%q is over a hundred years", shorten(s)), ""}
		}
		sum += time.Duration(n) * units[m[2]]
	}
	if sum == 0 {
		return 0, &fault{"a duration of nothing", "write one such as 90m"}
	}
	return sum, nil
}

func parsePath(s string) (string, *fault) {
	if _, wrong := parseText(s); wrong != nil {
		return "", wrong
	}
	switch {
	case !filepath.IsAbs(s):
		return "", &fault{fmt.Sprintf("%q is not an absolute path", shorten(s)), "begin with /"}
	case s == "/":
		return "", &fault{`"/" is not a path for acmed`, "name a file or directory below it"}
	case s != filepath.Clean(s):
		return "", &fault{fmt.Sprintf("%q is not a plain path", shorten(s)), "write " + filepath.Clean(s) + " without . or .. or / at the end"}
	}
	return s, nil
}

func splitPort(s string) (host string, wrong *fault) {
	host, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n == 0 || len(port) > 5 {
		return "", &fault{fmt.Sprintf("%q is not an address with a port", shorten(s)), portHint(s)}
	}
	return host, nil
}

// portHint shows an address that lacks a port with one. A host alone does not say which port is meant.
func portHint(s string) string {
	host := s
	if inside, ok := strings.CutPrefix(s, "["); ok {
		host = strings.TrimSuffix(inside, "]")
	}
	if _, err := strconv.ParseUint(s, 10, 16); err == nil {
		return "such as 127.0.0.1:" + s + " or [::1]:" + s
	}
	_, addrErr := netip.ParseAddr(host)
	if _, wrong := parseHost(host); addrErr != nil && wrong != nil {
		return "such as 127.0.0.1:443 or [::1]:443"
	}
	return "add the port, such as " + net.JoinHostPort(host, "443")
}

// parseHostPort reads where to connect to: the host is a name or an IP address.
func parseHostPort(s string) (string, *fault) {
	host, wrong := splitPort(s)
	if wrong != nil {
		return "", wrong
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return s, nil
	}
	ascii, wrong := parseHost(host)
	if wrong != nil {
		return "", wrong
	}
	return net.JoinHostPort(ascii, s[strings.LastIndexByte(s, ':')+1:]), nil
}

// parseBindTo reads where to listen: the host is empty, localhost or an IP address. Empty means not at all.
func parseBindTo(s string) (string, *fault) {
	if s == "" {
		return "", nil
	}
	host, wrong := splitPort(s)
	if wrong != nil {
		return "", wrong
	}
	if _, err := netip.ParseAddr(host); err != nil && host != "" && host != "localhost" {
		return "", &fault{fmt.Sprintf("%q is not an IP address", shorten(host)), "listen on an address of this machine, or write :PORT for all of them"}
	}
	return s, nil
}

func parseMode(s string) (uint32, *fault) {
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || n == 0 || n > 0o777 || len(s) < 3 {
		return 0, &fault{fmt.Sprintf("%q are not permissions", shorten(s)), `write them in octal, such as "0640"`}
	}
	return uint32(n), nil
}

var (
	accountName    = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_.-]{0,63}\$?|[0-9]{1,10})$`)
	credentialName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,255}$`)
	clockTime      = regexp.MustCompile(`^([01][0-9]|2[0-3]):[0-5][0-9]$`)
)

func parseAccount(s string) (string, *fault) {
	if !accountName.MatchString(s) {
		return "", &fault{fmt.Sprintf("%q is not the name or number of a user or group", shorten(s)), ""}
	}
	return s, nil
}

// parseContact follows RFC 8555 §7.3: one address, no header fields.
func parseContact(s string) (string, *fault) {
	mail, found := strings.CutPrefix(s, "mailto:")
	user, host, at := strings.Cut(mail, "@")
	switch {
	case !found && at:
		return "", &fault{fmt.Sprintf("%q is not a URL", shorten(s)), "write mailto:" + shorten(s)}
	case !found, user == "", host == "", strings.ContainsAny(mail, "?, \t\n") || strings.Contains(host, "@"):
		return "", &fault{fmt.Sprintf("%q is not one mailto: address", shorten(s)), "such as mailto:pki@example.com"}
	}
	return parseText(s)
}

func parseHTTPS(s string) (string, *fault) {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.Fragment != "":
		return "", &fault{fmt.Sprintf("%q is not a URL", shorten(s)), "such as https://acme.example.com/directory"}
	case u.Scheme != "https":
		return "", &fault{"the scheme " + u.Scheme + " is refused", "a CA is spoken to over https only; caBundle: names the roots of a private one"}
	case u.User != nil:
		return "", &fault{"a password in a URL is refused", "credentials belong in externalAccountBinding"}
	}
	return s, nil
}

func parseProxy(s string) (string, *fault) {
	if s == "" {
		return "", nil
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || !slices.Contains([]string{"http", "https", "socks5"}, u.Scheme):
		return "", &fault{fmt.Sprintf("%q is not the URL of a proxy", shorten(s)), "such as http://proxy.example.com:3128"}
	case u.User != nil:
		return "", &fault{"a password in a URL is refused", "write user:password into a file that only root and acmed read, and name it in proxyCredentialsFile"}
	}
	return s, nil
}

func parseAddress(s string) (netip.Addr, *fault) {
	a, err := netip.ParseAddr(s)
	switch a = a.Unmap(); {
	case err != nil || a.Zone() != "":
		return netip.Addr{}, &fault{fmt.Sprintf("%q is not an IP address", shorten(s)), "such as 192.0.2.1 or 2001:db8::1; names belong in dnsNames"}
	case a.IsUnspecified() || a.IsMulticast():
		return netip.Addr{}, &fault{a.String() + " is not the address of one machine", ""}
	}
	return a, nil
}

func parseClock(s string) (string, *fault) {
	if !clockTime.MatchString(s) {
		return "", &fault{fmt.Sprintf("%q is not a time of day", shorten(s)), `write hours and minutes, such as "02:00"`}
	}
	return s, nil
}

var zoneText = word("a time zone such as Europe/Berlin", parseNonEmpty)

// readZone reads a time zone. Which ones there are depends on the machine.
func readZone(v value, into *string) {
	var name string
	zoneText.read(v, &name)
	if name == "" {
		return
	}
	if _, err := time.LoadLocation(name); err != nil || name == "Local" {
		v.doubt(fmt.Sprintf("%q is not a time zone that this machine knows", shorten(name)), "such as Europe/Berlin or UTC; without the key the machine's own")
		if !v.doc.tolerant && !v.doc.lenient {
			return
		}
	}
	*into = name
}
