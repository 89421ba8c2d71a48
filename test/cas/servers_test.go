//go:build e2e

package cas_test

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"acmed/test/site"
)

// serve runs a web server at the second address of the machine.
func (p *place) serve(t *testing.T, h http.Handler) {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(p.address(2), "80"))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h}
	server.SetKeepAlivesEnabled(false) // step-ca and Caddy would stay connected to it after the record has changed
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close() // what is open is cut off
		<-ended
	})
}

// welcome is a web server that knows nothing of challenges.
func (p *place) welcome(t *testing.T) {
	t.Helper()
	p.serve(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "welcome\n") }))
}

// forward is a web server that asks acmed for challenge responses. Before each answer it calls wait; nil: it does not.
func (p *place) forward(t *testing.T, wait func(*http.Request)) {
	t.Helper()
	p.serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if wait != nil {
			wait(r)
		}
		for r.Context().Err() == nil {
			if p.relay(w, r) {
				return
			}
			select {
			case <-time.After(100 * time.Millisecond):
			case <-r.Context().Done():
			}
		}
	}))
}

// relay reports whether acmed had a response.
func (p *place) relay(w http.ResponseWriter, r *http.Request) bool {
	target := url.URL{Scheme: "http", Host: net.JoinHostPort(p.address(1), "80"), Path: r.URL.Path}
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, target.String(), nil)
	if err != nil {
		return false
	}
	req.Host, req.Close = r.Host, true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false
	}
	_, _ = io.Copy(w, resp.Body) // the CA may be gone
	return true
}

// gate is a web server that lets no response through until it is opened.
type gate struct {
	arrived, opened chan struct{}
	arrive, open    func()
}

func (p *place) gate(t *testing.T) *gate {
	t.Helper()
	g := &gate{arrived: make(chan struct{}), opened: make(chan struct{})}
	g.arrive = sync.OnceFunc(func() { close(g.arrived) })
	g.open = sync.OnceFunc(func() { close(g.opened) })
	t.Cleanup(g.open)
	p.forward(t, func(r *http.Request) {
		g.arrive()
		select {
		case <-g.opened:
		case <-r.Context().Done():
		}
	})
	return g
}

// knocked waits until the CA looks for a response.
func (g *gate) knocked(t *testing.T) {
	t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(site.Patience):
		t.Fatal("the CA does not look for a response")
	}
}
