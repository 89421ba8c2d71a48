package daemon_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"os"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

func TestPlanTellsAndChangesNothing(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	names := []string{"a.example.com", "b.example.com", "c.example.com", "d.example.com"}
	for _, n := range names {
		s.spec(n, "")
	}
	s.start()
	for _, n := range names {
		s.await(n, 1)
	}
	plan := func(drafts ...control.Draft) control.Plan {
		t.Helper()
		p, err := s.run.Plan(t.Context(), control.PlanRequest{Drafts: drafts})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	if p := plan(); len(p.Steps) > 0 || p.Unchanged != 4 || p.Held != nil {
		t.Errorf("what is in force: %+v", p)
	}
	p := plan(control.Draft{Path: "/draft/a.example.com.yaml", Text: "dnsNames: [a.example.com, www.a.example.com]"},
		control.Draft{Path: "/draft/new.example.com.yaml"}, control.Draft{Path: "/draft/bad.example.com.yaml", Text: "{"})
	if len(p.Steps) != 2 || p.Steps[0].Do != "reissue" || p.Steps[1].Do != "issue" || p.Unchanged != 3 || len(p.Problems) != 1 {
		t.Errorf("drafts: %+v", p)
	}
	address := plan(control.Draft{Path: "/draft/ip.yaml", Text: "{ipAddresses: [192.0.2.1], issuers: [letsencrypt]}"})
	if len(address.Steps) != 1 || address.Steps[0].Do != "issue" || len(address.Problems) != 1 || address.Problems[0].Hint != "set profile: shortlived" {
		t.Errorf("what Let's Encrypt refuses: %+v", address)
	}
	sim, err := s.run.Plan(t.Context(), control.PlanRequest{Simulate: 90 * 86400,
		Drafts: []control.Draft{{Path: "/draft/new.example.com.yaml"}}})
	if err != nil {
		t.Fatal(err)
	}
	if f := sim.Simulation; f == nil || f.Certificates != 5 || len(f.Issuers) != 1 || f.Issuers[0].Issuer != "ca" ||
		f.Issuers[0].Total.New != 1 || f.Issuers[0].Total.Orders < 6 || len(f.Issuers[0].Days) < 2 || len(sim.Steps) > 0 {
		t.Errorf("the next 90 days: %+v", f)
	}
	if _, err := s.run.Plan(t.Context(), control.PlanRequest{Simulate: 1 << 40}); err == nil {
		t.Error("30,000 years were simulated")
	}
	s.spec("bad.example.com", "{")
	s.remove("a.example.com", "b.example.com", "c.example.com")
	if p := plan(); p.Held == nil || len(p.Steps) > 0 || len(p.Problems) != 1 {
		t.Errorf("files that vanished: %+v", p)
	}
	if n := s.ca.Count("newOrder"); n != 4 {
		t.Errorf("%d orders were made", n)
	}
}

// TestADraftIsNoWayToReadWhatTheDaemonReads has members of acmed-admin name files that only the daemon may read.
func TestADraftIsNoWayToReadWhatTheDaemonReads(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	s.spec("a.example.com", "")
	s.start()
	s.await("a.example.com", 1)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"hsm.example.com"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("secret.csr"), der, 0o600); err != nil {
		t.Fatal(err)
	}
	for sentence, c := range map[string]struct {
		file   string
		beside []control.DraftFile
		says   string // "": it works
	}{
		"a CSR that is not passed":  {file: s.path("secret.csr"), says: "was not passed with the draft"},
		"a key of the state":        {file: s.path("state/live/a.example.com/privkey.pem"), says: "was not passed with the draft"},
		"a file that is not there":  {file: s.path("none"), says: "was not passed with the draft"},
		"another file is passed":    {file: s.path("secret.csr"), beside: []control.DraftFile{{Path: s.path("other.csr"), Data: der}}, says: "was not passed with the draft"},
		"the caller cannot read it": {file: s.path("secret.csr"), beside: []control.DraftFile{{Path: s.path("secret.csr"), Problem: "may not be read"}}, says: "may not be read"},
		"the caller can read it":    {file: "/only/the/caller/has.csr", beside: []control.DraftFile{{Path: "/only/the/caller/has.csr", Data: der}}},
	} {
		p, err := s.run.Plan(t.Context(), control.PlanRequest{Drafts: []control.Draft{{Path: "/draft/hsm.yaml", Text: "csrFile: " + c.file + "\n"}}, Beside: c.beside})
		if err != nil {
			t.Fatal(err)
		}
		if c.says == "" && (len(p.Steps) != 1 || len(p.Problems) > 0) || c.says != "" && (len(p.Steps) > 0 || len(p.Problems) != 1 || !strings.HasSuffix(p.Problems[0].Problem, c.file+" "+c.says)) {
			t.Errorf("%s: %+v", sentence, p)
		}
	}
}
