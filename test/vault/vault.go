// Package vault runs the PKI engine of HashiCorp Vault, as a subprocess on a loopback port of its own.
//
// It owns the process, its port, its storage, the engine's configuration and its log. It never speaks ACME.
//
// A test should know of Vault v1.21.4 (read in its source, and seen): it validates after it has answered, six times within
// 105 seconds, and then the order is invalid. An order that is over lists only the authorizations that are valid. There is
// no Retry-After, no renewal information and there are no profiles; each role has a directory of its own. Where the mount
// has only a root, the root issues, and comes along with each certificate. It offers key changes that it does not have.
package vault

import (
	"context"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"sync"

	"acmed/test/ca"
	"acmed/test/process"
)

// Options configure a CA.
type Options struct {
	Dir        string // storage, listener and log; required
	Resolver   string // host:port of who is asked for names; "": the system's
	OnlyRoot   bool   // the root issues; false: an intermediate does
	RequireEAB bool   // an account needs an external account binding
}

// Server is a running PKI engine.
type Server struct {
	RootsFile     string            // PEM file of the root of what it issues
	ListenersFile string            // PEM file of the root of its own listener
	Root          *x509.Certificate // of what it issues

	options Options
	program string
	address string
	client  *ca.Client
	vault   *process.Process
}

// Build compiles the engine at the version that tools/vault/go.mod pins. It does so once a process.
func Build() (string, error) { return build() }

var build = sync.OnceValues(func() (string, error) { return process.Tool("vault", "vault") })

// New starts a CA, waits until it answers, and configures it. The context bounds only that. The caller must Close the
// server.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("starting vault: Options.Dir is empty")
	}
	program, err := Build()
	if err != nil {
		return nil, err
	}
	root, err := ca.NewRoot("root of a test Vault's listener")
	if err != nil {
		return nil, err
	}
	listeners := filepath.Join(o.Dir, "listeners.pem")
	if err := errors.Join(root.WriteCertificate(listeners), root.WriteListener(o.Dir, "listener")); err != nil {
		return nil, err
	}
	s, err := ca.OnFreePorts(func() (*Server, error) {
		ports, err := process.FreePorts(1)
		if err != nil {
			return nil, err
		}
		s := &Server{
			options: o, program: program, address: process.Loopback(ports[0]), client: ca.NewClient(root.Certificate),
			RootsFile: filepath.Join(o.Dir, "roots.pem"), ListenersFile: listeners,
		}
		return s, s.start(ctx)
	})
	if err != nil {
		return nil, err
	}
	if err := s.configure(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) start(ctx context.Context) (err error) {
	dir := s.options.Dir
	s.vault, err = process.Start(s.program, s.logFile(), nil, "-listen", s.address, "-storage", filepath.Join(dir, "storage"),
		"-certificate", filepath.Join(dir, "listener.pem"), "-key", filepath.Join(dir, "listener.key"))
	if err != nil {
		return err
	}
	err = s.vault.AwaitReady(ctx, func(ctx context.Context) error { return s.client.Answers(ctx, s.url("config/acme")) })
	if err != nil {
		s.Close()
	}
	return err
}

// url returns the address of a path of the engine.
func (s *Server) url(path string) string { return "https://" + s.address + "/v1/pki/" + path }

// Directory returns the URL of the ACME directory of a role; "": the default directory.
func (s *Server) Directory(role string) string {
	if role == "" {
		return s.url("acme/directory")
	}
	return s.url("roles/" + role + "/acme/directory")
}

// Stop ends the CA at once, as a crash does.
func (s *Server) Stop() { s.vault.Kill() }

// Restart ends the CA, unless it is stopped already, and starts it at the same address with the same storage.
func (s *Server) Restart(ctx context.Context) error {
	s.Stop()
	return s.start(ctx)
}

// Close ends the process.
func (s *Server) Close() {
	s.Stop()
	s.client.Close()
}

// Revoked reports whether the CA's revocation list holds a certificate.
func (s *Server) Revoked(ctx context.Context, leaf *x509.Certificate) (bool, error) {
	return s.client.Listed(ctx, s.url("crl"), leaf)
}

// Log returns what the engine has written so far.
func (s *Server) Log() ([]byte, error) { return os.ReadFile(s.logFile()) }

func (s *Server) logFile() string { return filepath.Join(s.options.Dir, "vault.log") }
