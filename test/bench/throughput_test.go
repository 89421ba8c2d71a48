package bench_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"acmed/internal/acme"
	"acmed/test/pebble"
	"acmed/test/site"
)

var certificates = flag.Int("throughput.certificates", 1000, "certificates that each client obtains")

// atOnce is how many orders are in flight: Pebble stalls with more.
const atOnce = 8

// BenchmarkThroughput has several clients obtain the same certificates, one after the other, each from a CA of its own
// that asks for no wait: acmed with all that it makes durable, a client on acmed's own protocol package that writes
// nothing and polls as often as acmed does, the same polling as if there were no other client in the world, and two
// others, which tools/peers builds from the module proxy.
func BenchmarkThroughput(b *testing.B) {
	for _, client := range []struct {
		name   string
		obtain func(b *testing.B, ca *pebble.Server, n int) time.Duration
		share  int // of the certificates, for one that takes minutes
	}{{"bare", obtainBare(100 * time.Millisecond), 1}, {"bare-eager", obtainBare(5 * time.Millisecond), 1}, {"acmed", obtainAcmed, 1},
		{"certmagic", peer("certmagic"), 1}, {"lego", peer("lego"), 10}} {
		b.Run(client.name, func(b *testing.B) {
			n := max(1, *certificates/client.share)
			var took time.Duration
			requests, rounds := 0, 0
			for b.Loop() {
				ca := pebble.Start(b, pebble.Options{})
				took += client.obtain(b, ca, n)
				requests += ca.Count(b).Total("renewalInfo")
				rounds++
			}
			b.ReportMetric(0, "ns/op") // what is measured is a part of it
			b.ReportMetric(float64(rounds*n)/took.Seconds(), "certs/s")
			b.ReportMetric(float64(requests)/float64(rounds*n), "requests/cert")
		})
	}
}

func obtainAcmed(b *testing.B, ca *pebble.Server, n int) time.Duration {
	b.Helper()
	s := site.New(b, ca, site.Options{Limits: fmt.Sprintf("failuresPerNamePerHour: 0, ordersInFlight: %d", atOnce)})
	warm(b, s)
	return issueMany(b, s, n)
}

// peer runs one of tools/peers.
func peer(name string) func(*testing.B, *pebble.Server, int) time.Duration {
	return func(b *testing.B, ca *pebble.Server, n int) time.Duration {
		b.Helper()
		program := filepath.Join(b.TempDir(), name)
		if out, err := exec.CommandContext(b.Context(), "go", "build", "-C", "../../tools/peers", "-o", program, "./"+name).CombinedOutput(); err != nil {
			b.Skipf("building %s, which needs the module proxy: %v\n%s", name, err, out)
		}
		var said bytes.Buffer
		cmd := exec.CommandContext(b.Context(), program, "-directory", ca.DirectoryURL, "-roots", ca.RootsFile, "-listen", ca.HTTPAddr,
			"-dir", b.TempDir(), "-n", strconv.Itoa(n), "-parallel", strconv.Itoa(atOnce))
		cmd.Stdout, cmd.Stderr = &said, os.Stderr
		if err := cmd.Run(); err != nil {
			b.Fatal(err)
		}
		lines := strings.Fields(said.String()) // it logs there as well
		seconds, err := strconv.ParseFloat(lines[len(lines)-1], 64)
		if err != nil {
			b.Fatal(err)
		}
		return time.Duration(seconds * float64(time.Second))
	}
}

// bare obtains certificates and keeps nothing.
type bare struct {
	client *acme.Client
	poll   time.Duration // the first
	tokens sync.Map
}

func (c *bare) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if v, ok := c.tokens.Load(strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")); ok {
		fmt.Fprint(w, v)
		return
	}
	http.NotFound(w, r)
}

func obtainBare(poll time.Duration) func(*testing.B, *pebble.Server, int) time.Duration {
	return func(b *testing.B, ca *pebble.Server, n int) time.Duration {
		b.Helper()
		return obtainAll(b, newBare(b, ca, poll), n)
	}
}

func obtainAll(b *testing.B, c *bare, n int) time.Duration {
	b.Helper()
	if err := c.obtain(b.Context(), "warm.example.com"); err != nil {
		b.Fatal(err)
	}
	began := time.Now()
	group, ctx := errgroup.WithContext(b.Context())
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error { return c.obtain(ctx, fmt.Sprintf("host%d.example.com", i)) })
	}
	if err := group.Wait(); err != nil {
		b.Fatal(err)
	}
	return time.Since(began)
}

func newBare(b *testing.B, ca *pebble.Server, poll time.Duration) *bare {
	b.Helper()
	c := &bare{poll: poll}
	l, err := net.Listen("tcp", ca.HTTPAddr)
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: c, ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until it is closed
	b.Cleanup(func() { server.Close() })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	roots, rerr := os.ReadFile(ca.RootsFile)
	if err := errors.Join(err, rerr); err != nil {
		b.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(roots)
	register, err := acme.New(acme.Config{Directory: ca.DirectoryURL, Key: key, RootCAs: pool})
	if err != nil {
		b.Fatal(err)
	}
	kid, err := register.Register(b.Context(), acme.Registration{TermsOfServiceAgreed: true})
	if err != nil {
		b.Fatal(err)
	}
	if c.client, err = acme.New(acme.Config{Directory: ca.DirectoryURL, Key: key, KID: kid, RootCAs: pool}); err != nil {
		b.Fatal(err)
	}
	return c
}

// obtain takes one order from its beginning to its certificate.
func (c *bare) obtain(ctx context.Context, name string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ids := []acme.Identifier{{Type: "dns", Value: name}}
	order, err := c.client.NewOrder(ctx, acme.OrderRequest{Identifiers: ids})
	if err != nil {
		return err
	}
	challenges, err := c.client.Challenges(ctx, order, "http-01")
	if err != nil {
		return err
	}
	for _, ch := range challenges {
		c.tokens.Store(ch.Proof.Token, ch.Proof.KeyAuth)
		defer c.tokens.Delete(ch.Proof.Token)
	}
	if _, err := c.client.AcceptAll(ctx, challenges); err != nil {
		return err
	}
	if order, err = c.await(ctx, order, acme.StatusReady); err != nil {
		return err
	}
	csr, err := acme.CSR(key, ids)
	if err != nil {
		return err
	}
	if order, err = c.client.Finalize(ctx, order, csr); err != nil {
		return err
	}
	if order, err = c.await(ctx, order, acme.StatusValid); err != nil {
		return err
	}
	_, _, err = c.client.Fetch(ctx, order, "")
	return err
}

// await polls as acmed does, but sleeps meanwhile.
func (c *bare) await(ctx context.Context, order *acme.Order, status acme.OrderStatus) (_ *acme.Order, err error) {
	for pause := c.poll; order.Status != status; pause = pause * 3 / 2 {
		if order.Status == acme.StatusInvalid {
			return nil, fmt.Errorf("order %s is invalid", order.URL)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if order, err = c.client.Order(ctx, order.URL); err != nil {
			return nil, err
		}
	}
	return order, nil
}
