package issue_test

import (
	"crypto/x509"
	"encoding/base64"
	"net"
	"os"
	"regexp"
	"strings"
	"testing"

	"acmed/internal/acme"
	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/scm"
	"acmed/test/site"
)

// TestSectigoWalkThrough follows docs/sectigo.md: an SCM account and its domains, an issuer, a spec, a certificate, and
// no listener at all. A hundred restarts later there is still one registration, and the binding was used once.
func TestSectigoWalkThrough(t *testing.T) {
	const name, restarts = "www.example.com", 100
	ca, s := sectigoSite(t)
	s.Run(t, "sectigo", "account", "create", "web01", "--server", "OV ACME Server", "--write-issuer", "sectigo-ov")
	s.Run(t, "sectigo", "domain", "add", "122", name)
	s.Run(t, "check")
	if seen := s.Run(t, "issuer", "test", "sectigo-ov"); !strings.Contains(seen, "needed, given") {
		t.Errorf("acmed issuer test says\n%s", seen)
	}
	if n := ca.Count(t)["newAccount"]; n != 0 {
		t.Fatalf("before there is anything to order, the CA was asked for %d accounts", n)
	}

	// A name that SCM has not validated: the CA issues challenges, and the operator is told what that means.
	d := s.Start(t)
	s.Spec(t, "else.example.com", "")
	site.Eventually(t, "the name that is not validated is explained", func() bool {
		c, err := s.Control.Status(t.Context(), "else.example.com")
		return err == nil && c.Phase == control.Parked && len(c.Failures) == 1 && strings.Contains(c.Failures[0].Hint, "such as Sectigo, has not validated this one")
	})

	validate(t, ca, s, name)
	before := ca.Count(t)
	s.Spec(t, name, "")
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, name) == 1 })
	if asked := ca.Count(t).Since(before); asked["challenge"] != 0 {
		t.Errorf("%d challenges were answered", asked["challenge"])
	}
	if conn, err := net.Dial("tcp", ca.HTTPAddr); err == nil {
		_ = conn.Close()
		t.Error("somebody listens where the CA would look for a proof")
	}

	if list := s.Run(t, "issuer", "list"); !regexp.MustCompile(`sectigo-ov .* given .* made .* ready`).MatchString(list) {
		t.Errorf("acmed issuer list says\n%s", list)
	}

	for i := range restarts {
		if i%10 == 5 {
			d.Kill()
		} else {
			d.Stop(t)
		}
		d = s.Start(t)
		if i%20 == 10 {
			renew(t, s, name)
		}
	}
	if live := s.Live(t, name); live != 1+restarts/20 {
		t.Errorf("revision %d is live, want %d", live, 1+restarts/20)
	}
	did := deedsOf(t, ca)
	if n := ca.Count(t)["newAccount"]; n != 1 || did.accounts != 1 || did.bindings != 1 {
		t.Errorf("newAccount was asked %d times, made %d accounts and bound %d: want one each", n, did.accounts, did.bindings)
	}
}

// sectigoSite is a machine whose acmed.yaml and sectigo.yaml are those of docs/sectigo.md, an SCM, and the CA behind it,
// which keeps to authorizations that are valid already.
func sectigoSite(t *testing.T) (*pebble.Server, *site.Site) {
	t.Helper()
	key := []byte("0123456789abcdef0123456789abcdef")
	ca := pebble.Start(t, pebble.Options{EAB: map[string][]byte{"kid-1": key}, AuthzReuse: 100, AlwaysValid: true})
	fake := scm.Start(t, scm.Options{
		Servers:  []scm.Server{{Name: "OV ACME Server", URL: ca.DirectoryURL, CAID: 40485, ValidationType: "OV"}},
		Bindings: [][2]string{{"kid-1", base64.RawURLEncoding.EncodeToString(key)}},
	})
	t.Setenv("SSL_CERT_FILE", ca.RootsFile) // the CA's certificate is one of the system's to the daemon, as Sectigo's is
	s := site.New(t, ca, site.Options{})
	s.Write(t, "acmed.yaml", `contact: ["mailto:pki@example.com"]
termsOfServiceAgreed: true
defaults: {issuers: [sectigo-ov]}
http: {solver: off}
specDir: certs.d
issuerDir: issuers.d
stateDir: state
runtimeDir: run
admin: {listen: ""}
log: {format: json}
control: {socket: `+s.Path("run/acmed.sock")+`}
`)
	s.Write(t, "sectigo.yaml", "url: "+fake.URL+"\ncustomerUri: "+scm.Customer+"\nlogin: "+scm.Login+
		"\npasswordFile: "+s.Path("password")+"\norganization: 1841\n")
	if err := os.WriteFile(s.Path("password"), []byte(scm.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return ca, s
}

// validate makes the authorization of a name valid at the CA, as SCM does for the domains of an account: Pebble keeps
// authorizations by account, so that this acts as acmed's.
func validate(t *testing.T, ca *pebble.Server, s *site.Site, name string) {
	t.Helper()
	ctx := t.Context()
	c := accountClient(t, ca, s)
	order, err := c.NewOrder(ctx, acme.OrderRequest{Identifiers: []acme.Identifier{{Type: "dns", Value: name}}})
	if err != nil {
		t.Fatal(err)
	}
	open, err := c.Challenges(ctx, order, "http-01")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AcceptAll(ctx, open); err != nil {
		t.Fatal(err)
	}
	site.Eventually(t, "the CA has validated "+name, func() bool {
		order, err = c.Order(ctx, order.URL)
		return err == nil && order.Status == acme.StatusReady
	})
}

// accountClient acts on behalf of acmed's account at the CA.
func accountClient(t *testing.T, ca *pebble.Server, s *site.Site) *acme.Client {
	t.Helper()
	r, err := store.OpenReader(s.State)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	account, key, err := r.Account("sectigo-ov")
	if err != nil || account == nil {
		t.Fatalf("acmed has no account: %v", err)
	}
	roots := x509.NewCertPool()
	pem, err := os.ReadFile(ca.RootsFile)
	if err != nil || !roots.AppendCertsFromPEM(pem) {
		t.Fatalf("reading the roots: %v", err)
	}
	c, err := acme.New(acme.Config{Directory: account.Directory, Key: key, KID: account.URL, RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
