package zone

import (
	"slices"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Resolver is a caching resolver in front of servers. It remembers each answer until its test ends, also that there is nothing
// (RFC 2308), and nothing below that (RFC 8020).
type Resolver struct {
	Addr string // host:port, the same for UDP and TCP

	servers []*Server

	mu    sync.Mutex // guards the following
	cache map[dns.Question]*dns.Msg
	asked []string
}

// StartResolver starts a resolver that knows which server has which zone.
func StartResolver(t testing.TB, servers ...*Server) *Resolver {
	t.Helper()
	r := &Resolver{servers: servers, cache: map[dns.Question]*dns.Msg{}}
	packets, stream := listen(t, "127.0.0.1:0")
	r.Addr = stream.Addr().String()
	serve(t, &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(r.answer)})
	serve(t, &dns.Server{Listener: stream, Handler: dns.HandlerFunc(r.answer)})
	return r
}

// Asked returns the names of all questions, in order.
func (r *Resolver) Asked() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.asked)
}

// TXT answers as it would answer the CA.
func (r *Resolver) TXT(name string) (values []string) {
	m := r.resolve(dns.Question{Name: dns.Fqdn(name), Qtype: dns.TypeTXT, Qclass: dns.ClassINET})
	for _, rr := range m.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			values = append(values, txt.Txt...)
		}
	}
	slices.Sort(values)
	return values
}

func (r *Resolver) answer(w dns.ResponseWriter, m *dns.Msg) {
	q := m.Question[0]
	r.mu.Lock()
	r.asked = append(r.asked, dns.CanonicalName(q.Name))
	r.mu.Unlock()
	reply := new(dns.Msg)
	reply.SetReply(m)
	found := r.resolve(q)
	reply.RecursionAvailable, reply.Rcode, reply.Answer, reply.Ns = true, found.Rcode, found.Answer, found.Ns
	_ = w.WriteMsg(reply) // who asked may be gone
}

func (r *Resolver) resolve(q dns.Question) *dns.Msg {
	q.Name = dns.CanonicalName(q.Name)
	r.mu.Lock()
	defer r.mu.Unlock()
	if m := r.remembered(q); m != nil {
		return m
	}
	m := new(dns.Msg)
	for _, s := range r.servers {
		m = new(dns.Msg)
		s.look(m, q, true)
		if len(m.Answer)+len(m.Ns) > 0 {
			break
		}
	}
	r.cache[q] = m
	return m
}

// remembered returns what the cache says; nil: nothing.
func (r *Resolver) remembered(q dns.Question) *dns.Msg {
	for known, m := range r.cache {
		if known == q || m.Rcode == dns.RcodeNameError && dns.IsSubDomain(known.Name, q.Name) {
			return m
		}
	}
	return nil
}
