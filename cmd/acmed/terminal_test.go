package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/control"
)

// pseudo opens a terminal of that width: what is written to tty is read from screen.
func pseudo(t *testing.T, width int) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("there are no pseudo terminals here: %v", err)
	}
	t.Cleanup(func() { screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	if err := unix.IoctlSetWinsize(int(tty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: uint16(width)}); err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

const wide = `NAME             PHASE        EXPIRES  NEXT        REASON
bad.example.com  backing-off  -        in 1 hour   the CA could not connect
www.example.com  valid        -        in 20 days  its time has not come

bad.example.com: parked
  names  bad.example.com, with a great many more of them than would fit

DAY (UTC)   ORDERS  IN AN HOUR
2026-11-27  12      7, which is a great deal more than what anybody wants
also there: words that are no row of the table, and are not cut

!!  files  a key that nobody knows
      what to do: did you mean another one, which is explained here?
?   name   leads elsewhere
ok  unit   is active
`

func TestTerminal(t *testing.T) {
	const red, yellow, green, off = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[0m"
	for sentence, tt := range map[string]struct {
		term, noColor string
		width         int
		want          string
	}{
		"a terminal shows colors": {"xterm", "", 200, strings.NewReplacer("backing-off", red+"backing-off"+off,
			"valid", green+"valid"+off, "parked", red+"parked"+off, "!!", red+"!!"+off, "?   name", yellow+"?"+off+"   name", "ok", green+"ok"+off).Replace(wide)},
		"not where nobody wants them":   {"xterm", "1", 200, wide},
		"not where the terminal cannot": {"dumb", "", 200, wide},
		"rows end with a word where it narrows": {"dumb", "", 60, strings.NewReplacer("NEXT        REASON", "REASON", "in 1 hour   the CA could not connect", "the CA could not…",
			"in 20 days  its", "its", " anybody wants", "…").Replace(wide)},
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Setenv("TERM", tt.term)
			t.Setenv("NO_COLOR", tt.noColor)
			_, tty := pseudo(t, tt.width)
			if got := terminalOf(tty).show(wide); got != tt.want {
				t.Errorf("got\n%q\nwant\n%q", got, tt.want)
			}
		})
	}
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	screen, tty := pseudo(t, 60)
	a := &app{stdout: tty, output: "text"}
	if err := a.result(nil, func(time.Time) string { return wide }); err != nil {
		t.Fatal(err)
	}
	seen := make([]byte, 4096)
	n, err := screen.Read(seen)
	if got := string(seen[:n]); err != nil || !strings.Contains(got, red+"backing-off"+off+"  -        the CA could not…\r\n") {
		t.Errorf("the screen shows %q, %v", got, err)
	}
	if got := terminalOf(new(bytes.Buffer)); got != (terminal{}) {
		t.Errorf("a pipe is taken for %+v", got)
	}
}

// TestEveryPhaseHasAColor, but for the one in which there is nothing to do or to wait for.
func TestEveryPhaseHasAColor(t *testing.T) {
	for _, p := range control.Phases() {
		if got := paint(string(p)); (got == "") != (p == control.Retired) {
			t.Errorf("%s is painted %q", p, got)
		}
	}
	for _, p := range []control.Phase{control.DeployFailed, control.BackingOff, control.Parked, control.Expired} {
		if paint(string(p)) != paint("!!") {
			t.Errorf("%s has not the color of a failure", p)
		}
	}
}

// TestALongURLLeavesTablesReadable has one of 4 KiB in the words of a CA: a list shows none of it on a terminal, and the
// status all of it.
func TestALongURLLeavesTablesReadable(t *testing.T) {
	url := "https://ca.test/unpause?jwt=" + strings.Repeat("x", 4000)
	term := terminal{width: 80}
	bad := control.Summary{Name: "www.example.com", Phase: control.Parked, Reason: "tried once a day", Error: "rateLimited: Please visit: " + url, Problem: true}
	for line := range strings.Lines(term.show(listText([]control.Summary{bad}, noon()))) {
		if len(line) > 82 || strings.Contains(line, "https:") {
			t.Errorf("%d characters: %s", len(line), line)
		}
	}
	cert := control.Certificate{Name: "www.example.com", Phase: control.Parked, Failures: []control.Failure{{Issuer: "ca", Problem: "rateLimited", Detail: "Please visit: " + url}}}
	if text := term.show(certificateText(cert, noon())); !strings.Contains(text, url) {
		t.Errorf("the status cuts the URL: %s", text)
	}
}
