package site

import (
	"errors"
	"net"
	"net/http"
	"testing"
)

// ServeTokens answers http-01 at address from the token folder, as acmed's responder and web servers do: the daemon may come
// and go. Answers wait for open to be closed; nil does not wait.
func (s *Site) ServeTokens(t testing.TB, address string, open <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	const prefix = "/.well-known/acme-challenge/"
	tokens := http.StripPrefix(prefix, http.FileServer(http.Dir(s.Tokens)))
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open != nil {
			select {
			case <-open:
			case <-r.Context().Done():
			}
		}
		tokens.ServeHTTP(w, r)
	})}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		_ = server.Close() // what is open is cut off
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}
