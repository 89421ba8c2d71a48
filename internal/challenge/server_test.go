package challenge_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"acmed/internal/challenge"
)

const fetch = "GET " + challengePath + token + " HTTP/1.1\r\nHost: example.com\r\n\r\n"

// wire is a listener without a network, so that a synctest bubble rules its time.
type wire struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newWire() *wire { return &wire{conns: make(chan net.Conn), closed: make(chan struct{})} }

func (w *wire) Accept() (net.Conn, error) {
	select {
	case c := <-w.conns:
		return c, nil
	case <-w.closed:
		return nil, net.ErrClosed
	}
}

func (w *wire) Close() error {
	w.once.Do(func() { close(w.closed) })
	return nil
}

func (w *wire) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }

// remoteConn has an address.
type remoteConn struct {
	net.Conn
	remote net.Addr
}

func (c remoteConn) RemoteAddr() net.Addr { return c.remote }

// dial connects from ip and says what it is told.
func (w *wire) dial(t *testing.T, ip, say string) net.Conn {
	t.Helper()
	client, server := net.Pipe()
	w.conns <- remoteConn{server, &net.TCPAddr{IP: net.ParseIP(ip), Port: 12345}}
	go func() { _, _ = io.WriteString(client, say) }() // ends with the connection
	synctest.Wait()
	return client
}

// start runs a server until the returned function stops it, which checks that Run ends well.
func start(t *testing.T, cfg challenge.ServerConfig, tune ...func(*challenge.Server)) (stop func()) {
	t.Helper()
	if cfg.Handler == nil {
		cfg.Handler = newHandler(t, "", cfg.Metrics)
	}
	server, err := challenge.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range tune {
		f(server)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx) }()
	return func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	}
}

// answer returns the status of the response on c; "" if c was closed without one.
func answer(t *testing.T, c net.Conn) string {
	t.Helper()
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return ""
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		expectProof(t, resp)
	}
	if !resp.Close {
		t.Error("the connection is kept alive")
	}
	return resp.Status
}

// inBubble runs a server on a wire, in a bubble: it ends only if no goroutine is left.
func inBubble(t *testing.T, cfg challenge.ServerConfig, f func(t *testing.T, w *wire)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWire()
		cfg.Listeners = []net.Listener{w}
		stop := start(t, cfg)
		f(t, w)
		stop()
	})
}

func TestServerAnswers(t *testing.T) {
	inBubble(t, challenge.ServerConfig{}, func(t *testing.T, w *wire) {
		if got := answer(t, w.dial(t, "192.0.2.7", fetch)); got != "200 OK" {
			t.Errorf("got %q", got)
		}
	})
}

func TestSlowClientsAreCutOff(t *testing.T) {
	for sentence, tt := range map[string]struct {
		say  string
		want time.Duration
	}{
		"says nothing":                  {"", 5 * time.Second},
		"never ends its headers":        {"GET / HTTP/1.1\r\nHost: a\r\n", 5 * time.Second},
		"sends headers of 5 KiB":        {"GET / HTTP/1.1\r\nX: " + strings.Repeat("x", 5<<10), 500 * time.Millisecond},
		"sends a request that is wrong": {"NONSENSE\r\n\r\n", 0},
		"announces a body, sends none":  {"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", 0},
		"never ends its chunks":         {"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n", 0},
		"expects to go on":              {"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			inBubble(t, challenge.ServerConfig{}, func(t *testing.T, w *wire) {
				begin := time.Now()
				c := w.dial(t, "192.0.2.7", tt.say)
				_, _ = io.Copy(io.Discard, c)
				if took := time.Since(begin); took != tt.want {
					t.Errorf("closed after %v, want %v", took, tt.want)
				}
			})
		})
	}
}

func TestClientThatDoesNotReadIsCutOff(t *testing.T) {
	metrics := challenge.NewMetrics()
	inBubble(t, challenge.ServerConfig{Metrics: metrics}, func(t *testing.T, w *wire) {
		w.dial(t, "192.0.2.7", fetch)
		expectConnections(t, metrics, 1)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		expectConnections(t, metrics, 0)
	})
}

func TestRequestLimitIs4KiB(t *testing.T) {
	for size, want := range map[int]string{4 << 10: "404 Not Found", 4<<10 + 2: "431 Request Header Fields Too Large"} {
		inBubble(t, challenge.ServerConfig{}, func(t *testing.T, w *wire) {
			const before, after = "GET / HTTP/1.1\r\nHost: a\r\nX: ", "\r\n\r\n"
			filler := strings.Repeat("x", size-len(before)-len(after))
			if got := answer(t, w.dial(t, "192.0.2.7", before+filler+after)); got != want {
				t.Errorf("%d bytes: got %q, want %q", size, got, want)
			}
		})
	}
}

func TestOldestUnfinishedConnectionMakesRoom(t *testing.T) {
	metrics := challenge.NewMetrics()
	inBubble(t, challenge.ServerConfig{MaxConns: 3, Metrics: metrics}, func(t *testing.T, w *wire) {
		finished := w.dial(t, "192.0.2.1", fetch) // and does not read its answer yet
		oldest := w.dial(t, "192.0.2.2", "GET /")
		w.dial(t, "192.0.2.3", "GET /")
		expectConnections(t, metrics, 3)

		if got := answer(t, w.dial(t, "192.0.2.4", fetch)); got != "200 OK" {
			t.Errorf("the new connection got %q", got)
		}
		if got := answer(t, oldest); got != "" {
			t.Errorf("the oldest connection got %q", got)
		}
		if got := answer(t, finished); got != "200 OK" {
			t.Errorf("the finished connection got %q", got)
		}
		expectRejected(t, metrics, "evicted", 1)
	})
}

func TestOldestMakesRoomWhereAllAreFinished(t *testing.T) {
	inBubble(t, challenge.ServerConfig{MaxConns: 2}, func(t *testing.T, w *wire) {
		oldest, second := w.dial(t, "192.0.2.1", fetch), w.dial(t, "192.0.2.2", fetch)
		third := w.dial(t, "192.0.2.3", fetch)
		for c, want := range map[net.Conn]string{oldest: "", second: "200 OK", third: "200 OK"} {
			if got := answer(t, c); got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
	})
}

func TestNetworksShareTheConnections(t *testing.T) {
	for sentence, tt := range map[string]struct {
		first, second string
		shared        bool
	}{
		"the same address":             {"192.0.2.1", "192.0.2.1", true},
		"neighbors in IPv4":            {"192.0.2.1", "192.0.2.2", false},
		"the same address, mapped":     {"192.0.2.1", "::ffff:192.0.2.1", true},
		"neighbors in an IPv6 /64":     {"2001:db8::1", "2001:db8::2:0:0:1", true},
		"neighbors outside of the /64": {"2001:db8::1", "2001:db8:0:1::1", false},
		"loopback":                     {"127.0.0.1", "127.0.0.1", false},
		"IPv6 loopback":                {"::1", "::1", false},
	} {
		t.Run(sentence, func(t *testing.T) {
			metrics := challenge.NewMetrics()
			inBubble(t, challenge.ServerConfig{MaxConnsPerNetwork: 1, Metrics: metrics}, func(t *testing.T, w *wire) {
				first := w.dial(t, tt.first, "GET /")
				want, rejected := "200 OK", 0
				if tt.shared {
					want, rejected = "", 1
				}
				if got := answer(t, w.dial(t, tt.second, fetch)); got != want {
					t.Errorf("got %q, want %q", got, want)
				}
				expectRejected(t, metrics, "network", rejected)

				first.Close() // and gives its share back
				synctest.Wait()
				if got := answer(t, w.dial(t, tt.second, fetch)); got != "200 OK" {
					t.Errorf("afterwards: got %q", got)
				}
			})
		})
	}
}

func TestACAMayValidateAHundredNamesAtOnceFromOneAddress(t *testing.T) {
	metrics := challenge.NewMetrics()
	inBubble(t, challenge.ServerConfig{Metrics: metrics}, func(t *testing.T, w *wire) {
		for range 100 {
			w.dial(t, "192.0.2.1", "GET /")
		}
		expectConnections(t, metrics, 100)
		expectRejected(t, metrics, "network", 0)
	})
}

func TestStopWaitsForAnswersOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		metrics := challenge.NewMetrics()
		w := newWire()
		stop := start(t, challenge.ServerConfig{Listeners: []net.Listener{w}, Metrics: metrics})
		w.dial(t, "192.0.2.1", "GET /")
		w.dial(t, "192.0.2.2", fetch)
		begin := time.Now()
		stop()
		if took := time.Since(begin); took != time.Second {
			t.Errorf("stopping took %v, want 1s", took)
		}
		expectConnections(t, metrics, 0)
	})
}

func TestRunOutlastsEveryHandler(t *testing.T) {
	returned := false
	inBubble(t, challenge.ServerConfig{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		time.Sleep(3 * time.Second) // well past the time to stop
		returned = true
	})}, func(t *testing.T, w *wire) { w.dial(t, "192.0.2.1", fetch) })
	if !returned {
		t.Error("run returned before the handler")
	}
}

func TestLocalSocketsHaveNoNetwork(t *testing.T) {
	metrics := challenge.NewMetrics()
	inBubble(t, challenge.ServerConfig{MaxConnsPerNetwork: 1, Metrics: metrics}, func(t *testing.T, w *wire) {
		for range 2 {
			_, server := net.Pipe()
			w.conns <- server
			synctest.Wait()
		}
		expectConnections(t, metrics, 2)
	})
}

func TestListenerThatFailsEndsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		bad, good := newWire(), newWire()
		bad.Close()
		server, err := challenge.NewServer(challenge.ServerConfig{
			Listeners: []net.Listener{bad, good}, Handler: newHandler(t, "", nil)})
		if err != nil {
			t.Fatal(err)
		}
		err = server.Run(t.Context())
		if !errors.Is(err, net.ErrClosed) || !strings.Contains(err.Error(), "192.0.2.1:80") {
			t.Errorf("run: %v", err)
		}
		if _, err := good.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("the other listener: %v", err)
		}
	})
}

func TestPanicIsLogged(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	cfg := challenge.ServerConfig{
		Log:     zap.New(core),
		Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("out of cheese") }),
	}
	inBubble(t, cfg, func(t *testing.T, w *wire) {
		if got := answer(t, w.dial(t, "192.0.2.1", fetch)); got != "" {
			t.Errorf("got %q", got)
		}
	})
	entries := logs.All()
	if len(entries) != 1 || !strings.Contains(fmt.Sprint(entries[0].ContextMap()["problem"]), "out of cheese") {
		t.Errorf("logged %v", entries)
	}
}

func TestServerConfigIsChecked(t *testing.T) {
	listeners, handler := []net.Listener{newWire()}, http.NotFoundHandler()
	for sentence, cfg := range map[string]challenge.ServerConfig{
		"no listeners":                  {Handler: handler},
		"no handler":                    {Listeners: listeners},
		"fewer than no connections":     {Listeners: listeners, Handler: handler, MaxConns: -1},
		"fewer than none for a network": {Listeners: listeners, Handler: handler, MaxConnsPerNetwork: -1},
	} {
		if _, err := challenge.NewServer(cfg); err == nil {
			t.Errorf("%s: no error", sentence)
		}
	}
}

// TestSlowlorisOverTCP holds more connections than fit and fetches a token meanwhile, over a real network.
func TestSlowlorisOverTCP(t *testing.T) {
	metrics := challenge.NewMetrics()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	stop := start(t, challenge.ServerConfig{Listeners: []net.Listener{l}, MaxConns: 32, Metrics: metrics},
		(*challenge.Server).ExemptNone)
	var attackers sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	for gang := range 4 {
		attackers.Go(func() { slowloris(ctx, l.Addr(), gang*50, 50) })
	}
	for i := range 100 {
		if err := fetchOnce(ctx, 1000+i, l.Addr()); err != nil {
			t.Errorf("fetch %d: %v", i, err)
		}
	}
	cancel()
	attackers.Wait()
	stop()
	expectConnections(t, metrics, 0)
}

func expectConnections(t *testing.T, m *challenge.Metrics, want int) {
	t.Helper()
	expectMetric(t, m.Collectors()[1], "acmed_http01_connections", want)
}

func expectRejected(t *testing.T, m *challenge.Metrics, reason string, want int) {
	t.Helper()
	expectMetric(t, m.Collectors()[2].(*prometheus.CounterVec).WithLabelValues(reason), reason, want)
}

func expectMetric(t *testing.T, c prometheus.Collector, name string, want int) {
	t.Helper()
	if got := testutil.ToFloat64(c); got != float64(want) {
		t.Errorf("%s is %v, want %d", name, got, want)
	}
}
