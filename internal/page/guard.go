package page

import (
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// mostRefused is how many host names are logged that are refused.
const mostRefused = 16

// Guard returns a handler that passes requests to next if they ask for an address, for localhost or for one of names: a page
// elsewhere must not read what is served here by a name that it has led here. log may be nil.
func Guard(names []string, log *zap.Logger, next http.Handler) http.Handler {
	if log == nil {
		log = zap.NewNop()
	}
	return &guard{names: names, log: log, next: next, refused: map[string]bool{}}
}

type guard struct {
	names []string
	log   *zap.Logger
	next  http.Handler

	mu      sync.Mutex // guards the following
	refused map[string]bool
}

// ServeHTTP implements http.Handler.
func (g *guard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if welcome(r.Host, g.names) {
		g.next.ServeHTTP(w, r)
		return
	}
	g.report(r)
	http.Error(w, "this host name does not lead to acmed: ask for an address or for localhost, or add the name to admin.hosts in acmed.yaml", http.StatusMisdirectedRequest)
}

// report logs each host name that is refused once.
func (g *guard) report(r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.refused[r.Host] || len(g.refused) >= mostRefused {
		return
	}
	g.refused[r.Host] = true
	g.log.Warn("request for another host name refused", zap.String("host", clip(r.Host)), zap.String("path", clip(r.URL.Path)),
		zap.String("hint", "add the name to admin.hosts in acmed.yaml if it is a name of this machine"))
}

func clip(s string) string { return s[:min(len(s), 253)] }

// welcome reports whether host may be asked for. An address cannot be anybody else's.
func welcome(host string, names []string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	name = strings.TrimSuffix(strings.ToLower(strings.Trim(name, "[]")), ".")
	if _, err := netip.ParseAddr(name); err == nil || name == "localhost" {
		return true
	}
	return name != "" && slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}
