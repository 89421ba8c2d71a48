package acme_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/acme"
)

func TestNewTakesOnlyWhatCanWork(t *testing.T) {
	good := acme.Config{Directory: "https://ca.test/dir", Key: newKey(t)}
	tests := map[string]func(*acme.Config){
		"no directory":       func(c *acme.Config) { c.Directory = "" },
		"http":               func(c *acme.Config) { c.Directory = "http://ca.test/dir" },
		"a path":             func(c *acme.Config) { c.Directory = "/dir" },
		"a user":             func(c *acme.Config) { c.Directory = "https://u:p@ca.test/dir" },
		"a URL that is none": func(c *acme.Config) { c.Directory = "https://%zz" },
		"no key":             func(c *acme.Config) { c.Key = nil },
	}
	for name, change := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			_, err := acme.New(cfg)
			if e := errorOf(t, err); e.Kind != acme.Permanent || e.Hint == "" || strings.Contains(e.Detail, "u:p") {
				t.Errorf("got %v", err)
			}
		})
	}
	if c, err := acme.New(good); err != nil {
		t.Error(err)
	} else {
		c.Close()
	}
}

func TestDirectory(t *testing.T) {
	f := newFake(t)
	d, err := f.client().Directory(t.Context())
	if err != nil || !d.RenewalInfo || d.TermsOfService != host+"/terms" || d.Profiles["short"] != "a week" || d.ExternalAccountRequired {
		t.Errorf("got %+v, %v", d, err)
	}
}

func TestADirectoryThatCannotBeTrustedIsRefused(t *testing.T) {
	tests := map[string]string{
		"newOrder on http":             strings.Replace(directoryJSON, "https://ca.test/new", "http://ca.test/new", 1),
		"newNonce on another scheme":   strings.Replace(directoryJSON, "https://ca.test/nonce", "ftp://ca.test/nonce", 1),
		"renewalInfo on http":          strings.Replace(directoryJSON, "https://ca.test/ari", "http://ca.test/ari", 1),
		"newOrder at the cloud's host": strings.Replace(directoryJSON, "https://ca.test/new", "https://169.254.169.254/new", 1),
		"newOrder at this machine":     strings.Replace(directoryJSON, "https://ca.test/new", "https://localhost/new", 1),
		"newOrder on loopback":         strings.Replace(directoryJSON, "https://ca.test/new", "https://[::1]/new", 1),
		"newOrder is relative":         strings.Replace(directoryJSON, "https://ca.test/new", "/new", 1),
		"newOrder holds a user":        strings.Replace(directoryJSON, "https://ca.test/new", "https://a:b@ca.test/new", 1),
		"no newOrder":                  `{"newNonce":"https://ca.test/nonce","newAccount":"https://ca.test/account"}`,
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.on("GET /dir", ok(body))
			_, err := f.client().Order(t.Context(), host+"/order/1")
			if e := errorOf(t, err); e.Kind != acme.Transient || e.Problem != "protocol" || e.Op != acme.OpDirectory {
				t.Errorf("got %v", e)
			}
			if got := f.requests(); !slices.Equal(got, []string{"GET /dir"}) {
				t.Errorf("got %v", got)
			}
		})
	}
}

func TestHostsOfTheDirectoryMayBeAsked(t *testing.T) {
	f := newFake(t)
	f.on("GET /dir", ok(strings.Replace(directoryJSON, "https://ca.test/new", "https://orders.ca.test/new", 1)))
	f.on("POST https://orders.ca.test/new", located(201, "https://CA.test:443/order/1", orderJSON("pending")))
	if _, err := f.client().NewOrder(t.Context(), acme.OrderRequest{Identifiers: dns("a.test")}); err != nil {
		t.Error(err)
	}
}

func TestRequestsLeaveOnlyForTheCA(t *testing.T) {
	for _, url := range []string{"http://ca.test/order/1", "https://evil.test/o", "https://ca.test:8443/o", "https://127.0.0.1/o", "https://ca.test@evil.test/o", "file:///etc/passwd", "", "://", "https://ca.test\n.evil.test/"} {
		f := newFake(t)
		c := f.client()
		_, own := c.Order(t.Context(), url)
		_, x := c.Accept(t.Context(), acme.Challenge{URL: url})
		for _, err := range []error{own, x} {
			if e := errorOf(t, err); e.Kind != acme.Transient || e.Status != 0 {
				t.Errorf("%q: got %v", url, e)
			}
		}
		for _, r := range f.requests() {
			if strings.HasPrefix(r, "POST") {
				t.Errorf("%q: %s left", url, r)
			}
		}
	}
}

func TestGETsAreRedirectedWithinTheirHostOnly(t *testing.T) {
	to := func(url string) reply { return reply{status: 302, header: http.Header{"Location": {url}}} }
	tests := map[string]struct {
		answers map[string][]reply
		works   bool
	}{
		"to another path":     {map[string][]reply{"GET /dir": {to("/new-dir")}, "GET /new-dir": {ok(directoryJSON)}}, true},
		"to another host":     {map[string][]reply{"GET /dir": {to("https://evil.test/dir")}}, false},
		"to http":             {map[string][]reply{"GET /dir": {to("http://ca.test/dir")}}, false},
		"to the cloud's host": {map[string][]reply{"GET /dir": {to("https://169.254.169.254/")}}, false},
		"in a circle":         {map[string][]reply{"GET /dir": {to("/dir")}}, false},
		"to nowhere":          {map[string][]reply{"GET /dir": {{status: 302}}}, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			for request, answers := range tt.answers {
				f.on(request, answers...)
			}
			_, err := f.client().Directory(t.Context())
			if (err == nil) != tt.works {
				t.Errorf("got %v", err)
			}
			if err != nil && errorOf(t, err).Kind != acme.Transient {
				t.Errorf("got %v", err)
			}
			if n := len(f.requests()); n > 4 {
				t.Errorf("got %d requests", n)
			}
		})
	}
}

func TestTheDirectoryIsReadAgain(t *testing.T) {
	count := func(f *fakeCA) (n int) {
		for _, r := range f.requests() {
			if r == "GET /dir" {
				n++
			}
		}
		return n
	}
	order := acme.OrderRequest{Identifiers: dns("a.test")}
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		c := f.client()
		f.on("POST /new", located(201, "/order/1", orderJSON("pending")), located(201, "/order/1", orderJSON("pending")),
			reply{status: 404}, reply{status: 405}, reply{status: 500}, reply{err: errors.New("no such host")},
			located(201, "/order/1", orderJSON("pending")))
		for i, want := range []int{1, 0, 0, 1, 1, 0, 1} { // a 404, a 405 and no answer each make the next call read it
			_, err := c.NewOrder(t.Context(), order)
			if (err != nil) != (2 <= i && i <= 5) {
				t.Errorf("order %d: got %v", i, err)
			}
			if got := count(f); got != want {
				t.Errorf("order %d: read %d times, want %d", i, got, want)
			}
		}
		time.Sleep(23 * time.Hour)
		if c.Directory(t.Context()); count(f) != 0 {
			t.Error("read before a day was over")
		}
		time.Sleep(time.Hour)
		if c.Directory(t.Context()); count(f) != 1 {
			t.Error("not read after a day")
		}
		f.on("POST /order/1", reply{status: 404})
		c.Order(t.Context(), host+"/order/1")
		if c.Directory(t.Context()); count(f) != 0 {
			t.Error("read again for an order that is gone")
		}
	})
}

func TestOneReadsTheDirectoryForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.hook = func(req *http.Request) {
			select {
			case <-time.After(10 * time.Second):
			case <-req.Context().Done():
			}
		}
		c := f.client()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := c.Directory(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Go(func() {
			synctest.Wait()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			start := time.Now()
			_, err := c.Directory(ctx)
			if e := errorOf(t, err); e.Problem != "timeout" || !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
				t.Errorf("an impatient caller: got %v after %v", err, time.Since(start))
			}
		})
		wg.Wait()
		if got := f.requests(); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}

func TestAnImpatientReaderOfTheDirectoryHurtsNobodyElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.hook = func(req *http.Request) {
			select {
			case <-time.After(10 * time.Second):
			case <-req.Context().Done():
			}
		}
		c := f.client()
		var wg sync.WaitGroup
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := c.Directory(ctx); err == nil {
				t.Error("no error")
			}
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() {
				if _, err := c.Directory(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	})
}

func TestAFailedReadingOfTheDirectoryIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.on("GET /dir", reply{status: 500})
		f.hook = func(*http.Request) { time.Sleep(time.Second) }
		c := f.client()
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() {
				if _, err := c.Directory(t.Context()); errorOf(t, err).Status != 500 {
					t.Errorf("got %v", err)
				}
			})
		}
		wg.Wait()
		if got := f.requests(); len(got) != 1 {
			t.Errorf("got %v", got)
		}
	})
}
