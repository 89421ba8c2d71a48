package acme_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/acme"
)

func document(word, detail string, subs ...string) string {
	for i, s := range subs {
		name, word, _ := strings.Cut(s, "=")
		subs[i] = fmt.Sprintf(`{"type":"urn:ietf:params:acme:error:%s","identifier":{"type":"dns","value":%q}}`, word, name)
	}
	return fmt.Sprintf(`{"type":"urn:ietf:params:acme:error:%s","detail":%q,"subproblems":[%s]}`, word, detail, strings.Join(subs, ","))
}

func TestClassify(t *testing.T) {
	const (
		T, R, V, P = acme.Transient, acme.RateLimited, acme.Validation, acme.Permanent
		whole      = true
	)
	perName := `too many certificates (5) already issued for this exact set of identifiers in the last 168h0m0s`
	tests := map[string]struct {
		op      string
		status  int
		body    string
		kind    acme.Kind
		whole   bool
		problem string
	}{
		"a server error":                        {acme.OpNewOrder, 500, document("serverInternal", ""), T, false, "serverInternal"},
		"a 500 with another type":               {acme.OpNewOrder, 500, document("caa", ""), T, false, "caa"},
		"an overloaded CA":                      {acme.OpNewOrder, 503, "", T, whole, "http"},
		"a nonce that cannot be had":            {acme.OpNonce, 500, "", T, whole, "http"},
		"an order that is not ready":            {acme.OpFinalize, 403, document("orderNotReady", ""), T, false, "orderNotReady"},
		"a page that is not found":              {acme.OpOrder, 404, "<html>", T, false, "http"},
		"a firewall's page":                     {acme.OpOrder, 403, "<html>", V, false, "http"},
		"a limit of the name set":               {acme.OpNewOrder, 429, document("rateLimited", perName), R, false, "rateLimited"},
		"a limit of the domain":                 {acme.OpNewOrder, 429, document("rateLimited", `too many certificates (50) already issued for "example.com"`), R, false, "rateLimited"},
		"a limit of failures":                   {acme.OpNewOrder, 429, document("rateLimited", `too many failed authorizations (5) for "a.test" from this account`), R, false, "rateLimited"},
		"a limit of the account":                {acme.OpNewOrder, 429, document("rateLimited", "too many new orders (300) from this account in the last 3h0m0s"), R, whole, "rateLimited"},
		"a limit of the address":                {acme.OpNewOrder, 429, document("rateLimited", "too many requests from this IP address"), R, whole, "rateLimited"},
		"a limit of registrations":              {acme.OpAccount, 429, document("rateLimited", "too many new registrations"), R, whole, "rateLimited"},
		"a limit that says nothing":             {acme.OpNewOrder, 429, "", R, false, "http"},
		"a limit on finalize":                   {acme.OpFinalize, 429, document("rateLimited", "this account"), R, false, "rateLimited"},
		"a limit with another status":           {acme.OpNewOrder, 403, document("rateLimited", ""), R, false, "rateLimited"},
		"a firewall at the name":                {acme.OpAuthorization, 400, document("connection", ""), V, false, "connection"},
		"a name without DNS":                    {acme.OpAuthorization, 400, document("dns", ""), V, false, "dns"},
		"a wrong answer":                        {acme.OpAuthorization, 403, document("unauthorized", ""), V, false, "unauthorized"},
		"a wrong answer, seen late":             {acme.OpFinalize, 403, document("unauthorized", ""), V, false, "unauthorized"},
		"a CAA record":                          {acme.OpFinalize, 403, document("caa", ""), V, false, "caa"},
		"a broken DNSSEC zone":                  {acme.OpAuthorization, 400, document("dnssec", ""), V, false, "dnssec"},
		"a challenge that TLS spoils":           {acme.OpAuthorization, 400, document("tls", ""), V, false, "tls"},
		"an account that is ended":              {acme.OpNewOrder, 403, document("unauthorized", "deactivated"), P, whole, "unauthorized"},
		"an order of another account":           {acme.OpOrder, 403, document("unauthorized", ""), P, whole, "unauthorized"},
		"an account that is gone":               {acme.OpOrder, 400, document("accountDoesNotExist", ""), P, whole, "accountDoesNotExist"},
		"terms that changed":                    {acme.OpNewOrder, 403, document("userActionRequired", ""), P, whole, "userActionRequired"},
		"a name that the CA refuses":            {acme.OpNewOrder, 400, document("rejectedIdentifier", "", "a.test=rejectedIdentifier"), P, false, "rejectedIdentifier"},
		"a kind of name that the CA refuses":    {acme.OpNewOrder, 400, document("unsupportedIdentifier", ""), P, false, "unsupportedIdentifier"},
		"a CSR that the CA refuses":             {acme.OpFinalize, 400, document("badCSR", ""), P, false, "badCSR"},
		"a key that the CA refuses":             {acme.OpFinalize, 400, document("badPublicKey", ""), P, false, "badPublicKey"},
		"a signature that the CA refuses":       {acme.OpAccount, 400, document("badSignatureAlgorithm", ""), P, whole, "badSignatureAlgorithm"},
		"a profile that is gone":                {acme.OpNewOrder, 400, document("invalidProfile", ""), P, false, "invalidProfile"},
		"a contact that the CA refuses":         {acme.OpAccount, 400, document("invalidContact", ""), P, whole, "invalidContact"},
		"a contact of a kind that it refuses":   {acme.OpAccount, 400, document("unsupportedContact", ""), P, whole, "unsupportedContact"},
		"an account that it must know":          {acme.OpAccount, 400, document("externalAccountRequired", ""), P, whole, "externalAccountRequired"},
		"a malformed request":                   {acme.OpNewOrder, 400, document("malformed", ""), V, false, "malformed"},
		"a type that nobody knows":              {acme.OpNewOrder, 400, document("fullMoon", ""), V, false, "fullMoon"},
		"a type that is hostile":                {acme.OpNewOrder, 400, document("$(touch x)", ""), V, false, "other"},
		"a type that is long":                   {acme.OpNewOrder, 400, document(strings.Repeat("a", 41), ""), V, false, "other"},
		"a type in another case":                {acme.OpNewOrder, 400, document("REJECTEDidentifier", ""), P, false, "rejectedIdentifier"},
		"a type of another prefix":              {acme.OpNewOrder, 403, `{"type":"urn:sectigo:params:acme:error:caa"}`, V, false, "caa"},
		"a type that is none":                   {acme.OpNewOrder, 400, `{"type":"about:blank","detail":"x"}`, V, false, "http"},
		"several problems, all about one's own": {acme.OpNewOrder, 400, document("compound", "", "a.test=caa", "b.test=dns"), V, false, "compound"},
		"several problems, one permanent":       {acme.OpNewOrder, 400, document("compound", "", "a.test=caa", "b.test=rejectedIdentifier"), P, false, "compound"},
		"several problems that are not named":   {acme.OpNewOrder, 400, document("compound", ""), V, false, "compound"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			e := acme.Classify(tt.op, tt.status, []byte(tt.body))
			if e.Kind != tt.kind || e.Whole != tt.whole || e.Problem != tt.problem || e.Status != tt.status {
				t.Errorf("got %v (%v, whole %t)", e, e.Kind, e.Whole)
			}
			if e.RetryAt.IsZero() != (e.Kind != acme.RateLimited) {
				t.Errorf("got RetryAt %v", e.RetryAt)
			}
			if (e.Kind == acme.Permanent || e.Kind == acme.RateLimited && e.Problem == "rateLimited") && e.Hint == "" {
				t.Error("no hint")
			}
		})
	}
}

func TestTheOnlyIdentifierIsNamed(t *testing.T) {
	e := acme.Classify(acme.OpNewOrder, 400, []byte(document("rejectedIdentifier", "no", "a.test=rejectedIdentifier")))
	if e.Identifier != "a.test" || !strings.Contains(e.Hint, "remove a.test from the spec") {
		t.Errorf("got %v, hint %q", e, e.Hint)
	}
	if got, want := e.Error(), "ordering for a.test: rejectedIdentifier (400): no"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestALimitThatNamesTheOrderIsItsOwn(t *testing.T) {
	f := newFake(t)
	f.on("POST /new", refusal(429, "rateLimited", "this account asked too often for A.test"))
	_, err := f.client().NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")})
	if e := errorOf(t, err); e.Whole || e.Kind != acme.RateLimited {
		t.Errorf("got %v, whole %t", e, e.Whole)
	}
}

func TestHintsFollowTheChallenge(t *testing.T) {
	failed := func(typ, word string) string {
		return fmt.Sprintf(`{"type":%q,"error":{"type":"urn:ietf:params:acme:error:%s"}}`, typ, word)
	}
	for want, challenge := range map[string]string{
		"a.test reachable from the Internet on port 443":      failed("tls-alpn-01", "connection"),
		"http://a.test/.well-known/acme-challenge/ reachable": failed("http-01", "connection"),
		"the TXT record _acme-challenge":                      failed("dns-01", "unauthorized"),
		"no other server answers for it":                      failed("http-01", "incorrectResponse"),
		"CAA record of a.test":                                failed("http-01", "caa"),
		"nothing else may terminate TLS":                      failed("tls-alpn-01", "tls"),
		"resolves to this machine":                            failed("http-01", "dns"),
		"DNSSEC signatures of a.test":                         failed("dns-01", "dnssec"),
	} {
		f := newFake(t)
		f.on("POST /authz/1", ok(authzJSON("invalid", challenge)))
		if e := f.client().Failure(t.Context(), anOrder("invalid")); !strings.Contains(e.Hint, want) {
			t.Errorf("got %q, want %q", e.Hint, want)
		}
	}
}

func TestARefusalThatHasNoTypeOfItsOwnHasAHint(t *testing.T) {
	for want, e := range map[string]*acme.Error{
		"log of the CA":                 acme.Classify(acme.OpFinalize, 502, []byte("<html>Bad Gateway</html>")),
		"check the status page":         acme.Classify(acme.OpNewOrder, 500, []byte(document("serverInternal", "internal error"))),
		"requires a contact address":    acme.Classify(acme.OpNewAccount, 400, []byte(document("malformed", "contact is required"))),
		"set contact in the issuer":     acme.Classify(acme.OpNewAccount, 400, []byte(document("malformed", "no e-mail address given"))),
		"termsOfServiceAgreed and exte": acme.Classify(acme.OpNewAccount, 400, []byte(document("malformed", "cannot register"))),
	} {
		if !strings.Contains(e.Hint, want) {
			t.Errorf("%v: got %q, want %q", e, e.Hint, want)
		}
	}
}

func TestCleanMakesTextHarmless(t *testing.T) {
	tests := map[string]string{
		"":                          "",
		"plain, ümläut, \"quoted\"": "plain, ümläut, \"quoted\"",
		"two\nlines\t":              "two lines",
		"\x1b[31mred\x00":           `\x1b[31mred\x00`,
		"bad\xffbyte":               `bad\xffbyte`,
		"\u202etfel ot thgir":       `\u202etfel ot thgir`,
		strings.Repeat("a", 9999):   strings.Repeat("a", 512),
		strings.Repeat("\x00", 999): strings.Repeat(`\x00`, 128),

		"see https://ca.test/" + strings.Repeat("a", 492):            "see https://ca.test/" + strings.Repeat("a", 492),
		"see https://ca.test/" + strings.Repeat("a", 492) + " there": "see https://ca.test/" + strings.Repeat("a", 492),
		"see https://ca.test/" + strings.Repeat("a", 493):            "see",
		"see http://ca.test/" + strings.Repeat("a", 9999):            "see",
		"see https://ca.test/ " + strings.Repeat("a", 9999):          "see https://ca.test/ " + strings.Repeat("a", 491),
	}
	for in, want := range tests {
		if got := acme.Clean(in); got != want {
			t.Errorf("%.20q: got %q, want %q", in, got, want)
		}
	}
}

func TestKinds(t *testing.T) {
	for kind, want := range map[acme.Kind]string{acme.Transient: "transient", acme.RateLimited: "rateLimited", acme.Validation: "validation", acme.Permanent: "permanent", 0: "unknown"} {
		if kind.String() != want {
			t.Errorf("got %q, want %q", kind, want)
		}
	}
}

func TestErrorsNameWhatWasDone(t *testing.T) {
	for _, op := range []string{acme.OpDirectory, acme.OpNonce, acme.OpAccount, acme.OpNewOrder, acme.OpOrder, acme.OpAuthorization, acme.OpChallenge, acme.OpFinalize, acme.OpCertificate, acme.OpRenewalInfo} {
		err := &acme.Error{Op: op, Problem: "network", Err: io.EOF}
		if !strings.HasSuffix(err.Error(), ": network") || strings.HasPrefix(err.Error(), op+":") || !errors.Is(err, io.EOF) {
			t.Errorf("got %v", err)
		}
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := acme.NewMetrics()
		reg := prometheus.NewPedanticRegistry()
		reg.MustRegister(m.Collectors()...)
		f := newFake(t)
		c := f.client(func(cfg *acme.Config) { cfg.Metrics = m })
		f.on("POST /new", refusal(400, "fullMoon", ""), refusal(400, "caa", ""), reply{err: io.EOF})
		for range 3 {
			c.NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")})
		}
		f.on("POST /authz/1", ok(authzJSON("invalid", "")))
		c.Challenges(t.Context(), anOrder("pending"), "http-01")
		want := `
# HELP acmed_acme_errors_total Failed operations at a CA, by kind and by problem; problems that acmed does not know are other.
# TYPE acmed_acme_errors_total counter
acmed_acme_errors_total{issuer="test",kind="transient",op="newOrder",problem="network"} 1
acmed_acme_errors_total{issuer="test",kind="validation",op="authorization",problem="other"} 1
acmed_acme_errors_total{issuer="test",kind="validation",op="newOrder",problem="caa"} 1
acmed_acme_errors_total{issuer="test",kind="validation",op="newOrder",problem="other"} 1
# HELP acmed_acme_requests_total Requests to a CA, by operation and class of the answer's status; code is none when there was no answer.
# TYPE acmed_acme_requests_total counter
acmed_acme_requests_total{code="2xx",issuer="test",op="authorization"} 1
acmed_acme_requests_total{code="2xx",issuer="test",op="directory"} 2
acmed_acme_requests_total{code="2xx",issuer="test",op="nonce"} 2
acmed_acme_requests_total{code="4xx",issuer="test",op="newOrder"} 2
acmed_acme_requests_total{code="none",issuer="test",op="newOrder"} 1
`
		if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "acmed_acme_errors_total", "acmed_acme_requests_total"); err != nil {
			t.Error(err)
		}
		if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
			t.Errorf("lint: %v, %v", problems, err)
		}
	})
}

func TestRequestsAreLoggedWithoutSecrets(t *testing.T) {
	core, logs := observer.New(zapcore.DebugLevel)
	f := newFake(t)
	f.scriptRenewal()
	renew(t, f.client(func(c *acme.Config) { c.Log = zap.New(core) }))
	if logs.Len() != 9 || logs.FilterMessage("asked the CA").Len() != 9 {
		t.Errorf("got %d entries", logs.Len())
	}
	for _, entry := range logs.All() {
		for key, value := range entry.ContextMap() {
			if !slices.Contains([]string{"issuer", "op", "status", "took"}, key) || strings.Contains(fmt.Sprint(value), "nonce1") || strings.Contains(fmt.Sprint(value), token) {
				t.Errorf("got %s=%v", key, value)
			}
		}
		if entry.Level != zapcore.DebugLevel || entry.ContextMap()["took"].(time.Duration) < 0 {
			t.Errorf("got %v", entry)
		}
	}
}

// TestTheAlgorithmsThatACAAccepts come with the refusal of another one (RFC 8555 §6.2).
func TestTheAlgorithmsThatACAAccepts(t *testing.T) {
	const kind = `"type":"urn:ietf:params:acme:error:badSignatureAlgorithm"`
	for sentence, tt := range map[string]struct {
		body string
		want string
	}{
		"a list":               {`{` + kind + `,"algorithms":["RS256","PS256"]}`, "RS256 PS256"},
		"none":                 {`{` + kind + `}`, ""},
		"texts for a terminal": {`{` + kind + `,"algorithms":["\u001b[2J"]}`, `\x1b[2J`},
		"of another problem":   {`{"type":"urn:ietf:params:acme:error:malformed","algorithms":["RS256"]}`, ""},
		"a thousand":           {`{` + kind + `,"algorithms":["a"` + strings.Repeat(`,"a"`, 999) + `]}`, strings.TrimSpace(strings.Repeat("a ", 20))},
	} {
		t.Run(sentence, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /account", reply{status: 400, body: tt.body})
			_, err := f.client().Lookup(t.Context())
			if e := errorOf(t, err); strings.Join(e.Algorithms, " ") != tt.want {
				t.Errorf("got %q", e.Algorithms)
			}
		})
	}
}
