package doctor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"

	"acmed/internal/spec"
)

// names looks every name up, as a CA does.
func (k *check) names(ctx context.Context) {
	servers := k.Resolvers
	if servers == nil {
		c, err := dns.ClientConfigFromFile("/etc/resolv.conf")
		if err != nil || len(c.Servers) == 0 {
			k.bad(Skipped, "name", "", "", "no name was looked up: /etc/resolv.conf names no server")
			return
		}
		for _, s := range c.Servers {
			servers = append(servers, net.JoinHostPort(s, c.Port))
		}
	}
	r, looked, unanswered := resolver{servers}, 0, 0
	for _, c := range k.certs {
		for _, name := range c.DNSNames {
			if looked++; looked > mostNames || ctx.Err() != nil {
				k.bad(Skipped, "name", "", "name the certificates that you want to know about", "names beyond the first %d were not looked up", mostNames)
				return
			}
			if unanswered == mostUnanswered {
				k.bad(Skipped, "name", name, "have a DNS server answer first", "not looked up: no DNS server answered for the names before")
				continue
			}
			if err := k.name(ctx, r, c, name); errors.Is(err, errUnanswered) {
				unanswered++
			} else {
				unanswered = 0
			}
		}
	}
}

// mostUnanswered is for how many names in a row no server may answer, until the others are taken to get none either: each
// takes some seconds.
const mostUnanswered = 3

// name returns the error of a query for it, which is reported.
func (k *check) name(ctx context.Context, r resolver, c *spec.Certificate, name string) error {
	host := strings.TrimPrefix(name, "*.")
	addresses, err := r.addresses(ctx, host)
	if err != nil {
		k.bad(Failure, "name", name, lookUpHint(err, "make sure that the name servers of the zone answer"), "%v", err)
		return err
	}
	if k.caa(ctx, r, c, name) && k.reaches(c, name, addresses) {
		k.good("name", name, "leads to %s", joined(addresses))
	}
	return nil
}

// lookUpHint returns what to do about the error of a query; otherwise is for servers that answer, with an error.
func lookUpHint(err error, otherwise string) string {
	switch {
	case errors.Is(err, errBogus):
		return "correct the DNSSEC signatures of the zone, or remove its DS record: a CA must not trust them"
	case errors.Is(err, errUnanswered):
		return "make sure that this DNS server runs and that this machine reaches it on that port, or pass another with --resolver"
	}
	return otherwise
}

// reaches tells whether a name leads here, as far as that can be seen: behind NAT or a balancer it does not.
func (k *check) reaches(c *spec.Certificate, name string, addresses []netip.Addr) bool {
	switch {
	case c.Challenge.ByDNS():
		return true
	case len(addresses) == 0:
		k.bad(Failure, "name", name, "add A and AAAA records that lead to this machine, or use dns-01", "it has no address, and the CA has to reach it")
		return false
	}
	others := slices.DeleteFunc(slices.Clone(addresses), func(a netip.Addr) bool { return slices.Contains(k.Own, a) })
	if len(others) > 0 {
		k.bad(Warning, "name", name, "right behind NAT, a proxy or a load balancer that passes challenges on; else correct the records: CAs prefer IPv6",
			"it leads to %s, which no interface of this machine has", joined(others))
		return false
	}
	return true
}

// caa tells whether the CAA records let the certificate's first issuer issue (RFC 8659, RFC 8657).
func (k *check) caa(ctx context.Context, r resolver, c *spec.Certificate, name string) bool {
	i := k.Set.Issuer(c.Issuers[0])
	if i == nil {
		return true
	}
	records, at, err := r.caa(ctx, strings.TrimPrefix(name, "*."))
	if err != nil {
		k.bad(Failure, "name", name, lookUpHint(err, "make sure that every name server of the zone answers for that type: CAs refuse a name whose CAA records they cannot read"), "%v", err)
		return false
	}
	tag := "issue"
	if strings.HasPrefix(name, "*.") && slices.ContainsFunc(records, func(c *dns.CAA) bool { return c.Tag == "issuewild" }) {
		tag = "issuewild"
	}
	records = slices.DeleteFunc(records, func(c *dns.CAA) bool { return c.Tag != tag })
	if len(records) == 0 {
		return true
	}
	seen := k.seen[i.Name]
	if len(seen.Directory.CAA) == 0 {
		return true // what the CA calls itself is not known; that it cannot be asked was said
	}
	who, known := k.accounts[i.Name]
	var others []string // accounts that may have it
	for _, record := range records {
		p := parseCAA(record.Value)
		if !slices.Contains(seen.Directory.CAA, p.domain) || p.methods != nil && !slices.Contains(p.methods, c.Challenge.Type) {
			continue
		}
		if p.account == "" || p.account == who {
			return true
		}
		others = append(others, p.account)
	}
	switch {
	case len(others) == 0:
		k.bad(Failure, "name", name, fmt.Sprintf("add to the zone: %s CAA 0 %s %q", at, tag, seen.Directory.CAA[0]),
			"the CAA records of %s do not allow %s by %s", at, i.Name, c.Challenge.Type)
	case !known:
		k.bad(Skipped, "name", name, "run acmed doctor as root", "the CAA records of %s allow an account alone, and whether it is the one here cannot be seen: %s", at, others[0])
	case who == "":
		k.bad(Warning, "name", name, "put the account there into the record once the first order has made it, or bring that one here with acmed import",
			"the CAA records of %s allow one account alone, and there is none here yet: %s", at, others[0])
	default:
		k.bad(Failure, "name", name, fmt.Sprintf("add to the zone: %s CAA 0 %s %q", at, tag, seen.Directory.CAA[0]+"; accounturi="+who),
			"the CAA records of %s allow another account than %s: %s", at, who, others[0])
	}
	return false
}

// caaValue is what one CAA record says (RFC 8659 §4.2, RFC 8657).
type caaValue struct {
	domain  string   // in lower case
	account string   // URI; "": any
	methods []string // of validation; nil: any
}

// parseCAA reads a value such as "ca.example; validationmethods=dns-01; accounturi=https://ca.example/acct/1".
func parseCAA(value string) (v caaValue) {
	domain, parameters, _ := strings.Cut(value, ";")
	v.domain = strings.ToLower(strings.TrimSpace(domain))
	for p := range strings.SplitSeq(parameters, ";") {
		switch key, text, _ := strings.Cut(strings.TrimSpace(p), "="); key {
		case "validationmethods":
			v.methods = strings.Split(text, ",")
		case "accounturi":
			v.account = text
		}
	}
	return v
}

func joined(addresses []netip.Addr) string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	if len(out) == 0 {
		return "no address"
	}
	return strings.Join(out, ", ")
}

// resolver asks servers that resolve for others.
type resolver struct{ servers []string }

var (
	// errBogus is for names that only a resolver which does not validate gives an answer for.
	errBogus = errors.New("DNSSEC is broken")
	// errUnanswered is for a query to which no server sent an answer.
	errUnanswered = errors.New("no answer")
)

func (r resolver) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), kind)
	m.SetEdns0(1232, false)
	var errs []error
	answered := false
	for _, server := range r.servers {
		answer, err := exchange(ctx, m, server)
		answered = answered || err == nil
		if err == nil && answer.Rcode == dns.RcodeServerFailure {
			unchecked := m.Copy()
			unchecked.CheckingDisabled = true
			if again, cerr := exchange(ctx, unchecked, server); cerr == nil && again.Rcode == dns.RcodeSuccess {
				return nil, fmt.Errorf("%w: %s has an answer only without validation", errBogus, server)
			}
		}
		if err == nil && (answer.Rcode == dns.RcodeSuccess || answer.Rcode == dns.RcodeNameError) {
			return answer, nil
		}
		if err == nil {
			err = errors.New(dns.RcodeToString[answer.Rcode])
		}
		errs = append(errs, fmt.Errorf("querying %s for %s: %w", server, dns.TypeToString[kind], withoutSource(err)))
	}
	err := errors.Join(errs...)
	if !answered {
		err = &unanswered{err}
	}
	return nil, err
}

// unanswered is an error that is errUnanswered, in its own words.
type unanswered struct{ error }

func (u *unanswered) Is(target error) bool { return target == errUnanswered }

// withoutSource leaves out this machine's own port, which differs in each error of one cause.
func withoutSource(err error) error {
	if e, ok := errors.AsType[*net.OpError](err); ok {
		return e.Err
	}
	return err
}

func exchange(ctx context.Context, m *dns.Msg, server string) (*dns.Msg, error) {
	answer, _, err := (&dns.Client{Timeout: 5 * time.Second}).ExchangeContext(ctx, m, server)
	if err == nil && answer.Truncated {
		answer, _, err = (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).ExchangeContext(ctx, m, server)
	}
	return answer, err
}

func (r resolver) addresses(ctx context.Context, host string) (out []netip.Addr, err error) {
	for _, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
		m, err := r.ask(ctx, host, kind)
		if err != nil {
			return nil, err
		}
		for _, rr := range m.Answer {
			var ip net.IP
			switch a := rr.(type) {
			case *dns.A:
				ip = a.A
			case *dns.AAAA:
				ip = a.AAAA
			}
			if a, ok := netip.AddrFromSlice(ip); ok {
				out = append(out, a.Unmap())
			}
		}
	}
	return out, nil
}

// caa climbs to the first name that has CAA records (RFC 8659 §3).
func (r resolver) caa(ctx context.Context, name string) (records []*dns.CAA, at string, err error) {
	for at = name; at != ""; _, at, _ = strings.Cut(at, ".") {
		m, err := r.ask(ctx, at, dns.TypeCAA)
		if err != nil && at != name {
			err = fmt.Errorf("%s: %w", at, err)
		}
		if err != nil {
			return nil, at, err
		}
		for _, rr := range m.Answer {
			if c, ok := rr.(*dns.CAA); ok {
				records = append(records, c)
			}
		}
		if len(records) > 0 {
			break
		}
	}
	return records, at, nil
}
