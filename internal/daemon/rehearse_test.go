package daemon_test

import (
	"os"
	"strings"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

func TestARenewalIsRehearsed(t *testing.T) {
	t.Parallel()
	s := newSite(t, acmetest.Config{})
	staging := s.addCA("ca-staging", acmetest.Config{Fetch: s.fetch}, "")
	s.addCA("lone", acmetest.Config{Fetch: s.fetch}, "")
	s.spec(www, "issuers: [ca]\n")
	s.start()
	s.await(www, 1)
	s.spec("b.example.com", "issuers: [lone]\n") // only now: the tokens of CAs in memory are the same
	s.await("b.example.com", 1)
	before, err := os.ReadFile(s.path("state/ledger/" + www + ".json"))
	if err != nil {
		t.Fatal(err)
	}
	req := control.RenewRequest{Names: []string{www}, Staging: true}
	if e := s.renew(req)[www]; !e.OK || !strings.HasPrefix(e.Message, "the rehearsal worked") {
		t.Errorf("it ends with %+v", e)
	}
	if n, m := staging.Count("finalize"), s.ca.Count("newOrder"); n != 1 || m != 1 {
		t.Errorf("the twin issued %d, and the CA was asked %d times", n, m)
	}
	staging.AllowRepeat(www)
	staging.FailValidation(www, "dns", "no valid A records found")
	e := s.renew(req)[www]
	if e.OK || !strings.HasSuffix(e.Error, "no valid A records found") || e.Hint == "" {
		t.Errorf("failure ends with %+v", e)
	}
	req.Names = []string{"b.example.com"}
	if e := s.renew(req)["b.example.com"]; e.OK || !strings.Contains(e.Error, "issuer lone has no staging twin: write one to issuers.d/lone-staging.yaml") {
		t.Errorf("without a twin it ends with %+v", e)
	}
	after, err := os.ReadFile(s.path("state/ledger/" + www + ".json"))
	if c := s.list()[www]; err != nil || string(after) != string(before) || c.Revision != 1 || c.Problem {
		t.Errorf("the certificate was touched: %v, %+v\n%s\n%s", err, c, before, after)
	}
	if left, err := os.ReadDir(s.path("run/http-01")); err != nil || len(left) > 0 {
		t.Errorf("proofs are left: %v, %v", left, err)
	}
}
