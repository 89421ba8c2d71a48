// Package evilca is a CA gone bad: a proxy before Pebble that passes requests on and spoils the answers.
//
// It owns its listeners, what is done to answers, and the count of what was asked. Requests are signed, so it changes
// none: it answers in the CA's place, or changes what the CA answered. It keeps the Host header, from which Pebble
// makes its URLs, so that a client which reads its directory here speaks to nobody else.
package evilca

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Endpoint is a resource of a CA (RFC 8555 §7.1, RFC 9773 §4.1).
type Endpoint string

// The endpoints that a client asks while it gets a certificate.
const (
	Directory   Endpoint = "directory"
	NewNonce    Endpoint = "newNonce"
	NewAccount  Endpoint = "newAccount"
	NewOrder    Endpoint = "newOrder"
	Order       Endpoint = "order"
	Authz       Endpoint = "authz"
	Challenge   Endpoint = "challenge"
	Finalize    Endpoint = "finalize"
	Certificate Endpoint = "certificate"
	RenewalInfo Endpoint = "renewalInfo"

	other Endpoint = "other"
)

// Endpoints are all of them, in the order in which a client meets them.
func Endpoints() []Endpoint {
	return []Endpoint{Directory, NewNonce, NewAccount, NewOrder, Authz, Challenge, Order, Finalize, Certificate, RenewalInfo}
}

// endpointOf knows Pebble's paths, which are odd on purpose.
func endpointOf(path string) Endpoint {
	for prefix, e := range map[string]Endpoint{
		"/dir": Directory, "/nonce-plz": NewNonce, "/sign-me-up": NewAccount, "/order-plz": NewOrder, "/my-order/": Order,
		"/authZ/": Authz, "/chalZ/": Challenge, "/finalize-order/": Finalize, "/certZ/": Certificate,
		"/draft-ietf-acme-ari-03/renewalInfo/": RenewalInfo,
	} {
		if path == prefix || strings.HasSuffix(prefix, "/") && strings.HasPrefix(path, prefix) {
			return e
		}
	}
	return other
}

// Config is what a Proxy is made from.
type Config struct {
	Upstream  string // the good CA's directory; required
	RootsFile string // PEM roots that vouch for the good CA's listener; required
	Dir       string // where the proxy's own RootsFile is written; required
	Rules     *Rules // nil: none but the CA's own
}

// Proxy is one front of the good CA; several may stand before the same one.
type Proxy struct {
	DirectoryURL string
	RootsFile    string // PEM of the root that vouches for the proxy's own listener
	// Elsewhere is host:port of a listener that no client has any business with, see [Proxy.Strays].
	Elsewhere string

	upstream *url.URL
	http     *http.Client
	server   *httptest.Server
	stray    net.Listener
	rules    *Rules
	done     chan struct{} // closed by Close
	watcher  sync.WaitGroup

	mu         sync.Mutex // guards the following
	faults     map[Endpoint]Fault
	met        map[string]int // requests of a URL since a fault was set
	counts     map[Endpoint]int
	hits       map[Endpoint]int
	strays     int
	nonces     map[string]bool
	signatures []string
	misdeeds   []error
}

// New starts a proxy that spoils nothing yet. The caller must Close it.
func New(c Config) (*Proxy, error) {
	upstream, err := url.Parse(c.Upstream)
	if err != nil {
		return nil, fmt.Errorf("starting an evil CA: %w", err)
	}
	roots, err := readRoots(c.RootsFile)
	if err != nil {
		return nil, fmt.Errorf("starting an evil CA: %w", err)
	}
	stray, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("starting an evil CA: %w", err)
	}
	p := &Proxy{
		Elsewhere: stray.Addr().String(), RootsFile: filepath.Join(c.Dir, "evilca.pem"),
		upstream: upstream, stray: stray, rules: c.Rules, done: make(chan struct{}),
		http: &http.Client{
			Transport:     newTransport(roots),
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		faults: map[Endpoint]Fault{}, hits: map[Endpoint]int{}, met: map[string]int{}, counts: map[Endpoint]int{}, nonces: map[string]bool{},
	}
	p.server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.server.EnableHTTP2 = true
	p.server.StartTLS()
	p.watcher.Go(p.countStrays)
	p.DirectoryURL = p.server.URL + upstream.Path
	root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.server.Certificate().Raw})
	if err := os.WriteFile(p.RootsFile, root, 0o600); err != nil {
		p.Close()
		return nil, fmt.Errorf("starting an evil CA: %w", err)
	}
	return p, nil
}

func newTransport(roots *x509.CertPool) *http.Transport {
	return &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, MaxIdleConnsPerHost: 16, DisableCompression: true}
}

func readRoots(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(text) {
		return nil, errors.New(file + " holds no certificate")
	}
	return roots, nil
}

// Close ends every request and both listeners.
func (p *Proxy) Close() {
	close(p.done)
	p.server.CloseClientConnections()
	p.server.Close()
	_ = p.stray.Close() // what ends Accept
	p.watcher.Wait()
	p.http.CloseIdleConnections()
}

// Spoil makes every request of the endpoint meet the fault from now on.
func (p *Proxy) Spoil(e Endpoint, f Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.faults[e] = f
	clear(p.met)
}

// Mend ends the faults of the endpoints; without any, all faults.
func (p *Proxy) Mend(endpoints ...Endpoint) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(endpoints) == 0 {
		clear(p.faults)
	}
	for _, e := range endpoints {
		delete(p.faults, e)
	}
}

// Count is how many requests of the endpoint came in.
func (p *Proxy) Count(e Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.counts[e]
}

// Total is how many requests came in.
func (p *Proxy) Total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, count := range p.counts {
		n += count
	}
	return n
}

// Hits is how many requests of the endpoint met a fault.
func (p *Proxy) Hits(e Endpoint) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.hits[e]
}

// Strays is how many connections were made to Elsewhere: each is a client that was lured away.
func (p *Proxy) Strays() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.strays
}

// Signatures are those of all requests that were signed, in base64url: none belongs into a log.
func (p *Proxy) Signatures() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.signatures)
}

// Misdeeds are what a client must not do whatever the CA does, such as use a nonce twice.
func (p *Proxy) Misdeeds() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return errors.Join(p.misdeeds...)
}

func (p *Proxy) countStrays() {
	for {
		conn, err := p.stray.Accept()
		if err != nil {
			return
		}
		p.mu.Lock()
		p.strays++
		p.mu.Unlock()
		conn.Close()
	}
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	x, err := p.receive(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	fault := p.note(x)
	if fault == nil {
		fault = pass
	}
	fault(w, x)
}

// receive reads a request whole.
func (p *Proxy) receive(r *http.Request) (*Exchange, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("reading a request: %w", err)
	}
	x := &Exchange{Request: r, Endpoint: endpointOf(r.URL.Path), At: time.Now(), body: body, proxy: p}
	x.signed = parseJWS(body)
	return x, nil
}

// note counts a request and tells which fault it meets.
func (p *Proxy) note(x *Exchange) Fault {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[x.Endpoint]++
	p.judge(x)
	fault := p.faults[x.Endpoint]
	if fault != nil {
		p.hits[x.Endpoint]++
		p.met[x.URL.Path]++
		x.N = p.met[x.URL.Path]
	}
	return fault
}

// judge looks for misdeeds.
func (p *Proxy) judge(x *Exchange) {
	if x.UserAgent() == "" {
		p.misdeeds = append(p.misdeeds, fmt.Errorf("%s was asked without a User-Agent", x.Endpoint))
	}
	if x.Method != http.MethodPost {
		return
	}
	if p.nonces[x.signed.nonce] {
		p.misdeeds = append(p.misdeeds, fmt.Errorf("%s was asked with a nonce that was used before", x.Endpoint))
	}
	p.nonces[x.signed.nonce] = true
	p.signatures = append(p.signatures, x.signed.signature)
}
