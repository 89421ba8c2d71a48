package acme_test

import (
	"compress/gzip"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"acmed/internal/acme"
)

// serve starts a CA that has a directory and nothing else, on a socket of loopback.
func serve(t *testing.T, change func(*httptest.Server), handler http.HandlerFunc) (*httptest.Server, *x509.CertPool) {
	t.Helper()
	s := httptest.NewUnstartedServer(handler)
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.EnableHTTP2 = true
	if change != nil {
		change(s)
	}
	s.StartTLS()
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s, roots
}

func directoryOf(r *http.Request) string {
	return strings.ReplaceAll(directoryJSON, host, "https://"+r.Host)
}

func dial(t *testing.T, s *httptest.Server, roots *x509.CertPool) error {
	t.Helper()
	c, err := acme.New(acme.Config{Directory: s.URL + "/dir", Key: newKey(t), RootCAs: roots})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Directory(t.Context())
	return err
}

func TestOverTheNetwork(t *testing.T) {
	s, roots := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 || r.UserAgent() != "acmed" || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("got %s, %v", r.Proto, r.Header)
		}
		io.WriteString(w, directoryOf(r))
	})
	if err := dial(t, s, roots); err != nil {
		t.Error(err)
	}
	if e := errorOf(t, dial(t, s, x509.NewCertPool())); e.Problem != "tls" || e.Kind != acme.Transient || !e.Whole {
		t.Errorf("an unknown root: got %v", e)
	}
	s.Close()
	if e := errorOf(t, dial(t, s, roots)); e.Problem != "network" || e.Kind != acme.Transient || !e.Whole {
		t.Errorf("nobody listens: got %v", e)
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	s, roots := serve(t, func(s *httptest.Server) {
		s.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11} //nolint:gosec // what is refused
	}, func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, directoryOf(r)) })
	if e := errorOf(t, dial(t, s, roots)); e.Problem != "tls" {
		t.Errorf("got %v", e)
	}
}

func TestNothingIsDecompressed(t *testing.T) {
	s, roots := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, directoryOf(r))
		z.Close()
	})
	if e := errorOf(t, dial(t, s, roots)); e.Problem != "malformedAnswer" {
		t.Errorf("got %v", e)
	}
}

func TestWhatNobodyReadsStaysAtTheCA(t *testing.T) {
	var sent int
	ended := make(chan struct{})
	s, roots := serve(t, nil, func(w http.ResponseWriter, r *http.Request) {
		defer close(ended)
		for r.Context().Err() == nil && sent < 4<<20 {
			n, err := w.Write(make([]byte, 16<<10))
			if sent += n; err != nil {
				return
			}
		}
	})
	if e := errorOf(t, dial(t, s, roots)); e.Problem != "tooLarge" {
		t.Errorf("got %v", e)
	}
	if <-ended; sent > 512<<10 {
		t.Errorf("the CA could send %d bytes of an endless answer", sent)
	}
}

func TestAProxyIsAsked(t *testing.T) {
	var asked atomic.Bool
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.Method == http.MethodConnect && r.Host == "ca.test:443")
		w.WriteHeader(http.StatusForbidden)
	}))
	defer proxy.Close()
	req, err := http.NewRequest(http.MethodGet, proxy.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	c, err := acme.New(acme.Config{Directory: host + "/dir", Key: newKey(t), Proxy: http.ProxyURL(req.URL)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, err = c.Directory(t.Context())
	if e := errorOf(t, err); e.Problem != "proxy" || !strings.Contains(e.Detail, proxy.URL) || !strings.Contains(e.Hint, "connect to ca.test:443") || !asked.Load() {
		t.Errorf("got %v, asked %t", e, asked.Load())
	}
}

// TestAProxyThatDoesNotAnswer is named without what logs in there.
func TestAProxyThatDoesNotAnswer(t *testing.T) {
	release := make(chan struct{})
	proxy := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer proxy.Close()
	defer close(release)
	login, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	login.User = url.UserPassword("acmed", "sesame")
	c, err := acme.New(acme.Config{Directory: host + "/dir", Key: newKey(t), Proxy: http.ProxyURL(login)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Directory(ctx)
	if e := errorOf(t, err); e.Problem != "timeout" || !strings.Contains(e.Detail, "through the proxy "+proxy.URL) || strings.Contains(fmt.Sprintf("%+v %v", e, e.Err), "sesame") {
		t.Errorf("got %+v", e)
	}
}
