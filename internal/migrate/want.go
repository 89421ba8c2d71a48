package migrate

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"

	"acmed/internal/spec"
)

// This file makes elements of a spec from what clients commonly are told.

// hookTimeout is how long a command that was carried over may take: other clients set no limit.
const hookTimeout = 10 * time.Minute

var (
	systemctl  = regexp.MustCompile(`^(?:/usr)?(?:/bin/)?systemctl (?:-q |--quiet )?(?:reload|reload-or-restart|try-reload-or-restart)((?: [\w@.-]+)+)$`)
	service    = regexp.MustCompile(`^(?:/usr/sbin/)?service ([\w@.-]+) (?:reload|force-reload)$`)
	initScript = regexp.MustCompile(`^/etc/init\.d/([\w@.-]+) (?:reload|force-reload)$`)
	plainWords = regexp.MustCompile(`^/[\w./+-]+(?: [\w./+=:@,-]+)*$`)
)

// hook makes delivery of a command line that a shell was to run after a renewal.
func (c *Certificate) hook(command string) {
	command = strings.TrimSpace(command)
	if m := systemctl.FindStringSubmatch(command); m != nil {
		c.reload(strings.Fields(m[1])...)
		return
	}
	for _, pattern := range []*regexp.Regexp{service, initScript} {
		if m := pattern.FindStringSubmatch(command); m != nil {
			c.reload(m[1])
			return
		}
	}
	c.run(words(command)...)
}

// words is the argv of a command line that a shell was to run.
func words(command string) []string {
	if plainWords.MatchString(command) {
		return strings.Fields(command)
	}
	return []string{"/bin/sh", "-c", command}
}

// reload has systemd units reloaded.
func (c *Certificate) reload(units ...string) {
	for _, unit := range units {
		if path.Ext(unit) != ".service" {
			unit += ".service"
		}
		if !slices.Contains(c.Want.Deploy.Reload, unit) {
			c.Want.Deploy.Reload = append(c.Want.Deploy.Reload, unit)
		}
	}
}

// run has a command run. A spec holds no lines in lines.
func (c *Certificate) run(words ...string) {
	if slices.ContainsFunc(words, func(word string) bool { return strings.ContainsFunc(word, unicode.IsControl) }) {
		c.note("put it into a file, and name that in deploy.run", "a hook of several lines: %s", abbreviate(strings.Join(words, " ")))
		return
	}
	c.Want.Deploy.Run = append(c.Want.Deploy.Run, spec.Run{Command: words, Timeout: hookTimeout})
}

// webroot has proofs written below the folder of a web server.
func (c *Certificate) webroot(folder string) {
	c.Want.Challenge.Webroot = path.Clean(folder)
	proofs := path.Join(c.Want.Challenge.Webroot, ".well-known/acme-challenge")
	c.note("install -d -o acmed "+proofs+", and ReadWritePaths="+proofs+" in acmed.service (systemctl edit acmed); "+
		"or include acmed's snippet in the web server, and remove challenge.webroot from the spec",
		"proofs are written to %s, which acmed.service may not yet", proofs)
}

// snippet is for a client that had edited the web server's configuration for each proof.
func (c *Certificate) snippet(server string) {
	c.note("include /usr/share/acmed/snippets/"+server+"-http01.conf in its server for port 80",
		"%s answered for the other client; acmed edits no web server", server)
}

// namesFrom takes the names from a certificate that cannot be served any more.
func (c *Certificate) namesFrom(chain [][]byte) {
	if leaf := leafOf(chain); leaf != nil {
		c.Want.DNSNames, c.Want.IPAddresses = namesOf(leaf, c.Name)
	}
}

// accountURL believes a URL of an account only at the CA itself; without one acmed asks the CA, by the key.
func accountURL(s, directory string) string {
	u, err := url.Parse(s)
	d, derr := url.Parse(directory)
	if err != nil || derr != nil || u.Scheme != "https" || u.Host != d.Host {
		return ""
	}
	return u.String()
}

// isDirectory tells an https URL.
func isDirectory(s string) bool {
	u, err := url.Parse(s)
	return err == nil && u.Scheme == "https" && u.Host != "" && u.User == nil
}

func hostOf(directory string) string {
	u, err := url.Parse(directory)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// shellQuote makes one word of s for a shell.
func shellQuote(s string) string {
	if plainWords.MatchString(s) && !strings.Contains(s, " ") {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
