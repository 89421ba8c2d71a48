//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/test/pebble"
	"acmed/test/site"
)

// manyNames is a spec of so many names: each of them is proved by a token of its own.
func manyNames(n int) string {
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("host%d.example.com", i))
	}
	return "dnsNames: [" + strings.Join(names, ", ") + "]\n"
}

// TestKilledOverTokens kills the daemon at one event of its token folder after the other: a file is made, renamed to
// its token, or removed.
func TestKilledOverTokens(t *testing.T) {
	unpack(t)
	const names, stride = 12, 3
	ca := pebble.Start(t, pebble.Options{AlwaysValid: true}) // nobody answers while the daemon is dead
	kills, torn, left := 0, map[string]bool{}, map[string]bool{}
	s := site.New(t, ca, site.Options{Responder: true})
	newMemory(t, s.Path("run"))
	for n := 1; ; n += stride {
		// Other names each time, so that no authorization is used again.
		name := fmt.Sprintf("n%d", n)
		s.Spec(t, name, strings.ReplaceAll(manyNames(names), ".example", "-"+name+".example"))
		d := s.Start(t)
		if !killAtEvent(t, s, d, n, func() error { return issued(s, name) }) {
			d.Stop(t)
			break
		}
		kills++
		for _, name := range tokens(t, s, true) {
			torn[name] = true
		}
		for _, name := range tokens(t, s, false) {
			left[name] = true
		}
	}
	d := s.Start(t)
	eventually(t, patience, "no order is open", func() error {
		open, _ := filepath.Glob(filepath.Join(s.State, "certs/*/pending"))
		if len(open) > 0 {
			return fmt.Errorf("there are %q", open)
		}
		return nil
	})
	d.Stop(t)
	// What was killed between making a file and naming it leaves the file to a start that is a second later.
	<-time.After(time.Second)
	s.Start(t).Stop(t)
	t.Logf("%d kills left %d tokens, all of them whole, and %d files without a name; then %q", kills, len(left), len(torn), tokens(t, s, true))
	if rest := append(tokens(t, s, true), tokens(t, s, false)...); len(rest) > 0 {
		t.Errorf("left behind: %q", rest)
	}
}

// killAtEvent kills a daemon at the n-th event of its token folder. It reports false when done comes first.
func killAtEvent(t *testing.T, s *site.Site, d *site.Process, n int, done func() error) bool {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_NONBLOCK | unix.IN_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, s.Tokens, unix.IN_CREATE|unix.IN_MOVED_TO|unix.IN_DELETE); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for seen := 0; ; {
		got, err := unix.Read(fd, buf)
		for at := 0; err == nil && at < got; seen++ {
			at += unix.SizeofInotifyEvent + int(buf[at+12]) // the name's length; names are short
		}
		switch {
		case seen >= n:
			d.Kill()
			return true
		case err != nil && !errors.Is(err, unix.EAGAIN):
			t.Fatal(err)
		case done() == nil:
			return false
		}
	}
}

// issued wants a pair of that certificate.
func issued(s *site.Site, name string) error {
	_, err := s.Served(name)
	return err
}

// tokens lists the token folder: what has no name yet, or the tokens, which have to hold a whole proof each.
func tokens(t *testing.T, s *site.Site, unnamed bool) (found []string) {
	t.Helper()
	files, err := os.ReadDir(s.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), ".acmed-") != unnamed {
			continue
		}
		found = append(found, f.Name())
		proof, err := os.ReadFile(filepath.Join(s.Tokens, f.Name()))
		thumbprint, ok := strings.CutPrefix(string(proof), f.Name()+".")
		if !unnamed && (err != nil || !ok || len(thumbprint) != 43) {
			t.Errorf("token %s holds %q: %v", f.Name(), proof, err)
		}
	}
	return found
}

// TestFullTokenFolder has no room for one, two, … of the tokens of an order.
func TestFullTokenFolder(t *testing.T) {
	unpack(t)
	const names = 4
	ca := pebble.Start(t, pebble.Options{})
	s := site.New(t, ca, site.Options{})
	run := newMemory(t, s.Path("run"))
	s.Write(t, "run/ballast", "a tmpfs that holds nothing cannot be full")
	d := s.Start(t)
	faults := map[string]bool{}
	for what := range map[string]bool{"inodes": true, "pages": true} {
		for spare := range names {
			name := fmt.Sprintf("%s%d", what, spare)
			run.limit(what, spare)
			s.Spec(t, name, strings.ReplaceAll(manyNames(names), ".example", "-"+name+".example"))
			faults[awaitFault(t, s, name)] = true
			if rest := tokens(t, s, true); len(rest) > 0 {
				t.Errorf("%d %s: left without a name: %q", spare, what, rest)
			}
			tokens(t, s, false)
			run.free()
			if err := renew(t, s, true, name); err != nil { // else it takes a minute
				t.Error(err)
			}
			if rest := tokens(t, s, false); len(rest) > 0 {
				t.Errorf("%d %s: left behind: %q", spare, what, rest)
			}
		}
	}
	d.Stop(t)
	t.Logf("%d orders without room for their tokens failed with %q and came to an end", 2*names, slices.Collect(maps.Keys(faults)))
	if did := made(t, ca, `Added order "`); did != 2*names {
		t.Errorf("the CA made %d orders for %d certificates", did, 2*names)
	}
}

// awaitFault waits until the daemon has said that a certificate failed, and why, without the names in it.
func awaitFault(t *testing.T, s *site.Site, name string) (fault string) {
	t.Helper()
	eventually(t, patience, name+" fails", func() error {
		for _, e := range logged(t, s) {
			if e.Cert == name && e.Message == "attempt did not work" {
				words := strings.Fields(e.Error)
				fault = strings.Join(words[max(0, len(words)-12):], " ")
				return nil
			}
		}
		return errors.New("not in the log")
	})
	return fault
}
