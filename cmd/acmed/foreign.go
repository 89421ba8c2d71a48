package main

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// foreign is what to type here for commands of other ACME clients and of service managers.
type foreign struct {
	words []string
	// hint has NAME for the name of a certificate.
	hint string
	// command is one of acmed's; if acmed has it, "run: acmed COMMAND" takes the place of hint. It is "" if none does.
	command string
}

// foreignCommands are the commands, and the flags that are commands, of certbot, lego, acme.sh, dehydrated, Caddy and step.
func foreignCommands() []foreign {
	return []foreign{
		{words: []string{"issue", "certonly", "obtain", "new", "create", "request", "order", "generate", "want", "sign", "signcsr", "sign-csr", "certificate", "add"},
			hint: "to get a certificate, write /etc/acmed/certs.d/NAME.yaml ({} is enough), then run: acmed status NAME --wait", command: "add NAME"},
		{words: []string{"certificates", "certs", "ls", "domains", "names", "specs"}, hint: "run: acmed list"},
		{words: []string{"show", "info", "inspect", "describe", "view", "details", "get", "cert", "history", "revisions", "show-cert"}, hint: "run: acmed status NAME"},
		{words: []string{"log", "logs", "journal", "events"}, hint: "run: journalctl ACMED_CERTIFICATE=NAME", command: "logs NAME"},
		{words: []string{"remove", "rm", "unwant", "uninstall", "cleanup", "archive"}, hint: "remove /etc/acmed/certs.d/NAME.yaml, then run: acmed delete NAME"},
		{words: []string{"install", "install-cert", "installcert", "enhance", "deploy-hook", "deliver", "export", "pkcs12", "to-pkcs12"},
			hint: "set deploy in /etc/acmed/certs.d/NAME.yaml; to deploy again, run: acmed deploy NAME"},
		{words: []string{"reissue", "rekey", "rotate", "force", "force-renew", "force-renewal", "forcerenew"}, hint: "run: acmed renew NAME"},
		{words: []string{"cron", "renew-all", "renewall", "autorenew"}, hint: "acmed renews certificates by itself; to renew all now, run: acmed renew --all"},
		{words: []string{"dry-run", "dryrun", "staging", "test-cert"}, hint: "run: acmed renew NAME --staging"},
		{words: []string{"edit", "modify", "reconfigure", "set-default-ca"}, hint: "edit /etc/acmed/certs.d/NAME.yaml, then run: acmed plan"},
		{words: []string{"config", "configtest", "validate", "lint", "verify", "test"}, hint: "run: acmed check"},
		{words: []string{"diagnose", "debug", "troubleshoot", "health", "ping"}, hint: "run: acmed doctor"},
		{words: []string{"pause", "suspend", "disable"}, hint: "run: acmed hold NAME --until TIME"},
		{words: []string{"unpause", "resume", "enable"}, hint: "run: acmed unhold NAME"},
		{words: []string{"revert", "undo", "restore"}, hint: "run: acmed rollback NAME"},
		{words: []string{"migrate", "convert"}, hint: "run: acmed import CLIENT"},
		{words: []string{"start", "serve", "server", "daemon", "standalone"}, hint: "run: systemctl start acmed (or, in the foreground: acmed run)"},
		{words: []string{"stop", "restart", "quit"}, hint: "run: systemctl stop acmed, or systemctl restart acmed"},
		{words: []string{"register", "register-account", "registeraccount"}, hint: "run: acmed account register ISSUER"},
		{words: []string{"unregister", "deactivate", "deactivate-account"}, hint: "run: acmed account deactivate ISSUER"},
		{words: []string{"show_account", "show-account", "accounts", "whoami"}, hint: "run: acmed account show"},
		{words: []string{"update_account", "update-account", "updateaccount"}, hint: "run: acmed account update ISSUER"},
		{words: []string{"ca", "cas", "servers"}, hint: "run: acmed issuer list"},
		{words: []string{"providers", "plugins", "dnshelp", "dns"}, hint: "write a DNS provider to /etc/acmed/dns.d, see docs/dns.md"},
		{words: []string{"upgrade", "self-update"}, hint: "upgrade the package acmed; acmed never replaces itself"},
		{words: []string{"issuer add", "issuer create", "issuer new", "issuer set"}, hint: "write /etc/acmed/issuers.d/NAME.yaml, then run: acmed issuer test NAME"},
		{words: []string{"issuer remove", "issuer delete", "issuer rm"}, hint: "remove /etc/acmed/issuers.d/NAME.yaml"},
		{words: []string{"issuer show", "issuer status", "issuer info", "account list", "account ls"}, hint: "run: acmed issuer list"},
		{words: []string{"account create", "account new", "account add"}, hint: "run: acmed account register ISSUER"},
		{words: []string{"account delete", "account remove", "account unregister"}, hint: "run: acmed account deactivate ISSUER"},
		{words: []string{"account rekey", "account rotate", "account key"}, hint: "run: acmed account rollover ISSUER"},
	}
}

// foreignHint returns what to type for a word that stands where acmed, or a group of its commands, expects one of theirs;
// "" if the word is not known. args are the whole command line.
func foreignHint(cmd *cobra.Command, word string, args []string) string {
	_, group, _ := strings.Cut(cmd.CommandPath(), " ")
	word = strings.TrimPrefix(group+" "+strings.ToLower(strings.TrimLeft(word, "-")), " ")
	for _, f := range foreignCommands() {
		if !slices.Contains(f.words, word) {
			continue
		}
		hint := f.hint
		if own, _, _ := strings.Cut(f.command, " "); own != "" && hasCommand(cmd.Root(), own) {
			hint = "run: acmed " + f.command
		}
		if name := certificateIn(args); name != "" {
			hint = strings.ReplaceAll(hint, "NAME", name)
		}
		return hint
	}
	return ""
}

func hasCommand(root *cobra.Command, name string) bool {
	return slices.ContainsFunc(root.Commands(), func(c *cobra.Command) bool { return c.Name() == name })
}

// certificateIn returns the first argument that looks like the name of a certificate: one of a host; "" if there is none.
func certificateIn(args []string) string {
	host := regexp.MustCompile(`^[a-z0-9]([a-z0-9-]*\.)+[a-z][a-z0-9-]*$`)
	for _, arg := range args {
		if _, value, ok := strings.Cut(arg, "="); ok && strings.HasPrefix(arg, "-") {
			arg = value
		}
		arg, _, _ = strings.Cut(arg, ",")
		if len(arg) < 100 && host.MatchString(arg) {
			return arg
		}
	}
	return ""
}

// wrongFlag returns an error about a flag that does not exist. Where it stands with a command of another client, or is one,
// the hint is what to type for that.
func (a *app) wrongFlag(cmd *cobra.Command, err error) error {
	words := strangeWords(cmd, a.args)
	for _, word := range words {
		hint := ""
		switch {
		case cmd.HasSubCommands():
			hint = foreignHint(cmd, word, a.args)
		case strings.HasPrefix(word, "-"):
			hint = foreignFlag(cmd, strings.TrimLeft(word, "-"), certificateIn(words))
		}
		if hint != "" {
			return &failure{err, exitUsage, hint}
		}
	}
	return &failure{err, exitUsage, cmd.CommandPath() + " --help"}
}

// strangeWords returns the arguments without the flags that a command has, and without their values.
func strangeWords(cmd *cobra.Command, args []string) (words []string) {
	for i := 0; i < len(args); i++ {
		name, _, joined := strings.Cut(strings.TrimLeft(args[i], "-"), "=")
		switch f := cmd.Flag(name); {
		case f == nil || !strings.HasPrefix(args[i], "--"):
			words = append(words, args[i])
		case !joined && f.NoOptDefVal == "":
			i++
		}
	}
	return words
}

// foreignFlag returns what to type for a flag that other clients have with a command like this one; "" if it is not known.
func foreignFlag(cmd *cobra.Command, flag, certificate string) string {
	flag, _, _ = strings.Cut(flag, "=")
	certificate = cmp.Or(certificate, "NAME")
	switch {
	case cmd.Name() == "run" && slices.Contains([]string{"d", "domain", "domains", "m", "email", "webroot", "standalone", "nginx", "apache", "http", "tls"}, flag):
		return "acmed run is the daemon; " + foreignHint(cmd.Root(), "issue", []string{certificate})
	case slices.Contains([]string{"d", "domain", "domains", "cert-name", "n", "name"}, flag) && strings.Contains(cmd.Use, "NAME"):
		return "run: " + cmd.CommandPath() + " " + certificate
	case cmd.Name() == "renew" && slices.Contains([]string{"dry-run", "test-cert", "test", "dryrun"}, flag):
		return "run: acmed renew " + certificate + " --staging"
	case cmd.Name() == "renew" && slices.Contains([]string{"force", "force-renewal", "force-renew", "days"}, flag):
		return "leave --" + flag + " out: acmed renew orders a certificate that is not due as well"
	case cmd.Name() == "status" && slices.Contains([]string{"log", "logs", "history"}, flag):
		return foreignHint(cmd.Root(), "logs", []string{certificate})
	}
	return ""
}

// unknownCommand refuses arguments of a command that has others below it: they are commands that do not exist.
func (a *app) unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	hint := foreignHint(cmd, args[0], args[1:])
	if near := cmd.SuggestionsFor(args[0]); hint == "" && len(near) > 0 {
		hint = "did you mean " + strings.Join(near, ", ") + "?"
	}
	if hint == "" {
		hint = cmd.CommandPath() + " --help"
	}
	return &failure{fmt.Errorf("there is no command %q", args[0]), exitUsage, hint}
}

// noCertificate refuses the arguments of `acmed run`, which gets a certificate in other clients.
func (a *app) noCertificate(cmd *cobra.Command, args []string) error {
	if name := certificateIn(args); name != "" {
		return &failure{fmt.Errorf("%q is one argument too many", name), exitUsage, "acmed run is the daemon; " + foreignHint(cmd.Root(), "issue", args)}
	}
	return argsUpTo(0)(cmd, args)
}
