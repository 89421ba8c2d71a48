package acme_test

import (
	"strings"
	"testing"

	"acmed/internal/acme"
)

// pausedFor is how Boulder refuses an order of a paused account.
func pausedFor(names string, letters int) string {
	return "Your account is temporarily prevented from requesting certificates for " + names + " and possibly others. " +
		"Please visit: https://portal.letsencrypt.org/sfe/v1/unpause?jwt=" + strings.Repeat("x", letters)
}

func TestAPausedAccount(t *testing.T) {
	const P, R = acme.Permanent, acme.RateLimited
	for sentence, tt := range map[string]struct {
		refusal reply
		kind    acme.Kind
		whole   bool
		detail  string // "": that of the refusal
	}{
		"a page to open and no time: it is permanent for the name":      {refusal(429, "rateLimited", pausedFor("a.test", 300)), P, false, ""},
		"the URL is whole however long it is, up to 4 KiB":              {refusal(429, "rateLimited", pausedFor("a.test, b.test", 3800)), P, false, ""},
		"a time: it is a rate limit like any other":                     {refusal(429, "rateLimited", pausedFor("a.test", 30)).with("Retry-After", "60"), R, false, ""},
		"none of the names: it is not known to be about this order":     {refusal(429, "rateLimited", "too many new orders from this account. Please visit: https://ca.test/unpause"), R, true, ""},
		"only the documentation of a limit: it ends by itself":          {refusal(429, "rateLimited", "too many failed authorizations for a.test: see https://letsencrypt.org/docs/rate-limits/"), R, false, ""},
		"another status: it is no rate limit of a paused account":       {refusal(403, "rateLimited", pausedFor("a.test", 30)), R, false, ""},
		"a URL that does not fit is left out, and so there is no page":  {refusal(429, "rateLimited", "for a.test. See https://ca.test/unpause?"+strings.Repeat("x", 5000)), R, false, "for a.test. See"},
		"a page that is called by its path alone is a page to open too": {refusal(429, "rateLimited", "a.test is paused: https://ca.test/sfe/v2/unpause?jwt=x"), P, false, ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /new", tt.refusal)
			_, err := f.client().NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")})
			e := errorOf(t, err)
			if e.Kind != tt.kind || e.Whole != tt.whole || e.RetryAt.IsZero() != (tt.kind == P) {
				t.Errorf("got %v, whole %t, again at %v", e.Kind, e.Whole, e.RetryAt)
			}
			if tt.detail == "" && !strings.Contains(tt.refusal.body, e.Detail) || tt.detail != "" && e.Detail != tt.detail || len(e.Detail) > 4096 {
				t.Errorf("got %d bytes: %s", len(e.Detail), e.Detail)
			}
			if open := strings.Contains(e.Hint, "open the URL"); open != (tt.kind == P) || strings.Contains(e.Hint, "https:") {
				t.Errorf("hint: %s", e.Hint)
			}
		})
	}
}

// TestWhatAPolicyRefuses has the words of Boulder v0.20261110.0.
func TestWhatAPolicyRefuses(t *testing.T) {
	const P, V = acme.Permanent, acme.Validation
	profiles := func(names ...string) string {
		return strings.Replace(directoryJSON, `{"short":"a week"}`, `{"`+strings.Join(names, `":"x","`)+`":"x"}`, 1)
	}
	ip := append(dns("a.test"), acme.Identifier{Type: "ip", Value: "192.0.2.1"})
	for sentence, tt := range map[string]struct {
		names      []acme.Identifier
		profile    string
		offered    string
		word       string
		detail     string
		kind       acme.Kind
		identifier string
		hint       string
	}{
		"addresses with the default profile": {ip, "", profiles("classic", "shortlived"), "rejectedIdentifier",
			"Error creating new order :: Default profile does not permit IP address identifiers. See available profiles at https://letsencrypt.org/docs/profiles/.", P, "",
			"set profile: shortlived in the spec: the CA issues for IP addresses with it"},
		"addresses with another profile": {ip, "classic", profiles("classic", "shortlived"), "rejectedIdentifier", `Profile "classic" does not permit IP address identifiers.`, P, "",
			"set profile: shortlived in the spec: the CA issues for IP addresses with it"},
		"addresses at a CA with other profiles": {ip, "web", profiles("web", "machines"), "unsupportedIdentifier", `profile web has no IP addresses`, P, "",
			"it offers: machines (x)"},
		"addresses at a CA that does not issue for any": {ip, "", profiles("web"), "rejectedIdentifier", "no IP addresses", P, "", "remove the name from the spec"},
		"a name beside its wildcard": {dns("w.test", "*.w.test", "x.w.test"), "", directoryJSON, "malformed",
			`Error creating new order :: Domain name "x.w.test" is redundant with a wildcard domain in the same request. Remove one or the other from the certificate request.`, P, "x.w.test",
			"remove x.w.test from the spec: *.w.test covers it"},
		"nothing is redundant here": {dns("w.test", "*.w.test"), "", directoryJSON, "malformed", "a redundant field", V, "", ""},
		"more names than the profile permits": {dns("a.test", "b.test", "c.test"), "short", directoryJSON, "malformed", "Error creating new order :: Order cannot contain more than 2 identifiers", P, "",
			"split the certificate: the CA accepts at most 2 names with the profile short"},
		"more names than the CA permits":       {dns("a.test", "b.test", "c.test"), "", directoryJSON, "malformed", "at most 2 DNS names", P, "", "split the certificate: the CA accepts at most 2 names"},
		"a limit that the order does not meet": {dns("a.test"), "", directoryJSON, "malformed", "Order cannot contain more than 100 identifiers", V, "", ""},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("GET /dir", ok(tt.offered))
			f.on("POST /new", refusal(400, tt.word, tt.detail))
			_, err := f.client().NewOrder(t.Context(), acme.OrderRequest{Identifiers: tt.names, Profile: tt.profile})
			e := errorOf(t, err)
			if e.Kind != tt.kind || e.Identifier != tt.identifier || e.Whole || !strings.Contains(e.Hint, tt.hint) || (e.Hint == "") != (tt.hint == "") {
				t.Errorf("got %v (%v), hint %q", e, e.Kind, e.Hint)
			}
		})
	}
}

func TestAnAccountThatMayNotUseAProfile(t *testing.T) {
	const forbidden = `Error creating new order :: account ID 1 is not permitted to use certificate profile "short"`
	for sentence, tt := range map[string]struct {
		profile string
		refusal reply
		whole   bool
		hint    string
	}{
		"an order with a profile fails alone, and the hint has the profile": {"short", refusal(403, "unauthorized", forbidden), false, "remove profile short from the spec"},
		"whatever the CA says about it":                                     {"short", refusal(403, "unauthorized", "no"), false, "remove profile short from the spec"},
		"an order without a profile is the account's":                       {"", refusal(403, "unauthorized", "blocked"), true, "then run acmed reload"},
		"an account that has ended is the account's":                        {"short", refusal(403, "unauthorized", `Account is not valid, has status "deactivated"`), true, "then run acmed reload"},
		"another problem of the account is the account's":                   {"short", refusal(403, "userActionRequired", "new terms"), true, "run acmed reload"},
		"another status is not known to be of the profile":                  {"short", refusal(401, "unauthorized", "no"), true, "then run acmed reload"},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /new", tt.refusal)
			_, err := f.client().NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test"), Profile: tt.profile})
			e := errorOf(t, err)
			if e.Kind != acme.Permanent || e.Whole != tt.whole || !strings.Contains(e.Hint, tt.hint) {
				t.Errorf("got %v (%v, whole %t), hint %q", e, e.Kind, e.Whole, e.Hint)
			}
		})
	}
}

func TestAHundredDetailsAreNoHundredTimes4KiB(t *testing.T) {
	f := newFake(t)
	long := strings.Repeat("y", 4000)
	o := anOrder("invalid")
	o.Authorizations = nil
	for range 100 {
		o.Authorizations = append(o.Authorizations, host+"/authz/1")
	}
	f.on("POST /authz/1", ok(authzJSON("invalid", `{"type":"http-01","error":{"type":"urn:ietf:params:acme:error:dns","detail":"`+long+`"}}`)))
	e := f.client().Failure(t.Context(), o)
	total := 0
	for _, s := range e.Subproblems {
		total += len(s.Detail)
	}
	if len(e.Detail) != 4000 || len(e.Subproblems) != 100 || total > 4000+99*512 {
		t.Errorf("got %d bytes, and %d in %d subproblems", len(e.Detail), total, len(e.Subproblems))
	}
}
