// Package scale_test measures what many certificates cost: the real program, as a subprocess, on a disk with as many
// certificates as the name of the benchmark says, all of them issued. docs/performance.md keeps the figures.
package scale_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/store"
	"acmed/test/site"
)

func TestMain(m *testing.M) { os.Exit(site.Main(m)) }

func TestTheFleetIsWhatADaemonLeavesBehind(t *testing.T) {
	f := newFleet(t, "", 20)
	for _, err := range store.Check(f.State) {
		t.Error(err)
	}
	f.Start(t).Stop(t)
	for _, err := range store.Check(f.State) {
		t.Errorf("after a run: %v", err)
	}
	for _, e := range f.Log(t) {
		if e.Message != "ready" && e.Message != "stopped" {
			t.Errorf("the daemon says %q of %s", e.Message, e.Cert)
		}
	}
}

// rounds is how often each figure is taken at least. The best counts: what else the machine does adds to the others.
const rounds = 5

func BenchmarkFleet(b *testing.B) {
	for _, size := range []int{1_000, 10_000, 100_000} {
		b.Run(fmt.Sprintf("certificates=%d", size), func(b *testing.B) {
			admin := freeAddr(b)
			f := newFleet(b, admin, size)
			f.start(b).Stop(b) // from here on the kernel has the files in memory
			b.Run("ready", f.benchmarkReady)
			b.Run("idle", f.benchmarkIdle)
			b.Run("scrape", func(b *testing.B) { f.benchmarkScrape(b, admin) })
			b.Run("new-spec", f.benchmarkNewSpec)
		})
	}
}

// start waits for as long as a disk may need that has forgotten everything.
func (f *fleet) start(t testing.TB) *site.Process {
	t.Helper()
	p := f.Launch(t)
	select {
	case <-p.Ready():
	case <-p.Ended():
		t.Fatal("the daemon ended")
	case <-time.After(5 * time.Minute):
		t.Fatal("the daemon does not become ready")
	}
	return p
}

// benchmarkReady takes the time from exec to READY=1, and what was used until then.
func (f *fleet) benchmarkReady(b *testing.B) {
	var took, used, peak best
	for b.Loop() {
		for range rounds {
			began := time.Now()
			p := f.start(b)
			took.add(time.Since(began).Seconds())
			pid := f.pid(b)
			used.add(processorTime(b, pid).Seconds())
			peak.add(memory(b, pid, "VmHWM"))
			p.Stop(b)
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.figure, "s/ready")
	b.ReportMetric(used.figure, "s/processor")
	b.ReportMetric(peak.figure, "MB/peak")
}

// watched is the part of a minute that is looked at: one is as any other.
const watched = 30 * time.Second

// benchmarkIdle takes the share of a core that is used while nothing is to be done but to look at the CA's renewal
// advice: for each certificate once in advisedPoll.
func (f *fleet) benchmarkIdle(b *testing.B) {
	p := f.start(b)
	defer p.Stop(b)
	pid := f.rest(b)
	var share best
	for b.Loop() {
		before := processorTime(b, pid)
		<-time.After(watched)
		share.add(100 * (processorTime(b, pid) - before).Seconds() / watched.Seconds())
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(share.figure, "%/core")
	b.ReportMetric(memory(b, pid, "VmRSS"), "MB/resident")
}

// benchmarkScrape takes the time of one look at /metrics.
func (f *fleet) benchmarkScrape(b *testing.B, admin string) {
	p := f.start(b)
	defer p.Stop(b)
	f.rest(b)
	var took best
	var size int64
	for b.Loop() {
		for range rounds {
			began := time.Now()
			answer, err := http.Get("http://" + admin + "/metrics")
			if err != nil {
				b.Fatal(err)
			}
			size, err = io.Copy(io.Discard, answer.Body)
			answer.Body.Close()
			if err != nil || answer.StatusCode != http.StatusOK {
				b.Fatal(answer.Status, err)
			}
			took.add(1000 * time.Since(began).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.figure, "ms/scrape")
	b.ReportMetric(float64(size)/1000, "kB/scrape")
}

// benchmarkNewSpec takes the time from the writing of one more spec to the order for it. It comes last, for the new
// specs stay.
func (f *fleet) benchmarkNewSpec(b *testing.B) {
	p := f.start(b)
	defer p.Stop(b)
	f.rest(b)
	var took best
	for i := f.size; b.Loop(); {
		for range rounds {
			i += 10 // another registered domain
			began := time.Now()
			f.Spec(b, name(i), fmt.Sprintf(eightLines, name(i)))
			took.add(f.ca.ordered(b, name(i)).Sub(began).Seconds())
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(took.figure, "s/order")
}

// best is the least of some figures.
type best struct {
	figure float64
	taken  bool
}

func (m *best) add(figure float64) {
	if !m.taken || figure < m.figure {
		m.figure, m.taken = figure, true
	}
}

// ordered waits for the order of a certificate and tells when it arrived.
func (c *ca) ordered(t testing.TB, name string) time.Time {
	t.Helper()
	late := time.After(site.Patience)
	for {
		select {
		case o := <-c.orders:
			if o.name == name {
				return o.at
			}
		case <-late:
			t.Fatalf("no order for %s", name)
		}
	}
}

// rest waits until the daemon has done what was due at its start.
func (f *fleet) rest(t testing.TB) (pid int) {
	t.Helper()
	pid = f.pid(t)
	used := processorTime(t, pid)
	site.Eventually(t, "the daemon rests", func() bool {
		<-time.After(time.Second)
		before := used
		used = processorTime(t, pid)
		return used-before < 30*time.Millisecond
	})
	return pid
}

func (f *fleet) pid(t testing.TB) int {
	t.Helper()
	info, err := f.Control.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return info.PID
}

// memory is a figure of /proc/PID/status, in MB.
func memory(t testing.TB, pid int, field string) float64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	var kB float64
	_, rest, _ := bytes.Cut(status, []byte(field+":"))
	if _, err := fmt.Sscan(string(rest), &kB); err != nil {
		t.Fatal(err)
	}
	return kB * 1024 / 1e6
}

// processorTime is what a process has used so far, of all its threads.
func processorTime(t testing.TB, pid int) time.Duration {
	t.Helper()
	const scheduled = 2 // CPUCLOCK_SCHED of clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &ts); err != nil {
		t.Fatal(err)
	}
	return time.Duration(ts.Nano())
}

func freeAddr(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
