package acme_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
)

func TestNewOrder(t *testing.T) {
	created := located(201, "order/1", orderJSON("pending"))
	replaced := refusal(409, "alreadyReplaced", "")
	tests := map[string]struct {
		directory string
		answers   []reply
		request   acme.OrderRequest
		refused   bool   // ReplacesRefused
		problem   string // "" works
		payloads  []string
	}{
		"a plain order":      {answers: []reply{created}, payloads: []string{""}},
		"200 instead of 201": {answers: []reply{located(200, "https://ca.test/order/1", orderJSON("ready"))}, payloads: []string{""}},
		"replaces":           {answers: []reply{created}, request: acme.OrderRequest{Replaces: "id"}, payloads: []string{"id"}},
		"replaces at a CA without renewal information": {
			directory: strings.Replace(directoryJSON, `"renewalInfo":"https://ca.test/ari",`, "", 1),
			answers:   []reply{created}, request: acme.OrderRequest{Replaces: "id"}, payloads: []string{""}},
		"already replaced": {answers: []reply{replaced, created}, request: acme.OrderRequest{Replaces: "id"}, refused: true, payloads: []string{"id", ""}},
		"another account's certificate": {answers: []reply{refusal(403, "unauthorized", "requester account did not request the certificate being replaced by this order"), created},
			request: acme.OrderRequest{Replaces: "id"}, refused: true, payloads: []string{"id", ""}},
		"already replaced, and then a rate limit": {answers: []reply{replaced, refusal(429, "rateLimited", "")}, request: acme.OrderRequest{Replaces: "id"},
			problem: "rateLimited", payloads: []string{"id", ""}},
		"replaces refused twice":      {answers: []reply{replaced}, request: acme.OrderRequest{Replaces: "id"}, problem: "alreadyReplaced", payloads: []string{"id", ""}},
		"replaces and a server error": {answers: []reply{refusal(500, "serverInternal", "replaces")}, request: acme.OrderRequest{Replaces: "id"}, problem: "serverInternal", payloads: []string{"id"}},
		"a certificate to replace that is unknown": {answers: []reply{refusal(500, "serverInternal", "could not find an order for the given certificate"), created},
			request: acme.OrderRequest{Replaces: "id"}, refused: true, payloads: []string{"id", ""}},
		"replaces and another problem":  {answers: []reply{refusal(400, "rejectedIdentifier", "no")}, request: acme.OrderRequest{Replaces: "id"}, problem: "rejectedIdentifier", payloads: []string{"id"}},
		"a profile":                     {answers: []reply{created}, request: acme.OrderRequest{Profile: "short"}, payloads: []string{""}},
		"a profile that is not offered": {request: acme.OrderRequest{Profile: "long"}, problem: "invalidProfile"},
		"no URL":                        {answers: []reply{{status: 201, body: orderJSON("pending")}}, problem: "protocol", payloads: []string{""}},
		"another host's URL":            {answers: []reply{located(201, "https://evil.test/1", orderJSON("pending"))}, problem: "protocol", payloads: []string{""}},
		"an order for another name":     {answers: []reply{located(201, "/order/1", strings.Replace(orderJSON("pending"), "a.test", "evil.test", 1))}, problem: "protocol", payloads: []string{""}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			if tt.directory != "" {
				f.on("GET /dir", ok(tt.directory))
			}
			f.on("POST /new", tt.answers...)
			tt.request.Identifiers = dns("a.test")
			o, err := f.client().NewOrder(t.Context(), tt.request)
			if tt.problem != "" {
				if e := errorOf(t, err); e.Problem != tt.problem || e.Op != acme.OpNewOrder {
					t.Errorf("got %v", e)
				}
			} else if err != nil || o.URL != host+"/order/1" || o.ReplacesRefused != tt.refused || o.FinalizeURL != host+"/finalize/1" || len(o.Authorizations) != 1 {
				t.Errorf("got %+v, %v", o, err)
			}
			if len(f.bodies) != len(tt.payloads) {
				t.Fatalf("got %d POSTs: %q", len(f.bodies), f.bodies)
			}
			for i, replaces := range tt.payloads {
				if got := strings.Contains(f.bodies[i], `"replaces":"id"`); got != (replaces != "") {
					t.Errorf("POST %d: got %s", i, f.bodies[i])
				}
			}
		})
	}
}

func TestAnInvalidOrderSaysWhy(t *testing.T) {
	f := newFake(t)
	f.on("POST /order/1", ok(`{"status":"invalid","error":{"type":"urn:ietf:params:acme:error:unauthorized","status":500,"detail":"no\u001b[31m"}}`))
	o, err := f.client().Order(t.Context(), host+"/order/1")
	if err != nil || o.Status != acme.StatusInvalid || o.Error == nil || o.Error.Kind != acme.Validation || o.Error.Detail != `no\x1b[31m` {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestChallenges(t *testing.T) {
	http01, dns01 := challengeJSON("http-01", "pending"), challengeJSON("dns-01", "pending")
	failed := `{"type":"http-01","url":"https://ca.test/chall/1","status":"invalid","error":{"type":"urn:ietf:params:acme:error:connection","status":400,"detail":"refused"}}`
	tests := map[string]struct {
		authz    string
		ids      []acme.Identifier // of the order; nil: a.test
		accepted bool
		none     bool
		problem  string
		kind     acme.Kind
		hint     string
	}{
		"pending":                               {authz: authzJSON("pending", dns01+","+http01)},
		"valid":                                 {authz: authzJSON("valid", ""), none: true},
		"accepted already":                      {authz: authzJSON("pending", challengeJSON("http-01", "processing")), accepted: true},
		"proved a moment ago":                   {authz: authzJSON("pending", challengeJSON("http-01", "valid")), accepted: true},
		"invalid":                               {authz: authzJSON("invalid", failed), problem: "connection", kind: acme.Validation, hint: "http://a.test/.well-known"},
		"a challenge is invalid":                {authz: authzJSON("pending", failed), problem: "connection", kind: acme.Validation},
		"expired":                               {authz: authzJSON("expired", http01), problem: "other", kind: acme.Validation},
		"deactivated":                           {authz: authzJSON("deactivated", http01), problem: "other", kind: acme.Validation},
		"revoked":                               {authz: authzJSON("revoked", http01), problem: "other", kind: acme.Validation},
		"no such challenge":                     {authz: authzJSON("pending", dns01), problem: "noChallenge", kind: acme.Permanent, hint: "dns-01"},
		"another name":                          {authz: strings.Replace(authzJSON("pending", http01), "a.test", "evil.test", 1), problem: "protocol", kind: acme.Transient},
		"a shell's token":                       {authz: authzJSON("pending", strings.Replace(http01, token, "$(touch x)0000000000", 1)), problem: "protocol", kind: acme.Transient},
		"a path's token":                        {authz: authzJSON("pending", strings.Replace(http01, token, "../../../../etc/passwd", 1)), problem: "protocol", kind: acme.Transient},
		"no token":                              {authz: authzJSON("pending", strings.Replace(http01, token, "", 1)), problem: "protocol", kind: acme.Transient},
		"a short token":                         {authz: authzJSON("pending", strings.Replace(http01, token, "0123456789abcde", 1)), problem: "protocol", kind: acme.Transient},
		"a long token":                          {authz: authzJSON("pending", strings.Replace(http01, token, strings.Repeat("a", 129), 1)), problem: "protocol", kind: acme.Transient},
		"a wildcard":                            {authz: strings.Replace(authzJSON("pending", http01), `"status"`, `"wildcard":true,"status"`, 1), ids: dns("*.a.test", "a.test")},
		"a wildcard that is not said to be one": {authz: authzJSON("pending", http01), ids: dns("*.a.test")},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /authz/1", ok(tt.authz))
			o := anOrder("pending")
			if tt.ids != nil {
				o.Identifiers = tt.ids
			}
			got, err := f.client().Challenges(t.Context(), o, "http-01")
			switch {
			case tt.problem != "":
				e := errorOf(t, err)
				if e.Problem != tt.problem || e.Kind != tt.kind || !strings.Contains(e.Hint, tt.hint) || got != nil {
					t.Errorf("got %v (%v), hint %q", e, e.Kind, e.Hint)
				}
			case tt.none:
				if got != nil || err != nil {
					t.Errorf("got %v, %v", got, err)
				}
			case err != nil || len(got) != 1 || got[0].Accepted != tt.accepted || got[0].URL != host+"/chall/1" ||
				got[0].Authorization != host+"/authz/1" || got[0].Proof.Identifier != dns("a.test")[0]:
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

// TestChallengesComeByName lets solvers rely on it: whoever takes one after the other never waits for who waits for him.
func TestChallengesComeByName(t *testing.T) {
	f := newFake(t)
	o := anOrder("pending")
	o.Identifiers, o.Authorizations = dns("c.test", "a.test", "b.test"), nil
	for i, id := range o.Identifiers {
		o.Authorizations = append(o.Authorizations, fmt.Sprintf("%s/authz/%d", host, i))
		f.on(fmt.Sprintf("POST /authz/%d", i), ok(strings.Replace(authzJSON("pending", challengeJSON("http-01", "pending")), "a.test", id.Value, 1)))
	}
	got, err := f.client().Challenges(t.Context(), o, "http-01")
	if err != nil || len(got) != 3 || got[0].Proof.Identifier.Value != "a.test" || got[1].Proof.Identifier.Value != "b.test" {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestProofs(t *testing.T) {
	for _, typ := range []string{"http-01", "dns-01", "tls-alpn-01"} {
		f := newFake(t)
		f.on("POST /authz/1", ok(authzJSON("pending", challengeJSON(typ, "pending"))))
		got, err := f.client().Challenges(t.Context(), anOrder("pending"), typ)
		if err != nil {
			t.Fatal(err)
		}
		p := got[0].Proof
		if p.Type != typ || p.Token != token || !strings.HasPrefix(p.KeyAuth, token+".") || (p.DNSValue != "") != (typ == "dns-01") {
			t.Errorf("%s: got %+v", typ, p)
		}
		if (p.TLSCert != nil) != (typ == "tls-alpn-01") {
			t.Errorf("%s: got certificate %v", typ, p.TLSCert)
		}
		if p.TLSCert != nil {
			checkALPN(t, p.TLSCert)
		}
	}
}

func checkALPN(t *testing.T, cert *tls.Certificate) {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil || !slices.Equal(leaf.DNSNames, []string{"a.test"}) || cert.PrivateKey == nil {
		t.Errorf("got %v, %v", leaf, err)
	}
}

func TestAllReasonsAreJoinedAndTheGravestCounts(t *testing.T) {
	f := newFake(t)
	o := &acme.Order{Identifiers: dns("a.test", "b.test", "c.test")}
	for i, word := range []string{"serverInternal", "caa", ""} {
		name := string(rune('a'+i)) + ".test"
		status, challenge := "invalid", fmt.Sprintf(`{"type":"http-01","error":{"type":"urn:ietf:params:acme:error:%s","detail":"no %s"}}`, word, name)
		if word == "" {
			status, challenge = "valid", challengeJSON("http-01", "valid")
		}
		f.on(fmt.Sprintf("POST /authz/%d", i), ok(strings.Replace(authzJSON(status, challenge), "a.test", name, 1)))
		o.Authorizations = append(o.Authorizations, fmt.Sprintf("%s/authz/%d", host, i))
	}
	c := f.client()
	_, err := c.Challenges(t.Context(), o, "http-01")
	for _, e := range []*acme.Error{errorOf(t, err), c.Failure(t.Context(), o)} {
		want := []acme.Subproblem{{Identifier: "a.test", Problem: "serverInternal", Detail: "no a.test"}, {Identifier: "b.test", Problem: "caa", Detail: "no b.test"}}
		if e.Kind != acme.Validation || e.Identifier != "b.test" || !e.Final || !slices.Equal(e.Subproblems, want) {
			t.Errorf("got %v (%v): %v", e, e.Kind, e.Subproblems)
		}
	}
}

func TestNoMoreThanEightAuthorizationsAreReadAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		o := &acme.Order{Identifiers: dns("a.test")}
		for i := range 20 {
			o.Authorizations = append(o.Authorizations, fmt.Sprintf("%s/authz/%d", host, i))
			f.on(fmt.Sprintf("POST /authz/%d", i), ok(authzJSON("valid", "")))
		}
		f.hook = func(req *http.Request) {
			if strings.HasPrefix(req.URL.Path, "/authz") {
				time.Sleep(time.Second)
			}
		}
		start := time.Now()
		if _, err := f.client().Challenges(t.Context(), o, "http-01"); err != nil || time.Since(start) != 3*time.Second {
			t.Errorf("got %v after %v", err, time.Since(start))
		}
	})
}

func TestFailure(t *testing.T) {
	own := &acme.Error{Kind: acme.Permanent, Op: acme.OpOrder, Problem: "rejectedIdentifier"}
	tests := map[string]struct {
		authz   reply
		own     *acme.Error
		problem string
		kind    acme.Kind
	}{
		"the authorization says why":           {ok(authzJSON("invalid", `{"type":"http-01","error":{"type":"urn:ietf:params:acme:error:dns","status":500,"detail":"NXDOMAIN"}}`)), own, "dns", acme.Validation},
		"the server was at fault":              {ok(authzJSON("invalid", `{"type":"http-01","error":{"type":"urn:ietf:params:acme:error:serverInternal"}}`)), nil, "serverInternal", acme.Transient},
		"unauthorized is for the name":         {ok(authzJSON("invalid", `{"type":"http-01","error":{"type":"urn:ietf:params:acme:error:unauthorized"}}`)), nil, "unauthorized", acme.Validation},
		"the order says why":                   {ok(authzJSON("valid", "")), own, "rejectedIdentifier", acme.Permanent},
		"nobody says why":                      {ok(authzJSON("valid", "")), nil, "other", acme.Validation},
		"the authorization says nothing":       {ok(authzJSON("expired", "")), nil, "other", acme.Validation},
		"the authorization cannot be read":     {reply{status: 500}, nil, "other", acme.Validation},
		"the authorization is gone, order not": {reply{status: 404}, own, "rejectedIdentifier", acme.Permanent},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /authz/1", tt.authz)
			o := anOrder("invalid")
			o.Error = tt.own
			if e := f.client().Failure(t.Context(), o); e.Problem != tt.problem || e.Kind != tt.kind || e.Whole {
				t.Errorf("got %v (%v)", e, e.Kind)
			}
		})
	}
}

func TestAccept(t *testing.T) {
	ch := acme.Challenge{URL: host + "/chall/1", Authorization: host + "/authz/1"}
	past := refusal(400, "malformed", "authorization must be pending")
	tests := map[string]struct {
		ch      acme.Challenge
		chall   []reply
		authz   []reply
		problem string
		want    []string
	}{
		"once":                              {ch, []reply{ok(challengeJSON("http-01", "processing"))}, nil, "", []string{"POST /chall/1"}},
		"202":                               {ch, []reply{{status: 202, body: "{}"}}, nil, "", []string{"POST /chall/1"}},
		"told already":                      {acme.Challenge{Accepted: true}, nil, nil, "", nil},
		"the authorization is valid by now": {ch, []reply{past}, []reply{ok(authzJSON("valid", ""))}, "", []string{"POST /chall/1", "POST /authz/1"}},
		"the CA does not understand":        {ch, []reply{past}, []reply{ok(authzJSON("pending", ""))}, "malformed", []string{"POST /chall/1", "POST /authz/1"}},
		"nobody knows":                      {ch, []reply{past}, []reply{{status: 500}}, "malformed", []string{"POST /chall/1", "POST /authz/1"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /chall/1", tt.chall...)
			f.on("POST /authz/1", tt.authz...)
			_, err := f.client().Accept(t.Context(), tt.ch)
			if got := slices.DeleteFunc(f.requests(), func(r string) bool { return !strings.HasPrefix(r, "POST") }); !slices.Equal(got, tt.want) {
				t.Errorf("got %v", got)
			}
			if tt.problem == "" && err != nil || tt.problem != "" && errorOf(t, err).Problem != tt.problem {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAChallengeSaysWhatTheNameLacksAndNotThatItIsRefused(t *testing.T) {
	for _, word := range []string{"rejectedIdentifier", "unsupportedIdentifier", "userActionRequired", "accountDoesNotExist"} {
		for typ, want := range map[string]string{"http-01": "points to this machine", "tls-alpn-01": "points to this machine", "dns-01": "TXT record"} {
			challenge := fmt.Sprintf(`{"type":%q,"status":"invalid","error":{"type":"urn:ietf:params:acme:error:%s","detail":"welcome"}}`, typ, word)
			for _, status := range []string{"invalid", "pending"} {
				f := newFake(t)
				f.on("POST /authz/1", ok(authzJSON(status, challenge)))
				_, err := f.client().Challenges(t.Context(), anOrder("pending"), typ)
				if e := errorOf(t, err); e.Kind != acme.Validation || e.Problem != word || e.Whole || !e.Final || !strings.Contains(e.Hint, want) {
					t.Errorf("%s in a challenge of %s: got %v (%v), hint %q", word, typ, e, e.Kind, e.Hint)
				}
			}
		}
	}
}

func TestAChallengeWhosePOSTIsRefusedIsLost(t *testing.T) {
	for sentence, tt := range map[string]struct {
		answer reply
		state  acme.AuthorizationState
	}{
		"refused":                {refusal(403, "unauthorized", "no"), acme.Lost},
		"malformed":              {refusal(400, "malformed", "no"), acme.Lost},
		"the CA is busy":         {refusal(503, "serverInternal", "later"), acme.Open},
		"the CA asks to wait":    {refusal(429, "rateLimited", "later"), acme.Open},
		"the answer may be lost": {reply{err: errors.New("reset")}, acme.Open},
	} {
		f := newFake(t)
		f.on("POST /chall/1", tt.answer)
		f.on("POST /authz/1", ok(authzJSON("pending", challengeJSON("http-01", "pending"))))
		ch := acme.Challenge{Name: "a.test", URL: host + "/chall/1", Authorization: host + "/authz/1", Proof: acme.Proof{Type: "http-01"}}
		got, err := f.client().Accept(t.Context(), ch)
		if err == nil || got.State != tt.state || (got.Error != nil) != (tt.state == acme.Lost) {
			t.Errorf("%s: got %+v, %v", sentence, got, err)
		}
	}
}

func TestTheAnswerToAnAcceptedChallengeCounts(t *testing.T) {
	failed := `{"type":"http-01","status":%q,"url":"https://ca.test/chall/1","token":"` + token + `","error":{"type":"urn:ietf:params:acme:error:connection","detail":"refused"}}`
	tests := map[string]struct {
		answer reply
		state  acme.AuthorizationState
		fails  bool
		wait   time.Duration
	}{
		"validated before the CA answers":      {ok(challengeJSON("http-01", "valid")), acme.Validated, false, 0},
		"still at it":                          {ok(challengeJSON("http-01", "processing")), acme.Open, false, 0},
		"failed, and may be accepted again":    {ok(fmt.Sprintf(failed, "pending")), acme.Open, true, 0},
		"failed, and the CA tries by itself":   {ok(fmt.Sprintf(failed, "processing")).with("Retry-After", "5"), acme.Open, true, 5 * time.Second},
		"failed for good":                      {ok(fmt.Sprintf(failed, "invalid")), acme.Lost, true, 0},
		"invalid, and the CA does not say why": {ok(challengeJSON("http-01", "invalid")), acme.Lost, true, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /chall/1", tt.answer)
			ch := acme.Challenge{Name: "a.test", URL: host + "/chall/1", Authorization: host + "/authz/1", Proof: acme.Proof{Type: "http-01"}}
			got, err := f.client().Accept(t.Context(), ch)
			if err != nil || got.State != tt.state || (got.Error != nil) != tt.fails || got.RetryAfter != tt.wait {
				t.Fatalf("got %+v, %v", got, err)
			}
			if tt.fails && got.Error.Identifier != "a.test" {
				t.Errorf("the error is of %q", got.Error.Identifier)
			}
		})
	}
}
