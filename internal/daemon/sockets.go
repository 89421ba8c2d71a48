package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"acmed/internal/challenge"
	"acmed/internal/control"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

// socketName is the FileDescriptorName= of the http-01 socket unit.
const socketName = "http"

// buildSockets listens: READY means that whoever connects is answered.
func (d *daemon) buildSockets(config *spec.Config) (err error) {
	inherited, err := sd.Listeners()
	if err != nil {
		return err
	}
	if err := d.listenHTTP01(config, inherited[socketName]); err != nil {
		return err
	}
	if d.control, err = control.Listen(config.Control.Socket); err != nil {
		return err
	}
	d.closers = append(d.closers, d.control)
	if d.api, err = control.NewServer(control.ServerConfig{Certificates: api{d}, Daemon: api{d}, Log: d.log}); err != nil {
		return err
	}
	if config.Admin.Listen == "" {
		return nil
	}
	if d.admin, err = net.Listen("tcp", config.Admin.Listen); err != nil {
		return fmt.Errorf("listening for /metrics: %w; set admin.listen in %s", err, config.File)
	}
	d.closers = append(d.closers, d.admin)
	d.pages = &http.Server{
		Handler: d.adminHandler(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: time.Minute, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: zap.NewStdLog(d.log),
	}
	return nil
}

// listenHTTP01 takes the sockets that systemd holds, and opens http.listen, where the daemon answers itself.
func (d *daemon) listenHTTP01(config *spec.Config, listeners []net.Listener) error {
	for _, l := range listeners {
		d.closers = append(d.closers, l)
	}
	if config.HTTP.Solver != "listen" {
		d.answers = d.solvers.describe(nil)
		return nil
	}
	if config.HTTP.Listen != "" {
		l, err := net.Listen("tcp", config.HTTP.Listen)
		if err != nil {
			return fmt.Errorf("listening for http-01: %w; free the port, enable acmed-http.socket, or set http.listen in %s", err, config.File)
		}
		listeners = append(listeners, l)
		d.closers = append(d.closers, l)
	}
	d.answers = d.solvers.describe(listeners)
	if len(listeners) == 0 {
		d.log.Warn("no listener for http-01", zap.String("reason", d.answers))
		return nil
	}
	handler, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: d.solvers.folder, Fallback: config.HTTP.Fallback, Metrics: d.metrics.challenge})
	if err != nil {
		return err
	}
	d.http01, err = challenge.NewServer(challenge.ServerConfig{Listeners: listeners, Handler: handler, Log: d.log, Metrics: d.metrics.challenge})
	return err
}

// adminHandler serves what machines ask: whether the daemon lives, whether it is ready, and its figures.
func (d *daemon) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", d.metrics.handler(d.log))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if age := time.Since(d.scheduler.Stats().LastTurn); age > 90*time.Second {
			http.Error(w, "the scheduler has not turned for "+age.Round(time.Second).String(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !d.ready.Load() {
			http.Error(w, "starting or stopping", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
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
