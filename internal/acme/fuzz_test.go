package acme_test

import (
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"acmed/internal/acme"
)

func FuzzRetryAfter(f *testing.F) {
	for _, s := range []string{"", "0", "-1", "120", "99999999999999999999", "Mon, 23 Nov 2026 12:00:00 GMT", "Mon, 23 Nov 9999 12:00:00 GMT", "1e9"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if d := acme.ParseRetryAfter(value, epoch); d != 0 && (d < time.Second || d > acme.MaxRetryAfter) {
			t.Errorf("%q: got %v", value, d)
		}
	})
}

func FuzzLinks(f *testing.F) {
	for _, s := range []string{`</a>;rel="alternate"`, `<a>;rel=x, <b>; rel="y alternate"`, `<`, `<>;`, `<a>;t="\`, `,;<a>"`, strings.Repeat("<a>;rel=alternate,", 20)} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, one, two string) {
		refs := acme.Alternates(http.Header{"Link": {one, two}})
		if len(refs) > 10 {
			t.Errorf("got %d", len(refs))
		}
		for _, ref := range refs {
			if strings.Contains(ref, ">") || !strings.Contains(one+","+two, "<"+ref+">") {
				t.Errorf("got %q", ref)
			}
		}
	})
}

func FuzzOrder(f *testing.F) {
	for _, s := range []string{orderJSON("pending"), orderJSON("valid"), `{"status":"invalid","error":{"subproblems":[{}]}}`, `{}`, `[`, `null`} {
		f.Add(s, "order/1", "60")
	}
	f.Fuzz(func(t *testing.T, body, location, retryAfter string) {
		fake := newFake(t)
		fake.on("POST /order/1", ok(body).with("Retry-After", retryAfter))
		fake.on("POST /new", located(201, location, body))
		c := fake.client()
		if _, err := c.NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")}); err != nil {
			errorOf(t, err)
		}
		o, err := c.Order(t.Context(), host+"/order/1")
		if err != nil {
			errorOf(t, err)
			return
		}
		for _, url := range append(o.Authorizations, o.FinalizeURL, o.CertificateURL) {
			if url != "" && !strings.HasPrefix(strings.ToLower(url), host+"/") && !strings.HasPrefix(strings.ToLower(url), host+":443") && !strings.HasPrefix(url, host) {
				t.Errorf("got URL %q", url)
			}
		}
		if o.RetryAfter < 0 || o.RetryAfter > acme.MaxRetryAfter || len(o.Authorizations) > 1000 {
			t.Errorf("got %+v", o)
		}
	})
}

func FuzzVerify(f *testing.F) {
	ca := newAuthority(f, "CA")
	key := newKey(f)
	good := pems(ca.leaf(key.Public()), ca.cert)
	f.Add([]byte(good))
	f.Add([]byte(strings.Repeat(good, 6)))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		der, err := acme.ParseChain(text)
		if err != nil {
			return
		}
		issued, err := acme.Verify(der, key.Public(), dns("a.test"), epoch)
		if err != nil {
			errorOf(t, err)
			return
		}
		acme.CertID(issued.Chain[0])
		if _, err := x509.ParseCertificate(issued.DER[0]); err != nil || !key.PublicKey.Equal(issued.Chain[0].PublicKey) {
			t.Errorf("believed %s", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der[0]}))
		}
	})
}

func FuzzProblem(f *testing.F) {
	f.Add(acme.OpNewOrder, 429, []byte(document("rateLimited", "this account")))
	f.Add(acme.OpAccount, 400, []byte(document("compound", "\x1b", "a=b", "\x00=c")))
	f.Add(acme.OpOrder, 0, []byte(`{"subproblems":[{}]}`))
	f.Fuzz(func(t *testing.T, op string, status int, body []byte) {
		e := acme.Classify(op, status, body)
		if e.Kind < acme.Transient || e.Kind > acme.Permanent || len(e.Subproblems) > 100 || len(e.Problem) > 40 {
			t.Errorf("got %+v", e)
		}
		texts := []string{e.Detail, e.Problem, e.Identifier}
		for _, s := range e.Subproblems {
			texts = append(texts, s.Identifier, s.Problem, s.Detail)
		}
		for _, s := range texts {
			if len(s) > 512 || !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl) {
				t.Errorf("got %q", s)
			}
		}
	})
}
