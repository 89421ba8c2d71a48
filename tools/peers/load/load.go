// Package load times how another ACME client obtains many certificates: what all drivers share.
package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"
)

// Job is what a driver is asked to do.
type Job struct {
	Directory string // URL of the CA
	Roots     *x509.CertPool
	HTTP      *http.Client // trusts the roots
	Listen    string       // where the CA looks for http-01
	Dir       string       // for all that the client wants to keep
	Parallel  int
}

// Main reads the command line, has prepare make an account, obtains the certificates and prints the seconds it took.
func Main(prepare func(context.Context, Job) (obtain func(ctx context.Context, name string) error, err error)) {
	if err := run(prepare); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(prepare func(context.Context, Job) (func(context.Context, string) error, error)) error {
	job := Job{Roots: x509.NewCertPool()}
	flag.StringVar(&job.Directory, "directory", "", "URL of the CA")
	flag.StringVar(&job.Listen, "listen", "", "address of http-01")
	flag.StringVar(&job.Dir, "dir", "", "folder of the client")
	flag.IntVar(&job.Parallel, "parallel", 8, "orders at once")
	roots := flag.String("roots", "", "PEM file of what vouches for the CA")
	count := flag.Int("n", 100, "certificates")
	flag.Parse()
	text, err := os.ReadFile(*roots)
	if err != nil {
		return err
	}
	if !job.Roots.AppendCertsFromPEM(text) {
		return errors.New("reading the roots: there are none")
	}
	job.HTTP = &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: job.Roots}, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 32,
	}}
	ctx := context.Background()
	obtain, err := prepare(ctx, job)
	if err == nil {
		err = obtain(ctx, "warm.example.com")
	}
	if err != nil {
		return err
	}
	began := time.Now()
	if err := all(ctx, *count, job.Parallel, obtain); err != nil {
		return err
	}
	fmt.Println(time.Since(began).Seconds())
	return nil
}

// all obtains n certificates, some at once.
func all(ctx context.Context, n, parallel int, obtain func(context.Context, string) error) error {
	names := make(chan string)
	failed := make(chan error, n)
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for name := range names {
				if err := obtain(ctx, name); err != nil {
					failed <- fmt.Errorf("%s: %w", name, err)
				}
			}
		})
	}
	for i := range n {
		names <- fmt.Sprintf("host%d.example.com", i)
	}
	close(names)
	workers.Wait()
	close(failed)
	return <-failed
}

// Tokens answers http-01 from memory, for clients that leave that to others.
type Tokens struct{ m sync.Map }

// Set makes a proof visible.
func (t *Tokens) Set(token, keyAuth string) { t.m.Store(token, keyAuth) }

// Delete takes it away.
func (t *Tokens) Delete(token string) { t.m.Delete(token) }

// Serve answers at address until the program ends.
func (t *Tokens) Serve(address string) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if v, ok := t.m.Load(strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/")); ok {
			fmt.Fprint(w, v)
			return
		}
		http.NotFound(w, r)
	})
	go func() {
		if err := (&http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: time.Minute}).ListenAndServe(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}()
}
