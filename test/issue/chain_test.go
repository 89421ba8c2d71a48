package issue_test

import (
	"crypto/x509"
	"regexp"
	"strings"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestAPreferredChainThatTheCADoesNotHave has a spec prefer a chain that there is not, and then one that there is.
func TestAPreferredChainThatTheCADoesNotHave(t *testing.T) {
	t.Parallel()
	const name, message = "www.example.com", "the CA offers no chain to the preferred issuer"
	ca := pebble.Start(t, pebble.Options{AlternateRoots: 1})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, name, "preferredChain: No Such Root\n")
	s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, name) == 1 })
	c, err := s.Control.Status(t.Context(), name)
	if err != nil || len(c.Notes) != 1 || !strings.Contains(c.Notes[0], `"No Such Root"`) || len(c.Failures) > 0 {
		t.Fatalf("got the notes %q and the failures %v, %v", c.Notes, c.Failures, err)
	}
	roots := regexp.MustCompile(`Pebble Root CA [0-9a-f]+`).FindAllString(c.Notes[0], -1)
	if len(roots) != 2 || roots[0] == roots[1] {
		t.Fatalf("the note names the chains %q", roots)
	}
	if text := s.Run(t, "status", name); !strings.Contains(text, roots[1]) {
		t.Errorf("acmed status does not tell:\n%s", text)
	}
	s.Spec(t, name, "preferredChain: "+roots[1]+"\n")
	s.Run(t, "reload")
	renew(t, s, name)
	if got := topOf(t, s, name); got != roots[1] {
		t.Errorf("the chain leads to %s, want %s", got, roots[1])
	}
	if c, err = s.Control.Status(t.Context(), name); err != nil || len(c.Notes) > 0 {
		t.Errorf("got the notes %q, %v", c.Notes, err)
	}
	warned := 0
	for _, e := range s.Log(t) {
		if e.Message == message {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("it was told of %d times in the log, want once", warned)
	}
}

// topOf is the common name of the topmost issuer of the chain that is served.
func topOf(t *testing.T, s *site.Site, name string) string {
	t.Helper()
	pair, err := s.Served(name)
	if err != nil {
		t.Fatal(err)
	}
	last, err := x509.ParseCertificate(pair.Certificate[len(pair.Certificate)-1])
	if err != nil {
		t.Fatal(err)
	}
	return last.Issuer.CommonName
}
