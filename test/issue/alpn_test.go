package issue_test

import (
	"testing"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestNamesAndAddressesByALPN has a name and an address proved by TLS handshakes, and renewed.
func TestNamesAndAddressesByALPN(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{NonceReject: 5})
	s := site.New(t, ca, site.Options{Responder: true, ALPN: true})
	s.Spec(t, "both", "dnsNames: [www.example.com]\nipAddresses: [127.0.0.1]\nchallenge: {type: tls-alpn-01}\n")
	d := s.Start(t)
	site.Eventually(t, "the certificate is there", func() bool { return s.Live(t, "both") == 1 })
	renew(t, s, "both")
	pair, err := s.Served("both")
	if err != nil || s.Live(t, "both") != 2 || len(pair.Leaf.DNSNames) != 1 || len(pair.Leaf.IPAddresses) != 1 {
		t.Errorf("revision %d for %v and %v, %v", s.Live(t, "both"), pair.Leaf.DNSNames, pair.Leaf.IPAddresses, err)
	}
	d.Stop(t)
}
