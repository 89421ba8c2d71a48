package daemon_test

import (
	"os"
	"testing"

	"acmed/internal/acmetest"
	"acmed/internal/control"
)

// TestWhatWasInEffectIsRenewedAfterARestart is about what a valid spec names and what is gone later: see
// TestTheLastValidVersionStaysAcrossARestart of package spec for every such check.
func TestWhatWasInEffectIsRenewedAfterARestart(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		lose func(*site)
	}{
		"an issuer": {"issuers: [ca, second]\ndnsNames: [www.example.com]\n", func(s *site) { s.removeFile("issuers.d/second.yaml") }},
		"a DNS provider of the defaults": {"challenge: {type: http-01}\n", func(s *site) {
			s.configure("defaults: {issuers: [ca]}", "defaults: {issuers: [ca], challenge: {type: dns-01, provider: gone}}")
			s.spec(www, "broken: [\n")
		}},
		"the file itself": {"dnsNames: [www.example.com]\n", func(s *site) { s.spec(www, "") }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t, acmetest.Config{})
			s.addCA("second", acmetest.Config{Fetch: s.fetch, OrderGap: -1}, "")
			s.spec("a..b", "") // which must not keep the others from being remembered
			s.spec(www, c.text)
			s.start()
			s.await(www, 1)
			s.stop()
			c.lose(s)
			for revision := 2; revision <= 3; revision++ {
				s.start()
				eventually(t, "the problem of the file is shown, and the certificate is valid", func() bool {
					c := s.list()[www]
					return c.Phase == control.Valid && c.Problem && c.InvalidSpec && c.Error != ""
				})
				s.ca.AllowRepeat(www)
				if e := s.renew(control.RenewRequest{Names: []string{www}, Wait: true})[www]; !e.OK {
					t.Errorf("renewal %d: %+v", revision, e)
				}
				s.stop()
			}
		})
	}
}

func (s *site) removeFile(name string) {
	s.t.Helper()
	if err := os.Remove(s.path(name)); err != nil {
		s.t.Fatal(err)
	}
}
