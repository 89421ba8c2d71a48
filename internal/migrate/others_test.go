package migrate_test

import (
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/migrate"
)

// says tells whether the spec of a step has these lines, and the plan these notes.
func says(t *testing.T, p *migrate.Plan, name string, lines, notes []string) {
	t.Helper()
	s := step(t, p, name)
	if s.Action != migrate.Import {
		t.Errorf("%s: %q, %q", name, s.Action, s.Why)
	}
	for _, want := range lines {
		if !strings.Contains("\n"+s.Spec, "\n"+want+"\n") {
			t.Errorf("%s: no line %q in\n%s", name, want, s.Spec)
		}
	}
	all := fmt.Sprint(p.Notes, s.Notes)
	for _, want := range notes {
		if !strings.Contains(all, want) {
			t.Errorf("%s: no note %q in %s", name, want, all)
		}
	}
}

// hasAccount tells whether the plan takes over one account.
func hasAccount(t *testing.T, p *migrate.Plan, issuer, url string) {
	t.Helper()
	if len(p.Accounts) != 1 || p.Accounts[0].Issuer != issuer || p.Accounts[0].URL != url || p.Accounts[0].Action != migrate.Import {
		t.Errorf("accounts: %+v", p.Accounts)
	}
}

func secPEM(t *testing.T) (string, []byte) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(ecKey(t))
	if err != nil {
		t.Fatal(err)
	}
	return encode("EC PRIVATE KEY", der), der
}

// dehydrated gives the world a folder of dehydrated's as Debian lays it out, config apart from the rest.
func dehydrated(t *testing.T, config string) *world {
	w := newWorld(t)
	w.write("etc/config", "# for all\nBASEDIR="+w.dir+"/lib\nDOMAINS_TXT=\""+w.dir+"/etc/domains.txt\"\n"+config)
	account := "lib/accounts/" + base64.RawURLEncoding.EncodeToString([]byte(letsencrypt+"\n"))
	key, _ := secPEM(t)
	w.write(account+"/account_key.pem", key)
	w.write(account+"/account_id.json", `{"url":"`+certbotURL+`"}`)
	w.write(account+"/registration_info.json", `{"status": "valid", "contact": ["mailto:pki@example.com"]}`)
	w.dir += "/etc"
	return w
}

// owned adds what dehydrated has of a certificate.
func (w *world) owned(name string, names ...string) {
	key := ecKey(w.t)
	dir := "../lib/certs/" + name + "/"
	w.write(dir+"privkey-1.pem", keyPEM(w.t, key))
	w.write(dir+"fullchain-1.pem", w.issue(key, 60*day, names...))
	w.link(dir+"privkey.pem", "privkey-1.pem")
	w.link(dir+"fullchain.pem", "fullchain-1.pem")
}

func TestDehydratedIsTakenOver(t *testing.T) {
	w := dehydrated(t, `WELLKNOWN="${BASEDIR}/acme-challenges"
HOOK=/etc/dehydrated/hook.sh
RENEW_DAYS="20"
PRIVATE_KEY_RENEW="no"
OCSP_FETCH=yes
if [ -f /etc/more ]; then
`)
	w.write("domains.txt", "# ours\nwww.example.com example.com\n\nshop.example.com store.example.com > shop\nmissing.example.com\n")
	w.owned("www.example.com", "www.example.com", "example.com")
	w.owned("shop", "shop.example.com")
	w.write("../lib/certs/shop/config", "HOOK=\nWELLKNOWN=/srv/shop/.well-known/acme-challenge/\nPREFERRED_CHAIN='ISRG Root X2'\n")
	p := w.apply("dehydrated")

	hasAccount(t, p, "letsencrypt", certbotURL)
	says(t, p, "www.example.com", []string{
		"dnsNames: [www.example.com, example.com]", "challenge: {type: http-01}", "renew: {before: 20d}",
		"privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Never}",
		`    - {command: [/bin/sh, -c, "exec /etc/dehydrated/hook.sh deploy_cert \"$0\" \"$ACMED_LIVE/privkey.pem\" \"$ACMED_LIVE/cert.pem\" ` +
			`\"$ACMED_LIVE/fullchain.pem\" \"$ACMED_LIVE/chain.pem\" \"$(date +%s)\"", www.example.com], timeout: 10m}`,
	}, []string{"config:9: not an assignment", "OCSP_FETCH is set", "WELLKNOWN does not end in /.well-known/acme-challenge"})
	says(t, p, "shop", []string{
		"dnsNames: [shop.example.com]", "challenge: {type: http-01, webroot: /srv/shop}", `preferredChain: "ISRG Root X2"`,
	}, []string{"the certificate has the names shop.example.com, wanted were shop.example.com store.example.com"})
	if s := step(t, p, "shop"); strings.Contains(s.Spec, "deploy") {
		t.Errorf("its own config has no hook:\n%s", s.Spec)
	}
	if s := step(t, p, "missing.example.com"); s.Action != migrate.Order || !strings.HasSuffix(s.Why, "privkey.pem: no such file or directory") {
		t.Errorf("the one that is missing: %q, %q", s.Action, s.Why)
	}
	if old := p.Next.Paths[0].Old; old != filepath.Dir(w.dir)+"/lib/certs/NAME" {
		t.Errorf("servers read %s", old)
	}
}

func TestSettingsOfDehydratedAreReadInTheirOrder(t *testing.T) {
	w := dehydrated(t, "KEY_ALGO=rsa\nKEYSIZE=3072\n")
	w.edit("config", "# for all", "CONFIG_D="+w.dir+"/conf.d")
	w.write("conf.d/1.sh", "PREFERRED_CHAIN=one\n")
	w.write("conf.d/2.sh", "PREFERRED_CHAIN=two\n")
	w.write("conf.d/off", "PREFERRED_CHAIN=three\n")
	w.write("domains.txt", "a.example.com\n")
	s := step(t, w.apply("dehydrated"), "a.example.com")
	for _, want := range []string{"preferredChain: two\n", "privateKey: {algorithm: RSA, size: 3072, rotationPolicy: Always}\n"} {
		if !strings.Contains(s.Spec, want) {
			t.Errorf("no %q in\n%s", want, s.Spec)
		}
	}
}

func TestDehydratedCannotLeadElsewhere(t *testing.T) {
	w := dehydrated(t, "")
	w.write("domains.txt", "a.example.com > ../../../etc\nb.example.com > /etc\n> \n")
	p := w.look("dehydrated")
	if len(p.Certificates) != 3 {
		t.Errorf("got %+v", p.Certificates)
	}
	for _, s := range p.Certificates {
		if s.Action == migrate.Import {
			t.Errorf("it does %+v", s)
		}
	}
}

func TestLegoIsTakenOver(t *testing.T) {
	w := newWorld(t)
	const account = "accounts/acme-v02.api.letsencrypt.org/pki@example.com/"
	key, _ := secPEM(t)
	w.write(account+"account.json", `{"email": "pki@example.com", "registration": {"body": {"status": "valid"}, "uri": "`+certbotURL+`"}}`)
	w.write(account+"keys/pki@example.com.key", key)
	for _, c := range []struct{ base, host string }{{"l.example.com", "l.example.com"}, {"alone.example.com", "alone.example.com"}} {
		key := ecKey(t)
		chain := w.issue(key, 60*day, c.host, "www."+c.host)
		w.write("certificates/"+c.base+".key", keyPEM(t, key))
		w.write("certificates/"+c.base+".crt", chain)
		w.write("certificates/"+c.base+".json", `{"domain": "`+c.host+`", "certUrl": "https://acme-v02.api.letsencrypt.org/acme/cert/1"}`)
	}
	// Without --no-bundle, the issuer is in the same file.
	whole := filepath.Join(w.dir, "certificates/alone.example.com.crt")
	text, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	leaf, issuer, _ := strings.Cut(string(text), "-----END CERTIFICATE-----\n")
	w.write("certificates/alone.example.com.crt", leaf+"-----END CERTIFICATE-----\n")
	w.write("certificates/alone.example.com.issuer.crt", issuer)
	w.write("certificates/unknown.example.com.json", `{"domain": "unknown.example.com", "certUrl": "https://acme.corp.example/1"}`)
	w.write("certificates/broken.json", `{`)

	p := w.apply("lego")
	hasAccount(t, p, "letsencrypt", certbotURL)
	for _, name := range []string{"l.example.com", "alone.example.com"} {
		says(t, p, name, []string{"dnsNames: [" + name + ", www." + name + "]", "issuers: [letsencrypt]", "challenge: {type: http-01}"},
			[]string{"every spec proves control by http-01, and none has deploy"})
	}
	for name, why := range map[string]string{
		"unknown.example.com": "name its directory with --server", "broken": "broken.json: unexpected end of JSON input",
	} {
		if s := step(t, p, name); s.Action != migrate.Refuse || !strings.HasSuffix(s.Why, why) {
			t.Errorf("%s: %q, %q", name, s.Action, s.Why)
		}
	}
}

func TestLegoIsToldWhichCA(t *testing.T) {
	w := newWorld(t)
	key := ecKey(t)
	w.write("accounts/acme.sectigo.com/default/account.json", `{"id": "default", "server": "https://acme.sectigo.com/v2/OV", "registration": {"accountURL": "https://acme.sectigo.com/v2/OV/account/1"}}`)
	w.write("accounts/acme.sectigo.com/default/default.key", keyPEM(t, ecKey(t)))
	w.write("certificates/a.example.com.json", `{"domains": ["a.example.com"], "profile": "shortlived", "certUrl": "https://acme.sectigo.com/1"}`)
	w.write("certificates/a.example.com.key", keyPEM(t, key))
	w.write("certificates/a.example.com.crt", w.issue(key, 60*day, "a.example.com"))
	if s := step(t, w.look("lego"), "a.example.com"); s.Action != migrate.Refuse { // there are three at that host
		t.Errorf("it does %q, %q", s.Action, s.Why)
	}
	p, err := migrate.Look(migrate.Options{Client: "lego", Dir: w.dir, Server: "https://acme.sectigo.com/v2/OV", Config: w.config, Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	says(t, p, "a.example.com", []string{"issuers: [sectigo-ov]", "profile: shortlived"}, nil)
	hasAccount(t, p, "sectigo-ov", "https://acme.sectigo.com/v2/OV/account/1")
}

func TestAcmeShHadAccountsByHost(t *testing.T) {
	w := newWorld(t)
	account, _ := secPEM(t)
	w.write("ca/acme-v02.api.letsencrypt.org/account.key", account)
	w.write("ca/acme-v02.api.letsencrypt.org/ca.conf", "ACCOUNT_URL='"+certbotURL+"'\n")
	w.write("a.example.com/a.example.com.conf", "Le_Domain='a.example.com'\nLe_Webroot='no'\nLe_API='"+letsencrypt+"'\n")
	hasAccount(t, w.apply("acme.sh"), "letsencrypt", certbotURL)
}

func TestAcmeShIsTakenOver(t *testing.T) {
	w := newWorld(t)
	account, _ := secPEM(t)
	w.write("account.conf", "USER_PATH='/usr/bin'\nCA_BUNDLE='/etc/ssl/corp.pem'\nNOTIFY_HOOK='mail'\n")
	w.write("ca/acme.corp.example/dir/account.key", account)
	w.write("ca/acme.corp.example/dir/ca.conf", "CA_EMAIL='pki@example.com'\nACCOUNT_URL='https://acme.corp.example:14000/acct/1'\n")
	add := func(folder, conf string, names ...string) {
		name, key := strings.TrimSuffix(folder, "_ecc"), ecKey(t)
		w.write(folder+"/"+name+".conf", "Le_Domain='"+names[0]+"'\nLe_Alt='"+strings.Join(append(names[1:], ""), ",")+"'\nLe_API='https://acme.corp.example:14000/dir'\nLe_PreHook=''\n"+conf)
		w.write(folder+"/"+name+".key", keyPEM(t, key))
		w.write(folder+"/fullchain.cer", w.issue(key, 60*day, names...))
	}
	keyFile := filepath.Join(w.dir, "copy.key")
	writeFile(t, keyFile, "what is there now")
	add("s.example.com_ecc", "Le_Webroot='/var/www'\nLe_RealKeyPath='"+keyFile+"'\nLe_RealFullChainPath='/etc/ssl/s.pem'\n"+
		"Le_ReloadCmd='__ACME_BASE64__START_c3lzdGVtY3RsIHJlbG9hZCBuZ2lueA==__ACME_BASE64__END_'\nLe_RenewalDays='30'\n", "s.example.com", "www.s.example.com")
	add("t.example.com", "Le_Webroot='no'\nLe_Frobnicate='7'\n", "t.example.com")
	add("t.example.com_ecc", "Le_Webroot='no,/srv'\nLe_Preferred_Chain='__ACME_BASE64__START_SVNSRyBSb290IFgy__ACME_BASE64__END_'\n", "t.example.com", "u.example.com")
	w.write("bad/bad.conf", "Le_Domain=$(id)\n")
	w.write("plain/README", "")

	p := w.apply("acme.sh")
	hasAccount(t, p, "acme.corp.example", "https://acme.corp.example:14000/acct/1")
	says(t, p, "s.example.com", []string{
		"dnsNames: [s.example.com, www.s.example.com]", "challenge: {type: http-01, webroot: /var/www}",
		`    - {path: ` + keyFile + `, content: privkey, mode: "0640"}`, "    - {path: /etc/ssl/s.pem, content: fullchain}", "  reload: [nginx.service]",
	}, []string{"Le_RenewalDays is set", "NOTIFY_HOOK is set"})
	says(t, p, "t.example.com", []string{"issuers: [acme.corp.example]"}, []string{"Le_Frobnicate is set"})
	says(t, p, "t.example.com_ecc", []string{`preferredChain: "ISRG Root X2"`}, []string{"Le_Webroot: the names are validated in 2 different ways"})
	if s := step(t, p, "bad"); s.Action != migrate.Refuse || !strings.HasSuffix(s.Why, "bad.conf:1: Le_Domain: shell code") {
		t.Errorf("the bad one: %q, %q", s.Action, s.Why)
	}
	text, err := os.ReadFile(filepath.Join(w.config.IssuerDir, "acme.corp.example.yaml"))
	if err != nil || !strings.HasSuffix(string(text), "directory: https://acme.corp.example:14000/dir\ncaBundle: /etc/ssl/corp.pem\n") {
		t.Errorf("the issuer: %s, %v", text, err)
	}
}
