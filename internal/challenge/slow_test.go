package challenge_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"acmed/internal/challenge"
)

// childEnv makes the test binary serve the folder that it names on descriptor 3, until its standard input ends.
const childEnv = "CHALLENGE_TEST_FOLDER"

func TestMain(m *testing.M) {
	dir := os.Getenv(childEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	if err := respond(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func respond(dir string) error {
	folder, err := challenge.OpenFolder(dir)
	if err != nil {
		return err
	}
	handler, err := challenge.NewHandler(challenge.HandlerConfig{Tokens: folder})
	if err != nil {
		return err
	}
	l, err := net.FileListener(os.NewFile(3, "http"))
	if err != nil {
		return err
	}
	server, err := challenge.NewServer(challenge.ServerConfig{Listeners: []net.Listener{l}, Handler: handler})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	return server.Run(ctx)
}

// BenchmarkFetchBesideSlowloris fetches a token from a responder in a process of its own while 10,000 clients, each
// from its own address, send a header line every second, never the last one, and come back when they are cut off.
func BenchmarkFetchBesideSlowloris(b *testing.B) {
	addr, pid := startResponder(b)
	ctx, cancel := context.WithCancel(b.Context())
	var attackers sync.WaitGroup
	for gang := range 100 {
		attackers.Go(func() { slowloris(ctx, addr, gang*100, 100) })
	}
	var took []time.Duration
	for i := 0; b.Loop(); i++ {
		begin := time.Now()
		if err := fetchOnce(ctx, 1<<20+i%50_000, addr); err != nil {
			b.Errorf("fetch %d: %v", i, err)
		}
		took = append(took, time.Since(begin))
	}
	b.ReportMetric(float64(descriptors(b, pid)), "fds")
	cancel()
	attackers.Wait()

	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1e3, "p50-ms")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1e3, "p99-ms")
	b.ReportMetric(float64(took[len(took)-1].Microseconds())/1e3, "max-ms")
	b.ReportMetric(peakMemory(b, pid), "peak-MB")
	for deadline := time.Now().Add(10 * time.Second); descriptors(b, pid) > 20; {
		if time.Now().After(deadline) {
			b.Fatalf("%d descriptors are open after all clients have left", descriptors(b, pid))
		}
	}
}

func startResponder(b *testing.B) (addr net.Addr, pid int) {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	dir := filepath.Join(b.TempDir(), "http-01")
	folder, err := challenge.OpenFolder(dir)
	if err == nil {
		err = folder.Present(b.Context(), proof())
	}
	if err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.ExtraFiles = []*os.File{file}
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		stdin.Close()
		if err := cmd.Wait(); err != nil {
			b.Errorf("the responder: %v", err)
		}
	})
	return l.Addr(), cmd.Process.Pid
}

// slowloris holds n connections, from the addresses first and on, until ctx ends, and visits each once a second.
func slowloris(ctx context.Context, addr net.Addr, first, n int) {
	held := make([]net.Conn, n)
	tick := time.NewTicker(time.Second / time.Duration(n))
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i = (i + 1) % n {
		held[i] = visit(ctx, held[i], first+i, addr)
		<-tick.C
	}
	for _, c := range held {
		if c != nil {
			c.Close()
		}
	}
}

// visit sends one more line on c, or the first one on a new connection if c was cut off; nil if there is none.
func visit(ctx context.Context, c net.Conn, i int, addr net.Addr) net.Conn {
	if c != nil {
		if _, err := io.WriteString(c, "X: x\r\n"); err == nil {
			return c
		}
		c.Close()
	}
	c, err := dialAs(ctx, i, addr)
	if err != nil {
		return nil
	}
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\n") // the next visit finds out
	return c
}

func fetchOnce(ctx context.Context, i int, addr net.Addr) error {
	c, err := dialAs(ctx, i, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := io.WriteString(c, fetch); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	if err == nil && string(content) != keyAuth {
		err = fmt.Errorf("%s: %q", resp.Status, content)
	}
	return err
}

// dialAs connects from an address of its own below 127.0.0.0/8; nil with an error.
func dialAs(ctx context.Context, i int, to net.Addr) (net.Conn, error) {
	from := net.IPv4(127, 1+byte(i>>16), byte(i>>8), byte(i))
	return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: from}}).DialContext(ctx, to.Network(), to.String())
}

// peakMemory is the highest resident set of a process in MB.
func peakMemory(b *testing.B, pid int) float64 {
	b.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	number, _, _ := bytes.Cut(bytes.TrimSpace(rest), []byte(" "))
	kb, err := strconv.Atoi(string(number))
	if err != nil {
		b.Fatalf("reading VmHWM: %v", err)
	}
	return float64(kb) / 1000
}

func descriptors(b *testing.B, pid int) int {
	b.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		b.Fatal(err)
	}
	return len(entries)
}
