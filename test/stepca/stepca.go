// Package stepca runs Smallstep's step-ca, a CA of another make than Pebble, as a subprocess on loopback ports of its own.
//
// It owns the process, its root, its ports, its configuration and its log. It never speaks ACME.
//
// What a test should know of step-ca v0.30.2 (read in its source, and seen): it validates while it answers the request
// that accepts a challenge; a challenge that was not met stays pending, with an error inside, and may be tried again. Its
// certificates live for a day, and begin a minute ago; an order fixes both times when it is made. There is no renewal
// information and there are no profiles; both are ignored in an order. It offers key changes that it does not make.
// External account bindings can be required, but only its makers' hosted service makes them: [Provisioner.Bindings] are
// written into the database.
package stepca

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"

	"acmed/test/ca"
	"acmed/test/process"
)

// Options configure a CA. The zero value validates on the ports of the RFCs, as the system resolves names.
type Options struct {
	Dir               string        // configuration, keys, database and log; required
	Resolver          string        // host:port of who is asked for names; "": the system's
	HTTPPort, TLSPort int           // where http-01 and tls-alpn-01 are validated; 0: 80 and 443
	Provisioners      []Provisioner // nil: one, named "test", with every default
}

// Server is a running step-ca.
type Server struct {
	DirectoryURL string // of the first provisioner
	RootsFile    string // PEM file of the root, of what it issues and of its own listener
	Root         *x509.Certificate

	options Options
	program string
	base    string // of its own API
	client  *ca.Client
	ca      *process.Process
}

// Build compiles step-ca at the version that tools/step-ca/go.mod pins. It does so once a process.
func Build() (string, error) { return build() }

var build = sync.OnceValues(func() (string, error) { return process.Tool("step-ca", "step-ca") })

// New starts a CA and waits until it answers. The context bounds only that wait. The caller must Close the server.
func New(ctx context.Context, o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("starting step-ca: Options.Dir is empty")
	}
	if len(o.Provisioners) == 0 {
		o.Provisioners = []Provisioner{{Name: "test"}}
	}
	program, err := Build()
	if err != nil {
		return nil, err
	}
	s := &Server{options: o, program: program, RootsFile: filepath.Join(o.Dir, "root.pem")}
	if err := s.writeChain(); err != nil {
		return nil, err
	}
	if err := s.addBindings(ctx); err != nil {
		return nil, err
	}
	return ca.OnFreePorts(func() (*Server, error) { return s.onFreePort(ctx) })
}

// writeChain creates a root and an intermediate and writes what step-ca needs of both.
func (s *Server) writeChain() error {
	root, err := ca.NewRoot("root of a test step-ca")
	if err != nil {
		return err
	}
	intermediate, err := root.Intermediate("issuer of a test step-ca")
	if err != nil {
		return err
	}
	s.Root, s.client = root.Certificate, ca.NewClient(root.Certificate)
	return errors.Join(root.WriteCertificate(s.RootsFile), intermediate.Write(s.options.Dir, "intermediate"))
}

// addBindings writes the keys of all provisioners into the database of a CA that does not run yet.
func (s *Server) addBindings(ctx context.Context) error {
	for _, p := range s.options.Provisioners {
		for kid, key := range p.Bindings {
			cmd := exec.CommandContext(ctx, s.program, "eab", s.database(), kid, base64.RawURLEncoding.EncodeToString(key))
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("adding the external account key %s: %w\n%s", kid, err, out)
			}
		}
	}
	return nil
}

func (s *Server) onFreePort(ctx context.Context) (*Server, error) {
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := process.Loopback(ports[0])
	s.base = "https://" + address
	s.DirectoryURL = s.Directory(s.options.Provisioners[0].Name)
	if err := s.writeConfig(address); err != nil {
		return nil, err
	}
	return s, s.start(ctx)
}

func (s *Server) start(ctx context.Context) (err error) {
	o := s.options
	args := []string{"--quiet"}
	if o.Resolver != "" {
		args = append(args, "--resolver", o.Resolver)
	}
	if o.HTTPPort != 0 || o.TLSPort != 0 {
		args = append(args, "--insecure", "--acme-http-port", fmt.Sprint(o.HTTPPort), "--acme-tls-port", fmt.Sprint(o.TLSPort))
	}
	s.ca, err = process.Start(s.program, s.logFile(), []string{"STEPPATH=" + o.Dir, "HOME=" + o.Dir}, append(args, s.configFile())...)
	if err != nil {
		return err
	}
	err = s.ca.AwaitReady(ctx, func(ctx context.Context) error {
		_, err := s.client.Get(ctx, s.base+"/health")
		return err
	})
	if err != nil {
		s.Close()
	}
	return err
}

// Directory returns the URL of the ACME directory of a provisioner.
func (s *Server) Directory(provisioner string) string {
	return s.base + "/acme/" + provisioner + "/directory"
}

// Stop ends the CA at once, as a crash does.
func (s *Server) Stop() { s.ca.Kill() }

// Restart ends the CA, unless it is stopped already, and starts it at the same address with the same database.
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
	return s.client.Listed(ctx, s.base+"/crl", leaf)
}

// Log returns what step-ca has written so far.
func (s *Server) Log() ([]byte, error) { return os.ReadFile(s.logFile()) }

func (s *Server) logFile() string    { return filepath.Join(s.options.Dir, "step-ca.log") }
func (s *Server) configFile() string { return filepath.Join(s.options.Dir, "ca.json") }
func (s *Server) database() string   { return filepath.Join(s.options.Dir, "db") }
