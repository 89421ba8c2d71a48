package challenge

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

const (
	queryTimeout = 5 * time.Second
	maxLinks     = 10 // CNAME records on the way to where a proof belongs
	payloadSize  = 1232
)

// resolver asks servers that resolve for others, and finds those that answer for a zone.
type resolver struct {
	servers []string
	port    string // of the servers of zones; "": that of DNS
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
			err = errors.New(dns.RcodeToString[m.Rcode])
		}
		if err == nil {
			return m, nil
		}
		errs = append(errs, fmt.Errorf("asking %s for %s of %s: %w", server, dns.TypeToString[kind], name, err))
	}
	return nil, errors.Join(errs...)
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

// follow goes along CNAME records from name to where they end.
func (r *resolver) follow(ctx context.Context, name string) (string, error) {
	for range maxLinks {
		m, err := r.ask(ctx, name, dns.TypeCNAME)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(m.Answer, func(rr dns.RR) bool {
			_, ok := rr.(*dns.CNAME)
			return ok && strings.EqualFold(rr.Header().Name, name)
		})
		if i < 0 {
			return name, nil
		}
		name = dns.CanonicalName(m.Answer[i].(*dns.CNAME).Target)
	}
	return "", &refusal{"the CNAME records lead on and on, at last to " + name, "mend them: at most ten are followed"}
}

// zone finds the zone that holds name.
func (r *resolver) zone(ctx context.Context, name string) (string, error) {
	for at := name; ; {
		m, err := r.ask(ctx, at, dns.TypeSOA)
		if err != nil {
			return "", err
		}
		for _, rr := range m.Answer {
			if _, ok := rr.(*dns.SOA); ok && strings.EqualFold(rr.Header().Name, at) {
				return dns.CanonicalName(at), nil
			}
		}
		i, end := dns.NextLabel(at, 0)
		if end {
			return "", fmt.Errorf("no zone is found that holds %s", name)
		}
		at = at[i:]
	}
}

// lacking names a server of name's zone that does not answer with that TXT value; "": all do.
func (r *resolver) lacking(ctx context.Context, name, value string) (string, error) {
	zone, err := r.zone(ctx, name)
	if err != nil {
		return "", err
	}
	m, err := r.ask(ctx, zone, dns.TypeNS)
	if err != nil {
		return "", err
	}
	found := false
	for _, rr := range m.Answer {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		found = true
		if why, err := r.serverLacks(ctx, ns.Ns, name, value); err != nil || why != "" {
			return why, err
		}
	}
	if !found {
		return "", fmt.Errorf("the zone %s has no name servers", zone)
	}
	return "", nil
}

// serverLacks asks each address of a server. Where this machine has no way to one family of them, the other does.
func (r *resolver) serverLacks(ctx context.Context, server, name, value string) (why string, err error) {
	addresses, err := r.addresses(ctx, server)
	if err != nil {
		return "", err
	}
	asked := 0
	for _, a := range addresses {
		m, err := exchange(ctx, question(name, dns.TypeTXT, false), net.JoinHostPort(a, cmp.Or(r.port, "53")))
		switch {
		case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
			continue
		case err != nil:
			return fmt.Sprintf("%s (%s) does not answer: %v", strings.TrimSuffix(server, "."), a, err), nil
		case !holds(m, value):
			return fmt.Sprintf("%s (%s) to have the TXT record %s", strings.TrimSuffix(server, "."), a, strings.TrimSuffix(name, ".")), nil
		}
		asked++
	}
	if asked == 0 {
		return fmt.Sprintf("a way to %s, of which no address can be reached from here", strings.TrimSuffix(server, ".")), nil
	}
	return "", nil
}

func (r *resolver) addresses(ctx context.Context, server string) (out []string, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := r.ask(ctx, server, kind)
		if err != nil {
			return nil, err
		}
		for _, rr := range m.Answer {
			switch a := rr.(type) {
			case *dns.A:
				out = append(out, a.A.String())
			case *dns.AAAA:
				out = append(out, a.AAAA.String())
			}
		}
	}
	return out, nil
}

// holds tells whether an answer has that TXT value.
func holds(m *dns.Msg, value string) bool {
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.Join(txt.Txt, "") == value
	})
}
