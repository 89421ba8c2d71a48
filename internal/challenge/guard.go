package challenge

import (
	"container/list"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

// guard knows every open connection and keeps their number within the limits.
type guard struct {
	maxConns, maxPerNetwork int
	exempt                  func(netip.Addr) bool // from maxPerNetwork
	metrics                 *Metrics
	open                    sync.WaitGroup // connections that http.Server has not let go of

	mu       sync.Mutex
	waiting  list.List            // of *conn, oldest first: their headers are not complete
	busy     list.List            // of *conn, oldest first: the others
	networks map[netip.Prefix]int // connections of each network that is not exempt
}

func newGuard(maxConns, maxPerNetwork int, m *Metrics) *guard {
	return &guard{
		maxConns:      maxConns,
		maxPerNetwork: maxPerNetwork,
		exempt:        netip.Addr.IsLoopback,
		metrics:       m,
		networks:      make(map[netip.Prefix]int),
	}
}

// conn is a connection that its guard knows until it is closed.
type conn struct {
	net.Conn
	guard   *guard
	network netip.Prefix // zero: exempt

	// Owned by guard.mu.
	queue *list.List    // the one that place is in
	place *list.Element // nil once the connection is forgotten
}

// Close makes room for another connection.
func (c *conn) Close() error {
	c.guard.mu.Lock()
	c.guard.forget(c)
	c.guard.mu.Unlock()
	return c.Conn.Close()
}

// listener accepts what its guard admits.
type listener struct {
	net.Listener
	guard *guard
}

func (l listener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c, ok := l.guard.admit(raw); ok {
			return c, nil
		}
		abort(raw)
	}
}

// admit takes raw in, at the cost of an older connection if need be; false if its network has its share already.
func (g *guard) admit(raw net.Conn) (*conn, bool) {
	c := &conn{Conn: raw, guard: g, network: g.network(raw.RemoteAddr())}
	g.mu.Lock()
	if c.network.IsValid() && g.networks[c.network] >= g.maxPerNetwork {
		g.mu.Unlock()
		g.metrics.rejected.WithLabelValues(reasonNetwork).Inc()
		return nil, false
	}
	var victim *conn
	if g.waiting.Len()+g.busy.Len() >= g.maxConns {
		victim = g.oldest()
		g.forget(victim)
	}
	g.remember(c)
	g.mu.Unlock()

	if victim != nil {
		g.metrics.rejected.WithLabelValues(reasonEvicted).Inc()
		abort(victim.Conn)
	}
	return c, true
}

// track follows the states that http.Server reports.
func (g *guard) track(nc net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive: // its headers are complete
		g.promote(nc.(*conn))
	case http.StateClosed:
		g.open.Done()
	}
}

// wait returns once http.Server has let go of every connection.
func (g *guard) wait() { g.open.Wait() }

func (g *guard) promote(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if c.place != nil {
		c.queue.Remove(c.place)
		c.queue, c.place = &g.busy, g.busy.PushBack(c)
	}
}

// remember needs mu.
func (g *guard) remember(c *conn) {
	c.queue, c.place = &g.waiting, g.waiting.PushBack(c)
	if c.network.IsValid() {
		g.networks[c.network]++
	}
	g.open.Add(1)
	g.metrics.connections.Inc()
}

// forget needs mu. It does nothing for a connection that is forgotten already.
func (g *guard) forget(c *conn) {
	if c.place == nil {
		return
	}
	c.queue.Remove(c.place)
	c.place = nil
	if c.network.IsValid() {
		g.networks[c.network]--
		if g.networks[c.network] == 0 {
			delete(g.networks, c.network)
		}
	}
	g.metrics.connections.Dec()
}

// oldest needs mu. Whoever has sent its headers goes last: its answer is on the way.
func (g *guard) oldest() *conn {
	front := g.waiting.Front()
	if front == nil {
		front = g.busy.Front()
	}
	return front.Value.(*conn)
}

// network returns the IPv4 address or the IPv6 /64 that addr belongs to; the zero Prefix if it is exempt, as is
// a local socket.
func (g *guard) network(addr net.Addr) netip.Prefix {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Prefix{}
	}
	ip := tcp.AddrPort().Addr().Unmap()
	if g.exempt(ip) {
		return netip.Prefix{}
	}
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	return netip.PrefixFrom(ip, bits).Masked()
}

// abort closes a connection so that the kernel keeps nothing of it: a client under suspicion gets no TIME_WAIT.
func abort(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}
