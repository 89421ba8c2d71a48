//go:build e2e

package matrix_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"testing"

	"acmed/test/matrix"
	"acmed/test/site"
)

// document is what compare reads, and with UPDATE=1 writes.
const document = "../../docs/compatibility.md"

// compare holds what was seen against the document.
func compare(t *testing.T, s *site.Site, results []matrix.Result, offers []matrix.Offer) {
	t.Helper()
	old, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{"senseless": matrix.SenselessTable(refusal(t, s)), "cas": matrix.OfferTable(offers)}
	if *full {
		sections["full"] = matrix.FullTable(results)
	} else {
		sections["pairwise"] = matrix.PairwiseTable(results)
	}
	text, err := matrix.Rewrite(string(old), sections)
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case text == string(old):
	case t.Failed():
		t.Error("docs/compatibility.md is another, as some cells failed")
	case os.Getenv("UPDATE") != "":
		if err := os.WriteFile(document, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	default:
		t.Errorf("docs/compatibility.md is not what was seen; UPDATE=1 writes it:\n%s", matrix.Difference(string(old), text))
	}
}

// refusal returns what `acmed check` says of a spec that makes no sense.
func refusal(t *testing.T, s *site.Site) func(challenge, identifiers string) string {
	return func(challenge, identifiers string) string {
		p := specimen{cell: matrix.Cell{Challenge: challenge, Identifiers: identifiers, Key: "ECDSA 256", Rotation: "Always"}, name: "senseless"}
		p.ca.issuer = "pebble"
		p.identify(0)
		s.Spec(t, "senseless", p.text())
		out, err := exec.CommandContext(t.Context(), "acmed", "check", "--config", s.Path("acmed.yaml")).CombinedOutput()
		said := regexp.MustCompile(`senseless\.yaml:\S+ \S+: (.*)`).FindSubmatch(out)
		if err == nil || said == nil {
			t.Errorf("acmed check of %s with %s: %v\n%s", challenge, identifiers, err, out)
			return ""
		}
		return string(said[1])
	}
}

func keyName(key crypto.PublicKey) string {
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return fmt.Sprintf("ECDSA %d", key.Params().BitSize)
	case *rsa.PublicKey:
		return fmt.Sprintf("RSA %d", key.N.BitLen())
	}
	return fmt.Sprintf("%T", key)
}
