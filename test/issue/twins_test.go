package issue_test

import (
	"fmt"
	"testing"
	"time"

	"acmed/test/pebble"
	"acmed/test/site"
)

// TestTwinsByALPN has certificates of the same names, with keys of each kind as servers have them, proved by TLS
// handshakes: a handshake tells a name and not an order. No two of them wait for each other.
func TestTwinsByALPN(t *testing.T) {
	t.Parallel()
	ca := pebble.Start(t, pebble.Options{MaxValidationDelay: 2 * time.Second})
	s := site.New(t, ca, site.Options{Responder: true, ALPN: true})
	names := []string{"www.example.com, example.com", "example.com, www.example.com", "www.example.com"}
	for i, list := range names {
		key := []string{"ECDSA, size: 256", "ECDSA, size: 384", "RSA, size: 2048"}[i]
		s.Spec(t, fmt.Sprint("twin", i), fmt.Sprintf("dnsNames: [%s]\nchallenge: {type: tls-alpn-01}\nprivateKey: {algorithm: %s}\n", list, key))
	}
	d := s.Start(t)
	for i := range names {
		site.Eventually(t, "each certificate is there", func() bool { return s.Live(t, fmt.Sprint("twin", i)) == 1 })
	}
	d.Stop(t)
	if n := deedsOf(t, ca).invalid; n > 0 {
		t.Errorf("%d orders ended because a proof was not found", n)
	}
}
