//go:build e2e

package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/site"
)

var (
	cuts    = flag.Int("powercut.times", 20, "how often the power is cut, on each filesystem")
	cutSeed = flag.Uint64("powercut.seed", 0, "seed of the moments; 0: another one each time")
)

// TestPowerCut cuts the power right after a success was reported, and at random moments of issuances and renewals,
// by turns. What is promised of each cut is in docs/state-directory.md.
func TestPowerCut(t *testing.T) {
	unpack(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			c := newCutter(t, kind)
			for i := range *cuts {
				c.start(t)
				if i%2 == 0 {
					c.afterSuccess(t, i%4 == 0)
				} else {
					c.atRandom(t)
				}
				c.examine(t)
			}
			c.finish(t)
		})
	}
}

// unpack puts the packaged program first in PATH.
func unpack(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	if err := host("dpkg-deb", "--extract", built(t), dir); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Join(dir, "usr/bin")+string(filepath.ListSeparator)+os.Getenv("PATH"))
}

// cutter cuts the power of one machine again and again.
type cutter struct {
	ca     *pebble.Server
	site   *site.Site
	disk   *disk
	random *rand.Rand
	daemon *site.Process
	names  []string
	leaves map[string]string // serial numbers by name and revision, as first seen

	done, open, begun, damaged int // see finish
}

func newCutter(t *testing.T, kind string) *cutter {
	t.Helper()
	seed := *cutSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("-powercut.seed=%d", seed)
	c := &cutter{random: rand.New(rand.NewPCG(seed, 0)), leaves: map[string]string{}}
	c.ca = pebble.Start(t, pebble.Options{})
	c.site = site.New(t, c.ca, site.Options{})
	c.disk = newDisk(t, kind, c.site.State)
	c.order(t)
	c.order(t)
	return c
}

// order asks for another certificate.
func (c *cutter) order(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("host%d.example.com", len(c.names))
	c.names = append(c.names, name)
	c.site.Spec(t, name, "{}")
	return name
}

// start starts the daemon and waits until it has mended what the last cut left.
func (c *cutter) start(t *testing.T) {
	t.Helper()
	c.daemon = c.site.Start(t)
	eventually(t, patience, "no order is open", func() error { return c.resting(t) })
	for _, err := range store.Check(c.site.State) {
		t.Errorf("after %d cuts and a start: %v", c.done, err)
	}
	c.look(t)
}

// resting asks again for what a cut made the CA refuse, until every certificate is there and none is on order.
func (c *cutter) resting(t *testing.T) error {
	t.Helper()
	list, err := c.site.Control.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(list) < len(c.names) {
		return errors.New("not all specs are read")
	}
	for _, s := range list {
		if s.Phase == control.BackingOff {
			err = errors.Join(err, c.renew(t, false, s.Name))
		}
		if s.Phase != control.Valid {
			err = errors.Join(err, fmt.Errorf("%s is %s: %s", s.Name, s.Phase, s.Error))
		}
	}
	return err
}

// renew asks for renewals. Its error tells that somebody was refused, or that the daemon died over it.
func (c *cutter) renew(t *testing.T, wait bool, names ...string) error {
	t.Helper()
	return renew(t, c.site, wait, names...)
}

func renew(t *testing.T, s *site.Site, wait bool, names ...string) error {
	t.Helper()
	var refused []error
	err := s.Control.Renew(t.Context(), control.RenewRequest{Names: names, Wait: wait}, func(e control.Event) {
		if e.Done && !e.OK {
			refused = append(refused, fmt.Errorf("%s: %s: %s; %s", e.Cert, e.Message, e.Error, e.Hint))
		}
	})
	return errors.Join(err, errors.Join(refused...))
}

// afterSuccess cuts the power as soon as a first certificate is reported in the log, or a renewal to who waits for it.
func (c *cutter) afterSuccess(t *testing.T, first bool) {
	t.Helper()
	if first {
		name := c.order(t)
		eventually(t, patience, name+" is reported", func() error {
			if reported(t, c.site)[name] == 0 {
				return errors.New("nothing in the log")
			}
			return nil
		})
	} else if err := c.renew(t, true, c.names[c.random.IntN(len(c.names))]); err != nil {
		t.Fatal(err)
	}
	c.disk.cut()
}

// atRandom cuts the power somewhere in the renewal of all certificates and the issuance of another one.
func (c *cutter) atRandom(t *testing.T) {
	t.Helper()
	within := 400 // milliseconds, in which a renewal ends
	if c.random.IntN(2) == 0 {
		c.order(t)
		within += 500 // in which the daemon waits for the file to stand still
	}
	moment := time.NewTimer(time.Duration(c.random.IntN(within)) * time.Millisecond)
	asked := make(chan struct{})
	go func() {
		defer close(asked)
		_ = c.renew(t, true, c.names[:2]...) // the daemon dies over it
	}()
	<-moment.C
	c.disk.cut()
	// What the daemon does now that its disk is gone must not matter either.
	<-time.After(time.Duration(c.random.IntN(30)) * time.Millisecond)
	c.daemon.Kill()
	<-asked
}

// examine ends the machine, starts it again, and looks at what the cut left, as consumers do before acmed runs.
func (c *cutter) examine(t *testing.T) {
	t.Helper()
	c.daemon.Kill()
	c.done++
	c.disk.unmount()
	if err := os.RemoveAll(c.site.Path("run")); err != nil { // it is a tmpfs on a real machine
		t.Fatal(err)
	}
	c.disk.mount()
	c.look(t)
	for _, name := range c.names {
		order, err := os.ReadFile(filepath.Join(c.site.State, "certs", name, "pending/order"))
		switch {
		case err != nil:
		case !bytes.Contains(order, []byte(`"url"`)):
			c.begun++
		default:
			c.open++
		}
	}
	c.check(t)
	if t.Failed() {
		t.Fatalf("after cut %d", c.done)
	}
}

// look sees to it that every pair that was reported is served, or a later one, and that no revision ever changes.
func (c *cutter) look(t *testing.T) {
	t.Helper()
	said := reported(t, c.site)
	for _, name := range c.names {
		live := c.site.Live(t, name)
		if live < said[name] {
			t.Errorf("revision %d of %s was reported, and revision %d is served", said[name], name, live)
		}
		if live == 0 {
			continue
		}
		pair, err := c.site.Served(name)
		if err != nil {
			t.Errorf("revision %d of %s: %v", live, name, err)
			continue
		}
		revision, serial := fmt.Sprint(name, " ", live), fmt.Sprintf("%x", pair.Leaf.SerialNumber)
		if before := c.leaves[revision]; before != "" && before != serial {
			t.Errorf("revision %s was %s and is %s", revision, before, serial)
		}
		c.leaves[revision] = serial
	}
}

// convenient is what a power cut may damage: it is written without waiting for the disk, and starts anew.
var convenient = regexp.MustCompile(`/state/ledger/[^/]+\.json$`)

func (c *cutter) check(t *testing.T) {
	t.Helper()
	for _, err := range store.Check(c.site.State) {
		c.damaged++
		damaged, ok := errors.AsType[*store.DamagedError](err)
		if !ok || !convenient.MatchString(damaged.Path) {
			t.Error(err)
		}
	}
}

// finish compares what the machine has with what the CA did.
func (c *cutter) finish(t *testing.T) {
	t.Helper()
	c.start(t)
	c.daemon.Stop(t)
	c.site.Run(t, "check")
	have := 0
	for _, name := range c.names {
		have += c.site.Live(t, name)
	}
	accounts, orders := made(t, c.ca, `There are now \d+ accounts`), made(t, c.ca, `Added order "`)
	certificates, refused := made(t, c.ca, `Issued certificate serial`), made(t, c.ca, `set INVALID`)
	t.Logf("%d cuts: %d accounts, %d orders, %d certificates made and %d kept for %d names; %d orders were open and "+
		"%d before the CA's answer was on disk; %d records to start anew; %d validations cut off",
		c.done, accounts, orders, certificates, have, len(c.names), c.open, c.begun, c.damaged, refused)
	if accounts != 1 {
		t.Errorf("the CA made %d accounts", accounts)
	}
	if certificates != have {
		t.Errorf("the CA made %d certificates, and %d are there", certificates, have)
	}
	if extra := orders - certificates; extra > c.begun+refused {
		t.Errorf("%d orders brought no certificate", extra)
	}
}

// made counts what a CA did, after its own log.
func made(t *testing.T, ca *pebble.Server, line string) int {
	t.Helper()
	log, err := ca.Log()
	if err != nil {
		t.Fatal(err)
	}
	return len(regexp.MustCompile(line).FindAllIndex(log, -1))
}

// entry is a line of the daemon's log.
type entry struct {
	Message, Cert, Error string
	Revision             int
}

// logged reads what all daemons of a site have said.
func logged(t *testing.T, s *site.Site) []entry {
	t.Helper()
	log, err := os.ReadFile(s.Path("acmed.log"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	var entries []entry
	for line := range bytes.Lines(log) {
		var e entry
		if json.Unmarshal(line, &e) == nil { // a daemon that cannot start speaks plainly
			entries = append(entries, e)
		}
	}
	return entries
}

// reported tells the newest revision of each certificate that was reported as activated.
func reported(t *testing.T, s *site.Site) map[string]int {
	t.Helper()
	newest := map[string]int{}
	for _, e := range logged(t, s) {
		if e.Message == "activated revision" {
			newest[e.Cert] = max(newest[e.Cert], e.Revision)
		}
	}
	return newest
}
