package acme_test

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
)

func TestRetryAfterIsClamped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		tests := map[string]time.Duration{
			"": 0, "soon": 0, "1.5": 0, "-": 0, "12": 12 * time.Second, "0": time.Second, "-1": time.Second, "-99999999999999999999": time.Second,
			"99999999999999999999": 24 * time.Hour, "31536000": 24 * time.Hour,
			now.Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
			now.Add(-time.Hour).UTC().Format(http.TimeFormat):       time.Second,
			now.AddDate(500, 0, 0).UTC().Format(http.TimeFormat):    24 * time.Hour,
		}
		for value, want := range tests {
			f := newFake(t)
			f.on("POST /order/1", ok(orderJSON("processing")).with("Retry-After", value), refusal(429, "rateLimited", "").with("Retry-After", value))
			c := f.client()
			o, err := c.Order(t.Context(), host+"/order/1")
			if err != nil || o.RetryAfter != want {
				t.Errorf("%q: got %v, %v, want %v", value, o.RetryAfter, err, want)
			}
			_, err = c.Order(t.Context(), host+"/order/1")
			if want == 0 {
				want = time.Hour
			}
			if e := errorOf(t, err); !e.RetryAt.Equal(now.Add(want)) {
				t.Errorf("%q: got %v, want in %v", value, e.RetryAt, want)
			}
		}
	})
}

// TestALimitOfOneOrderMayLastAWeek and nothing else may.
func TestALimitOfOneOrderMayLastAWeek(t *testing.T) {
	const set = "too many certificates (5) already issued for this exact set of identifiers"
	for sentence, tt := range map[string]struct {
		status int
		detail string
		sent   string
		want   time.Duration
	}{
		"five days for one certificate":            {429, set, "432000", 5 * 24 * time.Hour},
		"a week for one certificate":               {429, set, "604800", 7 * 24 * time.Hour},
		"a month is a mistake, and cut to a day":   {429, set, "2592000", 24 * time.Hour},
		"a limit of the account is cut to a day":   {429, "too many new orders from this account", "432000", 24 * time.Hour},
		"its own names are not the account":        {429, "too many new orders from this account for a.test", "432000", 5 * 24 * time.Hour},
		"an overload is cut to a day":              {503, set, "432000", 24 * time.Hour},
		"a limit with another status, cut as well": {403, set, "432000", 24 * time.Hour},
	} {
		t.Run(sentence, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.on("POST /new", refusal(tt.status, "rateLimited", tt.detail).with("Retry-After", tt.sent))
				_, err := f.client().NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")})
				if got := time.Until(errorOf(t, err).RetryAt); got != tt.want {
					t.Errorf("got %v, want %v", got, tt.want)
				}
			})
		})
	}
}

// body is an answer's body that Read fills.
type body struct {
	read  func([]byte) (int, error)
	count int
}

func (b *body) Read(p []byte) (int, error) {
	n, err := b.read(p)
	b.count += n
	return n, err
}
func (b *body) Close() error { return nil }

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func TestBodiesAreBoundedInBytes(t *testing.T) {
	for status, limit := range map[int]int{200: 256 << 10, 500: 64 << 10} {
		endless := &body{read: func(p []byte) (int, error) { return len(p), nil }}
		f := newFake(t)
		c := f.client(func(cfg *acme.Config) {
			cfg.Transport = transport(func(req *http.Request) (*http.Response, error) {
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: endless, Request: req}, nil
			})
		})
		_, err := c.Directory(t.Context())
		if e := errorOf(t, err); e.Problem != "tooLarge" || e.Kind != acme.Transient || endless.count > limit+1 {
			t.Errorf("got %v after %d bytes", err, endless.count)
		}
	}
}

func TestRequestsAreBoundedInTime(t *testing.T) {
	drip := func(req *http.Request) *body {
		return &body{read: func(p []byte) (int, error) {
			select {
			case <-time.After(time.Second):
				return copy(p, " "), nil
			case <-req.Context().Done():
				return 0, req.Context().Err()
			}
		}}
	}
	for _, dripping := range []string{"/new", "/finalize/1"} {
		synctest.Test(t, func(t *testing.T) {
			f := newFake(t)
			c := f.client(func(cfg *acme.Config) {
				cfg.Transport = transport(func(req *http.Request) (*http.Response, error) {
					if req.URL.Path != dripping {
						return f.RoundTrip(req)
					}
					return &http.Response{StatusCode: 200, Header: http.Header{}, Body: drip(req), Request: req}, nil
				})
			})
			start, want := time.Now(), 30*time.Second
			var err error
			if dripping == "/new" {
				_, err = c.NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")})
			} else {
				want = 120 * time.Second
				_, err = c.Finalize(t.Context(), anOrder("ready"), nil)
			}
			if e := errorOf(t, err); e.Problem != "timeout" || e.Kind != acme.Transient || time.Since(start) != want {
				t.Errorf("got %v after %v", e, time.Since(start))
			}
		})
	}
}
