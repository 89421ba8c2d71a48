package challenge

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"acmed/internal/acme"
	"acmed/internal/sd"
)

// alpnProtocol is what a CA asks for when it validates (RFC 8737 §4).
const alpnProtocol = "acme-tls/1"

var _ acme.Solver = (*ALPN)(nil)

// turn is how long a CA has to look at a proof before an order of the same name may have its place.
const turn = time.Minute

// ALPN keeps the certificates that prove control by tls-alpn-01 (RFC 8737), for an ALPNServer to show. They are lost
// when the process ends, and presented again when their order is resumed. All methods may be called at once.
//
// A handshake tells a name and not an order: of several orders for a name, one has its turn, from Visible to CleanUp.
type ALPN struct {
	mu     sync.Mutex // guards the following
	proofs map[string]proof
}

// proof is one certificate, and the token that it is for.
type proof struct {
	token string
	cert  *tls.Certificate
	turn  time.Time // since when nothing else is shown; zero: it gives way
}

// yields tells whether p may be followed by the proof of another order.
func (p proof) yields(token string) bool {
	return p.token == token || p.turn.IsZero() || time.Since(p.turn) >= turn
}

// NewALPN has nothing to show yet.
func NewALPN() *ALPN { return &ALPN{proofs: map[string]proof{}} }

// Present shows p to whoever asks for its name, unless another proof has its turn.
func (a *ALPN) Present(_ context.Context, p acme.Proof) error {
	if p.Type != "tls-alpn-01" || p.TLSCert == nil {
		return fmt.Errorf("%s for %s is no proof of tls-alpn-01", p.Type, p.Identifier.Value)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if name := serverName(p.Identifier.Value); a.proofs[name].yields(p.Token) {
		a.proofs[name] = proof{token: p.Token, cert: p.TLSCert}
	}
	return nil
}

// Visible gives p its turn, or tells that another order has it: then "" comes later. Orders of several names take theirs
// in the order of the alphabet, else two could wait for each other.
func (a *ALPN) Visible(_ context.Context, p acme.Proof, _ time.Time) (lacking string, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	name := serverName(p.Identifier.Value)
	if !a.proofs[name].yields(p.Token) {
		return "another order for " + p.Identifier.Value + ", which is proved first", nil
	}
	a.proofs[name] = proof{p.Token, p.TLSCert, time.Now()}
	return "", nil
}

// CleanUp shows p no longer. Another proof of the same name stays.
func (a *ALPN) CleanUp(_ context.Context, p acme.Proof) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if name := serverName(p.Identifier.Value); a.proofs[name].token == p.Token {
		delete(a.proofs, name)
	}
	return nil
}

// serverName is what a CA names in its ClientHello: for an address, its reverse name (RFC 8738 §6).
func serverName(identifier string) string {
	if _, err := netip.ParseAddr(identifier); err == nil {
		identifier, _ = dns.ReverseAddr(identifier) // fails for what is no address alone
	}
	return strings.ToLower(strings.TrimSuffix(identifier, "."))
}

// config lets a handshake succeed that asks for a proof, and no other.
func (a *ALPN) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{alpnProtocol}, SessionTicketsDisabled: true,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !slices.Contains(hello.SupportedProtos, alpnProtocol) {
				return nil, errors.New("the client does not ask for a proof")
			}
			a.mu.Lock()
			defer a.mu.Unlock()
			if p := a.proofs[strings.ToLower(hello.ServerName)]; p.cert != nil {
				return p.cert, nil
			}
			return nil, errors.New("there is no proof of that name")
		},
	}
}

// ALPNConfig says where proofs are shown and what a server can bear.
type ALPNConfig struct {
	Listeners          []net.Listener // at least one; Run closes them
	Proofs             *ALPN          // required
	MaxConns           int            // open connections; 0: 256. One more closes the oldest
	MaxConnsPerNetwork int            // as in ServerConfig; 0: 128
	Metrics            *Metrics       // nil: not counted
	Log                *zap.Logger    // nil: none
}

// ALPNServer shows the proofs of tls-alpn-01. It makes handshakes and nothing else: no byte is read after one.
type ALPNServer struct {
	listeners []net.Listener
	config    *tls.Config
	guard     *guard
	log       *zap.Logger
}

// NewALPNServer returns a server that does nothing until Run.
func NewALPNServer(c ALPNConfig) (*ALPNServer, error) {
	if len(c.Listeners) == 0 || c.Proofs == nil {
		return nil, errors.New("making the tls-alpn-01 server: Listeners and Proofs are required")
	}
	g := newGuard(cmp.Or(c.MaxConns, 256), cmp.Or(c.MaxConnsPerNetwork, usualConnsPerNetwork), cmp.Or(c.Metrics, NewMetrics()))
	return &ALPNServer{c.Listeners, c.Proofs.config(), g, c.Log}, nil
}

// Run serves until ctx ends and returns nil, or until a listener fails and returns its error. When it returns, everything
// is closed and no goroutine is left. It can be called once.
func (s *ALPNServer) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, l := range s.listeners {
		group.Go(func() error {
			defer context.AfterFunc(ctx, func() { _ = l.Close() })() // it may have failed before
			err := s.accept(ctx, listener{sd.Steady(l, s.log), s.guard})
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("serving tls-alpn-01 on %s: %w", l.Addr(), err)
		})
	}
	err := group.Wait()
	s.guard.wait()
	return err
}

func (s *ALPNServer) accept(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer s.guard.open.Done()
			s.shake(ctx, c)
		}()
	}
}

// shake makes one handshake. What comes of it, the client knows.
func (s *ALPNServer) shake(ctx context.Context, c net.Conn) {
	defer c.Close()
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	t := tls.Server(c, s.config)
	if t.HandshakeContext(ctx) == nil {
		_ = t.CloseWrite() // the client may be gone
	}
}
