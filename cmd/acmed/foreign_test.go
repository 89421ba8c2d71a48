package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestCommandsOfOtherClientsGetTheCommandOfAcmed is about what somebody types who knows certbot, lego, acme.sh, dehydrated,
// Caddy or step.
func TestCommandsOfOtherClientsGetTheCommandOfAcmed(t *testing.T) {
	const get = "to get a certificate, write /etc/acmed/certs.d/"
	root := (&app{}).command()
	issue := func(name string) string {
		if hasCommand(root, "add") {
			return "run: acmed add " + name
		}
		return get + name + ".yaml ({} is enough), then run: acmed status " + name + " --wait"
	}
	logs := func(name string) string {
		if hasCommand(root, "logs") {
			return "run: acmed logs " + name
		}
		return "run: journalctl ACMED_CERTIFICATE=" + name
	}
	for line, want := range map[string]string{
		"issue":                                   issue("NAME"),
		"issue www.example.com":                   issue("www.example.com"),
		"certonly --nginx -d www.example.com":     issue("www.example.com"),
		"certonly -d www.example.com,example.com": issue("www.example.com"),
		"--issue -d www.example.com -w /srv":      issue("www.example.com"),
		"--domains=www.example.com obtain":        issue("www.example.com"),
		"obtain":                                  issue("NAME"),
		"new":                                     issue("NAME"),
		"create www.example.com":                  issue("www.example.com"),
		"run www.example.com":                     "acmed run is the daemon; " + issue("www.example.com"),
		"run --domains www.example.com":           "acmed run is the daemon; " + issue("www.example.com"),
		"run -d www.example.com":                  "acmed run is the daemon; " + issue("www.example.com"),
		"certificates":                            "run: acmed list",
		"ls":                                      "run: acmed list",
		"show":                                    "run: acmed status NAME",
		"show www.example.com":                    "run: acmed status www.example.com",
		"info www.example.com":                    "run: acmed status www.example.com",
		"--info -d www.example.com":               "run: acmed status www.example.com",
		"history www.example.com":                 "run: acmed status www.example.com",
		"remove www.example.com":                  "remove /etc/acmed/certs.d/www.example.com.yaml, then run: acmed delete www.example.com",
		"--remove -d www.example.com":             "remove /etc/acmed/certs.d/www.example.com.yaml, then run: acmed delete www.example.com",
		"--cron":                                  "acmed renews certificates by itself; to renew all now, run: acmed renew --all",
		"--renew-all --force":                     "acmed renews certificates by itself; to renew all now, run: acmed renew --all",
		"--install-cert -d www.example.com":       "set deploy in /etc/acmed/certs.d/www.example.com.yaml; to deploy again, run: acmed deploy www.example.com",
		"ca certificate www.example.com a.crt":    "run: acmed issuer list",
		"validate --config x":                     "run: acmed check",
		"start":                                   "run: systemctl start acmed (or, in the foreground: acmed run)",
		"register --agree-tos":                    "run: acmed account register ISSUER",
		"account create":                          "run: acmed account register ISSUER",
		"issuer add zerossl":                      "write /etc/acmed/issuers.d/NAME.yaml, then run: acmed issuer test NAME",
		"renew --cert-name www.example.com":       "run: acmed renew www.example.com",
		"renew -d www.example.com":                "run: acmed renew www.example.com",
		"renew --force-renewal":                   "leave --force-renewal out: acmed renew orders a certificate that is not due as well",
		"renew www.example.com --dry-run":         "run: acmed renew www.example.com --staging",
		"revoke --cert-name www.example.com":      "run: acmed revoke www.example.com",
		"lst":                                     "did you mean list?",
		"issuers":                                 "did you mean issuer?",
		"frobnicate":                              "acmed --help",
		"--config www.example.com --bogus":        "acmed --help",
		"--config config --bogus":                 "acmed --help",
		"list --bogus":                            "acmed list --help",
		"logs www.example.com --bogus":            logs("www.example.com"),
	} {
		t.Run(line, func(t *testing.T) {
			if strings.HasPrefix(line, "logs") && hasCommand(root, "logs") {
				want = "acmed logs --help"
			}
			var stderr bytes.Buffer
			if code := run(strings.Fields(line), &stderr, &stderr); code != exitUsage {
				t.Errorf("it exits with %d", code)
			}
			if !slices.Contains(strings.Split(stderr.String(), "\n"), "acmed: what to do: "+want) {
				t.Errorf("got\n%swant %s", stderr.String(), want)
			}
		})
	}
}

// TestHintsNameCommandsThatThereAre is about hints that would lead to another mistake.
func TestHintsNameCommandsThatThereAre(t *testing.T) {
	root := (&app{}).command()
	for _, f := range foreignCommands() {
		for _, part := range strings.Split(f.hint, "run: acmed ")[1:] {
			if cmd, _, err := root.Find(strings.Fields(part)); err != nil || cmd == root {
				t.Errorf("%q: there is no acmed %s", f.hint, part)
			}
		}
		for _, word := range f.words {
			if cmd, _, err := root.Find(strings.Fields(word)); err == nil && cmd.Runnable() && cmd != root && !cmd.HasSubCommands() && word != "add" && word != "logs" {
				t.Errorf("%s is a command", word)
			}
		}
	}
}
