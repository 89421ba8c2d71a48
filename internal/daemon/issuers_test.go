package daemon_test

import (
	"encoding/base64"
	"os"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
	"acmed/internal/daemon"
	"acmed/internal/spec"
)

func TestIssuersAreListedByTheDaemonAndByTheFiles(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.addCA("other", acmetest.Config{}, "limits: {ordersPer3h: 300}\ntermsOfServiceAgreed: false\n")
	s.spec("a.example.com", "")
	offline := func() []control.Issuer {
		t.Helper()
		c, err := spec.LoadConfig(s.path("acmed.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		list, err := daemon.Issuers(c)
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if ca := named(t, offline(), "ca"); ca.Account != nil || ca.Unknown != "" || ca.Certificates != 1 {
		t.Errorf("before the first start: %+v", ca)
	}
	s.start()
	s.await("a.example.com", 1)
	online, err := s.run.Issuers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for sort, list := range map[string][]control.Issuer{"the daemon": online, "the files": offline()} {
		ca, other, zero, le := named(t, list, "ca"), named(t, list, "other"), named(t, list, "zerossl"), named(t, list, "letsencrypt")
		if ca.Account == nil || ca.Account.URL == "" || ca.Certificates != 1 || ca.Binding != control.NoBinding || ca.File == "" || ca.Hint != "" {
			t.Errorf("%s: an issuer in use: %+v", sort, ca)
		}
		if other.Account != nil || other.Budgets[0].Left != 300 || other.TermsOfServiceAgreed || !strings.Contains(other.Hint, "terms of service") {
			t.Errorf("%s: one whose terms are not agreed: %+v", sort, other)
		}
		if zero.Binding != control.MissingBinding || !strings.Contains(zero.Hint, "acmed zerossl eab") || zero.File != "" {
			t.Errorf("%s: one that lacks a binding: %+v", sort, zero)
		}
		if le.Binding != control.NoBinding || le.Hint != "" || le.Budgets[0].Max != 270 {
			t.Errorf("%s: one that is built in: %+v", sort, le)
		}
	}
}

func TestABindingThatIsNotUsedIsTold(t *testing.T) {
	t.Parallel()
	key := []byte("0123456789abcdef0123456789abcdef")
	s := newSite(t, acmetest.Config{})
	s.write("hmac", base64.RawURLEncoding.EncodeToString(key))
	binding := func(kid string) string {
		return "externalAccountBinding: {kid: " + kid + ", hmacKeyFile: " + s.path("hmac") + "}\n"
	}
	s.addCA("bound", acmetest.Config{RequireEAB: true, EAB: map[string][]byte{"one": key, "two": key}}, binding("one"))
	s.spec("a.example.com", "issuers: [bound]")
	s.start()
	s.await("a.example.com", 1)
	text, err := os.ReadFile(s.path("issuers.d/bound.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for _, kid := range []string{"one", "two"} {
		s.write("issuers.d/bound.yaml", strings.Replace(string(text), "kid: one", "kid: "+kid, 1))
		s.reload(false)
		list, err := s.run.Issuers(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"one": "", "two": "its account was made with the binding one and goes on with that; to use two, write it to an issuer of another name"}[kid]
		if got := named(t, list, "bound"); got.Note != want || got.Account.KID != "one" || got.Binding != control.GivenBinding {
			t.Errorf("with the binding %s: %+v", kid, got)
		}
	}
}

func TestIssuersWithoutTheStateFolderSaySo(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.write("state", "not a folder")
	c, err := spec.LoadConfig(s.path("acmed.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	list, err := daemon.Issuers(c)
	if err != nil {
		t.Fatal(err)
	}
	if ca := named(t, list, "ca"); !strings.Contains(ca.Unknown, "you may not read "+c.StateDir) {
		t.Errorf("an issuer: %+v", ca)
	}
	if err := os.Remove(c.StateDir); err != nil {
		t.Fatal(err)
	}
}

func named(t *testing.T, list []control.Issuer, name string) control.Issuer {
	t.Helper()
	for _, i := range list {
		if i.Name == name {
			return i
		}
	}
	t.Fatalf("there is no issuer %s", name)
	return control.Issuer{}
}
