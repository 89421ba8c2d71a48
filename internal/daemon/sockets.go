package daemon

import (
	"fmt"
	"net"

	"go.uber.org/zap"

	"acmed/internal/challenge"
	"acmed/internal/control"
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
	return d.buildAdmin(config)
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
