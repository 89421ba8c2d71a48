package evilca_test

import (
	"fmt"
	"net"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/evilca"
	"acmed/test/pebble"
	"acmed/test/site"
)

const (
	maxGrowth      = 8 << 10          // KB of memory, whatever a CA sends
	requestTimeout = 30 * time.Second // after which acmed gives a request up
)

// TestMemory streams without end at every endpoint, to the real program: it gives up in time, and stays small. The
// certificate has eight names, so that eight streams run at once.
func TestMemory(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	p := evilca.Start(t, ca, nil)
	s := newSite(t, ca, p)
	s.Spec(t, "www.example.com", "dnsNames: [a.example.com, b.example.com, c.example.com, d.example.com, e.example.com, f.example.com, g.example.com, www.example.com]\n")
	d := s.Start(t)
	site.Eventually(t, "the first certificate is there", func() bool { return s.Live(t, "www.example.com") == 1 })
	for range 3 {
		if failed := renew(t, s, "www.example.com"); failed != "" {
			t.Fatal(failed)
		}
	}
	t.Parallel() // not before: a process that is being started holds on to the locks of all machines
	pid := pidOf(t, s)
	before := memory(t, pid, "VmHWM")
	longest := time.Duration(0)
	for _, c := range streams() {
		hits := p.Hits(c.at)
		p.Spoil(c.at, c.do)
		if c.at == evilca.Directory { // which is read again only when it has led nowhere
			p.Spoil(evilca.NewOrder, evilca.Lose)
			renew(t, s, "www.example.com")
			p.Mend(evilca.NewOrder)
			reload(t, s)
		}
		start := time.Now()
		failed := renew(t, s, "www.example.com")
		took := time.Since(start)
		longest = max(longest, took)
		p.Mend()
		switch {
		case failed == "" && !c.harmless:
			t.Errorf("%s: the renewal works", c)
		case p.Hits(c.at) == hits:
			t.Errorf("%s: the fault was not met", c)
		case took > requestTimeout+10*time.Second:
			t.Errorf("%s: it took %v to give up", c, took)
		}
		if now := memory(t, pid, "VmHWM"); now-before > maxGrowth {
			t.Fatalf("%s: memory grew from %d KB to %d KB, by more than %d KB", c, before, now, maxGrowth)
		}
		reload(t, s)                                                // ends the hold of a CA that cannot be reached
		if failed := renew(t, s, "www.example.com"); failed != "" { // nothing is left that could go on while the next one is set up
			t.Errorf("after %s: %s", c, failed)
		}
	}
	t.Logf("%d streams without end: VmHWM %d KB before, %d KB after; RSS is %d KB; the longest attempt took %v",
		len(streams()), before, memory(t, pid, "VmHWM"), memory(t, pid, "VmRSS"), longest.Round(time.Millisecond))
	if failed := renew(t, s, "www.example.com"); failed != "" {
		t.Errorf("the CA is good again: %s", failed)
	}
	d.Stop(t)
	for _, err := range store.Check(s.State) {
		t.Error(err)
	}
}

// streams are what has no end, or too much of it.
func streams() (cells []cell) {
	for _, c := range []cell{
		{name: "JSON", do: evilca.Endless(200, `{"a":[`, `"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",`)},
		{name: "a problem", do: evilca.Endless(500, `{"type":"x","detail":"`, "a")},
		{name: "PEM", do: evilca.Endless(200, "-----BEGIN CERTIFICATE-----\n", "AAAAAAAA\n")},
		{name: "a gzip bomb", do: evilca.Gzip(200, []byte(`{"a":"`+strings.Repeat("a", 64<<20)+`"}`))},
		{name: "a header", do: evilca.Headers(1, 4<<20)},
		{name: "headers", do: evilca.Headers(1000, 1000)},
		{name: "early hints", do: evilca.EarlyHints},
	} {
		cells = append(cells, at(c, evilca.NewOrder, evilca.Authz, evilca.Challenge, evilca.Order, evilca.Finalize, evilca.Certificate, evilca.RenewalInfo,
			evilca.Directory)...)
	}
	return cells
}

// newSite is an operator's machine whose issuer is the evil CA.
func newSite(t *testing.T, ca *pebble.Server, p *evilca.Proxy) *site.Site {
	t.Helper()
	s := site.New(t, ca, site.Options{})
	s.Write(t, "issuers.d/pebble.yaml", fmt.Sprintf("directory: %s\ncaBundle: %s\nlimits: {failuresPerNamePerHour: 0}\n", p.DirectoryURL, p.RootsFile))
	return s
}

// renew renews one certificate and returns why that did not work.
func renew(t *testing.T, s *site.Site, name string) (failed string) {
	t.Helper()
	request := control.RenewRequest{Names: []string{name}, Wait: true}
	err := s.Control.Renew(t.Context(), request, func(e control.Event) {
		if e.Done && !e.OK {
			failed = e.Error
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return failed
}

func reload(t *testing.T, s *site.Site) {
	t.Helper()
	if _, err := s.Control.Reload(t.Context(), control.ReloadRequest{}); err != nil {
		t.Fatal(err)
	}
}

// pidOf is the process behind the control socket.
func pidOf(t *testing.T, s *site.Site) (pid int32) {
	t.Helper()
	conn, err := net.Dial("unix", s.Path("run", "acmed.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	err = raw.Control(func(fd uintptr) {
		peer, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err != nil {
			t.Error(err)
			return
		}
		pid = peer.Pid
	})
	if err != nil || pid == 0 {
		t.Fatalf("finding the daemon: %v", err)
	}
	return pid
}

// memory is one of a process's figures in KB.
func memory(t *testing.T, pid int32, figure string) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(figure + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		t.Fatalf("/proc/%d/status has no %s", pid, figure)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb
}
