package acmetest_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/acme"

	"acmed/internal/acmetest"
)

// TestReplacedIsRecordedWithTheOrder is the trap of Let's Encrypt: the answer to newOrder is lost, and the same order
// is a conflict from then on.
func TestReplacedIsRecordedWithTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaw(t, acmetest.New(t, quick))
		id, _ := r.obtain("", "a.test")
		replaces := `,"replaces":"` + id + `"`
		time.Sleep(60 * day)
		if _, a := r.orderFor(replaces, "a.test"); a.StatusCode != http.StatusCreated {
			t.Fatalf("answered %s", a.body)
		}
		time.Sleep(time.Minute)
		if _, a := r.orderFor(replaces, "a.test"); a.StatusCode != http.StatusConflict || a.problem() != "alreadyReplaced" {
			t.Errorf("answered %s; want alreadyReplaced", a.body)
		}
		r.obtain("", "a.test") // at once, without it
	})
}

func TestReplacesIsCheckedAgainstTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaw(t, acmetest.New(t, quick))
		id, _ := r.obtain("", "a.test")
		for name, c := range map[string]struct {
			r    *raw
			id   string
			name string
			want int
		}{
			"unknown":           {r, "AAAA.AAAA", "b.test", http.StatusNotFound},
			"another name":      {r, id, "c.test", http.StatusBadRequest},
			"another's account": {newRaw(t, r.ca), id, "d.test", http.StatusForbidden},
		} {
			if _, a := c.r.orderFor(`,"replaces":"`+c.id+`"`, c.name); a.StatusCode != c.want {
				t.Errorf("%s: answered %d; want %d", name, a.StatusCode, c.want)
			}
		}
	})
}

func TestNetworkTroubleOnScript(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := acmetest.New(t, quick)
		try := func() error {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, ca.DirectoryURL(), nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("User-Agent", "test")
			resp, err := ca.RoundTrip(req)
			if err == nil && resp.StatusCode != http.StatusOK {
				err = errors.New(resp.Status)
			}
			return err
		}
		want := func(step string, err error, errWant error, count int) {
			t.Helper()
			if !errors.Is(err, errWant) || ca.Count("directory") != count {
				t.Errorf("%s: got %v after %d requests; want %v after %d", step, err, ca.Count("directory"), errWant, count)
			}
		}
		want("up", try(), nil, 1)
		ca.Down(true)
		want("down", try(), syscall.ECONNREFUSED, 1)
		ca.Down(false)
		ca.Refuse("directory", 1)
		want("refused", try(), syscall.ECONNREFUSED, 1)
		want("refused once only", try(), nil, 2)
		ca.Lose("directory", 1)
		want("lost", try(), syscall.ECONNRESET, 3)
		want("lost once only", try(), nil, 4)
		ca.Intercept(func(*http.Request) *http.Response { return nil })
		want("looked at", try(), nil, 5)
		ca.Intercept(func(*http.Request) *http.Response {
			return &http.Response{Status: "502 Bad Gateway", StatusCode: http.StatusBadGateway, Body: http.NoBody}
		})
		if err := try(); err == nil || err.Error() != "502 Bad Gateway" || ca.Count("") != 5 {
			t.Errorf("intercepted: got %v after %d requests; want 502 after 5", err, ca.Count(""))
		}
		if log := ca.Log(); len(log) != 5 || log[4].Op != "directory" || log[4].Status != http.StatusOK {
			t.Errorf("the log is %v", log)
		}
	})
}

// TestErrorsByDice checks that of two failures one took effect.
func TestErrorsByDice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := acmetest.New(t, acmetest.Config{Errors: 0.5, Seed: 3})
		var failed, registered int
		for range 200 {
			r := newRaw(t, ca)
			if r.kid != "" {
				continue
			}
			failed++
			if r.register(`{"onlyReturnExisting":true}`); r.kid != "" {
				registered++
			}
		}
		// Half of the requests fail, half of those after they took effect, and half of the second requests fail too.
		if failed < 70 || failed > 130 || registered < failed/8 || registered > failed*3/8 {
			t.Errorf("%d of 200 failed, %d of them have an account; want about 100 and 25", failed, registered)
		}
	})
}

func TestAccounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		secret := []byte("0123456789abcdef0123456789abcdef")
		ca := acmetest.New(t, acmetest.Config{RequireEAB: true, EAB: map[string][]byte{"kid": secret}})
		r := &raw{t: t, ca: ca, key: newKey(t)}
		step := func(name string, a answer, status int, problem string) {
			t.Helper()
			if a.StatusCode != status || a.problem() != problem {
				t.Errorf("%s: answered %d %q; want %d %q", name, a.StatusCode, a.problem(), status, problem)
			}
		}
		step("no terms", r.register(`{}`), 403, "userActionRequired")
		step("no binding", r.register(`{"termsOfServiceAgreed":true}`), 403, "externalAccountRequired")
		step("unknown kid", r.register(r.bind("other", secret)), 403, "unauthorized")
		step("wrong secret", r.register(r.bind("kid", []byte(strings.Repeat("x", 32)))), 403, "unauthorized")
		step("none yet", r.register(`{"onlyReturnExisting":true}`), 400, "accountDoesNotExist")
		step("bad contact", r.register(`{"termsOfServiceAgreed":true,"contact":["tel:1"]}`), 400, "unsupportedContact")
		step("bound", r.register(r.bind("kid", secret)), 201, "")
		kid := r.kid
		step("again", r.register(`{"onlyReturnExisting":true}`), 200, "")
		if r.kid != kid {
			t.Errorf("the account's URL changed from %s to %s", kid, r.kid)
		}
		step("change", r.post(kid, `{"contact":["mailto:pki@example.com"]}`), 200, "")
		if a := r.post(kid, ""); !strings.Contains(string(a.body), "pki@example.com") {
			t.Errorf("the contact did not change: %s", a.body)
		}
		step("deactivate", r.post(kid, `{"status":"deactivated"}`), 200, "")
		step("deactivated", r.post(kid, ""), 401, "unauthorized")
		ca.ForgetAccounts()
		step("forgotten", r.post(kid, ""), 400, "accountDoesNotExist")
		step("bound again", r.register(r.bind("kid", secret)), 201, "")
	})
}

func TestOrdersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaw(t, acmetest.New(t, acmetest.Config{AuthzReuse: 30 * day, OrderGap: -1}))
		status := func(o order) string {
			t.Helper()
			r.post(o.URL, "").decode(t, &o)
			return o.Status
		}
		first, _ := r.orderFor("", "a.test")
		url, _ := r.httpChallenge(first)
		r.post(url, "{}")
		if got := status(first); got != "ready" {
			t.Errorf("the proved order is %q; want ready", got)
		}
		second, _ := r.orderFor("", "a.test", "b.test")
		third, _ := r.orderFor("", "b.test")
		r.post(third.Authorizations[0], `{"status":"deactivated"}`)
		if got := status(third); got != "invalid" {
			t.Errorf("the order whose authorization is given up is %q; want invalid", got)
		}
		time.Sleep(day)
		if got := status(second); got != "invalid" {
			t.Errorf("the order of yesterday is %q; want invalid", got)
		}
		if reused, _ := r.orderFor("", "a.test"); reused.Status != "ready" || reused.Authorizations[0] != first.Authorizations[0] {
			t.Errorf("the authorization is not reused: %+v", reused)
		}
		time.Sleep(30 * day)
		r.orderFor("", "c.test")
		if a := r.post(first.URL, ""); a.StatusCode != http.StatusNotFound {
			t.Errorf("the order of last month was answered %d; want 404", a.StatusCode)
		}
	})
}

func TestRevocation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := acmetest.New(t, quick)
		c := newClient(t, ca, &web{}, &acme.Account{})
		chain, err := c.obtain(t, "a.test")
		if err != nil {
			t.Fatal(err)
		}
		id := acmetest.CertID(chain[0])
		if err := newClient(t, ca, &web{}, &acme.Account{}).RevokeCert(t.Context(), nil, chain[0].Raw, 0); err == nil {
			t.Error("a stranger revoked the certificate")
		}
		if err := c.RevokeCert(t.Context(), nil, chain[0].Raw, acme.CRLReasonCACompromise); err == nil {
			t.Error("a reason that is the CA's own was accepted")
		}
		if ca.Revoked(id) {
			t.Error("revoked without right")
		}
		if err := c.RevokeCert(t.Context(), nil, chain[0].Raw, acme.CRLReasonKeyCompromise); err != nil || !ca.Revoked(id) {
			t.Errorf("revocation: %v", err)
		}
	})
}

// TestRenewalInfoIsRFC9773 reads the answer as a client does.
func TestRenewalInfoIsRFC9773(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaw(t, acmetest.New(t, quick))
		for _, want := range []bool{false, true} { // a serial whose first bit is set needs a leading zero
			id, _ := r.obtain("", fmt.Sprintf("%t.test", want))
			if _, serial, _ := strings.Cut(id, "."); strings.HasPrefix(serial, "AM") != want {
				t.Errorf("the CertID is %s; want a leading zero byte: %t", id, want)
			}
			var info struct {
				SuggestedWindow struct{ Start, End time.Time }
			}
			r.get("https://ca.test/renewal-info/"+id).decode(t, &info)
			if w := info.SuggestedWindow; !w.Start.After(time.Now()) || !w.End.After(w.Start) {
				t.Errorf("the window is %v", w)
			}
		}
		if a := r.get("https://ca.test/renewal-info/AAAA.AAAA"); a.StatusCode != http.StatusNotFound {
			t.Errorf("an unknown certificate was answered %d; want 404", a.StatusCode)
		}
	})
}

func TestIdentifiersOfAllKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, acmetest.New(t, acmetest.Config{}), &web{}, &acme.Account{})
		for value, want := range map[string]string{
			"dns *.example.com": "dns-01",
			"dns a.example.com": "dns-01 http-01 tls-alpn-01",
			"ip 192.0.2.1":      "http-01 tls-alpn-01",
			"ip 2001:db8::1":    "http-01 tls-alpn-01",
		} {
			kind, name, _ := strings.Cut(value, " ")
			o, err := c.AuthorizeOrder(t.Context(), []acme.AuthzID{{Type: kind, Value: name}})
			if err != nil {
				t.Fatal(err)
			}
			a, err := c.GetAuthorization(t.Context(), o.AuthzURLs[0])
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, ch := range a.Challenges {
				got = append(got, ch.Type)
			}
			if strings.Join(got, " ") != want || a.Wildcard != strings.HasPrefix(name, "*.") {
				t.Errorf("%s: challenges %v, wildcard %t; want %s", value, got, a.Wildcard, want)
			}
		}
	})
}

func TestRequestsEndWithTheirContext(t *testing.T) {
	ca := acmetest.New(t, acmetest.Config{})
	req, err := http.NewRequest(http.MethodPost, ca.DirectoryURL(), io.NopCloser(strings.NewReader("x")))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ca.RoundTrip(req.WithContext(ctx)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v; want that the context has ended", err)
	}
}

// TestManyCertificates keeps the CA fast enough for tests with fleets, and small while years go by.
func TestManyCertificates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaw(t, acmetest.New(t, quick))
		key := newKey(t)
		for range 4 {
			for i := range 50 {
				name := fmt.Sprintf("n%d.test", i)
				o, _ := r.orderFor("", name)
				r.finalize(o, key, name)
			}
			time.Sleep(60 * day)
		}
		if got := len(r.ca.Certificates()); got != 200 {
			t.Errorf("%d certificates; want 200", got)
		}
	})
}

// TestUnfinishedOrders follows orders of which a client may lose sight.
func TestUnfinishedOrders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := acmetest.New(t, acmetest.Config{Prevalidated: true, FinalizeDelay: time.Hour})
		r := newRaw(t, ca)
		want := func(when string, orders map[string][]string) {
			t.Helper()
			if got := ca.Unfinished(); !maps.EqualFunc(got, orders, slices.Equal) {
				t.Errorf("%s: got %v; want %v", when, got, orders)
			}
		}
		ca.Lose("newOrder", 1)
		if _, err := newClient(t, ca, &web{}, &acme.Account{}).AuthorizeOrder(t.Context(), acme.DomainIDs("lost.test")); err == nil {
			t.Error("the answer arrived")
		}
		want("an order whose answer got lost is nobody's", nil)
		o, _ := r.orderFor("", "a.test", "b.test")
		all := map[string][]string{o.URL: {"a.test", "b.test"}}
		want("an open order", all)
		o, _ = r.finalize(o, newKey(t), "a.test", "b.test")
		want("one that is processing", all)
		time.Sleep(time.Hour)
		want("one that is valid", all)
		r.post(o.URL, "").decode(t, &o)
		r.post(o.Certificate, "")
		want("one whose certificate was fetched", nil)
		r.orderFor("", "c.test")
		time.Sleep(day)
		want("one that expired", nil)
	})
}

func TestAmnesty(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRaw(t, acmetest.New(t, limits(acmetest.Limits{OrdersPer3h: 1, CertificatesPerSetWeek: 1})))
		id, _ := r.obtain("", "a.test")
		r.get("https://ca.test/renewal-info/" + id)
		time.Sleep(time.Second)
		r.ca.Amnesty()
		r.get("https://ca.test/renewal-info/" + id)
		r.obtain("", "a.test")
	})
}
