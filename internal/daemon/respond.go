package daemon

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"

	"go.uber.org/zap"

	"acmed/internal/challenge"
	"acmed/internal/sd"
	"acmed/internal/spec"
)

// ResponderConfig says what to answer http-01 from, and where.
type ResponderConfig struct {
	Tokens   string    // the token folder; required
	Fallback string    // what requests for anything else get, as in acmed.yaml; "": notFound
	Listen   string    // host:port, besides the sockets that systemd hands over; "": only those
	Log      spec.Log  // as in acmed.yaml; zero: nothing is known of it
	Stderr   io.Writer // of the log where the journal does not take it; nil: os.Stderr
}

// ErrNoSocket is that of a responder that has nothing to listen on.
var ErrNoSocket = errors.New("answering http-01: systemd hands over no socket, and no address is given")

// Respond answers http-01 as the daemon does, in a process that can do nothing else, until ctx ends. All that it needs
// is the sockets that it inherits and the right to read one folder: it asks for no network, no key and no write access.
func Respond(ctx context.Context, c ResponderConfig) error {
	notifier := sd.FromEnv()
	log, _, err := newLogger(spec.Log{Level: cmp.Or(c.Log.Level, "info"), Format: c.Log.Format}, cmp.Or[io.Writer](c.Stderr, os.Stderr))
	if err != nil {
		return &ConfigError{err}
	}
	tokens, err := challenge.ReadFolder(c.Tokens)
	if err != nil {
		return err
	}
	handler, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: tokens, Fallback: c.Fallback})
	if err != nil {
		return err
	}
	listeners, err := respondOn(c.Listen)
	if err != nil {
		return err
	}
	server, err := challenge.NewServer(challenge.ServerConfig{Listeners: listeners, Handler: handler, Log: log})
	if err != nil {
		return err
	}
	// The kernel queues who connects from now on.
	answers := fmt.Sprintf("answering http-01 on %s from %s", addresses(listeners), c.Tokens)
	log.Info("ready", zap.String("http01", answers))
	notifier.Ready(answers)
	defer notifier.Stopping("stopping")
	return server.Run(ctx)
}

// respondOn returns the sockets that systemd holds for http-01 and, unless it is "", one on address.
func respondOn(address string) ([]net.Listener, error) {
	inherited, err := sd.Listeners()
	if err != nil {
		return nil, err
	}
	listeners := inherited[socketName]
	if address != "" {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, fmt.Errorf("listening for http-01: %w; free the port, or listen elsewhere", err)
		}
		listeners = append(listeners, l)
	}
	if len(listeners) == 0 {
		return nil, ErrNoSocket
	}
	return listeners, nil
}

// addresses lists where listeners listen.
func addresses(listeners []net.Listener) string {
	var at []string
	for _, l := range listeners {
		at = append(at, l.Addr().String())
	}
	return strings.Join(at, ", ")
}
