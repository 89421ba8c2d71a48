package acme_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
)

// renew runs the steps of one renewal.
func renew(t *testing.T, c *acme.Client) {
	t.Helper()
	ctx := t.Context()
	o, err := c.NewOrder(ctx, acme.OrderRequest{Identifiers: dns("a.test"), Profile: "short", Replaces: "id.serial"})
	if err != nil {
		t.Fatal(err)
	}
	challenges, err := c.Challenges(ctx, o, "http-01")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.AcceptAll(ctx, challenges); err != nil {
		t.Fatal(err)
	}
	if o, err = c.Order(ctx, o.URL); err != nil || o.Status != acme.StatusReady {
		t.Fatalf("got %v, %v", o, err)
	}
	if o, err = c.Finalize(ctx, o, []byte("csr")); err != nil || o.Status != acme.StatusProcessing {
		t.Fatalf("got %v, %v", o, err)
	}
	if o, err = c.Order(ctx, o.URL); err != nil || o.Status != acme.StatusValid {
		t.Fatalf("got %v, %v", o, err)
	}
	if der, _, err := c.Fetch(ctx, o, ""); err != nil || len(der) != 2 {
		t.Fatalf("got %d certificates, %v", len(der), err)
	}
}

func (f *fakeCA) scriptRenewal() {
	ca := newAuthority(f.t, "CA")
	f.on("POST /new", located(201, "/order/1", orderJSON("pending")))
	f.on("POST /authz/1", ok(authzJSON("pending", challengeJSON("dns-01", "pending")+","+challengeJSON("http-01", "pending"))))
	f.on("POST /chall/1", ok(challengeJSON("http-01", "processing")))
	f.on("POST /order/1", ok(orderJSON("ready")), ok(orderJSON("valid")))
	f.on("POST /finalize/1", ok(orderJSON("processing")))
	f.on("POST /cert/1", ok(pems(ca.leaf(newKey(f.t).Public()), ca.cert)))
}

func TestAWarmRenewalCostsSevenPOSTsAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client()
		steps := []string{"POST /new", "POST /authz/1", "POST /chall/1", "POST /order/1", "POST /finalize/1", "POST /order/1", "POST /cert/1"}
		f.scriptRenewal()
		renew(t, c)
		if got, want := f.requests(), append([]string{"GET /dir", "HEAD /nonce"}, steps...); !slices.Equal(got, want) {
			t.Errorf("cold: got %v, want %v", got, want)
		}
		f.scriptRenewal()
		renew(t, c)
		if got := f.requests(); !slices.Equal(got, steps) {
			t.Errorf("warm: got %v, want %v", got, steps)
		}
		if got, want := f.payload(-7), `{"identifiers":[{"type":"dns","value":"a.test"}],"profile":"short","replaces":"id.serial"}`; got != want {
			t.Errorf("new order: got %s, want %s", got, want)
		}
		if f.payload(-6) != "" || f.payload(-5) != "{}" || f.payload(-3) != `{"csr":"Y3Ny"}` {
			t.Errorf("got payloads %q", f.bodies)
		}
		if kid := f.headers[len(f.headers)-5]["kid"]; kid != host+"/account/1" {
			t.Errorf("got kid %v", kid)
		}
	})
}

func TestNoncesGrowOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client()
		f.on("POST /order/1", ok(orderJSON("ready")))
		for _, pause := range []time.Duration{0, 0, time.Hour} {
			time.Sleep(pause)
			if _, err := c.Order(t.Context(), host+"/order/1"); err != nil {
				t.Fatal(err)
			}
		}
		want := []string{"GET /dir", "HEAD /nonce", "POST /order/1", "POST /order/1", "HEAD /nonce", "POST /order/1"}
		if got := f.requests(); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	})
}

func TestBadNonce(t *testing.T) {
	bad := refusal(400, "badNonce", "JWS has an invalid anti-replay nonce")
	bads := slices.Repeat([]reply{bad}, 10)
	halves := map[string]struct {
		path string
		good reply
		call func(context.Context, *acme.Client) error
	}{
		"own code": {"/order/1", ok(orderJSON("ready")), func(ctx context.Context, c *acme.Client) error {
			_, err := c.Order(ctx, host+"/order/1")
			return err
		}},
		"x/crypto": {"/chall/1", ok(challengeJSON("http-01", "pending")), func(ctx context.Context, c *acme.Client) error {
			_, err := c.Accept(ctx, acme.Challenge{URL: host + "/chall/1"})
			return err
		}},
	}
	for name, half := range halves {
		t.Run(name+": ten are survived", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.on("POST "+half.path, append(bads, half.good)...)
				if err := half.call(t.Context(), f.client()); err != nil {
					t.Error(err)
				}
				if n := len(f.requests()); n != 2+11 { // the fake fails the test when a nonce comes twice
					t.Errorf("got %d requests", n)
				}
			})
		})
		t.Run(name+": eleven are reported", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.on("POST "+half.path, bad)
				e := errorOf(t, half.call(t.Context(), f.client()))
				if e.Kind != acme.Transient || e.Problem != "badNonce" || e.Status != 400 {
					t.Errorf("got %v (%v)", e, e.Kind)
				}
				if n := len(f.requests()); n != 2+11 {
					t.Errorf("got %d requests", n)
				}
			})
		})
	}
}

func TestACAThatRepeatsItsNoncesIsNotBelieved(t *testing.T) {
	f := newFake(t)
	f.on("HEAD /nonce", reply{status: 200}.with("Replay-Nonce", "same"))
	f.on("POST /order/1", ok(orderJSON("ready")).with("Replay-Nonce", "same"))
	c := f.client()
	if _, err := c.Order(t.Context(), host+"/order/1"); err != nil {
		t.Fatal(err)
	}
	_, err := c.Order(t.Context(), host+"/order/1")
	if e := errorOf(t, err); e.Problem != "protocol" || e.Op != acme.OpNonce || e.Kind != acme.Transient {
		t.Errorf("got %v", e)
	}
}

func TestNothingButABadNonceIsRetried(t *testing.T) {
	lost := errors.New("connection reset")
	answers := map[string]struct {
		answer  reply
		kind    acme.Kind
		problem string
	}{
		"the answer is lost":             {reply{err: lost}, acme.Transient, "network"},
		"500":                            {refusal(500, "serverInternal", "oops"), acme.Transient, "serverInternal"},
		"502 in HTML":                    {reply{status: 502, body: "<html>\x1b[31m"}, acme.Transient, "http"},
		"503":                            {reply{status: 503}, acme.Transient, "http"},
		"503 with Retry-After":           {reply{status: 503}.with("Retry-After", "60"), acme.RateLimited, "http"},
		"429":                            {refusal(429, "rateLimited", "slow down"), acme.RateLimited, "rateLimited"},
		"a redirect":                     {reply{status: 307, header: http.Header{"Location": {"https://evil.test/"}}}, acme.Transient, "protocol"},
		"a redirect within its own host": {reply{status: 302, header: http.Header{"Location": {"/other"}}}, acme.Transient, "protocol"},
		"304":                            {reply{status: 304}, acme.Transient, "protocol"},
	}
	calls := map[string]func(context.Context, *acme.Client) error{
		"POST /new": func(ctx context.Context, c *acme.Client) error {
			_, err := c.NewOrder(ctx, acme.OrderRequest{Identifiers: dns("a.test")})
			return err
		},
		"POST /order/1": func(ctx context.Context, c *acme.Client) error {
			_, err := c.Order(ctx, host+"/order/1")
			return err
		},
		"POST /authz/1": func(ctx context.Context, c *acme.Client) error {
			_, err := c.Challenges(ctx, anOrder("pending"), "http-01")
			return err
		},
		"POST /chall/1": func(ctx context.Context, c *acme.Client) error {
			_, err := c.Accept(ctx, acme.Challenge{URL: host + "/chall/1"})
			return err
		},
		"POST /finalize/1": func(ctx context.Context, c *acme.Client) error {
			_, err := c.Finalize(ctx, anOrder("ready"), nil)
			return err
		},
		"POST /cert/1": func(ctx context.Context, c *acme.Client) error {
			_, _, err := c.Fetch(ctx, anOrder("valid"), "CA")
			return err
		},
		"POST /account": func(ctx context.Context, c *acme.Client) error {
			_, err := c.Register(ctx, acme.Registration{TermsOfServiceAgreed: true})
			return err
		},
	}
	for name, a := range answers {
		for request, call := range calls {
			t.Run(request+": "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					f := newFake(t)
					f.on(request, a.answer)
					e := errorOf(t, call(t.Context(), f.client()))
					if e.Kind != a.kind || e.Problem != a.problem || e.Status != a.answer.status {
						t.Errorf("got %v (%v)", e, e.Kind)
					}
					if got := f.requests(); !slices.Equal(got, []string{"GET /dir", "HEAD /nonce", request}) {
						t.Errorf("got %v", got)
					}
					if a.answer.err != nil && !errors.Is(e, lost) {
						t.Errorf("%v does not unwrap to its cause", e)
					}
				})
			})
		}
	}
}

func TestMalformedAnswers(t *testing.T) {
	bodies := []string{"", "<html>", `{"status":`, `[]`, `{"status":7}`, strings.Repeat(`{"a":`, 12000)}
	for _, body := range bodies {
		f := newFake(t)
		c := f.client()
		for _, p := range []string{"/order/1", "/authz/1", "/chall/1", "/cert/1"} {
			f.on("POST "+p, ok(body))
		}
		f.on("GET /dir", ok(directoryJSON))
		_, order := c.Order(t.Context(), host+"/order/1")
		_, authz := c.Challenges(t.Context(), anOrder("pending"), "http-01")
		_, _, cert := c.Fetch(t.Context(), anOrder("valid"), "")
		_, accept := c.Accept(t.Context(), acme.Challenge{URL: host + "/chall/1"})
		for _, err := range []error{order, authz, cert, accept} {
			if e := errorOf(t, err); e.Kind != acme.Transient || e.Problem != "malformedAnswer" || e.Status != 200 {
				t.Errorf("%.20q: got %v (%v)", body, e, e.Kind)
			}
		}
	}
}

func TestOddOrders(t *testing.T) {
	tests := map[string]string{
		"an unknown status":              orderJSON("deactivated"),
		"no status":                      `{}`,
		"valid without a certificate":    `{"status":"valid"}`,
		"ready without a finalize URL":   `{"status":"ready"}`,
		"an authorization on http":       strings.Replace(orderJSON("ready"), "https://ca.test/authz", "http://ca.test/authz", 1),
		"a finalize URL of another host": strings.Replace(orderJSON("ready"), "ca.test/finalize", "evil.test/finalize", 1),
		"a certificate of another port":  strings.Replace(orderJSON("valid"), "ca.test/cert", "ca.test:444/cert", 1),
		"a certificate on this machine":  strings.Replace(orderJSON("valid"), "ca.test/cert", "127.0.0.1/cert", 1),
		"a URL with a user":              strings.Replace(orderJSON("valid"), "ca.test/cert", "ca.test@evil.test/cert", 1),
		"a file":                         strings.Replace(orderJSON("valid"), "https://ca.test/cert/1", "file:///etc/passwd", 1),
		"a URL that is none":             strings.Replace(orderJSON("valid"), "https://ca.test/cert/1", "https://%zz", 1),
		"an authorization without a URL": strings.Replace(orderJSON("ready"), `"https://ca.test/authz/1"`, `""`, 1),
		"a thousand and one authorizations": strings.Replace(orderJSON("ready"), `"https://ca.test/authz/1"`,
			strings.Repeat(`"https://ca.test/authz/1",`, 1000)+`"https://ca.test/authz/1"`, 1),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("POST /order/1", ok(body))
			o, err := f.client().Order(t.Context(), host+"/order/1")
			if e := errorOf(t, err); o != nil || e.Kind != acme.Transient || e.Problem != "protocol" {
				t.Errorf("got %v, %v", o, e)
			}
		})
	}
}

func TestAReadyOrderAfterFinalizeIsNoError(t *testing.T) {
	f := newFake(t)
	f.on("POST /finalize/1", ok(orderJSON("ready")).with("Retry-After", "7"))
	o, err := f.client().Finalize(t.Context(), anOrder("ready"), nil)
	if err != nil || o.Status != acme.StatusReady || o.URL != host+"/order/1" || o.RetryAfter != 7*time.Second {
		t.Errorf("got %+v, %v", o, err)
	}
}

func TestACancelledCallerIsNotTheCAsFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		ctx, cancel := context.WithCancel(t.Context())
		f.hook = func(req *http.Request) {
			if req.URL.Path == "/authz/1" || req.URL.Path == "/new" {
				cancel()
			}
		}
		c := f.client()
		_, own := c.NewOrder(ctx, acme.OrderRequest{Identifiers: dns("a.test")})
		_, x := c.Challenges(ctx, anOrder("pending"), "http-01")
		for _, err := range []error{own, x} {
			if e := errorOf(t, err); e.Problem != "canceled" || e.Whole || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", e)
			}
		}
	})
}

func TestTLSTroubleHasAHint(t *testing.T) {
	f := newFake(t)
	f.on("GET /dir", reply{err: fmt.Errorf("get: %w", &tls.CertificateVerificationError{Err: io.EOF})})
	_, err := f.client().Directory(t.Context())
	if e := errorOf(t, err); e.Problem != "tls" || e.Kind != acme.Transient || !strings.Contains(e.Hint, "caBundle") {
		t.Errorf("got %v, hint %q", e, e.Hint)
	}
}

func TestWithoutAnAccountNothingIsSigned(t *testing.T) {
	f := newFake(t)
	c := f.client(func(cfg *acme.Config) { cfg.KID = "" })
	_, order := c.Order(t.Context(), host+"/order/1")
	_, authz := c.Challenges(t.Context(), anOrder("pending"), "http-01")
	_, accept := c.Accept(t.Context(), acme.Challenge{URL: host + "/chall/1"})
	for _, err := range []error{order, authz, accept} {
		if e := errorOf(t, err); e.Kind != acme.Permanent || e.Problem != "accountDoesNotExist" {
			t.Errorf("got %v", e)
		}
	}
	if got := f.requests(); !slices.Equal(got, []string{"GET /dir"}) {
		t.Errorf("got %v", got)
	}
}
