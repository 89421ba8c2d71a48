// Package sd is systemd at our edge: readiness, status and watchdog, inherited sockets, credentials, and the journal.
//
// It never starts, stops or asks systemd for anything, and where there is no systemd it does nothing: no caller
// needs to know which is the case. No other package imports go-systemd, but for its D-Bus client.
package sd

import (
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/sys/unix"
)

const (
	sendTimeout = 100 * time.Millisecond // a full queue must not stop the one who pets the watchdog
	maxStatus   = 200                    // bytes of a status line
)

// Notifier tells systemd how the service is doing (sd_notify(3)). It may be used concurrently; one without a
// socket does nothing.
//
// No method returns an error, for there is nothing to be done about it: when systemd does not listen, its own
// time-outs are what remains.
type Notifier struct {
	socket   string        // "": none; "@…" is an abstract name
	watchdog time.Duration // 0: none

	mu     sync.Mutex // held while sending, so that status is what systemd shows
	status string     // the last that was delivered
	petted time.Time  // when the watchdog last heard of us
}

// FromEnv returns the Notifier that systemd asks for in NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, and removes
// all three from the environment: children must not speak for us.
func FromEnv() *Notifier {
	n := &Notifier{socket: os.Getenv("NOTIFY_SOCKET")}
	if n.socket != "" {
		n.watchdog = watchdogFromEnv()
	}
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"} {
		_ = os.Unsetenv(name) // cannot fail for a valid name
	}
	return n
}

func watchdogFromEnv() time.Duration {
	if pid := os.Getenv("WATCHDOG_PID"); pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return 0
	}
	usec, err := strconv.ParseInt(os.Getenv("WATCHDOG_USEC"), 10, 64)
	if err != nil || usec <= 0 || usec > int64(time.Duration(1<<63-1)/time.Microsecond) {
		return 0
	}
	return time.Duration(usec) * time.Microsecond
}

// Ready tells that start-up or a reload is complete.
func (n *Notifier) Ready(status string) { n.tell("READY=1\n", status) }

// Stopping tells that the service is on its way out.
func (n *Notifier) Stopping(status string) { n.tell("STOPPING=1\n", status) }

// Status sets the line that systemctl status shows, unless it shows it already. What would break or flood the line
// is removed.
func (n *Notifier) Status(line string) { n.tell("", line) }

// Reloading tells that the configuration is being read again; Ready ends it.
func (n *Notifier) Reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	n.send(fmt.Sprintf("RELOADING=1\nMONOTONIC_USEC=%d", now.Nano()/int64(time.Microsecond)))
}

// Extend asks systemd to wait for at least d from now on, while starting, reloading or stopping.
func (n *Notifier) Extend(d time.Duration) {
	n.send(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// WatchdogInterval returns how often systemd wants to hear Watchdog at least; 0: never.
func (n *Notifier) WatchdogInterval() time.Duration { return n.watchdog }

// Watchdog tells that the service is alive. It can be called as often as one likes: systemd hears it at most three
// times an interval.
func (n *Notifier) Watchdog() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.watchdog > 0 && time.Since(n.petted) >= n.watchdog/3 && n.send("WATCHDOG=1") {
		n.petted = time.Now()
	}
}

// tell sends state and status in one datagram, so that systemd never shows one without the other.
func (n *Notifier) tell(state, status string) {
	line := statusLine(status)
	n.mu.Lock()
	defer n.mu.Unlock()
	if state == "" && line == n.status {
		return
	}
	if n.send(state + "STATUS=" + line) {
		n.status = line
	}
}

// send reports whether the datagram was delivered. It dials each time, as the socket may be made anew.
func (n *Notifier) send(datagram string) bool {
	if n.socket == "" {
		return false
	}
	conn, err := net.Dial("unixgram", n.socket)
	if err != nil {
		return false
	}
	defer conn.Close()
	if err := conn.SetWriteDeadline(time.Now().Add(sendTimeout)); err != nil {
		return false
	}
	_, err = conn.Write([]byte(datagram))
	return err == nil
}

// statusLine makes one line of valid UTF-8 of s, as systemd demands, that fits a terminal.
func statusLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) { // only U+0020 of all spaces is printable
			return ' '
		}
		return r
	}, strings.TrimSpace(s))
	if len(s) <= maxStatus {
		return s
	}
	const ellipsis = "…"
	return strings.ToValidUTF8(s[:maxStatus-len(ellipsis)], "") + ellipsis
}
