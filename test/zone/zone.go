// Package zone is a name server for tests: it answers for zones in memory as BIND does (wildcards, delegations, negative answers),
// takes signed updates (RFC 2136, RFC 8945), and resolves for others what it knows itself. [Resolver] is a caching resolver in
// front of it.
//
// It owns its records and its port. It never asks anybody.
package zone

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Config is what a server begins with. The zero Config is a server without zones.
type Config struct {
	Records string            // in the format of a zone file, with absolute names; zones are those with a SOA record
	TSIG    map[string]string // name of a key to base64: updates must be signed by one of them; nil: none is taken
	Address string            // "": 127.0.0.1
	Port    int               // 0: a free one
	Skew    time.Duration     // of the server's clock
	Updates int               // the rcode of every answer to an update; 0: they are taken
}

// Server answers until its test ends.
type Server struct {
	Addr string // host:port, the same for UDP and TCP

	t      testing.TB
	tsig   map[string]string
	skew   time.Duration
	refuse int

	mu      sync.Mutex // guards the following
	records []dns.RR
	mute    map[string]uint16 // rcode by name; dns.RcodeSuccess: no answer at all
	bogus   map[string]bool   // names that do not validate
	asked   []string          // names of questions, in order
	updates int
}

// Start starts a server.
func Start(t testing.TB, c Config) *Server {
	t.Helper()
	s := &Server{t: t, tsig: c.TSIG, skew: c.Skew, refuse: c.Updates, mute: map[string]uint16{}, bogus: map[string]bool{}}
	s.Add(c.Records)
	packets, stream := listen(t, net.JoinHostPort(cmp.Or(c.Address, "127.0.0.1"), strconv.Itoa(c.Port)))
	s.Addr = stream.Addr().String()
	serve(t, &dns.Server{PacketConn: packets, Handler: dns.HandlerFunc(s.answer), TsigSecret: s.tsig})
	serve(t, &dns.Server{Listener: stream, Handler: dns.HandlerFunc(s.answer), TsigSecret: s.tsig})
	return s
}

// listen takes the same port for both.
func listen(t testing.TB, address string) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 50 {
		stream, err := net.Listen("tcp", address)
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

func serve(t testing.TB, d *dns.Server) {
	d.MsgAcceptFunc = func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept } // updates, too
	ended := make(chan error, 1)
	started := make(chan struct{})
	d.NotifyStartedFunc = func() { close(started) }
	go func() { ended <- d.ActivateAndServe() }()
	<-started
	t.Cleanup(func() {
		if err := errors.Join(d.Shutdown(), <-ended); err != nil {
			t.Error(err)
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

func (s *Server) find(name string, kind uint16) []dns.RR {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at(name, kind)
}

// Asked returns the names of all questions, in order.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

func (s *Server) answer(w dns.ResponseWriter, m *dns.Msg) {
	reply := new(dns.Msg)
	reply.SetReply(m)
	reply.RecursionAvailable = true
	switch {
	case m.Opcode == dns.OpcodeUpdate:
		reply.Rcode = s.update(w, m)
		s.sign(reply, m, w)
	case len(m.Question) == 1:
		rcode, failing := s.failing(m)
		if failing && rcode == dns.RcodeSuccess {
			return
		}
		if reply.Rcode = int(rcode); !failing {
			s.look(reply, m.Question[0], m.RecursionDesired)
		}
		s.sign(reply, m, w)
	}
	_ = w.WriteMsg(reply) // who asked may be gone
}

// sign signs the answer to a signed question; where the signature is not good, it says why (RFC 8945 §5.2).
func (s *Server) sign(reply, m *dns.Msg, w dns.ResponseWriter) {
	t := m.IsTsig()
	if t == nil {
		return
	}
	switch err := w.TsigStatus(); {
	case s.refuse == dns.RcodeNotImplemented:
		return // as of a server that knows no updates
	case err == nil && s.skew.Abs() > 5*time.Minute:
		reply.Extra = append(reply.Extra, s.tsigError(t, dns.RcodeBadTime))
	case err == nil:
		reply.SetTsig(t.Hdr.Name, t.Algorithm, 300, int64(t.TimeSigned))
		return
	case errors.Is(err, dns.ErrSecret):
		reply.Extra = append(reply.Extra, s.tsigError(t, dns.RcodeBadKey))
	default:
		reply.Extra = append(reply.Extra, s.tsigError(t, dns.RcodeBadSig))
	}
	reply.Rcode = dns.RcodeNotAuth
}

func (s *Server) tsigError(t *dns.TSIG, code uint16) *dns.TSIG {
	e := &dns.TSIG{Hdr: t.Hdr, Algorithm: t.Algorithm, TimeSigned: t.TimeSigned, Fudge: t.Fudge, OrigId: t.OrigId, Error: code}
	if code == dns.RcodeBadTime {
		e.OtherLen, e.OtherData = 6, fmt.Sprintf("%012x", time.Now().Add(s.skew).Unix())
	}
	return e
}

// failing notes a question, and tells how it is to fail.
func (s *Server) failing(m *dns.Msg) (rcode uint16, failing bool) {
	q := m.Question[0]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked = append(s.asked, dns.CanonicalName(q.Name))
	rcode, failing = s.mute[q.Name]
	if s.bogus[q.Name] && !m.CheckingDisabled {
		return dns.RcodeServerFailure, true
	}
	return rcode, failing
}

func (s *Server) update(w dns.ResponseWriter, m *dns.Msg) int {
	zone := m.Question[0].Name
	switch {
	case s.refuse != 0:
		return s.refuse
	case s.skew.Abs() > 5*time.Minute:
		return dns.RcodeNotAuth
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
