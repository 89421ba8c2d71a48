package sd_test

import (
	"crypto/rand"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"acmed/internal/sd"
)

// systemd is the far end of a notify socket.
type systemd struct {
	t    *testing.T
	conn *net.UnixConn
}

// listen opens a notify socket and names it in the environment; "" picks a path.
func listen(t *testing.T, name string) *systemd {
	t.Helper()
	if name == "" {
		name = filepath.Join(t.TempDir(), "notify")
	}
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", name)
	return &systemd{t: t, conn: conn}
}

// received returns the datagrams that arrived since the last call.
func (s *systemd) received() []string {
	s.t.Helper()
	raw, err := s.conn.SyscallConn()
	if err != nil {
		s.t.Fatal(err)
	}
	var datagrams []string
	buf := make([]byte, 4096)
	for {
		var n int
		var recvErr error
		if err := raw.Read(func(fd uintptr) bool {
			n, _, recvErr = syscall.Recvfrom(int(fd), buf, syscall.MSG_DONTWAIT)
			return true
		}); err != nil {
			s.t.Fatal(err)
		}
		if recvErr != nil {
			return datagrams
		}
		datagrams = append(datagrams, string(buf[:n]))
	}
}

func (s *systemd) expect(want ...string) {
	s.t.Helper()
	got := s.received()
	if strings.Join(got, "|") != strings.Join(want, "|") {
		s.t.Errorf("systemd heard %q, want %q", got, want)
	}
}

func TestNotifierSpeaksTheProtocol(t *testing.T) {
	for sentence, tt := range map[string]struct {
		say  func(n *sd.Notifier)
		want []string
	}{
		"ready and its status share a datagram": {
			func(n *sd.Notifier) { n.Ready("watching 3 certificates") },
			[]string{"READY=1\nSTATUS=watching 3 certificates"},
		},
		"stopping and its status share a datagram": {
			func(n *sd.Notifier) { n.Stopping("finishing 2 steps") },
			[]string{"STOPPING=1\nSTATUS=finishing 2 steps"},
		},
		"a status is sent when it changes only": {
			func(n *sd.Notifier) { n.Status("a"); n.Status("a"); n.Status("b"); n.Status("a") },
			[]string{"STATUS=a", "STATUS=b", "STATUS=a"},
		},
		"the status of ready counts as sent": {
			func(n *sd.Notifier) { n.Ready("a"); n.Status("a") },
			[]string{"READY=1\nSTATUS=a"},
		},
		"ready is sent again even with the same status": {
			func(n *sd.Notifier) { n.Ready("a"); n.Ready("a") },
			[]string{"READY=1\nSTATUS=a", "READY=1\nSTATUS=a"},
		},
		"a status cannot smuggle in another assignment": {
			func(n *sd.Notifier) { n.Status("  bad\nMAINPID=1\r\x00 \x1b[31mred\xff  ") },
			[]string{"STATUS=bad MAINPID=1    [31mred\uFFFD"},
		},
		"an extension is in microseconds": {
			func(n *sd.Notifier) { n.Extend(90 * time.Second) },
			[]string{"EXTEND_TIMEOUT_USEC=90000000"},
		},
		"without a watchdog nothing is petted": {
			func(n *sd.Notifier) { n.Watchdog() },
			nil,
		},
	} {
		t.Run(sentence, func(t *testing.T) {
			systemd := listen(t, "")
			tt.say(sd.FromEnv())
			systemd.expect(tt.want...)
		})
	}
}

func TestReloadingCarriesTheMonotonicClock(t *testing.T) {
	systemd := listen(t, "")
	sd.FromEnv().Reloading()
	got := strings.Join(systemd.received(), "|")
	if !regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=[1-9]\d*$`).MatchString(got) {
		t.Errorf("systemd heard %q", got)
	}
}

func TestLongStatusIsCutBetweenCharacters(t *testing.T) {
	for pad := range 4 {
		systemd := listen(t, "")
		sd.FromEnv().Status(strings.Repeat("x", pad) + strings.Repeat("ü", 300))
		got := strings.Join(systemd.received(), "|")
		if !utf8.ValidString(got) || len(got) > len("STATUS=")+200 || !strings.HasSuffix(got, "ü…") {
			t.Errorf("systemd heard %d bytes: %q", len(got), got)
		}
	}
}

func TestAbstractSocket(t *testing.T) {
	systemd := listen(t, "@acmed-"+rand.Text())
	sd.FromEnv().Status("hello")
	systemd.expect("STATUS=hello")
}

func TestFromEnvHidesSystemdFromChildren(t *testing.T) {
	listen(t, "")
	t.Setenv("WATCHDOG_USEC", "3000000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	sd.FromEnv()
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		if value, ok := os.LookupEnv(name); ok {
			t.Errorf("%s=%s is left in the environment", name, value)
		}
	}
}

func TestWithoutSystemdNothingHappens(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	t.Setenv("WATCHDOG_USEC", "3000000")
	n := sd.FromEnv()
	n.Ready("a")
	n.Reloading()
	n.Status("b")
	n.Extend(time.Second)
	n.Watchdog()
	n.Stopping("c")
	if got := n.WatchdogInterval(); got != 0 {
		t.Errorf("watchdog interval %v without a socket to pet", got)
	}
}

func TestWatchdogInterval(t *testing.T) {
	for sentence, tt := range map[string]struct {
		usec, pid string
		want      time.Duration
	}{
		"for us":              {"90000000", strconv.Itoa(os.Getpid()), 90 * time.Second},
		"for any process":     {"90000000", "", 90 * time.Second},
		"for another process": {"90000000", "1", 0},
		"absent":              {"", "", 0},
		"zero":                {"0", "", 0},
		"negative":            {"-5", "", 0},
		"not a number":        {"soon", "", 0},
		"too long to count":   {"9223372036854775807", "", 0},
	} {
		t.Run(sentence, func(t *testing.T) {
			listen(t, "")
			t.Setenv("WATCHDOG_USEC", tt.usec)
			t.Setenv("WATCHDOG_PID", tt.pid)
			if got := sd.FromEnv().WatchdogInterval(); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

func TestWatchdogIsPettedThriceAnInterval(t *testing.T) {
	systemd := listen(t, "")
	t.Setenv("WATCHDOG_USEC", "90000000")
	t.Setenv("WATCHDOG_PID", "")
	n := sd.FromEnv()
	synctest.Test(t, func(t *testing.T) {
		for range 90 {
			n.Watchdog()
			time.Sleep(time.Second)
		}
	})
	systemd.expect("WATCHDOG=1", "WATCHDOG=1", "WATCHDOG=1")
}

func TestWhatDidNotArriveIsSentAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("WATCHDOG_USEC", "90000000")
	t.Setenv("WATCHDOG_PID", "")
	n := sd.FromEnv()
	n.Status("a") // nobody listens
	n.Watchdog()
	systemd := listen(t, path)
	n.Status("a")
	n.Watchdog()
	systemd.expect("STATUS=a", "WATCHDOG=1")
}

func TestFullQueueDoesNotBlock(t *testing.T) {
	listen(t, "") // and never read
	n := sd.FromEnv()
	start := time.Now()
	for range 10_000 {
		n.Extend(time.Second)
		if time.Since(start) > 50*time.Millisecond {
			break // one send hit the full queue and was dropped
		}
	}
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("sending into a full queue took %v", took)
	}
}

func TestNotifierIsSafeForConcurrentUse(t *testing.T) {
	systemd := listen(t, "")
	n := sd.FromEnv()
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { n.Status("same") })
	}
	wg.Wait()
	systemd.expect("STATUS=same")
}
