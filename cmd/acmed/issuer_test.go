package main

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"acmed/internal/control"
)

func sampleIssuers() []control.Issuer {
	orders := control.Budget{Limit: "orders of the account", Left: 268, Max: 270, Per: 10800}
	domain := control.Budget{Limit: "certificates of example.com", Left: 0, Max: 45, Per: 604800}
	return []control.Issuer{
		{Name: "ca", File: "/etc/acmed/issuers.d/ca.yaml", Directory: "https://ca.example/dir", Binding: control.NoBinding, TermsOfServiceAgreed: true,
			Certificates: 4, Account: &control.IssuerAccount{URL: "https://ca.example/account/1", Created: in(-40 * day)},
			Hold: &control.Hold{Until: in(time.Hour), Reason: "too many orders", Promised: true}},
		{Name: "corp", File: "/etc/acmed/issuers.d/corp.yaml", Directory: "https://corp.example/dir", Binding: control.GivenBinding,
			Hint: "agree to the CA's terms of service"},
		{Name: "held", Directory: "https://held.example/dir", Binding: control.NoBinding, TermsOfServiceAgreed: true, Certificates: 2,
			Account: &control.IssuerAccount{URL: "https://held.example/1", Created: in(-9 * day)},
			Hold:    &control.Hold{Until: in(23 * time.Hour), Reason: "not permitted", Certificate: "www.example.com"}},
		{Name: "letsencrypt", Directory: "https://acme-v02.api.letsencrypt.org/directory", Binding: control.NoBinding, TermsOfServiceAgreed: true,
			Certificates: 12, Account: &control.IssuerAccount{URL: "https://acme.example/1", Created: in(-90 * day)}, Budgets: []control.Budget{orders, domain}},
		{Name: "new", Directory: "https://new.example/dir", Binding: control.NoBinding, TermsOfServiceAgreed: true, Account: &control.IssuerAccount{},
			Note: "its account was made with the binding a"},
		{Name: "secret", Directory: "https://secret.example/dir", Binding: control.NoBinding, Unknown: "you may not read /var/lib/acmed, and no daemon answers"},
		{Name: "zerossl", Directory: "https://acme.zerossl.com/v2/DV90", Binding: control.MissingBinding, TermsOfServiceAgreed: true, Hint: "get one"},
	}
}

// playCA gives a script a CA at $CA_URL, whose root is ca.pem: /open makes accounts for everybody, /bound for those it
// knows, /late has a clock of its own.
func playCA(env *testscript.Env) error {
	var server *httptest.Server
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/nonce":
			w.Header().Set("Replay-Nonce", fmt.Sprintf("nonce-%d", time.Now().UnixNano()))
		case "/late":
			w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
			fallthrough
		case "/open", "/bound":
			fmt.Fprintf(w, `{"newNonce":"%[1]s/nonce","newAccount":"%[1]s/account","newOrder":"%[1]s/order","renewalInfo":"%[1]s/ari","meta":
				{"termsOfService":"https://ca.example/terms","website":"https://ca.example","caaIdentities":["ca.example"],
				"externalAccountRequired":%[2]t,"profiles":{"short":"a week","classic":"90 days"}}}`, server.URL, r.URL.Path == "/bound")
		default:
			http.NotFound(w, r)
		}
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	env.Defer(server.Close)
	env.Setenv("CA_URL", server.URL)
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	return os.WriteFile(filepath.Join(env.WorkDir, "ca.pem"), root, 0o600)
}
