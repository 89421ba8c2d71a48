package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"acmed/internal/acme"
)

// ec makes a function that makes keys of a curve.
func ec(curve elliptic.Curve) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
}

func TestEverySignatureVerifies(t *testing.T) {
	keys := map[jose.SignatureAlgorithm]func() (crypto.Signer, error){
		jose.ES256: ec(elliptic.P256()), jose.ES384: ec(elliptic.P384()), jose.ES512: ec(elliptic.P521()),
		jose.RS256: func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) },
	}
	for alg, generate := range keys {
		t.Run(string(alg), func(t *testing.T) {
			key, err := generate()
			if err != nil {
				t.Fatal(err)
			}
			f, checked := newFake(t), 0
			f.on("POST /order/1", ok(orderJSON("ready")))
			f.on("POST /chall/1", ok("{}"))
			c := f.client(func(cfg *acme.Config) {
				cfg.Key = key
				cfg.Transport = transport(func(req *http.Request) (*http.Response, error) {
					if req.Method == http.MethodPost {
						checkSignature(t, req, alg, key.Public())
						checked++
					}
					return f.RoundTrip(req)
				})
			})
			if _, err := c.Order(t.Context(), host+"/order/1"); err != nil {
				t.Error(err)
			}
			if _, err := c.Accept(t.Context(), acme.Challenge{URL: host + "/chall/1"}); err != nil || checked != 2 {
				t.Errorf("got %v, %d POSTs", err, checked)
			}
		})
	}
}

// checkSignature verifies a request and puts its body back.
func checkSignature(t *testing.T, req *http.Request, alg jose.SignatureAlgorithm, key crypto.PublicKey) {
	t.Helper()
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	req.Body = io.NopCloser(strings.NewReader(string(body)))
	jws, err := jose.ParseSignedJSON(string(body), []jose.SignatureAlgorithm{alg})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jws.Verify(key); err != nil {
		t.Error(err)
	}
	if jws.Signatures[0].Protected.JSONWebKey != nil {
		t.Error("the key is sent beside its account")
	}
}

func TestKeysThatACMEDoesNotKnowAreRefused(t *testing.T) {
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p224, err := ec(elliptic.P224())()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []crypto.Signer{edwards, p224} {
		if _, err := acme.New(acme.Config{Directory: host + "/dir", Key: key}); errorOf(t, err).Kind != acme.Permanent {
			t.Errorf("%T: got %v", key, err)
		}
	}
}

func TestNoncePool(t *testing.T) {
	p := acme.NewNoncePool()
	for i := range 300 {
		p.Put(fmt.Sprintf("n%d", i), epoch)
		p.Put(fmt.Sprintf("n%d", i), epoch) // sent again by a cache
	}
	for i := range 64 {
		if got, want := p.Take(epoch), fmt.Sprintf("n%d", 299-i); got != want {
			t.Fatalf("got %q, want %q: the newest first", got, want)
		}
	}
	if got := p.Take(epoch); got != "" {
		t.Errorf("got %q beyond the bound", got)
	}
	for _, bad := range []string{"", "a b", "a+b", `a"b`, "ü", strings.Repeat("a", 257), "n299"} {
		if p.Put(bad, epoch); p.Take(epoch) != "" {
			t.Errorf("took %q", bad)
		}
	}
}

func TestProblemsOfAChallengeMayHaveProblems(t *testing.T) {
	f := newFake(t)
	f.on("POST /authz/1", ok(authzJSON("invalid", `{"type":"dns-01","error":`+document("compound", "two", "a.test=caa", "b.test=rejectedIdentifier")+`}`)))
	if e := f.client().Failure(t.Context(), anOrder("invalid")); e.Problem != "compound" || e.Kind != acme.Validation {
		t.Errorf("got %v (%v)", e, e.Kind)
	}
}
