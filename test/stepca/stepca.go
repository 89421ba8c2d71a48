// Package stepca runs Smallstep's step-ca, a CA of another make than Pebble, as a subprocess on loopback ports of its own.
//
// It owns the process, its root, its ports, its configuration and its log. It never speaks ACME.
//
// What a test should know of step-ca v0.30.2 (read in its source, and seen): it validates while it answers the request
// that accepts a challenge; a challenge that was not met stays pending, with an error inside, and may be tried again. Its
// certificates live for a day, and begin a minute ago. There is no renewal information and there are no profiles; both are
// ignored in an order. It offers key changes that it does not make. External account bindings can be required, but only
// its makers' hosted service makes them.
package stepca

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"sync"

	"acmed/test/process"
)

// Options configure a CA. The zero value validates on the ports of the RFCs, as the system resolves names.
type Options struct {
	Dir               string // configuration, keys, database and log; required
	Resolver          string // host:port of who is asked for names; "": the system's
	HTTPPort, TLSPort int    // where http-01 and tls-alpn-01 are validated; 0: 80 and 443
}

// Server is a running step-ca.
type Server struct {
	DirectoryURL string
	RootsFile    string // PEM file of the root, of what it issues and of its own listener
	Root         *x509.Certificate

	client *http.Client
	base   string // of its own API
	ca     *process.Process
}

// Build compiles step-ca at the version that tools/step-ca/go.mod pins. It does so once a process.
func Build() (string, error) { return build() }

var build = sync.OnceValues(func() (string, error) { return process.Tool("step-ca", "step-ca") })

// attempts bounds how often New moves to another port, as in test/pebble.
const attempts = 5

// New starts a CA and waits until it answers. The context bounds only that wait. The caller must Close the server.
func New(ctx context.Context, o Options) (s *Server, err error) {
	if o.Dir == "" {
		return nil, errors.New("starting step-ca: Options.Dir is empty")
	}
	program, err := Build()
	if err != nil {
		return nil, err
	}
	for range attempts {
		if s, err = start(ctx, program, o); !errors.Is(err, process.ErrPortTaken) {
			return s, err
		}
	}
	return nil, err
}

func start(ctx context.Context, program string, o Options) (*Server, error) {
	ports, err := process.FreePorts(1)
	if err != nil {
		return nil, err
	}
	address := process.Loopback(ports[0])
	s := &Server{
		DirectoryURL: "https://" + address + "/acme/test/directory", RootsFile: filepath.Join(o.Dir, "root.pem"), base: "https://" + address,
	}
	if s.Root, err = writeChain(o.Dir); err != nil {
		return nil, err
	}
	if err := writeConfig(o.Dir, address); err != nil {
		return nil, err
	}
	s.client = client(s.Root)
	args := []string{"--quiet"}
	if o.Resolver != "" {
		args = append(args, "--resolver", o.Resolver)
	}
	if o.HTTPPort != 0 || o.TLSPort != 0 {
		args = append(args, "--insecure", "--acme-http-port", fmt.Sprint(o.HTTPPort), "--acme-tls-port", fmt.Sprint(o.TLSPort))
	}
	s.ca, err = process.Start(program, filepath.Join(o.Dir, "step-ca.log"), []string{"STEPPATH=" + o.Dir, "HOME=" + o.Dir},
		append(args, configFile(o.Dir))...)
	if err != nil {
		return nil, err
	}
	err = s.ca.AwaitReady(ctx, func(ctx context.Context) error {
		_, err := s.get(ctx, "/health")
		return err
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// writeConfig writes the file that step-ca reads at its start.
func writeConfig(dir, address string) error {
	data, err := json.MarshalIndent(map[string]any{
		"root":     filepath.Join(dir, "root.pem"),
		"crt":      filepath.Join(dir, "intermediate.pem"),
		"key":      filepath.Join(dir, "intermediate.key"),
		"address":  address,
		"dnsNames": []string{"127.0.0.1"},
		"logger":   map[string]string{"format": "text"},
		"db":       map[string]string{"type": "badgerv2", "dataSource": filepath.Join(dir, "db")},
		"crl":      map[string]bool{"enabled": true, "generateOnRevoke": true},
		"authority": map[string]any{
			"provisioners": []any{map[string]any{"type": "ACME", "name": "test"}},
		},
	}, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(configFile(dir), data, 0o600)
}

func configFile(dir string) string { return filepath.Join(dir, "ca.json") }

// Close ends the process.
func (s *Server) Close() {
	s.ca.Kill()
	s.client.CloseIdleConnections()
}

// Revoked tells whether the CA's revocation list holds a certificate.
func (s *Server) Revoked(ctx context.Context, leaf *x509.Certificate) (bool, error) {
	der, err := s.get(ctx, "/crl")
	if err != nil {
		return false, err
	}
	list, err := x509.ParseRevocationList(der)
	if err != nil {
		return false, err
	}
	for _, entry := range list.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(leaf.SerialNumber) == 0 {
			return true, nil
		}
	}
	return false, nil
}

// get returns the body of an answer with status 200.
func (s *Server) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.base+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("GET %s: %s: %s", path, resp.Status, body)
	}
	return body, err
}
