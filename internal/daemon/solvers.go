package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"

	"acmed/internal/acme"
	"acmed/internal/challenge"
	"acmed/internal/deploy"
	"acmed/internal/spec"
)

// solvers answers challenges in the ways that acmed.yaml allows.
type solvers struct {
	config    spec.HTTP
	allowed   func(webroot, leadsTo string) error
	specs     func() *spec.Set
	programs  challenge.Programs // of DNS providers
	dir       string             // of tokens
	folder    *challenge.Folder  // the same
	alpn      *challenge.ALPN
	alpnShown bool // somebody listens for alpn

	mu        sync.Mutex                   // guards the following
	webroots  map[string]*challenge.Folder // by path
	providers map[string]provider          // by name
}

// provider is a DNS solver, and the file that it is made from.
type provider struct {
	spec   *spec.Provider
	solver *challenge.DNS
}

func newSolvers(config *spec.Config, specs func() *spec.Set, programs challenge.Programs) (*solvers, error) {
	dir := filepath.Join(config.RuntimeDir, "http-01")
	folder, err := challenge.OpenFolder(dir)
	if err != nil {
		return nil, err
	}
	return &solvers{config: config.HTTP, allowed: config.WebrootLeads, specs: specs, programs: programs, dir: dir, folder: folder, alpn: challenge.NewALPN(), webroots: map[string]*challenge.Folder{}, providers: map[string]provider{}}, nil
}

func (s *solvers) solver(certificate string, c spec.Challenge) (acme.Solver, error) {
	switch {
	case c.ByDNS():
		return s.dns(certificate, c.Provider)
	case c.Type == "tls-alpn-01" && s.alpnShown:
		return s.alpn, nil
	case c.Type == "tls-alpn-01":
		return nil, unavailable("nothing answers tls-alpn-01 challenges", "run systemctl enable --now acmed-tls-alpn.socket while acmed is "+
			"stopped, or set tlsALPN.listen in acmed.yaml, and restart acmed")
	case c.Type != "http-01":
		return nil, unavailable("nothing answers "+c.Type+" challenges", "use http-01")
	case c.Webroot != "":
		return s.webroot(c.Webroot)
	case s.config.Solver == "off":
		return nil, unavailable("nothing answers http-01 challenges: http.solver is off",
			"set http.solver in acmed.yaml, or challenge.webroot in the spec, and run acmed reload; a CA that validates names "+
				"elsewhere, such as Sectigo, has not validated this one")
	default:
		return s.folder, nil
	}
}

func (s *solvers) webroot(dir string) (acme.Solver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.webroots[dir]; f != nil {
		return f, nil
	}
	f, err := challenge.Webroot(dir, func(leadsTo string) error { return s.allowed(dir, leadsTo) })
	if err != nil {
		return nil, err
	}
	s.webroots[dir] = f
	return f, nil
}

// dns makes the solver of a provider anew when its file has changed.
func (s *solvers) dns(certificate, name string) (acme.Solver, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.specs().Provider(name)
	if p == nil {
		return nil, unavailable("no file of dns.d is "+name+".yaml, or it has never been good", "write it, and run acmed check")
	}
	if known, ok := s.providers[name]; ok && known.spec == p {
		return known.solver.For(certificate), nil
	}
	solver, err := challenge.NewDNS(challenge.DNSConfig{Provider: p, Programs: s.programs})
	if err != nil {
		return nil, unavailable(err.Error(), "see "+p.File)
	}
	s.providers[name] = provider{p, solver}
	return solver.For(certificate), nil
}

// programs have the programs of DNS providers called by whoever is there to do it.
type programs struct{ daemon *daemon }

func (p programs) Present(ctx context.Context, r challenge.Record) error {
	return told(p.daemon.couriers.programs().Present(ctx, called(r)))
}

func (p programs) CleanUp(ctx context.Context, r challenge.Record) error {
	return told(p.daemon.couriers.programs().CleanUp(ctx, called(r)))
}

func called(r challenge.Record) deploy.Record {
	return deploy.Record{
		Certificate: r.Certificate, Provider: r.Provider, Domain: r.Proof.Identifier.Value, Name: r.Name,
		Value: r.Proof.DNSValue, Token: r.Proof.Token, KeyAuth: r.Proof.KeyAuth,
	}
}

// told keeps apart what happened and what to do.
func told(err error) error {
	if e, ok := errors.AsType[*deploy.Error](err); ok {
		return &challenge.ProgramError{Problem: e.Err.Error(), Hint: e.Hint}
	}
	return err
}

// unavailable is a fault of the configuration: no attempt can work before it is mended.
func unavailable(what, hint string) error {
	return &acme.Error{Kind: acme.Permanent, Op: "challenge", Problem: "noSolver", Detail: what, Hint: hint}
}

// describe tells who answers http-01, as far as that is known before anybody has asked.
func (s *solvers) describe(listeners []net.Listener) answering {
	switch {
	case s.config.Solver == "off":
		return answering{text: "off"}
	case len(listeners) > 0:
		return answering{text: "acmed listens on " + addresses(listeners)}
	case s.config.Solver == "listen":
		return answering{nobody + ": run systemctl enable --now acmed-http.socket, or set http.listen", nobody}
	default:
		return answering{text: fmt.Sprintf("acmed-http.socket or a web server has to answer from %s", s.dir)}
	}
}
