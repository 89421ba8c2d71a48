package issue_test

import (
	"crypto/x509"
	"slices"
	"strings"
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestANameBeyondASCII is ordered by its A-label, and shown as people write it too.
func TestANameBeyondASCII(t *testing.T) {
	t.Parallel()
	const file, ascii, human = "shop", "xn--bcher-kva.example", "bücher.example"
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{})
	s.Spec(t, file, "dnsNames: [Bücher.example, www.example.com]\n")
	s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, file) == 1 })
	pair, err := s.Served(file)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil || !slices.Contains(leaf.DNSNames, ascii) {
		t.Errorf("it is for %q, %v", leaf.DNSNames, err)
	}
	c, err := s.Control.Status(t.Context(), file)
	if err != nil || !slices.Equal(c.DNSNames, []string{ascii, "www.example.com"}) || len(c.Unicode) != 1 || c.Unicode[ascii] != human {
		t.Errorf("%q %q, %v", c.DNSNames, c.Unicode, err)
	}
	for _, args := range [][]string{{"status", file}, {"status", file, "--output", "json"}, {"list", "--output", "json"}} {
		if text := s.Run(t, args...); !strings.Contains(text, ascii) || !strings.Contains(text, human) {
			t.Errorf("acmed %s tells\n%s", strings.Join(args, " "), text)
		}
	}
}
