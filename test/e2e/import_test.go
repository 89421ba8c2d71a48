//go:build e2e

package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/site"
)

// TestImport has real clients obtain certificates from Pebble, and acmed take them over.
func TestImport(t *testing.T) {
	t.Setenv("PATH", build(t)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	for _, c := range []struct {
		name   string
		obtain func(t *testing.T, m *migration)
	}{
		{"caddy", obtainWithCaddy},
		{"certbot", obtainWithCertbot},
		{"dehydrated", obtainWithDehydrated},
		{"lego", obtainWithLego},
	} {
		t.Run(c.name, func(t *testing.T) { takeOver(t, c.name, c.obtain) })
	}
}

// build makes the program, and returns its folder.
func build(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := host("go", "build", "-o", dir, "acmed/cmd/acmed"); err != nil {
		t.Fatal(err)
	}
	return dir
}

// migration is a machine on which another client is at work, and acmed will be.
type migration struct {
	ca   *pebble.Server
	site *site.Site
	dir  string // of the other client
	www  string // served on port 80
	port string // which is this one here
	// issued are the certificate files that the client has made, by the names that acmed gives them.
	issued map[string]string
	hook   string // a program that notes the folder that it is told, if the client was given it for one of them
	hooked string // the certificate that it is for
}

// takeOver lets a client obtain certificates, imports them, and has acmed renew them.
func takeOver(t *testing.T, client string, obtain func(t *testing.T, m *migration)) {
	ca := pebble.Start(t, pebble.Options{})
	m := &migration{ca: ca, site: site.New(t, ca, site.Options{Responder: true}), issued: map[string]string{}}
	m.dir, m.www, m.hook = m.site.Path("client"), m.site.Path("www"), m.site.Path("hook")
	m.site.Write(t, "hook", "#!/bin/sh\nbasename \"$RENEWED_LINEAGE\" >> "+m.site.Path("hooked")+"\n")
	if err := errors.Join(os.Chmod(m.hook, 0o755), os.MkdirAll(m.www, 0o755)); err != nil {
		t.Fatal(err)
	}
	var err error
	if _, m.port, err = net.SplitHostPort(ca.HTTPAddr); err != nil {
		t.Fatal(err)
	}
	obtain(t, m)

	before := ca.Count(t)
	plan := m.site.Run(t, "import", client, "--dir", m.dir)
	if !strings.Contains(plan, "Nothing was changed.") || m.site.Live(t, m.hooked) != 0 {
		t.Errorf("the plan:\n%s", plan)
	}
	if done := m.site.Run(t, "import", client, "--dir", m.dir, "--apply"); !strings.Contains(done, "Imported.") {
		t.Errorf("the import:\n%s", done)
	}
	if again := m.site.Run(t, "import", client, "--dir", m.dir, "--apply"); !strings.Contains(again, "There is nothing to import") {
		t.Errorf("once more:\n%s", again)
	}
	m.serve(t)
	m.site.Settle(t)
	m.site.Start(t)
	m.awaitValid(t, 1)
	m.isServed(t)
	m.awaitHook(t, 1)
	if asked := ca.Count(t).Since(before); asked.Total("directory", "renewalInfo") > 0 {
		t.Errorf("the import and the start asked the CA for %v", asked)
	}

	m.site.Run(t, "renew", "--all", "--wait")
	m.awaitValid(t, 2)
	asked := ca.Count(t).Since(before)
	if asked["newAccount"] > 0 || asked["newOrder"] != len(m.issued) {
		t.Errorf("the renewal asked the CA for %v", asked)
	}
	m.sameAccount(t)
	m.awaitHook(t, 2)
}

// TestImportOfDynamicUpdates has certbot prove a wildcard by signed updates of BIND, and acmed go on with its key.
func TestImportOfDynamicUpdates(t *testing.T) {
	t.Setenv("PATH", build(t)+string(filepath.ListSeparator)+os.Getenv("PATH"))
	key, err := hostOutput("tsig-keygen", "acmed")
	if err != nil {
		t.Fatal(err)
	}
	startBIND(t, key)
	resolve(t)
	ca := pebble.Start(t, pebble.Options{DNSServer: "127.0.0.1:53"})
	m := &migration{ca: ca, site: site.New(t, ca, site.Options{Responder: true}), issued: map[string]string{}}
	m.dir = m.site.Path("client")
	_, secret, _ := strings.Cut(key, `secret "`)
	secret, _, _ = strings.Cut(secret, `"`)
	m.site.Write(t, "rfc2136.ini", "dns_rfc2136_server = 127.0.0.1\ndns_rfc2136_name = acmed.\ndns_rfc2136_secret = "+secret+"\ndns_rfc2136_algorithm = HMAC-SHA256\n")
	m.other(t, "certbot", "certonly", "--non-interactive", "--agree-tos", "--email=pki@example.com", "--server="+ca.DirectoryURL,
		"--config-dir="+m.dir, "--work-dir="+m.site.Path("work"), "--logs-dir="+m.site.Path("logs"),
		"--dns-rfc2136", "--dns-rfc2136-credentials="+m.site.Path("rfc2136.ini"), "--dns-rfc2136-propagation-seconds=1",
		"-d", "example.com", "-d", "*.example.com")
	m.issued["example.com"] = filepath.Join(m.dir, "live/example.com/fullchain.pem")

	if done := m.site.Run(t, "import", "certbot", "--dir", m.dir, "--apply"); !strings.Contains(done, "Imported.") {
		t.Errorf("the import:\n%s", done)
	}
	m.site.Settle(t)
	m.site.Start(t)
	m.awaitValid(t, 1)
	m.isServed(t)
	m.site.Run(t, "renew", "--all", "--wait")
	m.awaitValid(t, 2)
	m.sameAccount(t)
}

// resolve has the resolver of this machine be the one on it, for as long as the test runs.
func resolve(t *testing.T) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "resolv.conf")
	if err := errors.Join(os.WriteFile(file, []byte("nameserver 127.0.0.1\n"), 0o644), host("mount", "--bind", file, "/etc/resolv.conf")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host("umount", "/etc/resolv.conf"); err != nil {
			t.Error(err)
		}
	})
}

// serve answers on port 80 as a web server does that serves its own folder, and includes acmed's snippet.
func (m *migration) serve(t *testing.T) {
	t.Helper()
	const prefix = "/.well-known/acme-challenge/"
	own, tokens := http.FileServer(http.Dir(m.www)), http.StripPrefix(prefix, http.FileServer(http.Dir(m.site.Tokens)))
	m.listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := os.Stat(filepath.Join(m.www, r.URL.Path)); err != nil && strings.HasPrefix(r.URL.Path, prefix) {
			tokens.ServeHTTP(w, r)
			return
		}
		own.ServeHTTP(w, r)
	}))
}

// listen serves on port 80 until the test ends, or until the function that it returns is called.
func (m *migration) listen(t *testing.T, h http.Handler) (stop func()) {
	t.Helper()
	ln, err := net.Listen("tcp", m.ca.HTTPAddr)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- server.Serve(ln) }()
	ctx, cancel := context.WithCancel(t.Context())
	context.AfterFunc(ctx, func() { _ = server.Close() }) // Serve tells
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(cancel)
	return stop
}

// awaitValid waits until every certificate is valid with a revision, and its consumers have it.
func (m *migration) awaitValid(t *testing.T, revision int) {
	t.Helper()
	for name := range m.issued {
		site.Eventually(t, name+" is valid", func() bool {
			c, err := m.site.Control.Status(t.Context(), name)
			return err == nil && c.Phase == control.Valid && c.Current.Number == revision
		})
	}
}

// isServed tells that the certificates are those that the client has obtained.
func (m *migration) isServed(t *testing.T) {
	t.Helper()
	for name, file := range m.issued {
		have, err := m.site.Served(name)
		if err != nil {
			t.Error(err)
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		want, err := tls.X509KeyPair(text, mustRead(t, filepath.Join(m.site.State, "live", name, "privkey.pem")))
		if err != nil || string(want.Certificate[0]) != string(have.Certificate[0]) {
			t.Errorf("%s is another certificate: %v", name, err)
		}
	}
}

func mustRead(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// sameAccount tells that every revision was ordered with one account.
func (m *migration) sameAccount(t *testing.T) {
	t.Helper()
	r, err := store.OpenReader(m.site.State)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	a, _, err := r.Account("pebble")
	if err != nil || a == nil {
		t.Fatalf("the account: %v, %v", a, err)
	}
	for name := range m.issued {
		all, err := r.Revisions(name)
		if err != nil || len(all) != 2 {
			t.Errorf("%s has %d revisions, %v", name, len(all), err)
		}
		for _, rev := range all {
			if rev.Account != a.URL {
				t.Errorf("revision %d of %s was ordered with %q, not with %s", rev.Number, name, rev.Account, a.URL)
			}
		}
	}
}

// awaitHook waits until the hook has run that often, for acmed's folder.
func (m *migration) awaitHook(t *testing.T, times int) {
	t.Helper()
	if m.hooked == "" {
		return
	}
	want := strings.Repeat(m.hooked+"\n", times)
	site.Eventually(t, "the hook has run", func() bool {
		got, err := os.ReadFile(m.site.Path("hooked"))
		return err == nil && string(got) == want
	})
}

// other runs another client, which trusts the CA's listener.
func (m *migration) other(t *testing.T, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	for _, variable := range []string{"REQUESTS_CA_BUNDLE", "LEGO_CA_CERTIFICATES", "CURL_CA_BUNDLE"} {
		cmd.Env = append(cmd.Env, variable+"="+m.ca.RootsFile)
	}
	cmd.Env = append(os.Environ(), cmd.Env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
}

// obtainWithCertbot obtains one certificate each by webroot, by certbot's own server, and with a hook.
func obtainWithCertbot(t *testing.T, m *migration) {
	run := func(args ...string) {
		m.other(t, "certbot", append([]string{
			"certonly", "--non-interactive", "--agree-tos", "--email=pki@example.com", "--server=" + m.ca.DirectoryURL,
			"--config-dir=" + m.dir, "--work-dir=" + m.site.Path("work"), "--logs-dir=" + m.site.Path("logs"),
			"--http-01-port=" + m.port,
		}, args...)...)
	}
	stop := m.listen(t, http.FileServer(http.Dir(m.www)))
	run("--webroot", "--webroot-path="+m.www, "-d", "web.example.com", "-d", "www.web.example.com")
	stop()
	run("--standalone", "-d", "alone.example.com", "--key-type=rsa", "--rsa-key-size=3072", "--reuse-key")
	run("--standalone", "-d", "hook.example.com", "--deploy-hook="+m.hook)
	for _, name := range []string{"web.example.com", "alone.example.com", "hook.example.com"} {
		m.issued[name] = filepath.Join(m.dir, "live", name, "fullchain.pem")
	}
	m.hooked = "hook.example.com"
	if err := os.Remove(m.site.Path("hooked")); err != nil { // certbot runs it as well
		t.Fatal(err)
	}
	m.linkAccounts(t)
}

// linkAccounts puts an absolute link in the place of certbot's accounts, as certbot does where it began with ACME v1.
func (m *migration) linkAccounts(t *testing.T) {
	accounts, err := filepath.Glob(filepath.Join(m.dir, "accounts/*/*"))
	if err != nil || len(accounts) != 1 {
		t.Fatalf("the accounts: %v, %v", accounts, err)
	}
	old := filepath.Join(m.dir, "accounts/old")
	if err := errors.Join(os.Rename(accounts[0], old), os.Symlink(old, accounts[0])); err != nil {
		t.Fatal(err)
	}
}

// obtainWithDehydrated obtains two certificates, one under another name and with a hook.
func obtainWithDehydrated(t *testing.T, m *migration) {
	proofs := filepath.Join(m.www, ".well-known/acme-challenge")
	if err := os.MkdirAll(proofs, 0o755); err != nil {
		t.Fatal(err)
	}
	certs := m.site.Path("elsewhere")
	m.site.Write(t, "client/config", "CA="+m.ca.DirectoryURL+"\nWELLKNOWN="+proofs+"\nCONTACT_EMAIL=pki@example.com\nCERTDIR="+certs+"\n")
	m.site.Write(t, "client/domains.txt", "A.example.com WWW.a.Example.com\nb.example.com > Bee\n")
	m.site.Write(t, "elsewhere/bee/config", "HOOK="+m.hook+"\n")
	stop := m.listen(t, http.FileServer(http.Dir(m.www)))
	m.other(t, "dehydrated", "--config", filepath.Join(m.dir, "config"), "--register", "--accept-terms")
	m.other(t, "dehydrated", "--config", filepath.Join(m.dir, "config"), "--cron")
	stop()
	for _, name := range []string{"a.example.com", "bee"} {
		m.issued[name] = filepath.Join(certs, name, "fullchain.pem")
	}
	m.hooked = "bee"
	if err := os.Remove(m.site.Path("hooked")); err != nil { // dehydrated runs it as well, and for other things
		t.Fatal(err)
	}
}

// obtainWithLego obtains two certificates, of which one lies there without its issuer's.
func obtainWithLego(t *testing.T, m *migration) {
	run := func(domain string, more ...string) {
		m.other(t, "lego", append([]string{
			"--path", m.dir, "--server", m.ca.DirectoryURL, "--accept-tos", "--email", "pki@example.com", "--http", "--http.port", ":" + m.port,
			"--domains", domain, "--domains", "www." + domain, "run",
		}, more...)...)
		m.issued[domain] = filepath.Join(m.dir, "certificates", domain+".crt")
	}
	run("l.example.com")
	run("alone.example.com", "--no-bundle")
}

// obtainWithCaddy has Caddy obtain two certificates, one after the other: at the same time, it may register two accounts.
func obtainWithCaddy(t *testing.T, m *migration) {
	obtainSiteWithCaddy(t, m, "caddy.example.com")
	obtainSiteWithCaddy(t, m, "www.caddy.example.com")
}

func obtainSiteWithCaddy(t *testing.T, m *migration, name string) {
	t.Helper()
	_, tlsPort, err := net.SplitHostPort(m.ca.TLSAddr)
	if err != nil {
		t.Fatal(err)
	}
	m.site.Write(t, "Caddyfile", "{\n\tadmin off\n\tskip_install_trust\n\tstorage file_system "+m.dir+"\n\temail pki@example.com\n\tacme_ca "+m.ca.DirectoryURL+
		"\n\tacme_ca_root "+m.ca.RootsFile+"\n\thttp_port "+m.port+"\n\thttps_port "+tlsPort+"\n}\n"+name+" {\n\trespond ok\n}\n")
	cmd := exec.CommandContext(t.Context(), "caddy", "run", "--config", m.site.Path("Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir())
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, "Caddy has a certificate for "+name, func() bool {
		files, err := filepath.Glob(filepath.Join(m.dir, "certificates/*", name, name+".json"))
		if err == nil && len(files) == 1 {
			m.issued[name] = strings.TrimSuffix(files[0], ".json") + ".crt"
		}
		return m.issued[name] != ""
	})
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	_ = cmd.Wait() // its exit status is that of an interrupted program
}
