// Package soak_test lets the real program keep certificates of a few minutes, while clients ask for its status page as fast as
// they can and specs are removed and restored. It looks at the files as servers would, once a second.
package soak_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/process"
	"acmed/test/site"
)

var (
	duration     = flag.Duration("soak.duration", 10*time.Second, "how long each soak takes; below 3m, memory is not compared")
	certificates = flag.Int("soak.certificates", 20, "how many certificates there are")
	lifetime     = flag.Duration("soak.lifetime", 5*time.Minute, "of a certificate, in whole seconds")
	killEvery    = flag.Duration("soak.kill", 3*time.Second, "how often the daemon is killed")
)

const (
	clients = 4 // of the status page
	absent  = 3 // specs that are removed at the same time

	warm   = 2 * time.Minute  // until memory is taken for the first time
	span   = 20 * time.Second // during which memory is taken; the median counts
	growth = 16               // MB that memory may grow by from then on
)

func TestMain(m *testing.M) { os.Exit(site.Main(m)) }

// TestKilledDaemonsKeepCertificates kills the daemon again and again. No certificate expires, no pair is broken.
func TestKilledDaemonsKeepCertificates(t *testing.T) {
	t.Parallel()
	s := newSoak(t)
	next := time.Now().Add(*killEvery)
	kills := 0
	s.run(t, func(now time.Time) {
		if now.Before(next) {
			return
		}
		next = now.Add(*killEvery)
		s.daemon.Kill()
		s.daemon = s.Start(t)
		kills++
	})
	t.Logf("%d kills", kills)
}

// TestMemoryStaysAsItIs lets one daemon run. No certificate expires, no pair is broken, and memory does not grow.
func TestMemoryStaysAsItIs(t *testing.T) {
	t.Parallel()
	s := newSoak(t)
	began, pid := time.Now(), s.pid(t)
	var early, late []float64
	s.run(t, func(now time.Time) {
		resident := memory(t, pid)
		if since := now.Sub(began); since >= warm && since < warm+span {
			early = append(early, resident)
		}
		if now.Sub(began) >= *duration-span {
			late = append(late, resident)
		}
	})
	if len(early) == 0 {
		t.Logf("the resident memory at the end is %.1f MB", median(late))
		return
	}
	t.Logf("resident memory: %.1f MB after %s, %.1f MB after %s", median(early), warm, median(late), *duration)
	if grew := median(late) - median(early); grew > growth {
		t.Errorf("resident memory grew by %.1f MB", grew)
	}
}

// soak is a site under load.
type soak struct {
	*site.Site
	ca      *pebble.Server
	admin   string
	daemon  *site.Process
	names   []string
	removed []string // names whose specs are away
}

// newSoak returns a site all of whose certificates are there. They come at different times, so that they come due at different
// times.
func newSoak(t *testing.T) *soak {
	t.Helper()
	ca := pebble.Start(t, pebble.Options{Profiles: map[string]time.Duration{"default": *lifetime}, MaxValidationDelay: time.Second, AuthzReuse: 50})
	ports, err := process.FreePorts(1)
	if err != nil {
		t.Fatal(err)
	}
	s := &soak{ca: ca, admin: process.Loopback(ports[0])}
	s.Site = site.New(t, ca, site.Options{Responder: true, Admin: s.admin})
	s.ServeTokens(t, ca.HTTPAddr, nil)
	s.daemon = s.Start(t)
	for i := range *certificates {
		name := fmt.Sprintf("host%d.example.com", i)
		s.names = append(s.names, name)
		s.Spec(t, name, "{}")
	}
	site.Eventually(t, "every certificate is there", func() bool {
		return !slices.ContainsFunc(s.names, func(name string) bool { return s.Live(t, name) == 0 })
	})
	return s
}

// run calls each once a second for the duration of a soak, while the site is under load, and looks at all files.
func (s *soak) run(t *testing.T, each func(now time.Time)) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	answers := make([]int, clients)
	for i := range clients {
		load.Go(func() { answers[i] = s.hammer(ctx) })
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for end := time.Now().Add(*duration); time.Now().Before(end); <-tick.C {
		each(time.Now())
		s.swap(t)
		s.judge(t)
	}
	stop()
	load.Wait()
	s.restore(t)
	s.report(t, answers)
}

// hammer asks for what the status page has until the context ends, and returns how many answers came.
func (s *soak) hammer(ctx context.Context) (answers int) {
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	for i := 0; ctx.Err() == nil; i++ {
		path := []string{"/metrics", "/", "/?q=host1", "/readyz"}[i%4]
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.admin+path, nil)
		if err != nil {
			panic(err) // the address is a constant's
		}
		answer, err := client.Do(request)
		if err != nil {
			continue // the daemon was killed
		}
		if _, err := io.Copy(io.Discard, answer.Body); err == nil {
			answers++
		}
		_ = answer.Body.Close()
	}
	return answers
}

// swap restores specs that are away and removes others.
func (s *soak) swap(t *testing.T) {
	t.Helper()
	s.restore(t)
	for range absent {
		name := s.names[rand.IntN(len(s.names))]
		if !slices.Contains(s.removed, name) {
			s.removed = append(s.removed, name)
		}
	}
	for _, name := range s.removed {
		if err := os.Remove(s.Path("certs.d", name+".yaml")); err != nil {
			t.Fatal(err)
		}
	}
}

func (s *soak) restore(t *testing.T) {
	t.Helper()
	for _, name := range s.removed {
		s.Spec(t, name, "{}")
	}
	s.removed = nil
}

// judge looks at all certificates as servers would.
func (s *soak) judge(t *testing.T) {
	t.Helper()
	for _, name := range s.names {
		pair, err := s.Served(name)
		if err != nil {
			t.Fatalf("the files of %s: %v", name, err)
		}
		leaf, err := x509.ParseCertificate(pair.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		if late := time.Since(leaf.NotAfter); late > 0 {
			t.Fatalf("%s expired %s ago", name, late.Round(time.Second))
		}
	}
}

// report says how much was done, and looks for certificates that failed.
func (s *soak) report(t *testing.T, answers []int) {
	t.Helper()
	revisions, total := 0, 0
	for _, name := range s.names {
		revisions += s.Live(t, name)
	}
	for _, n := range answers {
		total += n
	}
	list, err := s.Control.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	phases := map[control.Phase]int{}
	for _, c := range list {
		phases[c.Phase]++
	}
	t.Logf("%d certificates in %d revisions, %d answers of the status page; certificates by phase: %v", len(s.names), revisions, total, phases)
}

func (s *soak) pid(t *testing.T) int {
	t.Helper()
	info, err := s.Control.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.PID
}

// memory is what is resident of a process, in MB.
func memory(t *testing.T, pid int) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := bytes.Cut(status, []byte("VmRSS:"))
	var kB float64
	if _, err := fmt.Sscan(string(rest), &kB); err != nil {
		t.Fatal(err)
	}
	return kB * 1024 / 1e6
}

func median(figures []float64) float64 {
	if len(figures) == 0 {
		return 0
	}
	slices.Sort(figures)
	return figures[len(figures)/2]
}
