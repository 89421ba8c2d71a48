package scale_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

const (
	loadCertificates = 20_000
	loadConns        = 400
	loadRequests     = 6  // of each connection
	loadMemory       = 32 // MB that resident memory may grow by
)

// TestTheStatusPageUnderLoad is about all that a local user can ask admin.listen for: whole requests, slow ones, and none. The
// command line answers within a second meanwhile, and the daemon does not grow.
func TestTheStatusPageUnderLoad(t *testing.T) {
	if testing.Short() {
		t.Skip("20,000 certificates take a minute to make")
	}
	admin := freeAddr(t)
	f := newFleet(t, admin, loadCertificates)
	p := f.start(t)
	defer p.Stop(t)
	pid := f.rest(t)
	for sentence, request := range map[string]string{
		"pages that find all":   "GET /?q=s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"the first page":        "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"half a request":        "GET /metrics HTTP/1.1\r\nHost: loc",
		"nothing on connection": "",
	} {
		t.Run(sentence, func(t *testing.T) {
			before := memory(t, pid, "VmRSS")
			ctx, stop := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			for range loadConns {
				clients.Go(func() { flood(ctx, admin, request) })
			}
			most, slowest := f.observe(t, pid, &clients)
			stop()
			clients.Wait()
			if grew := most - before; grew > loadMemory {
				t.Errorf("resident memory grew by %.0f MB, from %.0f", grew, before)
			}
			if slowest > time.Second {
				t.Errorf("acmed status took %v", slowest)
			}
			t.Logf("memory grew by %.1f MB, acmed status took %v at most", most-before, slowest)
		})
	}
}

// flood sends requests until ctx ends or all are answered. What comes of each does not matter.
func flood(ctx context.Context, address, request string) {
	for range loadRequests {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			continue
		}
		_, err = fmt.Fprint(conn, request)
		_, rerr := io.Copy(io.Discard, deadline{ctx, conn})
		_ = errors.Join(err, rerr, conn.Close())
	}
}

// deadline reads for some seconds at most, or until the context ends.
type deadline struct {
	ctx  context.Context
	conn net.Conn
}

func (d deadline) Read(p []byte) (int, error) {
	defer context.AfterFunc(d.ctx, func() { _ = d.conn.SetDeadline(time.Unix(1, 0)) })()
	_ = d.conn.SetReadDeadline(time.Now().Add(3 * time.Second))
	if d.ctx.Err() != nil {
		return 0, d.ctx.Err()
	}
	return d.conn.Read(p)
}

// observe watches the daemon while clients are at it: the most memory, and the slowest answer of acmed status.
func (f *fleet) observe(t *testing.T, pid int, clients *sync.WaitGroup) (most float64, slowest time.Duration) {
	t.Helper()
	over := make(chan struct{})
	go func() { clients.Wait(); close(over) }()
	for {
		began := time.Now()
		if _, err := f.Control.Info(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := f.Control.Troubled(t.Context()); err != nil {
			t.Error(err)
		}
		slowest, most = max(slowest, time.Since(began)), max(most, memory(t, pid, "VmRSS"))
		select {
		case <-over:
			return most, slowest
		case <-time.After(20 * time.Millisecond):
		}
	}
}
