package challenge_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"acmed/internal/challenge"
)

// TestARestartCutsNobodyOff stops one server after the other on a socket that somebody else holds, as systemd does,
// under a stream of fresh connections.
func TestARestartCutsNobodyOff(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	done := make(chan struct{})
	var count, failed atomic.Int64
	var last atomic.Value
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
			for {
				select {
				case <-done:
					return
				default:
				}
				count.Add(1)
				resp, err := client.Get("http://" + held.Addr().String() + "/")
				if err != nil {
					failed.Add(1)
					last.Store(err.Error())
					continue
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
			}
		})
	}
	for range 100 {
		s, err := newHeld(held)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		cancel()
	}
	close(done)
	s, err := newHeld(held)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	clients.Wait() // the last of them are answered, too
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if n := failed.Load(); n > 0 || count.Load() < 100 {
		t.Errorf("%d of %d connections failed, the last: %v", n, count.Load(), last.Load())
	}
}

// newHeld makes a server on a copy of a socket.
func newHeld(held net.Listener) (*challenge.Server, error) {
	file, err := held.(*net.TCPListener).File()
	if err != nil {
		return nil, err
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, err
	}
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") })
	return challenge.NewServer(challenge.ServerConfig{Listeners: []net.Listener{l}, Handler: handler})
}
