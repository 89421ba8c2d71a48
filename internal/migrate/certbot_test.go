package migrate_test

import (
	"crypto"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"acmed/internal/migrate"
	"acmed/internal/spec"
	"acmed/internal/store"
)

const (
	day        = 24 * time.Hour
	certbotURL = "https://acme-v02.api.letsencrypt.org/acme/acct/1234"
	certbotID  = "99af9c4308a3ae0cefcf8e21b76e2ec7"
)

// certbot gives the world a folder of certbot's with an account.
func certbot(t *testing.T) *world {
	w := newWorld(t)
	dir := "accounts/acme-v02.api.letsencrypt.org/directory/" + certbotID
	w.write(dir+"/private_key.json", ecJWK(t, ecKey(t)))
	w.write(dir+"/regr.json", `{"body": {"contact": ["mailto:pki@example.com"]}, "uri": "`+certbotURL+`"}`)
	return w
}

// lineage adds a certificate, renewed once, with more [renewalparams].
func (w *world) lineage(name string, key crypto.Signer, left time.Duration, params string, names ...string) {
	chain := w.issue(key, left, names...)
	for what, text := range map[string]string{"privkey": keyPEM(w.t, key), "fullchain": chain, "cert": strings.SplitAfter(chain, "-----END CERTIFICATE-----\n")[0]} {
		w.write("archive/"+name+"/"+what+"1.pem", "an older one")
		w.write("archive/"+name+"/"+what+"2.pem", text)
		w.link("live/"+name+"/"+what+".pem", "../../archive/"+name+"/"+what+"2.pem")
	}
	w.renewal(name, params)
}

func (w *world) renewal(name, params string) {
	w.write("renewal/"+name+".conf", fmt.Sprintf(`# renew_before_expiry = 30 days
version = 2.1.0
archive_dir = /etc/letsencrypt/archive/%[1]s
cert = /etc/letsencrypt/live/%[1]s/cert.pem
privkey = /etc/letsencrypt/live/%[1]s/privkey.pem
chain = /etc/letsencrypt/live/%[1]s/chain.pem
fullchain = /etc/letsencrypt/live/%[1]s/fullchain.pem

# Options used in the renewal process
[renewalparams]
account = %[2]s
server = %[3]s
%[4]s
`, name, certbotID, letsencrypt, params))
}

func TestCertbotIsTakenOver(t *testing.T) {
	w := certbot(t)
	account := rsaKey(t, 2048)
	w.write("accounts/acme-v02.api.letsencrypt.org/directory/"+certbotID+"/private_key.json", rsaJWK(t, account))
	key := rsaKey(t, 3072)
	w.lineage("www.example.com", key, 60*day, "authenticator = standalone\nreuse_key = True\nrequired_profile = shortlived", "example.com", "www.example.com", "192.0.2.1")
	w.apply("certbot")

	text, err := os.ReadFile(filepath.Join(w.config.SpecDir, "www.example.com.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	got, err := spec.ParseCertificate(w.config, "www.example.com.yaml", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.DNSNames, []string{"www.example.com", "example.com"}) || fmt.Sprint(got.IPAddresses) != "[192.0.2.1]" ||
		!slices.Equal(got.Issuers, []string{"letsencrypt"}) || got.PrivateKey != (spec.PrivateKey{Algorithm: "RSA", Size: 3072, RotationPolicy: "Never"}) {
		t.Errorf("the spec says %+v", got)
	}

	state, err := store.OpenReader(w.config.StateDir)
	if err != nil {
		t.Fatal(err)
	}
	defer state.Close()
	rev, err := state.Good("www.example.com")
	if err != nil {
		t.Fatal(err)
	}
	if live, err := state.Live("www.example.com"); live != 1 || err != nil {
		t.Errorf("live is %d, %v", live, err)
	}
	if rev.Account != certbotURL || rev.Directory != letsencrypt || rev.Issuer != "letsencrypt" || rev.Key != "RSA-3072" ||
		rev.NotAfter.Sub(rev.Committed) != 90*day {
		t.Errorf("the revision is %+v", rev)
	}
	if have, err := state.Key("www.example.com", 1); err != nil || !key.Equal(have) {
		t.Errorf("its key is another one: %v", err)
	}
	a, have, err := state.Account("letsencrypt")
	if err != nil || a.URL != certbotURL || !slices.Equal(a.Contact, []string{"mailto:pki@example.com"}) ||
		!have.Public().(interface{ Equal(crypto.PublicKey) bool }).Equal(account.Public()) {
		t.Errorf("the account is %+v, %v", a, err)
	}
}

func TestASecondImportChangesNothing(t *testing.T) {
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	if p := w.apply("certbot"); !p.Do() {
		t.Error("the first one does nothing")
	}
	p := w.apply("certbot")
	if s := step(t, p, "www.example.com"); p.Do() || s.Action != migrate.Present {
		t.Errorf("the second one does %+v", s)
	}
}

func TestAnImportThatWasCutShortIsCompleted(t *testing.T) {
	const name = "www.example.com"
	for when, undo := range map[string]func(t *testing.T, w *world) error{
		"before the spec": func(*testing.T, *world) error { return nil },
		"before it was live": func(_ *testing.T, w *world) error {
			return os.Remove(filepath.Join(w.config.StateDir, "live", name))
		},
		"before it was a revision": func(t *testing.T, w *world) error {
			if err := errors.Join(os.Remove(filepath.Join(w.config.StateDir, "live", name)), os.RemoveAll(filepath.Join(w.config.StateDir, "certs", name))); err != nil {
				return err
			}
			s, err := store.Open(store.Config{Dir: w.config.StateDir})
			if err != nil {
				return err
			}
			return errors.Join(s.Begin(name, ecKey(t), store.Order{Issuer: "letsencrypt"}), s.Close())
		},
		"before anything but the account": func(_ *testing.T, w *world) error {
			return errors.Join(os.Remove(filepath.Join(w.config.StateDir, "live", name)), os.RemoveAll(filepath.Join(w.config.StateDir, "certs", name)))
		},
	} {
		t.Run(when, func(t *testing.T) {
			w := certbot(t)
			w.lineage(name, ecKey(t), 60*day, "authenticator = standalone", name)
			file := w.apply("certbot").Certificates[0].SpecFile
			if err := errors.Join(os.Remove(file), undo(t, w)); err != nil {
				t.Fatal(err)
			}
			p := w.apply("certbot")
			if s := step(t, p, name); s.Action != migrate.Import {
				t.Errorf("it does %+v", s)
			}
			live, err := filepath.EvalSymlinks(filepath.Join(w.config.StateDir, "live", name))
			if err != nil || filepath.Base(live) != "0001" || p.Accounts[0].Action != migrate.Present {
				t.Errorf("live is %s, %v; the account %+v", live, err, p.Accounts[0])
			}
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatAcmedHasIsLeftAlone(t *testing.T) {
	for name, tt := range map[string]struct {
		have func(t *testing.T, w *world)
		want migrate.Action
		why  string
	}{
		"a spec": {func(t *testing.T, w *world) {
			writeFile(t, filepath.Join(w.config.SpecDir, "www.example.com.yaml"), "{}\n")
		}, migrate.Present, "there is a spec of that name"},
		"a certificate without a spec": {func(t *testing.T, w *world) {
			file := w.apply("certbot").Certificates[0].SpecFile
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			key := ecKey(t)
			w.write("archive/www.example.com/privkey2.pem", keyPEM(t, key))
			w.write("archive/www.example.com/fullchain2.pem", w.issue(key, 60*day, "www.example.com"))
		}, migrate.Refuse, "the state folder has another certificate of that name"},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
			tt.have(t, w)
			if s := step(t, w.look("certbot"), "www.example.com"); s.Action != tt.want || s.Why != tt.why {
				t.Errorf("it does %q, %q", s.Action, s.Why)
			}
		})
	}
}

func TestAnAccountOfAcmedsOwnStays(t *testing.T) {
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	s, err := store.Open(store.Config{Dir: w.config.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.CreateAccount("letsencrypt", store.Account{Directory: letsencrypt, URL: "https://x.example/1"}, ecKey(t)), s.Close()); err != nil {
		t.Fatal(err)
	}
	p := w.apply("certbot")
	if a := p.Accounts[0]; a.Action != migrate.Refuse || a.Why != "acmed has an account of its own there" {
		t.Errorf("the account: %q, %q", a.Action, a.Why)
	}
}

func TestTheAccountOfMostCertificatesIsTakenOver(t *testing.T) {
	w := certbot(t)
	const other, url = "0123456789abcdef0123456789abcdef", "https://acme-v02.api.letsencrypt.org/acme/acct/9"
	dir := "accounts/acme-v02.api.letsencrypt.org/directory/" + other
	w.write(dir+"/private_key.json", ecJWK(t, ecKey(t)))
	w.write(dir+"/regr.json", `{"body": {}, "uri": "`+url+`"}`)
	for _, name := range []string{"a.example.com", "b.example.com", "c.example.com"} {
		w.lineage(name, ecKey(t), 60*day, "authenticator = standalone", name)
		if name != "b.example.com" {
			w.edit("renewal/"+name+".conf", certbotID, other)
		}
	}
	p := w.apply("certbot")
	hasAccount(t, p, "letsencrypt", url)
}

func TestAnAccountThatCannotBeUsedIsNotTakenOver(t *testing.T) {
	const dir = "accounts/acme-v02.api.letsencrypt.org/directory/" + certbotID
	for name, tt := range map[string]struct{ file, text, note string }{
		"no JSON":                         {"private_key.json", "{", "private_key.json: unexpected end of JSON input"},
		"a kind of key that is not known": {"private_key.json", `{"kty": "OKP"}`, "private_key.json: kty: a type of key that is not supported"},
		"a curve that is not known":       {"private_key.json", `{"kty": "EC", "crv": "P-224"}`, "private_key.json: crv: a curve that is not supported"},
		"numbers that make no key":        {"private_key.json", `{"kty": "RSA", "n": "AQ", "e": "AQAB", "d": "AQ", "p": "Aw", "q": "BQ"}`, "private_key.json: its numbers make no RSA key: modulus must be > 1"},
		"no registration":                 {"regr.json", "[]", "regr.json: json: cannot unmarshal array"},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
			w.write(dir+"/"+tt.file, tt.text)
			p := w.apply("certbot")
			if len(p.Accounts) > 0 || len(p.Notes) != 1 || !strings.Contains(p.Notes[0].What, tt.note) {
				t.Errorf("accounts %+v, notes %+v", p.Accounts, p.Notes)
			}
			says(t, p, "www.example.com", nil, nil)
		})
	}
}

func TestAnAccountOfAnotherHostIsLookedUp(t *testing.T) {
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	w.edit("accounts/acme-v02.api.letsencrypt.org/directory/"+certbotID+"/regr.json", "acme-v02", "acme-v01")
	p := w.apply("certbot")
	hasAccount(t, p, "letsencrypt", "")
}

func TestTheFirstDirectoryOfLetsEncryptIsTheSecond(t *testing.T) {
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	w.edit("renewal/www.example.com.conf", "acme-v02", "acme-v01")
	p := w.apply("certbot")
	says(t, p, "www.example.com", []string{"issuers: [letsencrypt]"}, nil)
	hasAccount(t, p, "letsencrypt", certbotURL)
}

func TestWhenCertbotRenews(t *testing.T) {
	for written, want := range map[string]string{"30 days": "renew: {before: 30d}", "1 day": "renew: {before: 1d}", "1 month": "", "0 days": ""} {
		w := certbot(t)
		w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
		w.edit("renewal/www.example.com.conf", "# renew_before_expiry = 30 days", "renew_before_expiry = "+written)
		s := step(t, w.apply("certbot"), "www.example.com")
		if got := strings.Contains(s.Spec, "renew:"); got != (want != "") || !strings.Contains(s.Spec, want) || len(s.Notes) == 0 != got {
			t.Errorf("%s: notes %+v and\n%s", written, s.Notes, s.Spec)
		}
	}
}

func TestARunningDaemonKeepsItsState(t *testing.T) {
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	s, err := store.Open(store.Config{Dir: w.config.StateDir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := w.look("certbot")
	if err := p.Apply(func(int) {}); err == nil || !strings.Contains(err.Error(), "stop it first") {
		t.Errorf("applying: %v", err)
	}
	if _, err := os.Stat(p.Certificates[0].SpecFile); err == nil {
		t.Error("there is a spec")
	}
}

func TestNamesAreFitted(t *testing.T) {
	for name, want := range map[string]string{
		"www.example.com": "www.example.com", "Example.COM-0001": "example.com-0001", "*.example.com": "wildcard.example.com",
		"my certs": "my-certs", "../../etc/passwd": "etc-passwd", "..": "unnamed", "büro": "b-ro", strings.Repeat("a", 200): strings.Repeat("a", 128),
	} {
		if got := migrate.Name(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

func TestOnlyTheNamedAreTakenOver(t *testing.T) {
	w := certbot(t)
	for _, name := range []string{"a.example.com", "b.example.com"} {
		w.lineage(name, ecKey(t), 60*day, "authenticator = standalone", name)
	}
	if p := w.look("certbot", "b.example.com"); len(p.Certificates) != 1 || p.Certificates[0].Name != "b.example.com" {
		t.Errorf("got %+v", p.Certificates)
	}
	_, err := migrate.Look(migrate.Options{Client: "certbot", Dir: w.dir, Names: []string{"c"}, Config: w.config, Now: w.now})
	if err == nil || !strings.HasPrefix(err.Error(), "importing c: certbot has no certificate of that name in ") {
		t.Errorf("one that is not there: %v", err)
	}
}

func TestAnUnknownCAGetsAnIssuer(t *testing.T) {
	for name, tt := range map[string]struct{ directory, issuer, file string }{
		"a private one": {"https://acme.corp.example/directory", "acme.corp.example", "acme.corp.example.yaml"},
		"one that is built in but asks for a binding": {"https://acme.zerossl.com/v2/DV90", "zerossl", "zerossl.yaml"},
		"one that is built in":                        {letsencrypt, "letsencrypt", ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			for _, name := range []string{"a.example.com", "b.example.com"} {
				w.lineage(name, ecKey(t), 60*day, "authenticator = standalone", name)
				w.edit("renewal/"+name+".conf", letsencrypt, tt.directory)
			}
			p := w.apply("certbot")
			if s := step(t, p, "b.example.com"); s.Issuer != tt.issuer {
				t.Errorf("the issuer is %s", s.Issuer)
			}
			files, err := os.ReadDir(w.config.IssuerDir)
			if err != nil || len(files) > 0 != (tt.file != "") || len(files) > 0 && files[0].Name() != tt.file {
				t.Errorf("files of issuers: %v, %v", files, err)
			}
		})
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWhatCertbotWasToldBecomesASpec(t *testing.T) {
	for name, tt := range map[string]struct {
		params string
		want   []string // lines of the spec
		notes  []string // what is to be looked at
	}{
		"standalone": {"authenticator = standalone", []string{"challenge: {type: http-01}"}, nil},
		"a webroot": {
			"authenticator = webroot\nwebroot_path = /var/www/html,\n[[webroot_map]]\nwww.example.com = /var/www/html",
			[]string{"challenge: {type: http-01, webroot: /var/www/html}"},
			[]string{"proofs are written to /var/www/html/.well-known/acme-challenge, which acmed.service may not yet"},
		},
		"webroots that differ": {
			"authenticator = webroot\n[[webroot_map]]\nwww.example.com = /srv/a\nexample.com = /srv/b",
			[]string{"challenge: {type: http-01}"}, []string{"the names have 2 different webroots"},
		},
		"a plugin for nginx": {
			"authenticator = nginx\ninstaller = nginx",
			[]string{"challenge: {type: http-01}", "deploy:", "  reload: [nginx.service]"},
			[]string{"nginx answered for the other client; acmed edits no web server"},
		},
		"a hook that reloads": {
			"authenticator = standalone\nrenew_hook = systemctl reload nginx postfix",
			[]string{"  reload: [nginx.service, postfix.service]"}, nil,
		},
		"a hook that is a program": {
			"authenticator = standalone\nrenew_hook = /usr/local/bin/push --all",
			[]string{`    - {command: [/usr/local/bin/push, --all], timeout: 10m}`}, nil,
		},
		"a hook that needs a shell": {
			`authenticator = standalone` + "\n" + `renew_hook = '''cp "$RENEWED_LINEAGE"/*.pem /srv && echo '#' '''`,
			[]string{`    - {command: [/bin/sh, -c, "cp \"$RENEWED_LINEAGE\"/*.pem /srv && echo '#'"], timeout: 10m}`},
			[]string{"renew_hook becomes a command of deploy.run, which status and logs show"},
		},
		"a hook of several lines": {
			"authenticator = standalone\nrenew_hook = \"\"\"systemctl reload nginx\ntrue\"\"\"", nil,
			[]string{"renew_hook is a hook of several lines"},
		},
		"hooks before and after": {
			"authenticator = standalone\npre_hook = systemctl stop nginx\npost_hook = systemctl start nginx", nil,
			[]string{"post_hook is set", "pre_hook is set"},
		},
		"a preferred chain": {"authenticator = standalone\npreferred_chain = ISRG Root X2", []string{`preferredChain: "ISRG Root X2"`}, nil},
		"a profile":         {"authenticator = standalone\nrequired_profile = shortlived", []string{"profile: shortlived"}, nil},
		"must-staple": {
			"authenticator = standalone\nmust_staple = True", nil,
			[]string{"must_staple: CAs have given up OCSP, and the next certificate comes without it"},
		},
		"an option nobody knows":   {"authenticator = standalone\nfrobnicate = 7", nil, []string{"frobnicate is set"}},
		"options that say nothing": {"authenticator = standalone\ninstaller = None\nkey_type = ecdsa", nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("www.example.com", ecKey(t), 60*day, tt.params, "www.example.com")
			s := step(t, w.apply("certbot"), "www.example.com")
			for _, want := range append(tt.want, "privateKey: {algorithm: ECDSA, size: 256, rotationPolicy: Always}") {
				if !strings.Contains("\n"+s.Spec, "\n"+want+"\n") {
					t.Errorf("no line %q in\n%s", want, s.Spec)
				}
			}
			var notes []string
			for _, n := range s.Notes {
				notes = append(notes, n.What)
			}
			if !slices.Equal(notes, tt.notes) {
				t.Errorf("notes %q, want %q", notes, tt.notes)
			}
		})
	}
}

func TestDefaultsMakeNoOrder(t *testing.T) {
	w := certbot(t)
	w.config.Defaults.Profile, w.config.Defaults.PreferredChain = "shortlived", "ISRG Root X2"
	w.config.Defaults.Challenge = spec.Challenge{Type: "http-01", Webroot: "/srv"}
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	s := step(t, w.apply("certbot"), "www.example.com")
	got, err := spec.ParseCertificate(w.config, "www.example.com.yaml", []byte(s.Spec), nil)
	if err != nil || got.Profile != "" || got.PreferredChain != "" || got.Challenge.Webroot != "" {
		t.Errorf("the spec means %+v, %v", got, err)
	}
}

func TestHooksForAllCertificatesRunFirst(t *testing.T) {
	w := certbot(t)
	for _, name := range []string{"deploy/20-b", "deploy/10-a", "deploy/old~", "pre/stop"} {
		w.write("renewal-hooks/"+name, "#!/bin/sh\n")
		if err := os.Chmod(filepath.Join(w.dir, "renewal-hooks", name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	w.write("renewal-hooks/deploy/notes", "no program")
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone\nrenew_hook = /bin/push", "www.example.com")
	w.lineage("own.example.com", ecKey(t), 60*day, "authenticator = standalone\ndirectory_hooks = False", "own.example.com")
	p := w.apply("certbot")
	hooks := filepath.Join(w.dir, "renewal-hooks/deploy")
	want := fmt.Sprintf("  run:\n    - {command: [%s/10-a], timeout: 10m}\n    - {command: [%[1]s/20-b], timeout: 10m}\n    - {command: [/bin/push], timeout: 10m}\n", hooks)
	if s := step(t, p, "www.example.com"); !strings.HasSuffix(s.Spec, want) {
		t.Errorf("the spec is\n%s", s.Spec)
	}
	if s := step(t, p, "own.example.com"); strings.Contains(s.Spec, "deploy") {
		t.Errorf("the spec is\n%s", s.Spec)
	}
	if len(p.Notes) != 2 || !strings.HasSuffix(p.Notes[0].What, "pre/stop runs before every renewal") {
		t.Errorf("notes: %+v", p.Notes)
	}
}

func TestOneBadCertificateHurtsNoOther(t *testing.T) {
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, w *world)
		want  migrate.Action
		why   string // the end of it
	}{
		"it has expired": {func(t *testing.T, w *world) {
			w.lineage("bad", ecKey(t), -day, "authenticator = standalone", "bad.example.com")
		}, migrate.Order, "it expired on " + time.Now().Add(-day).UTC().Format(time.DateOnly)},
		"its key is another one": {func(t *testing.T, w *world) {
			w.lineage("bad", ecKey(t), 60*day, "authenticator = standalone", "bad.example.com")
			w.write("archive/bad/privkey2.pem", keyPEM(t, ecKey(t)))
		}, migrate.Order, "the certificate is for another key"},
		"no spec can ask for its key": {func(t *testing.T, w *world) {
			w.lineage("bad", rsaKey(t, 1024), 60*day, "authenticator = standalone", "bad.example.com")
		}, migrate.Order, "no spec can ask for a key of its kind"},
		"its files are gone": {func(t *testing.T, w *world) {
			w.renewal("bad", "authenticator = webroot\n[[webroot_map]]\nbad.example.com = /srv")
		}, migrate.Order, "live/bad/privkey.pem: no such file or directory"},
		"a link leads out of the folder": {func(t *testing.T, w *world) {
			w.renewal("bad", "authenticator = webroot\n[[webroot_map]]\nbad.example.com = /srv")
			w.link("live/bad/privkey.pem", "../../../acmed.yaml")
		}, migrate.Order, "live/bad/privkey.pem: a link that leads out of that directory; copy it with cp -RL, and import the copy with --dir"},
		"a pipe lies in the place of a key": {func(t *testing.T, w *world) {
			w.renewal("bad", "authenticator = webroot\n[[webroot_map]]\nbad.example.com = /srv")
			w.pipe("live/bad/privkey.pem")
		}, migrate.Order, "live/bad/privkey.pem: not a regular file"},
		"it is not known what names it has": {func(t *testing.T, w *world) {
			w.renewal("bad", "authenticator = standalone")
		}, migrate.Refuse, "live/bad/privkey.pem: no such file or directory"},
		"its file cannot be understood": {func(_ *testing.T, w *world) {
			w.write("renewal/bad.conf", "prose\n")
		}, migrate.Refuse, "renewal/bad.conf:1: neither a section nor a key with a value"},
		"its file is too large": {func(_ *testing.T, w *world) {
			w.write("renewal/bad.conf", strings.Repeat("#\n", 1<<16))
		}, migrate.Refuse, "renewal/bad.conf: larger than 65536 bytes"},
		"its CA is not asked over https": {func(t *testing.T, w *world) {
			w.lineage("bad", ecKey(t), 60*day, "authenticator = standalone", "bad.example.com")
			w.edit("renewal/bad.conf", "https:", "http:")
		}, migrate.Refuse, "the CA's directory is not an https URL"},
		"another has its name": {func(t *testing.T, w *world) {
			w.lineage("Bad", ecKey(t), 60*day, "authenticator = standalone", "a.example.com")
			w.lineage("bad", ecKey(t), 60*day, "authenticator = standalone", "b.example.com")
		}, migrate.Refuse, "Bad is called that here, too"},
	} {
		t.Run(name, func(t *testing.T) {
			w := certbot(t)
			w.lineage("good", ecKey(t), 60*day, "authenticator = standalone", "good.example.com")
			tt.spoil(t, w)
			p := w.apply("certbot")
			if s := step(t, p, "good"); s.Action != migrate.Import {
				t.Errorf("the good one: %q, %q", s.Action, s.Why)
			}
			if s := p.Certificates[slices.IndexFunc(p.Certificates, func(s migrate.Step) bool { return s.Name == "bad" && s.Action != migrate.Import })]; s.Action != tt.want || !strings.HasSuffix(s.Why, tt.why) {
				t.Errorf("the bad one: %q, %q, want %q, %q", s.Action, s.Why, tt.want, tt.why)
			}
		})
	}
}

func TestRootLeavesTheStateToItsOwner(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root gives folders away")
	}
	const nobody = 65534
	w := certbot(t)
	w.lineage("www.example.com", ecKey(t), 60*day, "authenticator = standalone", "www.example.com")
	home := filepath.Dir(w.config.StateDir)
	if err := errors.Join(os.Chmod(filepath.Dir(home), 0o711), os.Chmod(home, 0o711), os.Mkdir(w.config.StateDir, 0o711), os.Chown(w.config.StateDir, nobody, nobody)); err != nil {
		t.Fatal(err)
	}
	p := w.apply("certbot") // which looks whose everything is
	for file, want := range map[string]uint32{
		filepath.Join(w.config.StateDir, "live/www.example.com/privkey.pem"): nobody, p.Certificates[0].SpecFile: 0,
	} {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != want {
			t.Errorf("%s belongs to uid %d, want %d", file, uid, want)
		}
	}
	if os.Geteuid() != 0 {
		t.Error("root has not come back")
	}
}
