package boulder

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"acmed/test/process"
)

// Service is one process of a lab.
type Service string

// The services, in the order in which they are started.
const (
	DNS       Service = "dns" // challtestsrv
	Database  Service = "database"
	Redis     Service = "redis" // holds the counts of rate limits
	CT        Service = "ct"    // two CT logs
	SA        Service = "sa"
	Publisher Service = "publisher"
	NonceA    Service = "nonce-a"
	NonceB    Service = "nonce-b"
	RemoteA   Service = "rva-a"
	RemoteB   Service = "rva-b"
	RemoteC   Service = "rva-c"
	RemoteD   Service = "rva-d"
	VA        Service = "va"
	RA        Service = "ra"
	CA        Service = "ca"
	WFE       Service = "wfe" // the web front end: what an ACME client talks to
	SFE       Service = "sfe" // the page that ends a pause
)

// Services are all of them, in the order in which they are started.
func Services() []Service {
	return []Service{DNS, Database, Redis, CT, SA, Publisher, NonceA, NonceB, RemoteA, RemoteB, RemoteC, RemoteD, VA, RA, CA, WFE, SFE}
}

// port is where a service listens.
func (s Service) port() int {
	return map[Service]int{
		DNS: 8055, Database: 3306, Redis: 4218, CT: 4600, SA: 9395, Publisher: 9391, NonceA: 9301, NonceB: 9401,
		RemoteA: 9500, RemoteB: 9501, RemoteC: 9502, RemoteD: 9503, VA: 9392, RA: 9394, CA: 9393, WFE: 4431, SFE: 4003,
	}[s]
}

// command is the subcommand of Boulder.
func (s Service) command() string {
	switch {
	case strings.HasPrefix(string(s), "nonce-"):
		return "nonce-service"
	case strings.HasPrefix(string(s), "rva-"):
		return "remoteva"
	case s == SFE:
		return "sfe"
	case s == WFE:
		return "boulder-wfe2"
	}
	return "boulder-" + string(s)
}

// The programs of Debian's packages.
const (
	databaseProgram = "/usr/sbin/mariadbd"
	redisProgram    = "/usr/bin/redis-server"
)

// argv is the program of a service and its arguments.
func (l *Lab) argv(s Service) []string {
	config := l.path("etc", string(s)+".json")
	switch s {
	case DNS:
		return []string{
			l.programs.challTestSrv, "-defaultIPv4", "", "-defaultIPv6", "", "-dns01", ResolverAddress, "-doh", "127.0.0.1:8343",
			"-doh-cert", l.path("internal/localhost.pem"), "-doh-cert-key", l.path("internal/localhost.key"),
			"-management", managementAddress, "-http01", "", "-https01", "", "-tlsalpn01", "",
		}
	case Database:
		return []string{databaseProgram, "--defaults-file=" + l.path("etc/my.cnf")}
	case Redis:
		return []string{redisProgram, l.path("etc/redis.conf")}
	case CT:
		return []string{l.programs.ctTestSrv, "--config", config}
	}
	return []string{l.programs.boulder, s.command(), "--config", config}
}

// Start starts services and waits until the other services have connected to them again.
func (l *Lab) Start(ctx context.Context, services ...Service) error {
	if err := l.Launch(ctx, services...); err != nil {
		return err
	}
	for _, s := range services {
		if err := l.awaitClients(ctx, s, services); err != nil {
			return err
		}
	}
	return nil
}

// Launch starts services, one after the other, and waits until each takes connections.
func (l *Lab) Launch(ctx context.Context, services ...Service) error {
	for _, s := range services {
		if err := l.launch(ctx, s); err != nil {
			return fmt.Errorf("starting %s: %w", s, err)
		}
	}
	return nil
}

func (l *Lab) launch(ctx context.Context, s Service) error {
	argv := l.argv(s)
	// The environment is ours alone, as in test/pebble.
	p, err := process.Start(argv[0], l.logFile(s), []string{"PATH=" + os.Getenv("PATH")}, argv[1:]...)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.running[s] = p
	l.mu.Unlock()
	if err := p.AwaitReady(ctx, func(ctx context.Context) error { return l.probe(ctx, s) }); err != nil {
		return err
	}
	if s == Database {
		return l.fillDatabase(ctx)
	}
	return nil
}

// probe reports whether a service answers. The front end does when the services behind it do.
func (l *Lab) probe(ctx context.Context, s Service) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", process.Loopback(s.port()))
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil || s != WFE {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://localhost:4431/build", nil)
	if err != nil {
		return err
	}
	resp, err := l.client.Do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// grace is how long a service may take to end.
const grace = 10 * time.Second

// Stop ends services as systemd would.
func (l *Lab) Stop(services ...Service) {
	l.end(func(p *process.Process) { p.Stop(grace) }, services)
}

// Kill ends services as a crash does.
func (l *Lab) Kill(services ...Service) { l.end((*process.Process).Kill, services) }

func (l *Lab) end(how func(*process.Process), services []Service) {
	for _, s := range services {
		clients, err := connections(s)
		l.mu.Lock()
		p := l.running[s]
		delete(l.running, s)
		if err == nil { // else nobody is waited for
			l.clients[s] = clients
		}
		l.mu.Unlock()
		if p != nil {
			how(p)
		}
	}
}

// Restart stops services and starts them again.
func (l *Lab) Restart(ctx context.Context, services ...Service) error {
	l.Stop(services...)
	return l.Start(ctx, services...)
}

func (l *Lab) stopAll() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range slices.Backward(Services()) {
		if p := l.running[s]; p != nil {
			p.Kill()
		}
	}
	clear(l.running)
	l.client.CloseIdleConnections()
}

func (l *Lab) logFile(s Service) string { return l.path("log", string(s)+".log") }

// Log is all that a service has written.
func (l *Lab) Log(s Service) (string, error) {
	text, err := os.ReadFile(l.logFile(s))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	return string(text), err
}
