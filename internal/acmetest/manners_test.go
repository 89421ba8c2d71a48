package acmetest_test

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
)

const day = 24 * time.Hour

// misdeed is something that a client should not do.
type misdeed struct {
	cfg  acmetest.Config
	do   func(t *testing.T, r *raw)
	want string // in the failure of the test
}

// quick is the CA of most misdeeds: orders are ready at once.
var quick = acmetest.Config{Prevalidated: true, RenewalInfo: true}

func limits(l acmetest.Limits) acmetest.Config {
	return acmetest.Config{Prevalidated: true, RenewalInfo: true, OrderGap: -1, EarliestRenewal: 1e-9, Limits: l}
}

// nothingServed is a web without proofs.
func nothingServed(context.Context, string, string) (string, error) {
	return "", errors.New("404 page not found")
}

func TestMisdeedsAreCaught(t *testing.T) {
	for name, m := range misdeeds() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &recorder{}
				ca := acmetest.New(rec, m.cfg)
				m.do(t, newRaw(t, ca))
				rec.end()
				if len(rec.failures) == 0 {
					t.Fatalf("nothing was caught; want %q", m.want)
				}
				for _, f := range rec.failures {
					if !strings.Contains(f, m.want) {
						t.Errorf("caught %q; want only %q", f, m.want)
					}
				}
			})
		})
	}
}

func misdeeds() map[string]misdeed {
	all := make(map[string]misdeed)
	for _, group := range []map[string]misdeed{
		envelopeMisdeeds(), accountMisdeeds(), orderMisdeeds(), proofMisdeeds(), limitMisdeeds(), renewalMisdeeds(),
	} {
		maps.Copy(all, group)
	}
	return all
}

func envelopeMisdeeds() map[string]misdeed {
	orders := "https://ca.test/new-order"
	edit := func(f func(*message)) func(*testing.T, *raw) {
		return func(_ *testing.T, r *raw) { r.post(orders, `{"identifiers":[{"type":"dns","value":"a.test"}]}`, f) }
	}
	return map[string]misdeed{
		"a nonce is used twice": {quick, func(t *testing.T, r *raw) {
			used := r.nonce
			r.orderFor("", "a.test")
			a := r.post(r.kid, "", func(m *message) { m.nonce = used })
			if a.problem() != "badNonce" {
				t.Errorf("answered %q; want badNonce", a.problem())
			}
		}, "a second time"},
		"a nonce is made up":          {quick, edit(func(m *message) { m.nonce = "bm9uY2U" }), "none of ours"},
		"the url header is wrong":     {quick, edit(func(m *message) { m.url = "https://ca.test/else" }), `says url "https://ca.test/else"`},
		"jwk comes instead of kid":    {quick, edit(func(m *message) { m.jwk = true }), "jwk instead of kid"},
		"the Content-Type is missing": {quick, edit(func(m *message) { m.contentType = "" }), `Content-Type is ""`},
		"the User-Agent is missing":   {quick, edit(func(m *message) { m.userAgent = "" }), "without a User-Agent"},
		"kid comes instead of jwk": {quick, func(_ *testing.T, r *raw) {
			r.post("https://ca.test/new-account", `{"termsOfServiceAgreed":true}`)
		}, "kid instead of jwk"},
		"the key is another account's": {quick, func(t *testing.T, r *raw) {
			other := newRaw(t, r.ca)
			other.kid = r.kid
			other.orderFor("", "a.test")
		}, "the signature is wrong"},
		"the body is no JWS": {quick, func(_ *testing.T, r *raw) {
			r.send(http.MethodPost, orders, "{}", message{userAgent: "test", contentType: "application/jose+json"})
		}, "no JWS"},
		"the payload is no JSON": {quick, func(_ *testing.T, r *raw) { r.post(orders, "certificate, please") }, "no JSON"},
		"a POST-as-GET has a payload": {quick, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			r.post(o.URL, "{}")
		}, "POST-as-GET"},
		"an order is fetched by GET": {quick, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			r.get(o.URL)
		}, "the method must be POST"},
		"a URL is made up":          {quick, func(_ *testing.T, r *raw) { r.get("https://ca.test/acme") }, "no such URL"},
		"a URL is another server's": {quick, func(_ *testing.T, r *raw) { r.get("https://other.test/directory") }, "no such URL"},
	}
}

func accountMisdeeds() map[string]misdeed {
	secret := []byte("0123456789abcdef0123456789abcdef")
	cfg := acmetest.Config{EAB: map[string][]byte{"kid": secret}}
	return map[string]misdeed{
		"an external account is bound twice": {cfg, func(t *testing.T, r *raw) {
			second, third := newRawUnregistered(t, r.ca), newRawUnregistered(t, r.ca)
			if a := second.register(second.bind("kid", secret)); a.StatusCode != http.StatusCreated {
				t.Fatalf("the first binding was answered %s", a.body)
			}
			third.register(third.bind("kid", secret))
		}, "bound a second time"},
		"a binding is sent for an account that exists": {cfg, func(_ *testing.T, r *raw) {
			r.register(r.bind("kid", secret))
		}, "has an account already"},
		"a binding is another key's": {cfg, func(t *testing.T, r *raw) {
			a := newRawUnregistered(t, r.ca)
			a.register(newRawUnregistered(t, r.ca).bind("kid", secret))
		}, "for another key"},
		"another account is looked at": {quick, func(t *testing.T, r *raw) {
			r.post(newRaw(t, r.ca).kid, "")
		}, "asked for by"},
	}
}

func newRawUnregistered(t *testing.T, ca *acmetest.CA) *raw {
	return &raw{t: t, ca: ca, key: newKey(t)}
}

func orderMisdeeds() map[string]misdeed {
	return map[string]misdeed{
		"an order is repeated for a certificate that is good": {quick, func(_ *testing.T, r *raw) {
			r.obtain("", "a.test")
			time.Sleep(40 * day)
			r.orderFor("", "a.test")
		}, "not due"},
		"an order follows one that failed too soon": {acmetest.Config{}, func(_ *testing.T, r *raw) {
			r.ca.FailValidation("a.test", "dns", "no such host")
			o, _ := r.orderFor("", "a.test")
			url, _ := r.httpChallenge(o)
			time.Sleep(time.Hour)
			r.post(url, "{}")
			time.Sleep(time.Minute - 1)
			r.orderFor("", "a.test")
		}, "1ns too soon"},
		"an order follows one that was lost too soon": {quick, func(_ *testing.T, r *raw) {
			r.orderFor("", "a.test")
			time.Sleep(time.Minute - 1)
			r.orderFor("", "a.test")
		}, "1ns too soon"},
		"an order is given up while it is processing": {
			acmetest.Config{Prevalidated: true, FinalizeDelay: time.Hour}, func(t *testing.T, r *raw) {
				o, _ := r.orderFor("", "a.test")
				r.finalize(o, newKey(t), "a.test")
				time.Sleep(time.Hour - 1)
				r.orderFor("", "a.test")
			}, "still processing"},
		"an order is finalized before it is ready": {acmetest.Config{}, func(t *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			r.finalize(o, newKey(t), "a.test")
		}, "before it is ready"},
		"a CSR is for another name": {quick, func(t *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			r.finalize(o, newKey(t), "a.test", "b.test")
		}, "the CSR is for a.test b.test"},
		"a CSR has the account's key": {quick, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			r.finalize(o, r.key, "a.test")
		}, "the account's key"},
		"a CSR is nonsense": {quick, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			r.post(o.Finalize, `{"csr":"AAAA"}`)
		}, "parsing the CSR"},
		"a name is ordered twice":      {quick, func(_ *testing.T, r *raw) { r.orderFor("", "a.test", "a.test") }, "occurs twice"},
		"a name is in capitals":        {quick, func(_ *testing.T, r *raw) { r.orderFor("", "A.test") }, "no identifier"},
		"an address is ordered as dns": {quick, func(_ *testing.T, r *raw) { r.orderFor("", "192.0.2.1") }, "no identifier"},
		"orders go on although the account is held": {quick, func(t *testing.T, r *raw) {
			r.ca.HoldAccount(time.Now().Add(time.Hour))
			if _, a := r.orderFor("", "a.test"); a.problem() != "rateLimited" || a.Header.Get("Retry-After") != "3600" {
				t.Errorf("answered %q, Retry-After %q; want rateLimited, 3600", a.problem(), a.Header.Get("Retry-After"))
			}
			r.orderFor("", "b.test") // was on its way
			time.Sleep(time.Hour - 1)
			r.orderFor("", "c.test")
		}, "1ns before the account's Retry-After ended"},
		"requests go on although the CA is busy": {quick, func(_ *testing.T, r *raw) {
			r.ca.HoldAll(time.Now().Add(time.Hour))
			r.get("https://ca.test/directory")
			time.Sleep(time.Hour - 1)
			r.get("https://ca.test/directory")
		}, "1ns before the CA's Retry-After ended"},
	}
}

func proofMisdeeds() map[string]misdeed {
	unseen := acmetest.Config{Fetch: nothingServed}
	return map[string]misdeed{
		"a challenge is accepted without proof": {unseen, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			url, _ := r.httpChallenge(o)
			r.post(url, "{}")
		}, "before its proof is visible"},
		"a proof is another account's": {
			acmetest.Config{
				ProofGrace: time.Hour,
				Fetch:      func(_ context.Context, _, token string) (string, error) { return token + ".x", nil },
			},
			func(_ *testing.T, r *raw) {
				o, _ := r.orderFor("", "a.test")
				url, _ := r.httpChallenge(o)
				r.post(url, "{}")
			}, "is served instead of the key authorization"},
		"a challenge is accepted twice": {acmetest.Config{}, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			url, _ := r.httpChallenge(o)
			r.post(url, "{}")
			r.post(url, "{}")
		}, "although its authorization is valid"},
		"a challenge is accepted with a payload": {acmetest.Config{}, func(_ *testing.T, r *raw) {
			o, _ := r.orderFor("", "a.test")
			url, _ := r.httpChallenge(o)
			r.post(url, `{"keyAuthorization":"x"}`)
		}, "instead of {}"},
	}
}

func limitMisdeeds() map[string]misdeed {
	return map[string]misdeed{
		"there are too many orders": {limits(acmetest.Limits{OrdersPer3h: 3}), func(t *testing.T, r *raw) {
			for _, name := range []string{"a.test", "b.test", "c.test", "d.test"} {
				_, a := r.orderFor("", name)
				if name == "d.test" && (a.problem() != "rateLimited" || a.Header.Get("Retry-After") != "3600") {
					t.Errorf("answered %q, Retry-After %q; want rateLimited, 3600", a.problem(), a.Header.Get("Retry-After"))
				}
			}
		}, "over the budget of 3 in 3h"},
		"there are too many certificates for the same names": {
			limits(acmetest.Limits{CertificatesPerSetWeek: 2}), func(_ *testing.T, r *raw) {
				for range 2 {
					r.obtain("", "a.test")
					time.Sleep(time.Hour)
				}
				r.orderFor("", "a.test")
			}, `for "set a.test"`},
		"there are too many certificates for one domain": {
			limits(acmetest.Limits{CertificatesPerDomainWeek: 2}), func(_ *testing.T, r *raw) {
				r.obtain("", "a.example.co.uk")
				r.obtain("", "b.example.co.uk")
				r.obtain("", "c.example2.co.uk")
				r.orderFor("", "d.example.co.uk")
			}, `for "domain example.co.uk"`},
		"there are too many failures": {
			acmetest.Config{OrderGap: -1, Limits: acmetest.Limits{FailuresPerHour: 2}}, func(_ *testing.T, r *raw) {
				r.ca.FailValidation("a.test", "dns", "no such host")
				for range 3 {
					if o, a := r.orderFor("", "a.test"); a.StatusCode == http.StatusCreated {
						url, _ := r.httpChallenge(o)
						r.post(url, "{}")
					}
				}
			}, "over the budget of 2 in 1h"},
	}
}

func renewalMisdeeds() map[string]misdeed {
	poll := func(r *raw, id string) answer { return r.get("https://ca.test/renewal-info/" + id) }
	return map[string]misdeed{
		"renewal information is polled too often": {quick, func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			poll(r, id)
			time.Sleep(6*time.Hour - 1)
			poll(r, id)
		}, "1ns before its Retry-After ended"},
		"renewal information is polled more often than the CA wants": {
			acmetest.Config{Prevalidated: true, RenewalInfo: true, RenewalPoll: day}, func(t *testing.T, r *raw) {
				id, _ := r.obtain("", "a.test")
				if a := poll(r, id); a.Header.Get("Retry-After") != "86400" {
					t.Errorf("Retry-After is %q; want a day", a.Header.Get("Retry-After"))
				}
				time.Sleep(day - 1)
				poll(r, id)
			}, "1ns before its Retry-After ended"},
		"renewal information is polled for an expired certificate": {quick, func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			time.Sleep(90 * day)
			poll(r, id)
		}, "has expired"},
		"renewal information is polled for a replaced certificate": {quick, func(_ *testing.T, r *raw) {
			id, _ := r.obtain("", "a.test")
			time.Sleep(60 * day)
			r.obtain(`,"replaces":"`+id+`"`, "a.test")
			poll(r, id)
		}, "was replaced"},
		"replaces is sent to a CA that does not know it": {
			acmetest.Config{Prevalidated: true}, func(_ *testing.T, r *raw) {
				id, _ := r.obtain("", "a.test")
				time.Sleep(60 * day)
				r.orderFor(`,"replaces":"`+id+`"`, "a.test")
			}, "without renewalInfo"},
	}
}
