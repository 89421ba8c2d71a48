package challenge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"acmed/internal/sd"
)

// A validation is one small request over a fresh connection, so there is no reason to be patient.
const (
	headerTimeout = 5 * time.Second
	ioTimeout     = 10 * time.Second
	stopTimeout   = time.Second

	// net/http reads 4096 bytes more than it is told to allow: that alone is our limit, and 0 would mean 1 MiB.
	maxHeaderBytes = 1
)

// ServerConfig says where a server listens and what it can bear.
type ServerConfig struct {
	Listeners []net.Listener // at least one; Run closes them
	Handler   http.Handler   // required
	// MaxConns is how many connections may be open; 0: 1024. One more closes the oldest that has not sent its
	// headers yet, so that slow clients cannot keep a CA out.
	MaxConns int
	// MaxConnsPerNetwork is how many of them may come from one IPv4 address or IPv6 /64; 0: 128. Loopback, where
	// reverse proxies live, is exempt.
	MaxConnsPerNetwork int
	Log                *zap.Logger // nil: none
	Metrics            *Metrics    // nil: not counted
}

// usualConnsPerNetwork has room for a CA that validates all the names of an order at once from one address: Let's Encrypt takes 100.
const usualConnsPerNetwork = 128

// Server faces port 80: http.Server with tight limits on time, size and connections.
type Server struct {
	listeners []net.Listener
	http      *http.Server
	guard     *guard
	log       *zap.Logger
}

// NewServer returns a server that does nothing until Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	switch {
	case len(cfg.Listeners) == 0:
		return nil, errors.New("making the http-01 server: no listeners")
	case cfg.Handler == nil:
		return nil, errors.New("making the http-01 server: no handler")
	case cfg.MaxConns < 0 || cfg.MaxConnsPerNetwork < 0:
		return nil, errors.New("making the http-01 server: a limit on connections is negative")
	}
	g := newGuard(cmp.Or(cfg.MaxConns, 1024), cmp.Or(cfg.MaxConnsPerNetwork, usualConnsPerNetwork), cmp.Or(cfg.Metrics, NewMetrics()))
	server := &http.Server{
		Handler:                      cfg.Handler,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            headerTimeout,
		ReadTimeout:                  ioTimeout,
		WriteTimeout:                 ioTimeout,
		MaxHeaderBytes:               maxHeaderBytes,
		ConnState:                    g.track,
		ErrorLog:                     log.New(logWriter{cmp.Or(cfg.Log, zap.NewNop())}, "", 0),
	}
	server.SetKeepAlivesEnabled(false)
	return &Server{listeners: cfg.Listeners, http: server, guard: g, log: cfg.Log}, nil
}

// Run serves until ctx ends, then gives open requests a second and returns nil; or until a listener fails, then
// returns its error. When it returns, everything is closed and no goroutine is left. It can be called once.
func (s *Server) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	var accepting sync.WaitGroup
	for _, l := range s.listeners {
		accepting.Add(1)
		group.Go(func() error {
			defer accepting.Done()
			err := s.http.Serve(listener{sd.Steady(l, s.log), s.guard})
			if ctx.Err() != nil {
				return nil // stop has closed it
			}
			return fmt.Errorf("serving http-01 on %s: %w", l.Addr(), err)
		})
	}
	group.Go(func() error {
		<-ctx.Done()
		s.stop(&accepting)
		return nil
	})
	return group.Wait()
}

// stop accepts no more, and answers who has been accepted: http.Server.Shutdown would drop requests that arrive after
// it was called, over connections that were there before.
func (s *Server) stop(accepting *sync.WaitGroup) {
	for _, l := range s.listeners {
		_ = l.Close() // it may have failed before
	}
	accepting.Wait()
	gone := make(chan struct{})
	go func() {
		s.guard.wait()
		close(gone)
	}()
	select {
	case <-gone:
	case <-time.After(stopTimeout):
	}
	_ = s.http.Close() // of connections that nobody waits for
	<-gone
}

// logWriter logs what http.Server has to say: trouble with accepting, and panics.
type logWriter struct{ log *zap.Logger }

func (w logWriter) Write(line []byte) (int, error) {
	w.log.Warn("http-01 server in trouble", zap.String("problem", strings.TrimSpace(string(line))))
	return len(line), nil
}
