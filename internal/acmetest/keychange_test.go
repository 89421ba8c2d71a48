package acmetest_test

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"acmed/internal/acmetest"
)

const keyChangeURL = "https://ca.test/key-change"

// keyChange is the request of a client that may get it wrong.
type keyChange struct {
	url     string // of the inner header
	account string
	old     *ecdsa.PrivateKey // whose public key is named
	jwk     bool
	nonce   string
}

// inner makes the JWS that next signs.
func (r *raw) inner(next *ecdsa.PrivateKey, c keyChange) string {
	r.t.Helper()
	old, err := json.Marshal(jose.JSONWebKey{Key: c.old.Public()})
	if err != nil {
		r.t.Fatal(err)
	}
	opts := (&jose.SignerOptions{EmbedJWK: c.jwk}).WithHeader("url", c.url)
	if c.nonce != "" {
		opts = opts.WithHeader("nonce", c.nonce)
	}
	return r.sign(jose.ES256, next, opts, fmt.Sprintf(`{"account":%q,"oldKey":%s}`, c.account, old))
}

// right is a request that nothing is wrong with.
func (r *raw) right() keyChange {
	return keyChange{url: keyChangeURL, account: r.kid, old: r.key, jwk: true}
}

func TestAKeyIsChanged(t *testing.T) {
	ca := acmetest.New(t, quick)
	r := newRaw(t, ca)
	account, old, next := r.kid, r.key, newKey(t)
	before := ca.KeyOf(account)
	if a := r.post(keyChangeURL, r.inner(next, r.right())); a.StatusCode != http.StatusOK {
		t.Fatalf("got %s", a.body)
	}
	if after := ca.KeyOf(account); after == before || after == "" {
		t.Errorf("the account has the key %q", after)
	}
	r.key = next
	if a := r.register(`{"onlyReturnExisting":true}`); a.StatusCode != http.StatusOK || r.kid != account {
		t.Errorf("the new key has the account %q: %s", r.kid, a.body)
	}
	r.key = old
	if a := r.register(`{"onlyReturnExisting":true}`); a.problem() != "accountDoesNotExist" {
		t.Errorf("the old key has an account: %s", a.body)
	}
}

func TestKeysThatAreNotChanged(t *testing.T) {
	for sentence, c := range map[string]struct {
		edit  func(*keyChange)
		spoil func(inner string) string
		want  string // in the failure of the test
	}{
		"no JWS":               {spoil: func(string) string { return `{}` }, want: "not one signature"},
		"a signature is wrong": {spoil: func(s string) string { return s[:len(s)-12] + strings.Repeat("A", 10) + s[len(s)-2:] }, want: "did not sign"},
		"another URL":          {edit: func(c *keyChange) { c.url += "s" }, want: `url "https://ca.test/key-changes"`},
		"a nonce inside":       {edit: func(c *keyChange) { c.nonce = "n" }, want: `nonce "n"`},
		"no key inside":        {edit: func(c *keyChange) { c.jwk = false }, want: "jwk false"},
		"another account":      {edit: func(c *keyChange) { c.account += "0" }, want: "is for the account"},
		"another old key":      {edit: func(c *keyChange) { c.old = newKey(t) }, want: "with the key"},
	} {
		t.Run(sentence, func(t *testing.T) {
			rec := &recorder{}
			ca := acmetest.New(rec, quick)
			r := newRaw(t, ca)
			change, before := r.right(), ca.KeyOf(r.kid)
			if c.edit != nil {
				c.edit(&change)
			}
			inner := r.inner(newKey(t), change)
			if c.spoil != nil {
				inner = c.spoil(inner)
			}
			if a := r.post(keyChangeURL, inner); a.problem() != "malformed" || ca.KeyOf(r.kid) != before {
				t.Errorf("got %s", a.body)
			}
			if got := strings.Join(rec.failures, "\n"); !strings.Contains(got, c.want) || len(rec.failures) != 1 {
				t.Errorf("caught %q; want %q", got, c.want)
			}
		})
	}
}

func TestAKeyThatHasAnotherAccountIsRefused(t *testing.T) {
	ca := acmetest.New(t, quick)
	r := newRaw(t, ca)
	first, key := r.kid, r.key
	r.key = newKey(t)
	r.register(`{"termsOfServiceAgreed":true}`)
	a := r.post(keyChangeURL, r.inner(key, r.right()))
	if a.StatusCode != http.StatusConflict || a.Header.Get("Location") != first {
		t.Errorf("got %d, %s", a.StatusCode, a.body)
	}
}
