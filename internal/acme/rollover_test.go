package acme_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"acmed/internal/acme"
)

// changing is the fake with a directory that names keyChange.
func changing(t *testing.T) *fakeCA {
	f := newFake(t)
	f.on("GET /dir", ok(strings.Replace(directoryJSON, `"meta"`, `"keyChange":"https://ca.test/key","meta"`, 1)))
	return f
}

func TestRolloverIsSignedByBothKeys(t *testing.T) {
	f := changing(t)
	f.on("POST /key", refusal(400, "badNonce", "once more"), ok(`{}`))
	f.on("POST /account/1", ok(`{"status":"valid"}`))
	old, next := newKey(t), newKey(t)
	c := f.client(func(cfg *acme.Config) { cfg.Key = old })
	if err := c.Rollover(t.Context(), next); err != nil {
		t.Fatal(err)
	}
	if kid := f.headers[len(f.headers)-1]["kid"]; kid != host+"/account/1" {
		t.Errorf("the outer request is signed by %v", kid)
	}
	inner, err := jose.ParseSignedJSON(f.payload(-1), []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		t.Fatal(err)
	}
	h := inner.Signatures[0].Protected
	if h.ExtraHeaders["url"] != host+"/key" || h.Nonce != "" || h.KeyID != "" || !next.PublicKey.Equal(h.JSONWebKey.Key) {
		t.Errorf("the inner request has the header %+v", h)
	}
	payload, err := inner.Verify(next.Public())
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Account string
		OldKey  jose.JSONWebKey
	}
	if err := json.Unmarshal(payload, &got); err != nil || got.Account != host+"/account/1" || !old.PublicKey.Equal(got.OldKey.Key) {
		t.Errorf("got %s, %v", payload, err)
	}
	before, _ := f.client(func(cfg *acme.Config) { cfg.Key = old }).Account(t.Context())
	if after, err := c.Account(t.Context()); err != nil || after.Thumbprint != before.Thumbprint {
		t.Errorf("the client has another key: %v", err)
	}
}

func TestCAsThatDoNotChangeKeys(t *testing.T) {
	for sentence, c := range map[string]struct {
		answer  reply
		problem string
		kind    acme.Kind
	}{
		"501, as step-ca answers":        {refusal(501, "notImplemented", "not implemented"), "noKeyChange", acme.Permanent},
		"404, as OpenBao answers":        {reply{status: 404, body: "404"}, "noKeyChange", acme.Permanent},
		"a key that has another account": {refusal(409, "conflict", "in use"), "conflict", acme.Validation},
		"a key that it does not like":    {refusal(400, "badPublicKey", "weak"), "badPublicKey", acme.Permanent},
		"an overload":                    {reply{status: 502}, "http", acme.Transient},
	} {
		f := changing(t)
		f.on("POST /key", c.answer)
		e := errorOf(t, f.client().Rollover(t.Context(), newKey(t)))
		if e.Op != acme.OpKeyChange || e.Problem != c.problem || e.Kind != c.kind || e.Problem == "noKeyChange" && e.Hint == "" {
			t.Errorf("%s: got %+v", sentence, e)
		}
	}
	if e := errorOf(t, newFake(t).client().Rollover(t.Context(), newKey(t))); e.Problem != "noKeyChange" {
		t.Errorf("a directory without keyChange: got %+v", e)
	}
}
