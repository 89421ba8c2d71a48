package daemon

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"acmed/internal/page"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

const (
	adminConns = 64               // open connections of admin.listen, whoever they are from
	adminRetry = 10 * time.Second // from one attempt to listen to the next
)

// admin serves metrics, health and the status page. That it cannot listen stops nothing else.
type admin struct {
	address string
	handler http.Handler
	log     *zap.Logger
	first   net.Listener           // nil: to be opened
	problem atomic.Pointer[string] // why nothing is served; nil: it is
}

// buildAdmin listens on admin.listen, if it can already: the daemon works without.
func (d *daemon) buildAdmin(config *spec.Config) error {
	if config.Admin.Listen == "" {
		return nil
	}
	host, _ := os.Hostname() // "": not shown
	status, err := page.New(page.Config{Source: api{d}, Host: host, Log: d.log})
	if err != nil {
		return err
	}
	lastTurn := func() time.Time { return d.scheduler.Stats().LastTurn }
	mux := adminHandler(d.metrics.handler(d.log), status, lastTurn, d.ready.Load)
	d.admin = &admin{address: config.Admin.Listen, handler: page.Guard(append([]string{host}, config.Admin.Hosts...), d.log, mux), log: d.log}
	if d.admin.first = d.admin.listen(); d.admin.first != nil {
		d.closers = append(d.closers, d.admin.first)
	}
	return nil
}

// listen returns nil, and takes note of the problem, if the address cannot be had now.
func (a *admin) listen() net.Listener {
	l, err := net.Listen("tcp", a.address)
	if err != nil {
		a.fail(err)
		return nil
	}
	return sd.Steady(l, a.log)
}

// fail takes note of a problem, and logs it unless it is known.
func (a *admin) fail(err error) {
	text := fmt.Sprintf("%v; free the address, or set admin.listen in acmed.yaml", err)
	if known := a.problem.Swap(&text); known == nil || *known != text {
		a.log.Warn("metrics and status page are not served", zap.String("address", a.address), zap.Error(err),
			zap.String("hint", "free the address, or set admin.listen in acmed.yaml"))
	}
}

// trouble says why nothing is served; "": it is, or is not wanted.
func (a *admin) trouble() string {
	if a == nil {
		return ""
	}
	if p := a.problem.Load(); p != nil {
		return *p
	}
	return ""
}

// run serves until ctx ends. It begins again after each problem.
func (a *admin) run(ctx context.Context) error {
	for l := a.first; ; l = a.listen() {
		if l != nil {
			if a.problem.Swap(nil) != nil {
				a.log.Info("metrics and status page are served", zap.String("address", a.address))
			}
			err := serveHTTP(ctx, a.server(), l)
			if ctx.Err() != nil {
				return err
			}
			a.fail(err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(adminRetry):
		}
	}
}

func (a *admin) server() *http.Server {
	return &http.Server{
		Handler: a.handler, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(a.log),
		ConnState: newCrowd(adminConns).track,
	}
}

// crowd keeps the number of connections of a server within a limit. One more closes the oldest that has no request, else
// itself: who is being served stays.
type crowd struct {
	most int

	mu    sync.Mutex // guards the following
	conns map[net.Conn]*list.Element
	quiet list.List // of net.Conn, oldest first: without a request
}

func newCrowd(most int) *crowd { return &crowd{most: most, conns: map[net.Conn]*list.Element{}} }

// track follows the states that http.Server reports.
func (c *crowd) track(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.conns[conn]; e != nil {
		c.quiet.Remove(e)
	}
	switch state {
	case http.StateNew, http.StateIdle:
		c.conns[conn] = c.quiet.PushBack(conn)
		if len(c.conns) > c.most {
			c.close(c.quiet.Front())
		}
	case http.StateActive:
		c.conns[conn] = nil
	case http.StateClosed, http.StateHijacked:
		delete(c.conns, conn)
	}
}

func (c *crowd) close(e *list.Element) {
	conn, _ := c.quiet.Remove(e).(net.Conn)
	delete(c.conns, conn)
	_ = conn.Close() // its server finds out
}

// stale is the age of the scheduler's last turn at which the daemon does not count as alive.
const stale = 90 * time.Second

// adminHandler serves people a status page, and machines whether the daemon lives, whether it is ready, and its figures. A
// certificate's trouble changes neither of the first two.
func adminHandler(figures, status http.Handler, lastTurn func() time.Time, ready func() bool) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", figures)
	mux.Handle("GET /{$}", status)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		last := lastTurn()
		if last.IsZero() {
			answerHealth(w, "starting")
		} else if age := time.Since(last); age > stale {
			answerHealth(w, "the scheduler has not turned for "+age.Round(time.Second).String())
		} else {
			answerHealth(w, "")
		}
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready() {
			answerHealth(w, "starting or stopping")
			return
		}
		answerHealth(w, "")
	})
	return mux
}

// answerHealth answers 200, or 503 with the problem.
func answerHealth(w http.ResponseWriter, problem string) {
	if problem != "" {
		http.Error(w, problem, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// serveHTTP serves until ctx ends and then gives open requests five seconds.
func serveHTTP(ctx context.Context, s *http.Server, l net.Listener) error {
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		stopped <- s.Shutdown(late)
	})
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) && stop() {
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	}
	return errors.Join(<-stopped, ignoreClosed(s.Close()))
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) || errors.Is(err, io.ErrClosedPipe) {
		return nil
	}
	return err
}
