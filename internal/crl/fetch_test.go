package crl_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"acmed/internal/crl"
)

func TestFetch(t *testing.T) {
	mux := http.NewServeMux()
	mux.HandleFunc("/good", func(w http.ResponseWriter, r *http.Request) {
		if r.UserAgent() != "acmed/test" || r.Header.Get("Accept-Encoding") != "" {
			t.Errorf("asked with %v", r.Header)
		}
		w.Header().Set("ETag", `"7"`)
		w.Header().Set("Last-Modified", "Tue, 24 Nov 2026 00:00:00 GMT")
		if r.Header.Get("If-None-Match") == `"7"` && r.Header.Get("If-Modified-Since") == "Tue, 24 Nov 2026 00:00:00 GMT" {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		_, _ = w.Write([]byte("list")) // the client will tell
	})
	mux.Handle("/moved", http.RedirectHandler("/good", http.StatusFound))
	mux.Handle("/elsewhere", http.RedirectHandler("http://metadata.internal/", http.StatusFound))
	mux.Handle("/port", http.RedirectHandler("http://127.0.0.1:1/good", http.StatusFound))
	mux.Handle("/scheme", http.RedirectHandler("https://127.0.0.1/good", http.StatusFound))
	mux.Handle("/round", http.RedirectHandler("/round", http.StatusFound))
	mux.HandleFunc("/large", func(w http.ResponseWriter, _ *http.Request) {
		block := make([]byte, 1<<20)
		for range 33 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	})
	mux.HandleFunc("/short", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = w.Write([]byte("list")) // the client will tell
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	source := crl.NewSource(crl.SourceConfig{UserAgent: "acmed/test", CA: "localhost"})
	for path, problem := range map[string]string{
		"/good": "", "/moved": "", "/elsewhere": "on another host", "/port": "at another port", "/scheme": "at another port", "/round": "redirected too often", "/large": "larger than 32 MB",
		"/short": "unexpected EOF", "/gone": "status 404",
	} {
		der, version, err := source.Fetch(t.Context(), server.URL+path, crl.Version{})
		switch {
		case problem == "" && (err != nil || string(der) != "list" || version.ETag != `"7"`):
			t.Errorf("%s: got %q, %+v, %v", path, der, version, err)
		case problem != "" && (err == nil || !strings.Contains(err.Error(), problem)):
			t.Errorf("%s: got %v, want %q", path, err, problem)
		case problem == "":
			if der, again, err := source.Fetch(t.Context(), server.URL+path, version); der != nil || again != version || err != nil {
				t.Errorf("%s again: got %q, %+v, %v", path, der, again, err)
			}
		}
	}
	for _, url := range []string{"file:///etc/passwd", "ldap://ca.test", "http:///ca.crl", "http://user@ca.test"} {
		if _, _, err := source.Fetch(t.Context(), url, crl.Version{}); err == nil || !strings.Contains(err.Error(), "not an address of HTTP") {
			t.Errorf("%s: got %v", url, err)
		}
	}
}

// silence never answers.
type silence struct{}

func (silence) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

func TestAServerThatDoesNotAnswerIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		_, _, err := crl.NewSource(crl.SourceConfig{Transport: silence{}}).Fetch(t.Context(), "http://ca.test/crl", crl.Version{})
		if took := time.Since(start); err == nil || took != time.Minute {
			t.Errorf("%v after %v", err, took)
		}
	})
}

func TestNoListIsFetchedFromInsideUnlessTheCAIsThere(t *testing.T) {
	asked := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { asked++ }))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	through := func(*http.Request) (*url.URL, error) { return url.Parse(server.URL) }
	tests := map[string]struct {
		url     string
		ca      string
		proxied bool
		refused bool
	}{
		"loopback":                                   {"http://127.0.0.1:" + port, "", false, true},
		"loopback, by another address":               {"http://127.9.9.9:" + port, "", false, true},
		"loopback, by a name":                        {"http://localhost:" + port, "", false, true},
		"loopback, as IPv6 writes IPv4":              {"http://[::ffff:127.0.0.1]:" + port, "", false, true},
		"IPv6 loopback":                              {"http://[::1]:" + port, "", false, true},
		"the CA is on this machine":                  {"http://127.0.0.1:" + port, "localhost", false, false},
		"the CA is in a private network, not here":   {"http://127.0.0.1:" + port, "10.1.2.3", false, true},
		"link-local":                                 {"http://169.254.169.254/", "169.254.1.1", false, true},
		"unspecified":                                {"http://0.0.0.0:" + port, "localhost", false, true},
		"a private address of a CA that is public":   {"http://10.0.0.1:1/", "192.0.2.1", false, true},
		"a unique local address":                     {"http://[fd00::1]:1/", "192.0.2.1", false, true},
		"a proxy may be anywhere":                    {"http://crl.example.com/", "", true, false},
		"through a proxy, loopback":                  {"http://127.0.0.1/", "", true, true},
		"through a proxy, this machine by its name":  {"http://LOCALHOST./", "", true, true},
		"through a proxy, a private address":         {"http://192.168.1.1/", "", true, true},
		"through a proxy, the metadata of a machine": {"http://169.254.169.254/", "", true, true},
	}
	for sentence, tt := range tests {
		c := crl.SourceConfig{CA: tt.ca}
		if tt.proxied {
			c.Proxy = through
		}
		before := asked
		_, _, err := crl.NewSource(c).Fetch(t.Context(), tt.url, crl.Version{})
		if refused := err != nil && strings.Contains(err.Error(), "refusing"); refused != tt.refused || asked != before && tt.refused {
			t.Errorf("%s: got %v", sentence, err)
		}
	}
}
