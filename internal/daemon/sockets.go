package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"go.uber.org/zap"

	"acmed/internal/challenge"
	"acmed/internal/control"
	"acmed/internal/page"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

// The FileDescriptorName= of the socket units.
const (
	socketName     = "http"
	alpnSocketName = "tls-alpn"
)

// buildSockets listens: READY means that whoever connects is answered.
func (d *daemon) buildSockets(config *spec.Config) (err error) {
	inherited, err := sd.Listeners()
	if err != nil {
		return err
	}
	for _, listeners := range inherited {
		for _, l := range listeners {
			d.closers = append(d.closers, l)
		}
	}
	if err := d.listenHTTP01(config, inherited[socketName]); err != nil {
		return err
	}
	if err := d.listenALPN(config, inherited[alpnSocketName]); err != nil {
		return err
	}
	if d.control, err = control.Listen(config.Control.Socket); err != nil {
		return err
	}
	d.closers = append(d.closers, d.control)
	if d.api, err = control.NewServer(control.ServerConfig{Certificates: api{d}, Deliveries: api{d}, Disposals: api{d}, Accounts: api{d}, Registrations: api{d}, Planner: api{d}, Daemon: api{d}, Log: d.log}); err != nil {
		return err
	}
	return d.listenAdmin(config)
}

// listenHTTP01 takes the sockets that systemd holds, and opens http.listen, where the daemon answers itself.
func (d *daemon) listenHTTP01(config *spec.Config, listeners []net.Listener) error {
	if config.HTTP.Solver != "listen" {
		if len(listeners) > 0 {
			d.log.Warn("nobody answers on the socket of acmed-listen.socket", zap.String("reason", "http.solver is "+config.HTTP.Solver+", not listen"))
		}
		d.answered(d.solvers.describe(nil))
		return nil
	}
	if config.HTTP.Listen != "" {
		l, err := net.Listen("tcp", config.HTTP.Listen)
		if err != nil {
			return fmt.Errorf("listening for http-01: %w; free the port, or leave it to acmed-http.socket with http.solver: responder in %s", err, config.File)
		}
		listeners = append(listeners, l)
		d.closers = append(d.closers, l)
	}
	d.answered(d.solvers.describe(listeners))
	if len(listeners) == 0 {
		return nil
	}
	handler, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: d.solvers.folder, Fallback: config.HTTP.Fallback, Metrics: d.metrics.challenge})
	if err != nil {
		return err
	}
	d.http01, err = challenge.NewServer(challenge.ServerConfig{Listeners: listeners, Handler: handler, Log: d.log, Metrics: d.metrics.challenge})
	return err
}

// listenALPN takes the sockets that systemd holds for tls-alpn-01, and opens tlsALPN.listen.
func (d *daemon) listenALPN(config *spec.Config, listeners []net.Listener) (err error) {
	if config.TLSALPN.Listen != "" {
		l, err := net.Listen("tcp", config.TLSALPN.Listen)
		if err != nil {
			return fmt.Errorf("listening for tls-alpn-01: %w; free the port, or set tlsALPN.listen in %s", err, config.File)
		}
		listeners = append(listeners, l)
		d.closers = append(d.closers, l)
	}
	if len(listeners) == 0 {
		return nil
	}
	d.solvers.alpnShown = true
	d.alpn, err = challenge.NewALPNServer(challenge.ALPNConfig{Listeners: listeners, Proofs: d.solvers.alpn, Metrics: d.metrics.challenge, Log: d.log})
	return err
}

func (d *daemon) listenAdmin(config *spec.Config) (err error) {
	if config.Admin.Listen == "" {
		return nil
	}
	if d.admin, err = net.Listen("tcp", config.Admin.Listen); err != nil {
		return fmt.Errorf("listening for /metrics: %w; free the port, or set admin.listen in %s", err, config.File)
	}
	d.closers = append(d.closers, d.admin)
	host, _ := os.Hostname() // "": not told
	status, err := page.New(page.Config{Source: api{d}, Host: host, Names: []string{host}, Log: d.log})
	if err != nil {
		return err
	}
	lastTurn := func() time.Time { return d.scheduler.Stats().LastTurn }
	d.pages = &http.Server{
		Handler:           adminHandler(d.metrics.handler(d.log), status, lastTurn, d.ready.Load),
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: time.Minute,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(d.log),
	}
	return nil
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
