// Package zone is a name server for tests: it answers for zones that lie in memory, takes signed updates (RFC 2136, RFC
// 8945), and resolves for others what it knows itself.
//
// It owns its records and its port. It never asks anybody.
package zone

import (
	"errors"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Config is what a server begins with. The zero Config is a server without zones.
type Config struct {
	Records string            // in the format of a zone file, with absolute names; zones are those with a SOA record
	TSIG    map[string]string // name of a key to base64: updates must be signed by one of them; nil: none is taken
	Port    int               // 0: a free one
}

// Server answers until its test ends.
type Server struct {
	Addr string // host:port, the same for UDP and TCP

	t    testing.TB
	tsig map[string]string

	mu      sync.Mutex // guards the following
	records []dns.RR
	mute    map[string]uint16 // rcode by name; dns.RcodeSuccess: no answer at all
	bogus   map[string]bool   // names that do not validate
	updates int
}

// Start starts a server on a port of 127.0.0.1.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	s := &Server{t: t, tsig: c.TSIG, mute: map[string]uint16{}, bogus: map[string]bool{}}
	s.Add(c.Records)
	packets, stream := listen(t, c.Port)
	s.Addr = stream.Addr().String()
	s.serve(&dns.Server{PacketConn: packets})
	s.serve(&dns.Server{Listener: stream})
	return s
}

// listen takes the same port for both.
func listen(t testing.TB, port int) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		stream, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return packets, stream
		}
		stream.Close()
	}
	t.Fatal("no port is free for UDP and TCP")
	return nil, nil
}

func (s *Server) serve(d *dns.Server) {
	d.Handler, d.TsigSecret = dns.HandlerFunc(s.answer), s.tsig
	d.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // updates, too
	ended := make(chan error, 1)
	started := make(chan struct{})
	d.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- d.ActivateAndServe() }()
	<-started
	s.t.Cleanup(func() {
		if err := errors.Join(d.Shutdown(), <-ended); err != nil {
			s.t.Error(err)
		}
	})
}

// Add adds records in the format of a zone file.
func (s *Server) Add(text string) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	parser := dns.NewZoneParser(strings.NewReader(text), ".", "")
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		s.records = append(s.records, rr)
	}
	if err := parser.Err(); err != nil {
		s.t.Fatal(err)
	}
}

// Remove removes all records of a name.
func (s *Server) Remove(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(rr dns.RR) bool { return rr.Header().Name == dns.Fqdn(name) })
}

// AddTXT adds a value at a name.
func (s *Server) AddTXT(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	header := dns.RR_Header{Name: dns.Fqdn(name), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: 60}
	s.records = append(s.records, &dns.TXT{Hdr: header, Txt: []string{value}})
}

// RemoveTXT removes a value from a name.
func (s *Server) RemoveTXT(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(rr dns.RR) bool {
		txt, ok := rr.(*dns.TXT)
		return ok && strings.EqualFold(txt.Hdr.Name, dns.Fqdn(name)) && strings.Join(txt.Txt, "") == value
	})
}

// Fail makes every question for a name fail with an rcode; dns.RcodeSuccess: it is not answered.
func (s *Server) Fail(name string, rcode uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mute[dns.Fqdn(name)] = rcode
}

// Bogus makes a name one that does not validate: only who checks for himself gets an answer (RFC 4035 §3.2.2).
func (s *Server) Bogus(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bogus[dns.Fqdn(name)] = true
}

// TXT returns the values at a name, sorted.
func (s *Server) TXT(name string) (values []string) {
	for _, rr := range s.find(dns.Fqdn(name), dns.TypeTXT) {
		values = append(values, strings.Join(rr.(*dns.TXT).Txt, ""))
	}
	slices.Sort(values)
	return values
}

// Updates is how many updates were made.
func (s *Server) Updates() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.updates
}

func (s *Server) find(name string, kind uint16) (found []dns.RR) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rr := range s.records {
		if strings.EqualFold(rr.Header().Name, name) && rr.Header().Rrtype == kind {
			found = append(found, rr)
		}
	}
	return found
}

func (s *Server) answer(w dns.ResponseWriter, m *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(m)
	reply.RecursionAvailable = true
	switch {
	case m.Opcode == dns.OpcodeUpdate:
		reply.Rcode = s.update(w, m)
		if t := m.IsTsig(); t != nil && w.TsigStatus() == nil {
			reply.SetTsig(t.Hdr.Name, t.Algorithm, 300, int64(t.TimeSigned))
		}
	case len(m.Question) == 1:
		q := m.Question[0]
		s.mu.Lock()
		rcode, failing := s.mute[q.Name]
		if s.bogus[q.Name] && !m.CheckingDisabled {
			rcode, failing = dns.RcodeServerFailure, true
		}
		s.mu.Unlock()
		if failing && rcode == dns.RcodeSuccess {
			return
		}
		if reply.Rcode = int(rcode); !failing {
			s.look(reply, q)
		}
	}
	_ = w.WriteMsg(reply) // who asked may be gone
}

// look answers as a resolver would: along CNAME records.
func (s *Server) look(reply *dns.Msg, q dns.Question) {
	name := q.Name
	for range 20 {
		if found := s.find(name, q.Qtype); len(found) > 0 {
			reply.Answer = append(reply.Answer, found...)
			return
		}
		links := s.find(name, dns.TypeCNAME)
		if len(links) == 0 {
			break
		}
		reply.Answer = append(reply.Answer, links...)
		name = links[0].(*dns.CNAME).Target
	}
}

func (s *Server) update(w dns.ResponseWriter, m *dns.Msg) int {
	zone := m.Question[0].Name
	switch {
	case m.IsTsig() == nil || w.TsigStatus() != nil:
		return dns.RcodeNotAuth
	case len(s.find(zone, dns.TypeSOA)) == 0:
		return dns.RcodeNotAuth
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rr := range m.Ns {
		h := rr.Header()
		if !dns.IsSubDomain(zone, h.Name) {
			return dns.RcodeNotZone
		}
		same := func(old dns.RR) bool {
			fresh := dns.Copy(rr)
			fresh.Header().Class, fresh.Header().Ttl = dns.ClassINET, old.Header().Ttl
			return dns.IsDuplicate(old, fresh)
		}
		s.records = slices.DeleteFunc(s.records, same)
		if h.Class == dns.ClassINET {
			s.records = append(s.records, dns.Copy(rr))
		}
	}
	s.updates++
	return dns.RcodeSuccess
}
