package migrate

import (
	"net/url"
	"os"
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

// doesNothing is a command line without a command: empty, empty quotes, or the shell's no-ops.
var doesNothing = regexp.MustCompile(`^(?:""|''|:|true|/bin/true|/usr/bin/true|#.*)?$`)

// hook makes deployment of a command line that key sets for a shell to run after a renewal.
func (c *Certificate) hook(key, command string) {
	command = strings.TrimSpace(command)
	if doesNothing.MatchString(command) {
		return
	}
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
	argv := words(command)
	if argv[0] == shell && !strings.ContainsFunc(command, unicode.IsControl) {
		c.note("move it into a program if it holds a secret", "%s becomes a command of deploy.run, which status and logs show", keyName(key))
	}
	c.run(key, argv...)
}

// shell runs the command lines that are more than a program with plain words.
const shell = "/bin/sh"

// words is the argv of a command line that a shell was to run.
func words(command string) []string {
	if plainWords.MatchString(command) {
		return strings.Fields(command)
	}
	return []string{shell, "-c", command}
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

// hookDir is where certbot has programs that it runs after every renewal.
const hookDir = "renewal-hooks/deploy"

// run has a command run that key asks for. A spec holds no lines in lines.
func (c *Certificate) run(key string, words ...string) {
	if slices.ContainsFunc(words, func(word string) bool { return strings.ContainsFunc(word, unicode.IsControl) }) {
		c.note("write it to a file, and name that file in deploy.run", "%s is a hook of several lines", keyName(key))
		return
	}
	if KeepsPath(words) {
		name := keyName(key)
		if key == hookDir {
			name = path.Join(hookDir, path.Base(words[0]))
		}
		c.note("write deploy.files, and change the hook to use the path of that file",
			"%s seems to keep a path of the certificate, in a link or for a process that outlives the hook: the files are gone when the hook ends", name)
	}
	c.Want.Deploy.Run = append(c.Want.Deploy.Run, spec.Run{Command: words, Timeout: hookTimeout})
}

// webrootNote is how the note of a webroot begins.
const webrootNote = "proofs are written to "

// webroot has proofs written below the folder of a web server.
func (c *Certificate) webroot(folder string) {
	c.Want.Challenge.Webroot = path.Clean(folder)
	proofs := path.Join(c.Want.Challenge.Webroot, ".well-known/acme-challenge")
	c.note("install -d -o acmed "+proofs+", and ReadWritePaths="+proofs+" in acmed.service (systemctl edit acmed); "+
		"or include acmed's snippet in the web server, and remove challenge.webroot from the spec",
		webrootNote+"%s, which acmed.service may not yet", proofs)
}

// snippet is for a client that had edited the web server's configuration for each proof.
func (c *Certificate) snippet(server string) {
	c.note("include /usr/share/acmed/snippets/"+server+"-http01.conf in its server for port 80",
		"%s answered for the other client; acmed edits no web server", server)
}

// accountURL believes a URL of an account only at the CA itself; without one acmed asks the CA, by the key.
func accountURL(s, directory string) string {
	u, err := url.Parse(s)
	d, derr := url.Parse(directory)
	if err != nil || derr != nil || u.Scheme != "https" || u.Host != d.Host || u.User != nil {
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

// wildcard has a certificate with a wildcard validated by dns-01, for a client that does not write down by which
// provider: by the only one that acmed has.
func (r *reading) wildcard(c *Certificate) {
	if !slices.ContainsFunc(c.Want.DNSNames, func(name string) bool { return strings.HasPrefix(name, "*.") }) {
		return
	}
	provider := "dns"
	if len(r.providers) == 1 {
		provider = r.providers[0]
	} else {
		c.note("write the provider to dns.d/dns.yaml", "a wildcard is validated by dns-01, and the DNS provider is not known")
	}
	c.Want.Challenge = spec.Challenge{Type: "dns-01", Provider: provider}
}

// providersIn are the names of the files of DNS providers.
func providersIn(dir string) (names []string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil // there need not be any
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && name != "" && name[0] != '.' {
			names = append(names, name)
		}
	}
	return names
}
