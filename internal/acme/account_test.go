package acme_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"acmed/internal/acme"
)

func TestTheAccountAtTheCA(t *testing.T) {
	f := newFake(t)
	f.on("POST /account/1", ok(`{"status":"valid","contact":["mailto:old@a.test"]}`), ok(`{"status":"valid","contact":["mailto:new@a.test"]}`), ok(`{"status":"valid"}`))
	c := f.client()
	got, err := c.Account(t.Context())
	if err != nil || got.Status != "valid" || !slices.Equal(got.Contact, []string{"mailto:old@a.test"}) || len(got.Thumbprint) != 43 || !strings.HasSuffix(got.URL, "/account/1") {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = c.UpdateContact(t.Context(), []string{"mailto:new@a.test"})
	if err != nil || !slices.Equal(got.Contact, []string{"mailto:new@a.test"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err = c.UpdateContact(t.Context(), nil); err != nil {
		t.Error(err)
	}
	for i, want := range []string{"", `{"contact":["mailto:new@a.test"]}`, `{"contact":[]}`} {
		if got := f.payload(i - 3); got != want {
			t.Errorf("request %d: got %s, want %s", i, got, want)
		}
	}
}

// TestTheTermsOfToday reads the directory again: it may be a day old.
func TestTheTermsOfToday(t *testing.T) {
	f := newFake(t)
	newer := strings.Replace(directoryJSON, "/terms", "/terms-v8", 1)
	f.on("GET /dir", ok(directoryJSON), ok(newer), reply{status: 500})
	f.on("POST /account/1", ok(`{"status":"valid"}`))
	c := f.client()
	if _, err := c.Directory(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, why := range []string{"the CA has new terms", "they cannot be read"} {
		if got, err := c.Account(t.Context()); err != nil || got.Terms != host+"/terms-v8" {
			t.Errorf("%s: got %q, %v", why, got.Terms, err)
		}
	}
}

// TestTheHintNamesThePort of the URL that was not answered.
func TestTheHintNamesThePort(t *testing.T) {
	for base, port := range map[string]string{"https://ca.test:9000": "on port 9000,", "https://127.0.0.1:14000": "on port 14000,", "https://ca.test": "on port 443,"} {
		c, err := acme.New(acme.Config{Directory: base + "/dir", Key: newKey(t), Transport: unanswered{}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err = c.Directory(t.Context()); !strings.Contains(errorOf(t, err).Hint, port) {
			t.Errorf("%s: got hint %q", base, errorOf(t, err).Hint)
		}
	}
}

type unanswered struct{}

func (unanswered) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

func TestAnAccountThatHasEnded(t *testing.T) {
	f := newFake(t)
	f.on("POST /account/1", refusal(403, "unauthorized", "account is deactivated"), refusal(400, "accountDoesNotExist", "no such account"))
	c := f.client()
	for _, problem := range []string{"unauthorized", "accountDoesNotExist"} {
		_, err := c.Account(t.Context())
		if as := acme.EndedAs(err); as != map[string]string{"unauthorized": "deactivated", "accountDoesNotExist": "does not exist"}[problem] {
			t.Errorf("%s: ended as %q", problem, as)
		}
		if e := errorOf(t, err); e.Problem != problem || e.Op != acme.OpAccount || e.Hint == "" {
			t.Errorf("got %+v", e)
		}
	}
	if _, err := f.client(func(cfg *acme.Config) { cfg.KID = "" }).Account(t.Context()); err == nil {
		t.Error("an account that is not registered can be read")
	}
}

func TestRegister(t *testing.T) {
	const valid = `{"status":"valid"}`
	made := located(201, "/account/7", valid)
	unknown := refusal(400, "accountDoesNotExist", "no account")
	eab := strings.Replace(directoryJSON, `"meta":{`, `"meta":{"externalAccountRequired":true,`, 1)
	binding := &acme.ExternalAccountBinding{KID: "kid", Key: []byte("0123456789abcdef0123456789abcdef")}
	tests := map[string]struct {
		directory string
		answers   []reply
		r         acme.Registration
		problem   string // "" works
		kind      acme.Kind
		requests  int // to newAccount
	}{
		"a new account":                       {"", []reply{made}, acme.Registration{TermsOfServiceAgreed: true}, "", 0, 1},
		"a key that has one":                  {"", []reply{located(200, "/account/7", valid)}, acme.Registration{TermsOfServiceAgreed: true}, "", 0, 1},
		"a key that may have one and has":     {"", []reply{located(200, "/account/7", valid)}, acme.Registration{Existing: true}, "", 0, 1},
		"a key that may have one and has not": {"", []reply{unknown, made}, acme.Registration{Existing: true, TermsOfServiceAgreed: true}, "", 0, 2},
		"a new account without a body":        {"", []reply{located(201, "/account/7", "")}, acme.Registration{TermsOfServiceAgreed: true}, "", 0, 1},
		"a key that has one without a body":   {"", []reply{located(200, "/account/7", "\n")}, acme.Registration{Existing: true}, "", 0, 1},
		"an account that is no JSON":          {"", []reply{located(201, "/account/7", "{,")}, acme.Registration{TermsOfServiceAgreed: true}, "malformedAnswer", acme.Transient, 1},
		"a lookup that is refused":            {"", []reply{refusal(403, "unauthorized", "deactivated")}, acme.Registration{Existing: true}, "unauthorized", acme.Permanent, 1},
		"terms that are not agreed to":        {"", nil, acme.Registration{}, "userActionRequired", acme.Permanent, 0},
		"an external account":                 {eab, []reply{made}, acme.Registration{TermsOfServiceAgreed: true, Binding: binding}, "", 0, 1},
		"no external account":                 {eab, nil, acme.Registration{TermsOfServiceAgreed: true}, "externalAccountRequired", acme.Permanent, 0},
		"a wrong external account":            {eab, []reply{refusal(401, "unauthorized", "bad MAC")}, acme.Registration{TermsOfServiceAgreed: true, Binding: binding}, "unauthorized", acme.Permanent, 1},
		"a malformed external account":        {eab, []reply{refusal(400, "malformed", "bad MAC")}, acme.Registration{TermsOfServiceAgreed: true, Binding: binding}, "malformed", acme.Permanent, 1},
		"an account that is ended":            {"", []reply{located(200, "/account/7", `{"status":"deactivated"}`)}, acme.Registration{Existing: true}, "unauthorized", acme.Permanent, 1},
		"an account without a URL":            {"", []reply{{status: 201, body: valid}}, acme.Registration{TermsOfServiceAgreed: true}, "protocol", acme.Transient, 1},
		"an account of another host":          {"", []reply{located(201, "https://evil.test/1", valid)}, acme.Registration{TermsOfServiceAgreed: true}, "protocol", acme.Transient, 1},
		"an answer of a kind that is none":    {"", []reply{located(204, "/account/7", "")}, acme.Registration{TermsOfServiceAgreed: true}, "http", acme.Transient, 1},
		"too many registrations":              {"", []reply{refusal(429, "rateLimited", "too many registrations")}, acme.Registration{TermsOfServiceAgreed: true}, "rateLimited", acme.RateLimited, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			if tt.directory != "" {
				f.on("GET /dir", ok(tt.directory))
			}
			f.on("POST /account", tt.answers...)
			f.on("POST /order/1", ok(orderJSON("ready")))
			c := f.client(func(cfg *acme.Config) { cfg.KID = "" })
			tt.r.Contact = []string{"mailto:a@a.test"}
			url, err := c.Register(t.Context(), tt.r)
			n := len(slices.DeleteFunc(f.requests(), func(r string) bool { return r != "POST /account" }))
			if n != tt.requests {
				t.Errorf("got %d requests, want %d", n, tt.requests)
			}
			if tt.problem != "" {
				if e := errorOf(t, err); e.Problem != tt.problem || e.Kind != tt.kind || e.Op != acme.OpNewAccount || e.Kind != acme.Transient && !e.Whole {
					t.Errorf("got %v (%v, whole %t)", e, e.Kind, e.Whole)
				}
				return
			}
			if err != nil || url != host+"/account/7" {
				t.Fatalf("got %q, %v", url, err)
			}
			if _, err := c.Order(t.Context(), host+"/order/1"); err != nil || f.headers[len(f.headers)-1]["kid"] != url {
				t.Errorf("the account is not used: %v", err)
			}
		})
	}
}

// TestTheHintOfARegistration depends on whether it carried a binding.
func TestTheHintOfARegistration(t *testing.T) {
	binding := &acme.ExternalAccountBinding{KID: "kid", Key: []byte("0123456789abcdef0123456789abcdef")}
	const of = "externalAccountBinding"
	for sentence, tt := range map[string]struct {
		answer  reply
		binding *acme.ExternalAccountBinding
		hints   bool // at the binding
	}{
		"500 to a binding, as step-ca answers": {refusal(500, "serverInternal", "The server experienced an internal error"), binding, true},
		"502 to a binding, with HTML":          {reply{status: 502, body: "<html>"}, binding, true},
		"500 without a binding":                {refusal(500, "serverInternal", ""), nil, false},
		"unauthorized with a binding":          {refusal(401, "unauthorized", ""), binding, true},
		"unauthorized without one":             {refusal(401, "unauthorized", ""), nil, false},
		"an answer that never came":            {reply{err: errors.New("connection refused")}, binding, false},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /account", tt.answer)
			c := f.client(func(cfg *acme.Config) { cfg.KID = "" })
			_, err := c.Register(t.Context(), acme.Registration{TermsOfServiceAgreed: true, Binding: tt.binding})
			if e := errorOf(t, err); strings.Contains(e.Hint, of) != tt.hints {
				t.Errorf("got hint %q", e.Hint)
			}
		})
	}
}

// TestTheBindingOfAnAccount reads it as the CA does (RFC 8555 §7.3.4).
func TestTheBindingOfAnAccount(t *testing.T) {
	secret := []byte("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")
	for algorithm, want := range map[string]jose.SignatureAlgorithm{"": jose.HS256, "HS256": jose.HS256, "HS384": jose.HS384, "HS512": jose.HS512} {
		t.Run(algorithm, func(t *testing.T) {
			f, key := newFake(t), newKey(t)
			f.on("POST /account", located(201, "/account/7", `{"status":"valid"}`))
			c := f.client(func(cfg *acme.Config) { cfg.KID, cfg.Key = "", key })
			binding := &acme.ExternalAccountBinding{KID: "kid", Key: secret, Algorithm: algorithm}
			if _, err := c.Register(t.Context(), acme.Registration{TermsOfServiceAgreed: true, Binding: binding}); err != nil {
				t.Fatal(err)
			}
			var sent struct{ ExternalAccountBinding json.RawMessage }
			if err := json.Unmarshal([]byte(f.payload(-1)), &sent); err != nil {
				t.Fatal(err)
			}
			jws, err := jose.ParseSignedJSON(string(sent.ExternalAccountBinding), []jose.SignatureAlgorithm{want})
			if err != nil {
				t.Fatal(err)
			}
			if h := jws.Signatures[0].Protected; h.KeyID != "kid" || h.ExtraHeaders["url"] != host+"/account" || h.Nonce != "" {
				t.Errorf("its header is %+v", h)
			}
			payload, err := jws.Verify(secret)
			var bound jose.JSONWebKey
			if err != nil || bound.UnmarshalJSON(payload) != nil || !key.PublicKey.Equal(bound.Key) {
				t.Errorf("it is for %s, %v", payload, err)
			}
		})
	}
}

func TestTermsAreNamedInTheHint(t *testing.T) {
	_, err := newFake(t).client().Register(t.Context(), acme.Registration{})
	if e := errorOf(t, err); !strings.Contains(e.Hint, host+"/terms") || !strings.Contains(e.Hint, "termsOfServiceAgreed") {
		t.Errorf("got hint %q", e.Hint)
	}
}

func TestLookup(t *testing.T) {
	f := newFake(t)
	f.on("POST /account", refusal(400, "accountDoesNotExist", ""), located(200, "/account/7", `{}`))
	c := f.client(func(cfg *acme.Config) { cfg.KID = "" })
	if _, err := c.Lookup(t.Context()); errorOf(t, err).Problem != "accountDoesNotExist" {
		t.Errorf("got %v", err)
	}
	if url, err := c.Lookup(t.Context()); err != nil || url != host+"/account/7" || f.payload(-1) != `{"onlyReturnExisting":true}` {
		t.Errorf("got %q, %v, asked %s", url, err, f.payload(-1))
	}
}

func TestTheBindingsKeyIsNotPrinted(t *testing.T) {
	b := acme.ExternalAccountBinding{KID: "kid", Key: []byte("secret")}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(format, b) + fmt.Sprintf(format, &b) + fmt.Sprintf(format, acme.Registration{Binding: &b}.Binding); strings.Contains(s, "secret") || strings.Contains(s, "115") {
			t.Errorf("%s: %s", format, s)
		}
	}
}

func TestDeactivate(t *testing.T) {
	f := newFake(t)
	f.on("POST /account/1", ok(`{"status":"deactivated"}`))
	got, err := f.client().Deactivate(t.Context())
	if err != nil || got.Status != "deactivated" || got.Terms != host+"/terms" || f.payload(-1) != `{"status":"deactivated"}` {
		t.Errorf("got %+v, %v, asked %s", got, err, f.payload(-1))
	}
	no := refusal(403, "unauthorized", "this account cannot be deactivated")
	for sentence, tt := range map[string]struct {
		answers []reply // to the change, then to reading the account
		want    string
		status  string // of an account that is returned without an error
	}{
		"an account that had ended before, 401 without words": {[]reply{no, refusal(401, "unauthorized", "The client lacks sufficient authorization")}, "deactivated", ""},
		"403 without words":              {[]reply{no, refusal(403, "unauthorized", "no")}, "deactivated", ""},
		"one that the CA has revoked":    {[]reply{no, refusal(403, "unauthorized", `has status "revoked"`)}, "revoked", ""},
		"one that the CA does not know":  {[]reply{refusal(400, "accountDoesNotExist", "who?")}, "does not exist", ""},
		"one that can be read and ended": {[]reply{no, ok(`{"status":"deactivated"}`)}, "", "deactivated"},
		"a refusal to end one in use":    {[]reply{no, ok(`{"status":"valid"}`)}, "", ""},
		"a refusal that stays unclear":   {[]reply{no, {status: 502}}, "", ""},
		"a CA that does not answer":      {[]reply{{status: 502}}, "", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /account/1", tt.answers...)
			got, err := f.client().Deactivate(t.Context())
			if acme.EndedAs(err) != tt.want || got.Status != tt.status || (err == nil) != (tt.status != "") {
				t.Errorf("got %+v, %v, which is %q, want %q", got, err, acme.EndedAs(err), tt.want)
			}
			if err != nil && tt.want == "" && errorOf(t, err).Op != acme.OpChangeAccount {
				t.Errorf("got %v", err)
			}
		})
	}
}
