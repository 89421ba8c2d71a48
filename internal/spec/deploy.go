package spec

import (
	"slices"
	"strings"
	"time"
)

// runTimeout is how long a command may take unless the spec says otherwise.
const runTimeout = time.Minute

var deployKind = object(checkDeploy, append(deployDefaults,
	key("files", "copies for consumers that cannot read acmed's own folder",
		func(d *Deploy) *[]File { return &d.Files }, list("a list of files", fileKind)),
	key("probe", "addresses where the new certificate must be served",
		func(d *Deploy) *[]Probe { return &d.Probe }, list("a list of probes", probeKind)),
)...)

// startTLSProtocols are the protocols in which a probe can ask for TLS. The names are those of `openssl s_client -starttls`
// where it has one.
var startTLSProtocols = []string{
	"smtp", "imap", "pop3", "ldap", "postgres", "ftp", "irc", "lmtp", "mysql", "nntp", "nut", "sieve", "xmpp", "xmpp-server",
}

// deployDefaults are the keys that acmed.yaml may set for all.
var deployDefaults = []field[Deploy]{
	key("check", "a command that must succeed before anything is reloaded",
		func(d *Deploy) *[]string { return &d.Check }, argvKind),
	key("reload", "systemd units, with their suffix",
		func(d *Deploy) *[]string { return &d.Reload }, list("a list of systemd units", unitKind)),
	key("restart", "systemd units that need a restart: a reload does not give them a new certificate",
		func(d *Deploy) *[]string { return &d.Restart }, list("a list of systemd units", unitKind)),
	key("run", "commands to run after the reload",
		func(d *Deploy) *[]Run { return &d.Run }, list("a list of commands", runKind)),
	key("window", "when a new certificate may go live; `{}` undoes a default",
		func(d *Deploy) **Window { return &d.Window }, pointer(windowKind)),
}

// checkDeploy refuses a path or a unit that is written twice.
func checkDeploy(v value, d *Deploy) {
	checkArgv(v.at("check"))
	for _, unit := range v.at("restart").elements() {
		if v.has("reload") && slices.Contains(d.Reload, unit.Value) {
			unit.fault(unit.Value+" is under reload, too", "remove it there: a restart reads everything that a reload reads")
		}
	}
	seen := map[string]bool{}
	for _, e := range v.at("files").elements() {
		path := e.at("path")
		if e.has("path") && seen[path.Value] {
			path.fault("the same path as in a file above", "remove one of them")
		}
		seen[path.Value] = true
	}
}

// checkArgv refuses a command without a program. An empty list is no command.
func checkArgv(v value) {
	if args := v.elements(); len(args) > 0 && args[0].Value == "" {
		args[0].fault("no program", "the first word is the program")
	}
}

// pathsOf returns where the paths of deploy.files are written.
func pathsOf(v value) []place {
	if !v.has("deploy") {
		return nil
	}
	var out []place
	for _, e := range v.at("deploy").at("files").elements() {
		path := e.at("path")
		out = append(out, place{path.Line, path.Column})
	}
	return out
}

var fileKind = object(checkFile,
	need("the file to write", key("path", "of the file",
		func(f *File) *string { return &f.Path }, pathKind)),
	need("one of privkey, cert, chain, fullchain, combined, pkcs12",
		key("content", "`privkey`, `cert`, `chain`, `fullchain`, `combined` (key, then full chain) or `pkcs12`",
			func(f *File) *string { return &f.Content }, oneOf("privkey", "cert", "chain", "fullchain", "combined", "pkcs12"))),
	key("owner", "a user's name or number",
		func(f *File) *string { return &f.Owner }, accountKind),
	key("group", "a group's name or number",
		func(f *File) *string { return &f.Group }, accountKind),
	key("mode", "a file with a key inside may not be open to everybody",
		func(f *File) *uint32 { return &f.Mode }, modeKind),
	key("passwordFile", "a file that holds the password",
		func(f *File) *string { return &f.PasswordFile }, pathKind),
)

// holdsKey tells whether a file of that content has the private key inside.
func holdsKey(content string) bool {
	return slices.Contains([]string{"privkey", "combined", "pkcs12"}, content)
}

func checkFile(v value, f *File) {
	secret := holdsKey(f.Content)
	switch {
	case f.Content == "pkcs12" && !v.has("passwordFile"):
		v.fault("pkcs12 without passwordFile", "name a file that holds the password")
	case f.Content != "" && f.Content != "pkcs12" && v.has("passwordFile"):
		v.at("passwordFile").fault("is for pkcs12 only", "remove it")
	}
	if secret && f.Mode&0o007 != 0 {
		v.at("mode").fault("everybody could read the private key", `name a group and write "0640"`)
	}
}

var runKind = fresh(Run{Timeout: runTimeout}, object(checkRun,
	need("such as [/usr/local/lib/push-cert]", key("command", "a list of words; no shell",
		func(r *Run) *[]string { return &r.Command }, sized(1, 0, argvKind))),
	key("timeout", "how long it may take",
		func(r *Run) *time.Duration { return &r.Timeout }, durationKind),
	key("user", "who runs it",
		func(r *Run) *string { return &r.User }, accountKind),
	key("privkey", "with `user`: the command finds `privkey.pem` as well. Without `user` it always does",
		func(r *Run) *bool { return &r.Privkey }, boolKind),
))

func checkRun(v value, r *Run) {
	if v.has("privkey") && r.User == "" && !v.has("user") {
		v.at("privkey").fault("is for commands with user only", "remove it: without user a command finds the private key")
	}
	command := v.at("command")
	if v.has("command") && command.elements() != nil && len(command.Content) == 0 {
		command.fault("no program", "the first word is the program")
	}
	checkArgv(command)
}

var probeKind = object(nil,
	need(`such as "127.0.0.1:443"`, key("address", "host and port",
		func(p *Probe) *string { return &p.Address }, hostPortKind)),
	key("startTLS", "`"+strings.Join(startTLSProtocols, "`, `")+"`: begin in that protocol",
		func(p *Probe) *string { return &p.StartTLS }, oneOf(startTLSProtocols...)),
	key("serverName", "the name that is asked for",
		func(p *Probe) *string { return &p.ServerName }, hostKind),
)

var windowKind = object(checkWindow,
	need(`such as "02:00"`, key("start", "a time of day, such as `\"02:00\"`",
		func(w *Window) *string { return &w.Start }, clockKind)),
	need("such as 4h", key("duration", "a day at most",
		func(w *Window) *time.Duration { return &w.Duration }, durationKind)),
	key("timezone", "such as `Europe/Berlin`",
		func(w *Window) *string { return &w.Timezone }, zoneKind),
	key("unlessExpiresWithin", "the window does not count when so little of the lifetime is left",
		func(w *Window) *time.Duration { return &w.UnlessExpiresWithin }, durationKind),
)

func checkWindow(v value, w *Window) {
	if w.Duration > 24*time.Hour {
		v.at("duration").fault("longer than a day", "without a window a certificate is activated at any time")
	}
}
