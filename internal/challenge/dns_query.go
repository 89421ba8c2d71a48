package challenge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
)

const (
	queryTimeout = 5 * time.Second
	payloadSize  = 1232
)

// resolver asks servers that resolve for others. They remember that a name does not exist, and may be those that the CA asks: no
// name is asked for here that may not exist.
type resolver struct {
	servers []string // host:port
}

func systemResolvers(file string) (servers []string, err error) {
	c, err := dns.ClientConfigFromFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading which servers resolve names: %w; name them in propagation.resolvers", err)
	}
	for _, s := range c.Servers {
		servers = append(servers, net.JoinHostPort(s, c.Port))
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("%s names no server: name them in propagation.resolvers", file)
	}
	return servers, nil
}

// ask returns the first answer of one of the servers that is one.
func (r *resolver) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	var errs []error
	for _, server := range r.servers {
		m, err := exchange(ctx, question(name, kind, true), server)
		if err == nil && m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
			err = rcodeError(m.Rcode)
		}
		if err == nil {
			return m, nil
		}
		errs = append(errs, fmt.Errorf("asking %s for %s of %s: %w", server, dns.TypeToString[kind], name, err))
	}
	return nil, errors.Join(errs...)
}

// rcodeError is an answer that is none (RFC 1035 §4.1.1).
type rcodeError int

func (e rcodeError) Error() string { return dns.RcodeToString[int(e)] }

// unsupported reports whether a resolver does not answer such a question at all, as some routers do not.
func unsupported(err error) bool {
	code, ok := errors.AsType[rcodeError](err)
	return ok && (code == dns.RcodeNotImplemented || code == dns.RcodeRefused || code == dns.RcodeFormatError)
}

// addresses returns the IPv4 and IPv6 addresses of a host.
func (r *resolver) addresses(ctx context.Context, host string) (out []string, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := r.ask(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		out = append(out, addressesIn(m.Answer, "")...)
	}
	return out, nil
}

// finds tells whether a resolver knows a TXT value.
func (r *resolver) finds(ctx context.Context, name, value string) bool {
	m, err := r.ask(ctx, name, dns.TypeTXT)
	return err == nil && holds(m, value)
}

// addressesIn returns the addresses of a host that records hold; host "": of all.
func addressesIn(records []dns.RR, host string) (out []string) {
	for _, rr := range records {
		if host != "" && !strings.EqualFold(rr.Header().Name, host) {
			continue
		}
		switch a := rr.(type) {
		case *dns.A:
			out = append(out, a.A.String())
		case *dns.AAAA:
			out = append(out, a.AAAA.String())
		}
	}
	return out
}

func question(name string, kind uint16, recurse bool) *dns.Msg {
	m := new(dns.Msg)
	m.SetQuestion(name, kind)
	m.RecursionDesired = recurse
	m.SetEdns0(payloadSize, false)
	return m
}

// exchange asks by UDP, and once more by TCP where that has no room for the answer, or no way.
func exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	udp := &dns.Client{Net: "udp", Timeout: queryTimeout, UDPSize: payloadSize}
	answer, _, err := udp.ExchangeContext(ctx, m, server)
	if err == nil && !answer.Truncated || ctx.Err() != nil {
		return answer, err
	}
	tcp := &dns.Client{Net: "tcp", Timeout: queryTimeout}
	again, _, tcpErr := tcp.ExchangeContext(ctx, m, server)
	if tcpErr != nil {
		return nil, errors.Join(err, tcpErr)
	}
	return again, nil
}

// soaOwner returns the zone that an answer is from: the owner of the SOA record in it (RFC 2308 §3); "": it has none.
func soaOwner(m *dns.Msg) string {
	for _, rr := range append(m.Answer, m.Ns...) {
		if soa, ok := rr.(*dns.SOA); ok {
			return dns.CanonicalName(soa.Hdr.Name)
		}
	}
	return ""
}

// targetOf returns where a CNAME record of name leads; "": there is none.
func targetOf(m *dns.Msg, name string) string {
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, name) {
			return dns.CanonicalName(c.Target)
		}
	}
	return ""
}

// serversOf returns the name servers that records name for a zone.
func serversOf(records []dns.RR, zone string) (names []string) {
	for _, rr := range records {
		if ns, ok := rr.(*dns.NS); ok && strings.EqualFold(ns.Hdr.Name, zone) {
			names = append(names, dns.CanonicalName(ns.Ns))
		}
	}
	return names
}
