package evilca_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acmetest"
	"acmed/internal/reconcile"
)

const day = 24 * time.Hour

// evil is a CA in memory that spoils some answers. It notes when it was asked.
type evil struct {
	ca    *acmetest.CA
	path  string // a part of that of the requests that it spoils
	deaf  bool   // what it spoils has no effect
	spoil func(*http.Response) (*http.Response, error)

	mu    sync.Mutex // guards the following
	asked []time.Time
}

// RoundTrip implements http.RoundTripper.
func (e *evil) RoundTrip(req *http.Request) (*http.Response, error) {
	e.mu.Lock()
	e.asked = append(e.asked, time.Now())
	spoil := e.spoil
	if !strings.Contains(req.URL.Path, e.path) {
		spoil = nil
	}
	e.mu.Unlock()
	if spoil != nil && e.deaf {
		return spoil(&http.Response{Header: http.Header{}, Request: req})
	}
	res, err := e.ca.RoundTrip(req)
	if err != nil || spoil == nil {
		return res, err
	}
	return spoil(res)
}

// turn makes it evil; nil makes it good. What was asked before is forgotten.
func (e *evil) turn(path string, spoil func(*http.Response) (*http.Response, error)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.path, e.spoil, e.asked = path, spoil, nil
}

// attempts are the times at which it was asked after half a minute without a question.
func (e *evil) attempts() (starts []time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	var last time.Time
	for _, at := range e.asked {
		if at.Sub(last) > 30*time.Second {
			starts = append(starts, at)
		}
		last = at
	}
	return starts
}

// say replaces what the CA answers.
func say(status int, body string, headers ...string) func(*http.Response) (*http.Response, error) {
	return func(res *http.Response) (*http.Response, error) {
		res.StatusCode, res.Body = status, io.NopCloser(strings.NewReader(body))
		for i := 0; i+1 < len(headers); i += 2 {
			res.Header.Set(headers[i], headers[i+1])
		}
		return res, nil
	}
}

// TestTenEvilDays has a CA that does the same evil for ten days: two attempts are never less than a minute apart, and
// after the first day there is one a day where the names, the certificate or the account are refused, and one an hour
// where the CA itself is out of order. Then it is good again.
func TestTenEvilDays(t *testing.T) {
	t.Parallel()
	const daily, hourly = 1, 24
	limited := `{"type":"urn:ietf:params:acme:error:rateLimited","detail":"slow down"}`
	lose := func(res *http.Response) (*http.Response, error) {
		return nil, errors.Join(errors.New("the connection is gone"), res.Body.Close())
	}
	for sentence, c := range map[string]struct {
		path   string
		spoil  func(*http.Response) (*http.Response, error)
		perDay int
	}{
		"a certificate that is not ours":               {"/certificate/", otherCertificate, daily},
		"a chain of one":                               {"/certificate/", leafAlone, daily},
		"an unknown refusal of new-order":              {"/new-order", say(400, `{"type":"urn:ietf:params:acme:error:neverHeardOf"}`), daily},
		"a refusal of the name":                        {"/new-order", say(400, `{"type":"urn:ietf:params:acme:error:rejectedIdentifier"}`), daily},
		"an order that is invalid":                     {"/order/", say(200, `{"status":"invalid"}`), daily},
		"a rate limit that is over at once":            {"/new-order", say(429, limited, "Retry-After", "-1"), hourly},
		"a rate limit of a second":                     {"/new-order", say(429, limited, "Retry-After", "1"), hourly},
		"a rate limit of the account of a second":      {"/new-order", say(429, strings.Replace(limited, "slow down", "too many new orders from this account", 1), "Retry-After", "1"), hourly},
		"a rate limit without a time":                  {"/new-order", say(429, limited), hourly},
		"503 with a Retry-After of a second":           {"/", say(503, limited, "Retry-After", "1"), hourly},
		"503 with a Retry-After of garbage":            {"/", say(503, limited, "Retry-After", "soon"), hourly},
		"500 at finalize":                              {"/finalize", say(500, "<h1>oops</h1>"), hourly},
		"HTML for an order":                            {"/order/", say(200, "<h1>Welcome</h1>"), hourly},
		"HTML for the directory":                       {"/directory", say(200, "<h1>Welcome</h1>"), hourly},
		"a bad nonce always":                           {"/new-order", say(400, `{"type":"urn:ietf:params:acme:error:badNonce"}`), hourly},
		"no nonce":                                     {"/new-nonce", say(200, "", "Replay-Nonce", ""), hourly},
		"lost answers":                                 {"/", lose, hourly},
		"an answer of new-order that is lost":          {"/new-order", lose, hourly},
		"a redirect of new-order":                      {"/new-order", say(307, "", "Location", "https://ca.test/elsewhere"), hourly},
		"an account that is unknown again and again":   {"/new-order", say(400, `{"type":"urn:ietf:params:acme:error:accountDoesNotExist"}`), daily},
		"an authorization with a token that is a path": {"/authz/", say(200, `{"status":"pending","identifier":{"type":"dns","value":"www.example.com"},"challenges":[{"type":"http-01","status":"pending","url":"https://ca.test/challenge/1","token":"../../../etc/passwd"}]}`), hourly},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, e := newDays(t)
				e.deaf = c.path == "/finalize"
				e.turn(c.path, c.spoil)
				m.stop()
				m.run()
				m.reconciler.Renew(m.name, false)
				start := time.Now()
				time.Sleep(10 * day)
				checkPace(t, e.attempts(), start.Add(day), c.perDay)
				if v := m.reconciler.View(m.name); v.Revision != 1 || v.Error == "" {
					t.Errorf("got %+v", v)
				}
				e.turn("", nil)
				time.Sleep(30 * time.Hour)
				if v := m.reconciler.View(m.name); v.Revision != 2 || v.Error != "" {
					t.Errorf("the CA has been good for a day: %+v\n%s", v, m.log.tail())
				}
				m.check()
			})
		})
	}
}

// newDays is a machine in a bubble that has a certificate.
func newDays(t *testing.T) (*machine, *evil) {
	m := &machine{t: t, dir: workDir(t), name: "www"}
	ca := acmetest.New(t, acmetest.Config{
		ProofGrace: 11 * day, // whoever does not learn that a proof was seen leaves it there
		Fetch: func(_ context.Context, _, token string) (string, error) {
			if keyAuth, ok := m.folder.KeyAuthorization(token); ok {
				return keyAuth, nil
			}
			return "", errors.New("404 page not found")
		},
		EarliestRenewal: 1e-6, OrderGap: -1, // it is told a lie, and asked by an operator
	})
	e := &evil{ca: ca}
	m.transport = e
	m.configure("www.example.com", ca.DirectoryURL())
	m.issuer.Binding, m.issuer.CABundle, m.cert.Renew.ARI = nil, "", false
	m.run()
	t.Cleanup(func() { m.stop() })
	time.Sleep(time.Minute)
	if v := m.reconciler.View(m.name); v.Why != reconcile.NotDue {
		t.Fatalf("got %+v", v)
	}
	return m, e
}

func checkPace(t *testing.T, attempts []time.Time, settled time.Time, perDay int) {
	t.Helper()
	late := 0
	for i, at := range attempts {
		if at.After(settled) {
			late++
		}
		if i > 0 && at.Sub(attempts[i-1]) < time.Minute {
			t.Errorf("attempts %d and %d are only %v apart", i, i+1, at.Sub(attempts[i-1]))
		}
	}
	// A day and an hour vary by a fifth.
	if most := 9 * perDay * 5 / 4; late > most || late == 0 {
		t.Errorf("%d attempts in the nine days after the first, want 1 to %d", late, most)
	}
	t.Logf("%d attempts in ten days, %d after the first", len(attempts), late)
}

func leafAlone(res *http.Response) (*http.Response, error) {
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	const end = "-----END CERTIFICATE-----\n"
	leaf, _, _ := strings.Cut(string(text), end)
	return say(res.StatusCode, leaf+end)(res)
}

// otherCertificate sends only the issuers.
func otherCertificate(res *http.Response) (*http.Response, error) {
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, err
	}
	const end = "-----END CERTIFICATE-----\n"
	_, rest, _ := strings.Cut(string(text), end)
	return say(res.StatusCode, rest+rest)(res)
}
