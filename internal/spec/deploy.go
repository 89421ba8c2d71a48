package spec

import (
	"slices"
	"time"
)

// runTimeout is how long a command may take unless the spec says otherwise.
const runTimeout = time.Minute

var deployKind = object(checkDeploy, append(deployDefaults,
	key("files", func(d *Deploy) *[]File { return &d.Files }, list("a list of files", fileKind)),
	key("probe", func(d *Deploy) *[]Probe { return &d.Probe }, list("a list of probes", probeKind)),
)...)

// deployDefaults are the keys that acmed.yaml may set for all.
var deployDefaults = []field[Deploy]{
	key("check", func(d *Deploy) *[]string { return &d.Check }, argvKind),
	key("reload", func(d *Deploy) *[]string { return &d.Reload }, list("a list of systemd units", unitKind)),
	key("run", func(d *Deploy) *[]Run { return &d.Run }, list("a list of commands", runKind)),
	key("window", func(d *Deploy) **Window { return &d.Window }, pointer(windowKind)),
}

// checkDeploy refuses a path that is written twice.
func checkDeploy(v value, _ *Deploy) {
	checkArgv(v.at("check"))
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
	key("path", func(f *File) *string { return &f.Path }, pathKind),
	key("content", func(f *File) *string { return &f.Content },
		oneOf("privkey", "cert", "chain", "fullchain", "combined", "pkcs12")),
	key("owner", func(f *File) *string { return &f.Owner }, accountKind),
	key("group", func(f *File) *string { return &f.Group }, accountKind),
	key("mode", func(f *File) *uint32 { return &f.Mode }, modeKind),
	key("passwordFile", func(f *File) *string { return &f.PasswordFile }, pathKind),
)

func checkFile(v value, f *File) {
	v.need("path", "the file to write")
	v.need("content", "one of privkey, cert, chain, fullchain, combined, pkcs12")
	secret := slices.Contains([]string{"privkey", "combined", "pkcs12"}, f.Content)
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

// need reports a key that is missing.
func (v value) need(key, hint string) {
	if !v.has(key) {
		v.at(key).fault("missing", hint)
	}
}

var runKind = fresh(Run{Timeout: runTimeout}, object(checkRun,
	key("command", func(r *Run) *[]string { return &r.Command }, argvKind),
	key("timeout", func(r *Run) *time.Duration { return &r.Timeout }, durationKind),
	key("user", func(r *Run) *string { return &r.User }, accountKind),
))

func checkRun(v value, _ *Run) {
	v.need("command", "such as [/usr/local/lib/push-cert]")
	command := v.at("command")
	if v.has("command") && command.elements() != nil && len(command.Content) == 0 {
		command.fault("no program", "the first word is the program")
	}
	checkArgv(command)
}

var probeKind = object(checkProbe,
	key("address", func(p *Probe) *string { return &p.Address }, hostPortKind),
	key("startTLS", func(p *Probe) *string { return &p.StartTLS }, oneOf("smtp", "imap", "pop3", "ldap", "postgres")),
	key("serverName", func(p *Probe) *string { return &p.ServerName }, hostKind),
)

func checkProbe(v value, _ *Probe) { v.need("address", `such as "127.0.0.1:443"`) }

var windowKind = object(checkWindow,
	key("start", func(w *Window) *string { return &w.Start }, clockKind),
	key("duration", func(w *Window) *time.Duration { return &w.Duration }, durationKind),
	key("timezone", func(w *Window) *string { return &w.Timezone }, zoneKind),
	key("unlessExpiresWithin", func(w *Window) *time.Duration { return &w.UnlessExpiresWithin }, durationKind),
)

func checkWindow(v value, w *Window) {
	v.need("start", `such as "02:00"`)
	v.need("duration", "such as 4h")
	if w.Duration > 24*time.Hour {
		v.at("duration").fault("longer than a day", "without a window a certificate is activated at any time")
	}
}
