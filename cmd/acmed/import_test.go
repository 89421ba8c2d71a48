package main

import (
	"testing"

	"acmed/internal/migrate"
)

func TestImportGolden(t *testing.T) {
	nothing := migrate.Plan{Client: "certbot", Certificates: []migrate.Step{
		{Name: "www.example.com", Action: migrate.Present, Why: "there is a spec of that name"},
	}}
	for name, got := range map[string]string{
		"import":         importText(sampleImport(), false, noon()),
		"import-applied": importText(sampleImport(), true, noon()),
		"import-nothing": importText(&nothing, true, noon()),
	} {
		t.Run(name, func(t *testing.T) { golden(t, name, got) })
	}
}

func sampleImport() *migrate.Plan {
	const conf = "/etc/letsencrypt/renewal/"
	return &migrate.Plan{
		Client: "certbot", Dir: "/etc/letsencrypt",
		Issuers:   []migrate.IssuerFile{{Name: "acme.corp.example", File: "/etc/acmed/issuers.d/acme.corp.example.yaml", Directory: "https://acme.corp.example/dir"}},
		Providers: []migrate.ProviderFile{{Name: "rfc2136", From: "/root/rfc2136.ini", File: "/etc/acmed/dns.d/rfc2136.yaml", SecretFile: "/etc/acmed/secrets/tsig-rfc2136"}},
		Accounts: []migrate.AccountStep{
			{Issuer: "letsencrypt", URL: "https://acme-v02.api.letsencrypt.org/acme/acct/1", Action: migrate.Import},
			{Issuer: "acme.corp.example", From: "/etc/letsencrypt/accounts/acme.corp.example/dir/1/private_key.json", Action: migrate.Refuse, Why: "acmed has an account of its own there"},
		},
		Certificates: []migrate.Step{
			{Name: "www.example.com", Issuer: "letsencrypt", Key: "ECDSA-256", NotAfter: in(60 * day), Action: migrate.Import, From: conf + "www.example.com.conf", Notes: []migrate.Note{
				{What: "pre_hook is set", Do: "check whether it is still needed"}, {What: "must_staple: CAs have given up OCSP"},
			}},
			{Name: "old.example.com-0001", Former: "Old.example.com-0001", Issuer: "letsencrypt", Key: "RSA-2048", Action: migrate.Order, Why: "it expired on 2026-08-30"},
			{Name: "wildcard.example.com", Former: "*.example.com", Issuer: "letsencrypt", Action: migrate.Refuse, Why: "challenge.provider: unknown provider cloudflare"},
			{Name: "there.example.com", Action: migrate.Present, Why: "there is a spec of that name"},
		},
		Notes: []migrate.Note{{What: "cli.ini sets deploy-hook", Do: "write it into the specs if it still counts"}},
		Next: migrate.Next{
			Paths: []migrate.Path{{Old: "/etc/letsencrypt/live/NAME", New: "/var/lib/acmed/live/NAME"}},
			Stop:  "systemctl disable --now certbot.timer, and what crontabs run certbot",
		},
	}
}
