// Package caddy runs the acme_server of the web server Caddy, as a subprocess on a loopback port of its own.
//
// It owns the process, its port, its configuration and its log. It never speaks ACME.
//
// A test should know of Caddy v2.11.9 (read in its source, and seen): the ACME server is step-ca's, as a library, in front
// of Caddy's own PKI. Its certificates live for 12 hours by default, and for five minutes at least. It finds the names of
// http-01 and tls-alpn-01 as the system resolves names; its option resolvers is for TXT records alone. It has neither
// external account bindings nor a revocation list.
package caddy

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"acmed/test/ca"
	"acmed/test/process"
)

// Options configure a CA.
type Options struct {
	Dir       string                   // configuration, keys, database and log; required
	Lifetimes map[string]time.Duration // of certificates, by path prefix; nil: "acme" with Caddy's default
}

// Server is a running Caddy.
type Server struct {
	RootsFile string // PEM file of the root, of what it issues and of its own listener
	Root      *x509.Certificate

	options Options
	program string
	address string
	client  *ca.Client
	caddy   *process.Process
}

// Build compiles Caddy at the version that tools/caddy/go.mod pins. It does so once a process.
func Build() (string, error) { return build() }

var build = sync.OnceValues(func() (string, error) { return process.Tool("caddy", "caddy") })

// New starts a CA and waits until it answers. The context bounds only that wait. The caller must Close the server.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("starting caddy: Options.Dir is empty")
	}
	if o.Lifetimes == nil {
		o.Lifetimes = map[string]time.Duration{"acme": 0}
	}
	program, err := Build()
	if err != nil {
		return nil, err
	}
	return ca.OnFreePorts(func() (*Server, error) {
		ports, err := process.FreePorts(1)
		if err != nil {
			return nil, err
		}
		s := &Server{
			options: o, program: program, address: process.Loopback(ports[0]),
			RootsFile: filepath.Join(o.Dir, "caddy/pki/authorities/local/root.crt"),
		}
		if err := s.writeConfig(); err != nil {
			return nil, err
		}
		return s, s.start(ctx)
	})
}

func (s *Server) start(ctx context.Context) (err error) {
	env := []string{"HOME=" + s.options.Dir, "XDG_DATA_HOME=" + s.options.Dir, "XDG_CONFIG_HOME=" + s.options.Dir}
	if s.caddy, err = process.Start(s.program, s.logFile(), env, s.configFile()); err != nil {
		return err
	}
	if err = s.caddy.AwaitReady(ctx, s.ready); err != nil {
		s.Close()
	}
	return err
}

// ready reports an error until Caddy has created its root, if there was none, and answers.
func (s *Server) ready(ctx context.Context) error {
	if s.client == nil {
		text, err := os.ReadFile(s.RootsFile)
		if err != nil {
			return err
		}
		if s.Root, err = ca.Parse(text); err != nil {
			return err
		}
		s.client = ca.NewClient(s.Root)
	}
	for prefix := range s.options.Lifetimes {
		if _, err := s.client.Get(ctx, s.Directory(prefix)); err != nil {
			return err
		}
	}
	return nil
}

// Directory returns the URL of the ACME directory below a path prefix.
func (s *Server) Directory(prefix string) string {
	return "https://" + s.address + "/" + prefix + "/local/directory"
}

func (s *Server) writeConfig() error {
	var routes []any
	for prefix, lifetime := range s.options.Lifetimes {
		handler := map[string]any{"handler": "acme_server", "path_prefix": "/" + prefix + "/", "lifetime": lifetime}
		match := map[string]any{"host": []string{"127.0.0.1"}, "path": []string{"/" + prefix + "/*"}}
		routes = append(routes, map[string]any{"match": []any{match}, "handle": []any{handler}})
	}
	internal := map[string]any{"subjects": []string{"127.0.0.1"}, "issuers": []any{map[string]string{"module": "internal"}}}
	data, err := json.MarshalIndent(map[string]any{
		"admin": map[string]bool{"disabled": true},
		"apps": map[string]any{
			"pki": map[string]any{"certificate_authorities": map[string]any{"local": map[string]bool{"install_trust": false}}},
			"tls": map[string]any{"automation": map[string]any{"policies": []any{internal}}},
			"http": map[string]any{"servers": map[string]any{"acme": map[string]any{
				"listen": []string{s.address}, "routes": routes, "logs": map[string]any{},
				"automatic_https": map[string]bool{"disable_redirects": true},
			}}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.configFile(), data, 0o600)
}

// Stop ends the CA at once, as a crash does.
func (s *Server) Stop() { s.caddy.Kill() }

// Restart ends the CA, unless it is stopped already, and starts it at the same address with the same database.
func (s *Server) Restart(ctx context.Context) error {
	s.Stop()
	return s.start(ctx)
}

// Close ends the process.
func (s *Server) Close() {
	s.Stop()
	if s.client != nil {
		s.client.Close()
	}
}

// Log returns what Caddy has written so far.
func (s *Server) Log() ([]byte, error) { return os.ReadFile(s.logFile()) }

func (s *Server) logFile() string    { return filepath.Join(s.options.Dir, "caddy.log") }
func (s *Server) configFile() string { return filepath.Join(s.options.Dir, "caddy.json") }
