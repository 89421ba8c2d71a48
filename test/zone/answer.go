package zone

import (
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// look answers a question: along CNAME records if recursion is desired, and otherwise for one name of this server's zones
// (RFC 1034 §4.3.2).
func (s *Server) look(reply *dns.Msg, q dns.Question, recurse bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name := dns.CanonicalName(q.Name); ; {
		zone := s.zoneOf(name)
		if zone == "" && !recurse {
			reply.Rcode = dns.RcodeRefused
			return
		}
		if cut := s.cut(name, zone); cut != "" && !recurse {
			reply.Ns = s.at(cut, dns.TypeNS)
			return
		}
		reply.Authoritative = zone != "" && !recurse
		owner := s.owner(name, zone)
		if found := rename(s.at(owner, q.Qtype), name); len(found) > 0 {
			reply.Answer = append(reply.Answer, found...)
			return
		}
		links := rename(s.at(owner, dns.TypeCNAME), name)
		if len(links) == 0 {
			s.deny(reply, name, zone)
			return
		}
		reply.Answer = append(reply.Answer, links...)
		if !recurse || len(reply.Answer) > 20 {
			return
		}
		name = dns.CanonicalName(links[0].(*dns.CNAME).Target)
	}
}

// deny says that there is nothing, with the SOA record of the zone (RFC 2308).
func (s *Server) deny(reply *dns.Msg, name, zone string) {
	if zone == "" {
		return
	}
	reply.Ns = s.at(zone, dns.TypeSOA)
	if !s.exists(name) {
		reply.Rcode = dns.RcodeNameError
	}
}

func (s *Server) at(name string, kind uint16) (found []dns.RR) {
	for _, rr := range s.records {
		if strings.EqualFold(rr.Header().Name, name) && rr.Header().Rrtype == kind {
			found = append(found, rr)
		}
	}
	return found
}

// zoneOf returns the zone here that holds name; "": none.
func (s *Server) zoneOf(name string) string {
	for at, ok := name, true; ok; at, ok = parent(at) {
		if len(s.at(at, dns.TypeSOA)) > 0 {
			return at
		}
	}
	return ""
}

// cut returns the name between zone and name that is delegated; "": none.
func (s *Server) cut(name, zone string) (cut string) {
	for at, ok := name, zone != ""; ok && at != zone; at, ok = parent(at) {
		if len(s.at(at, dns.TypeNS)) > 0 {
			cut = at
		}
	}
	return cut
}

// exists tells whether there is a record at or below name.
func (s *Server) exists(name string) bool {
	return slices.ContainsFunc(s.records, func(rr dns.RR) bool { return dns.IsSubDomain(name, rr.Header().Name) })
}

// owner returns name, or the wildcard that stands for it (RFC 4592).
func (s *Server) owner(name, zone string) string {
	if zone == "" || s.exists(name) {
		return name
	}
	for at, ok := parent(name); ok; at, ok = parent(at) {
		if s.exists(at) {
			return "*." + at
		}
	}
	return name
}

func parent(name string) (string, bool) {
	i, end := dns.NextLabel(name, 0)
	return name[i:], !end
}

// rename returns records as a wildcard makes them.
func rename(records []dns.RR, name string) (out []dns.RR) {
	for _, rr := range records {
		rr = dns.Copy(rr)
		rr.Header().Name = name
		out = append(out, rr)
	}
	return out
}
