// Package bench_test measures the whole of acmed, as a subprocess, with a test CA that asks for no wait. Nothing is
// asserted: the figures depend on the machine.
package bench_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/test/pebble"
	"acmed/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m)) }

// BenchmarkSpecToCertificate drops one spec after the other. acmed lets each rest for half a second, which only
// drop-to-live counts.
func BenchmarkSpecToCertificate(b *testing.B) {
	ca := pebble.Start(b, pebble.Options{})
	s := site.New(b, ca, site.Options{})
	warm(b, s)
	before := ca.Count(b)
	var live, stored []time.Duration
	for b.Loop() {
		name := fmt.Sprintf("host%d.example.com", len(live))
		dropped := time.Now()
		s.Spec(b, name, "")
		site.Eventually(b, "the certificate is live", func() bool { return s.Live(b, name) == 1 })
		live = append(live, time.Since(dropped))
		read, issued := timeOf(b, s, "read specs", ""), timeOf(b, s, "issued certificate", name)
		stored = append(stored, issued.Sub(read))
	}
	b.ReportMetric(0, "ns/op") // see the others
	b.ReportMetric(milliseconds(median(live)), "ms/drop-to-live")
	b.ReportMetric(milliseconds(median(stored)), "ms/read-to-stored")
	b.ReportMetric(float64(ca.Count(b).Since(before).Total("renewalInfo"))/float64(len(live)), "requests/cert")
}

// BenchmarkRenewal renews one certificate again and again.
func BenchmarkRenewal(b *testing.B) {
	ca := pebble.Start(b, pebble.Options{})
	s := site.New(b, ca, site.Options{})
	warm(b, s)
	before, renewals := ca.Count(b), 0
	for b.Loop() {
		request := control.RenewRequest{Names: []string{"warm.example.com"}, Wait: true}
		err := s.Control.Renew(b.Context(), request, func(e control.Event) {
			if e.Done && !e.OK {
				b.Error(e.Error)
			}
		})
		if err != nil {
			b.Fatal(err)
		}
		renewals++
	}
	b.ReportMetric(float64(ca.Count(b).Since(before).Total("renewalInfo"))/float64(renewals), "requests/cert")
}

// BenchmarkManySpecs drops 200 specs at once.
func BenchmarkManySpecs(b *testing.B) {
	const specs = 200
	for _, inFlight := range []int{8, 16} {
		b.Run(fmt.Sprintf("inFlight=%d", inFlight), func(b *testing.B) {
			var took time.Duration
			requests, rounds := 0, 0
			for b.Loop() {
				ca := pebble.Start(b, pebble.Options{})
				s := site.New(b, ca, site.Options{Limits: fmt.Sprintf("failuresPerNamePerHour: 0, ordersInFlight: %d", inFlight)})
				warm(b, s)
				before := ca.Count(b)
				took += issueMany(b, s, specs)
				requests += ca.Count(b).Since(before).Total("renewalInfo")
				rounds++
			}
			b.ReportMetric(0, "ns/op") // what is measured is a part of it
			b.ReportMetric(float64(rounds*specs)/took.Seconds(), "certs/s")
			b.ReportMetric(float64(requests)/float64(rounds*specs), "requests/cert")
		})
	}
}

// issueMany returns the time from the first spec read to the last certificate stored.
func issueMany(b *testing.B, s *site.Site, n int) time.Duration {
	b.Helper()
	begun := len(s.Log(b))
	for i := range n {
		s.Spec(b, fmt.Sprintf("host%03d.example.com", i), "")
	}
	site.Eventually(b, "all certificates are live", func() bool {
		links, err := os.ReadDir(filepath.Join(s.State, "live"))
		return err == nil && len(links) == 1+n // the warm one too
	})
	var first, last time.Time
	for _, e := range s.Log(b)[begun:] {
		switch {
		case e.Message == "read specs" && first.IsZero():
			first = e.Time
		case e.Message == "issued certificate":
			last = e.Time
		}
	}
	return last.Sub(first)
}

// warm starts the daemon and waits until it has an account and a certificate.
func warm(b *testing.B, s *site.Site) {
	b.Helper()
	s.Spec(b, "warm.example.com", "")
	s.Start(b)
	site.Eventually(b, "the daemon is warm", func() bool {
		list, err := s.Control.List(b.Context())
		return err == nil && len(list) == 1 && list[0].Phase == control.Valid
	})
}

// timeOf is when something was last logged about cert, or about no certificate.
func timeOf(b *testing.B, s *site.Site, message, cert string) time.Time {
	b.Helper()
	var at time.Time
	site.Eventually(b, "the log says: "+message, func() bool {
		for _, e := range s.Log(b) {
			if e.Message == message && e.Cert == cert {
				at = e.Time
			}
		}
		return !at.IsZero()
	})
	return at
}

func median(d []time.Duration) time.Duration { return slices.Sorted(slices.Values(d))[len(d)/2] }

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
