package challenge

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"
)

// maxServers is how many servers of a zone are asked.
const maxServers = 13

// authority is the name servers of a zone.
type authority struct {
	zone    string // with a dot at its end
	servers []nameServer
}

// nameServer is one server of a zone.
type nameServer struct {
	name      string   // with a dot at its end
	addresses []string // host:port; nil: none is known
}

func (s nameServer) String() string { return strings.TrimSuffix(s.name, ".") }

// reply is what one address of a server has answered.
type reply struct {
	server  int // index of the server
	address string
	answer  *dns.Msg
	err     error
}

// unaskedError is why no server of a zone has answered for it.
type unaskedError struct {
	zone string
	errs []error
}

func (e *unaskedError) Error() string {
	return fmt.Sprintf("no name server of %s can be asked from here: %v", strings.TrimSuffix(e.zone, "."), errors.Join(e.errs...))
}

// ask returns the first answer of a server that answers for the zone or names those that do, without recursion.
func (a authority) ask(ctx context.Context, name string, kind uint16) (*dns.Msg, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	failed := &unaskedError{zone: a.zone}
	for r := range a.askAll(ctx, question(name, kind, false)) {
		switch {
		case r.err == nil && a.answers(r.answer):
			return r.answer, nil
		case r.err == nil:
			r.err = fmt.Errorf("%s (%s): %s, and not for this zone", a.servers[r.server], hostOf(r.address), dns.RcodeToString[r.answer.Rcode])
		default:
			r.err = fmt.Errorf("%s (%s): %w", a.servers[r.server], hostOf(r.address), r.err)
		}
		failed.errs = append(failed.errs, r.err)
	}
	if len(failed.errs) == 0 {
		failed.errs = append(failed.errs, errors.New("they have no addresses"))
	}
	return nil, failed
}

// answers tells whether m is the answer of a server that has the zone: its own (RFC 1035 §4.1.1), or a delegation.
func (a authority) answers(m *dns.Msg) bool {
	if m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return false
	}
	return m.Authoritative || a.delegation(m) != ""
}

// delegation returns the zone below that an answer refers to (RFC 1034 §4.3.2); "": it does not.
func (a authority) delegation(m *dns.Msg) string {
	if m.Authoritative || len(m.Answer) > 0 {
		return ""
	}
	for _, rr := range m.Ns {
		owner := dns.CanonicalName(rr.Header().Name)
		if _, ok := rr.(*dns.NS); ok && owner != a.zone && dns.IsSubDomain(a.zone, owner) {
			return owner
		}
	}
	return ""
}

// askAll asks all addresses of all servers at once. The channel is closed when all have answered. When ctx ends before, questions
// under way end within queryTimeout.
func (a authority) askAll(ctx context.Context, m *dns.Msg) <-chan reply {
	replies := make(chan reply, a.addresses()) // nobody has to read them all
	var asking sync.WaitGroup
	for i, s := range a.servers {
		for _, address := range s.addresses {
			asking.Go(func() {
				answer, err := exchange(ctx, m.Copy(), address)
				replies <- reply{i, address, answer, err}
			})
		}
	}
	go func() { asking.Wait(); close(replies) }()
	return replies
}

func (a authority) addresses() (n int) {
	for _, s := range a.servers {
		n += len(s.addresses)
	}
	return n
}

func hostOf(address string) string {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return address
	}
	return host
}

// holding is which servers of a zone have a record.
type holding struct {
	have    int
	lacking string   // a server that answers without it; "": none
	unasked []string // servers of which no address has answered, with the reason
}

// holders asks every address of every server for a TXT value.
func (a authority) holders(ctx context.Context, name, value string) (h holding) {
	answered, failed := map[int]bool{}, map[int]error{}
	for r := range a.askAll(ctx, question(name, dns.TypeTXT, false)) {
		switch {
		case r.err != nil:
			failed[r.server] = r.err
			continue
		case !holds(r.answer, value):
			h.lacking = fmt.Sprintf("%s (%s) to have the TXT record %s", a.servers[r.server], hostOf(r.address), strings.TrimSuffix(name, "."))
		}
		answered[r.server] = true
	}
	for i, s := range a.servers {
		if answered[i] {
			h.have++
		} else {
			h.unasked = append(h.unasked, unanswered(s, failed[i]))
		}
	}
	slices.Sort(h.unasked)
	return h
}

func unanswered(s nameServer, err error) string {
	if err == nil {
		return s.String() + " has no address"
	}
	return fmt.Sprintf("%s does not answer: %v", s, err)
}

// holds tells whether an answer has that TXT value.
func holds(m *dns.Msg, value string) bool {
	return slices.ContainsFunc(m.Answer, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.Join(txt.Txt, "") == value
	})
}
