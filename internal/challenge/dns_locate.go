package challenge

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
)

const (
	maxLinks = 10 // CNAME records on the way to where a record belongs
	maxCuts  = 20 // delegations between two zones
)

// place is where a record belongs, and who answers for it.
type place struct {
	name string // fully qualified, in lower case, where CNAME records lead
	authority
	risk string // what may go wrong because a resolver had to be asked; "": none was
}

// locator finds where records belong. It begins at a zone that exists, and asks the zones' own servers on the way down: a resolver
// that is asked for a name that does not exist yet remembers that for minutes or hours (RFC 2308), and the CA may ask the same.
type locator struct {
	resolver *resolver
	port     string   // of the servers of zones; "": that of DNS
	zones    []string // that the provider's file names, without the dot at the end; where none holds a name, its public suffix tells
	follow   *bool    // CNAME records; nil: those that no wildcard made
	primary  *updates // asked where nobody else knows the zone; nil: there is none
}

// locate finds where a record of that name belongs.
func (l *locator) locate(ctx context.Context, name string) (place, error) {
	for range maxLinks + 1 {
		at, target, err := l.step(ctx, dns.CanonicalName(name))
		if err != nil || target == "" {
			return at, err
		}
		name = target
	}
	return place{}, &refusal{"the CNAME records lead on and on, at last to " + name, "mend them: at most ten are followed"}
}

// step finds the zone that holds name, and where a CNAME record there leads; "": nowhere, the record belongs to name.
func (l *locator) step(ctx context.Context, name string) (at place, target string, err error) {
	a, err := l.apex(ctx, name)
	if err == nil {
		a, target, err = l.descend(ctx, a, name)
	}
	switch {
	case err == nil:
		return l.deeper(ctx, place{name: name, authority: a}, target)
	case l.primary != nil && ctx.Err() == nil:
		if at, target, perr := l.askPrimary(ctx, name); perr == nil {
			return at, target, nil
		}
	}
	if _, unasked := errors.AsType[*unaskedError](err); unasked || errors.Is(err, errNoZone) {
		return l.askResolver(ctx, a, name, err)
	}
	return place{}, "", err
}

// deeper returns what the server that takes the updates knows better: a zone below the one that was found, which nobody else may see.
func (l *locator) deeper(ctx context.Context, found place, target string) (place, string, error) {
	if l.primary == nil {
		return found, target, nil
	}
	at, aim, err := l.askPrimary(ctx, found.name)
	if err == nil && at.zone != found.zone && dns.IsSubDomain(found.zone, at.zone) {
		return at, aim, nil
	}
	return found, target, nil
}

// apex finds a zone above name that is sure to exist, and its servers: one that the provider's file names, or the public suffix plus
// one label. Where that is no zone, the answer tells which one holds it (RFC 2308 §3).
func (l *locator) apex(ctx context.Context, name string) (authority, error) {
	for zone, tries := l.begin(name), 0; tries < maxCuts; tries++ {
		m, err := l.resolver.ask(ctx, zone, dns.TypeNS)
		if unsupported(err) {
			return authority{}, fmt.Errorf("%w that holds %s: %w", errNoZone, strings.TrimSuffix(name, "."), err)
		}
		if err != nil {
			return authority{}, err
		}
		if servers := serversOf(m.Answer, zone); len(servers) > 0 {
			return l.authority(ctx, zone, servers, m.Extra)
		}
		above := soaOwner(m)
		if m.Rcode == dns.RcodeNameError && managed(above) {
			return authority{}, fmt.Errorf("%s does not exist: the resolver finds no such name in %s", strings.TrimSuffix(zone, "."), cmp.Or(above, "the DNS"))
		}
		if above == "" || above == zone || !dns.IsSubDomain(above, zone) {
			above = parentOf(zone)
		}
		if above == "." {
			break
		}
		zone = above
	}
	return authority{}, fmt.Errorf("%w that holds %s", errNoZone, strings.TrimSuffix(name, "."))
}

// errNoZone is what a resolver leaves to say that tells nothing of zones.
var errNoZone = errors.New("no zone is found")

// begin returns a name at or above name that exists if the CA can find name at all.
func (l *locator) begin(name string) (zone string) {
	for _, z := range l.zones {
		if z = dns.Fqdn(z); dns.IsSubDomain(z, name) && len(z) > len(zone) {
			zone = z
		}
	}
	if zone != "" {
		return zone
	}
	bare := strings.TrimSuffix(name, ".")
	domain, err := publicsuffix.EffectiveTLDPlusOne(bare)
	if err != nil || domain == bare || strings.HasPrefix(domain, "_") { // as for a domain that is a public suffix itself
		domain, _ = publicsuffix.PublicSuffix(bare)
	}
	return dns.Fqdn(domain)
}

// authority finds the addresses of servers, where an answer does not hold them already.
func (l *locator) authority(ctx context.Context, zone string, servers []string, glue []dns.RR) (authority, error) {
	a := authority{zone: zone}
	for _, name := range servers[:min(len(servers), maxServers)] {
		addresses, err := addressesIn(glue, name), error(nil)
		if len(addresses) == 0 {
			addresses, err = l.resolver.addresses(ctx, name)
		}
		if ctx.Err() != nil {
			return a, err
		}
		s := nameServer{name: name}
		for _, address := range addresses { // without any, it is a server that cannot be asked
			s.addresses = append(s.addresses, net.JoinHostPort(address, cmp.Or(l.port, "53")))
		}
		a.servers = append(a.servers, s)
	}
	return a, nil
}

// descend goes from zone to zone along delegations, to the one that holds name.
func (l *locator) descend(ctx context.Context, a authority, name string) (found authority, target string, err error) {
	for range maxCuts {
		m, err := a.ask(ctx, name, dns.TypeSOA)
		if err != nil {
			return a, "", err
		}
		below := a.delegation(m)
		if below == "" {
			return l.held(ctx, a, name, m)
		}
		if a, err = l.authority(ctx, below, serversOf(m.Ns, below), m.Extra); err != nil {
			return a, "", err
		}
	}
	return a, "", fmt.Errorf("more than %d delegations lead to %s", maxCuts, name)
}

// held reads the answer m of a server that has name: it may have the zone below, too.
func (l *locator) held(ctx context.Context, a authority, name string, m *dns.Msg) (authority, string, error) {
	target := targetOf(m, name)
	if target != "" {
		if l.followed(ctx, a.ask, name, target) {
			return a, target, nil
		}
		var err error
		if m, err = askAbove(ctx, a.ask, name); err != nil {
			return a, "", err
		}
	}
	zone := soaOwner(m)
	if zone == "" || zone == a.zone || !dns.IsSubDomain(a.zone, zone) || !dns.IsSubDomain(zone, name) {
		return a, "", nil
	}
	servers, err := a.ask(ctx, zone, dns.TypeNS)
	if err != nil {
		return a, "", err
	}
	a, err = l.authority(ctx, zone, serversOf(servers.Answer, zone), servers.Extra)
	return a, "", err
}

// asker asks servers that have a zone, without recursion.
type asker func(ctx context.Context, name string, kind uint16) (*dns.Msg, error)

// askAbove asks for the zone of a name that a wildcard makes a CNAME of: at the first name above it that is none.
func askAbove(ctx context.Context, ask asker, name string) (m *dns.Msg, err error) {
	for at := parentOf(name); ; at = parentOf(at) {
		if m, err = ask(ctx, at, dns.TypeSOA); err != nil || targetOf(m, at) == "" || at == "." {
			return m, err
		}
	}
}

// followed reports whether a CNAME record delegates its name. One that a wildcard made (RFC 4592) does not: it is for all names, and
// leads to where hosts are. A name beside it that nobody has written tells.
func (l *locator) followed(ctx context.Context, ask asker, name, target string) bool {
	if l.follow != nil {
		return *l.follow
	}
	other := "acmed-" + strings.ToLower(rand.Text()) + "." + parentOf(name)
	m, err := ask(ctx, other, dns.TypeCNAME)
	return err != nil || targetOf(m, other) != target
}

// askPrimary finds the zone by the server that takes its updates.
func (l *locator) askPrimary(ctx context.Context, name string) (place, string, error) {
	m, err := l.primary.ask(ctx, name, dns.TypeSOA)
	if err != nil {
		return place{}, "", err
	}
	if target := targetOf(m, name); target != "" {
		if l.followed(ctx, l.primary.ask, name, target) {
			return place{name: name}, target, nil
		}
		if m, err = askAbove(ctx, l.primary.ask, name); err != nil {
			return place{}, "", err
		}
	}
	at := place{name: name, authority: authority{zone: soaOwner(m)}}
	if at.zone == "" {
		return place{}, "", errors.New("it names no zone")
	}
	servers, err := l.primary.ask(ctx, at.zone, dns.TypeNS)
	if err != nil {
		return place{}, "", err
	}
	at.authority, err = l.authority(ctx, at.zone, serversOf(servers.Answer, at.zone), servers.Extra)
	return at, "", err
}

// askResolver finds the zone by a resolver, when the zone's own servers are not known or cannot be asked.
func (l *locator) askResolver(ctx context.Context, a authority, name string, cause error) (place, string, error) {
	m, err := l.resolver.ask(ctx, name, dns.TypeCNAME)
	if err != nil {
		return place{}, "", errors.Join(cause, err)
	}
	at := place{name: name, authority: a, risk: risk(m, name, cause)}
	if target := targetOf(m, name); target != "" && (l.follow == nil || *l.follow) {
		return at, target, nil
	}
	if zone := soaOwner(m); zone != "" && (a.zone == "" || dns.IsSubDomain(a.zone, zone)) && dns.IsSubDomain(zone, name) {
		at.zone = zone
	}
	return at, "", nil
}

// risk says how long a resolver may say that name does not exist, because it was asked before the record was written (RFC 2308 §5).
func risk(m *dns.Msg, name string, cause error) string {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return fmt.Sprintf("%v; so a resolver was asked for %s: a CA that asks the same one may not see the record for %s",
				cause, strings.TrimSuffix(name, "."), time.Duration(min(soa.Hdr.Ttl, soa.Minttl))*time.Second)
		}
	}
	return fmt.Sprintf("%v; so a resolver was asked for %s", cause, strings.TrimSuffix(name, "."))
}

func parentOf(name string) string {
	i, end := dns.NextLabel(name, 0)
	if end {
		return "."
	}
	return name[i:]
}

// managed reports whether a zone is the root, or one of a registry's in which other people's names are.
func managed(zone string) bool {
	bare := strings.TrimSuffix(zone, ".")
	suffix, icann := publicsuffix.PublicSuffix(bare)
	return bare == "" || icann && suffix == bare
}
