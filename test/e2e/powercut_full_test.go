//go:build e2e

package e2e

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/control"
	"acmed/internal/store"
	"acmed/test/pebble"
	"acmed/test/site"
)

// recovery is how long a daemon may take to see that its disk works again: it looks after a minute, and less often
// each time that it was in vain.
const recovery = 5 * time.Minute

// full is a machine whose disk fills up at another point of a renewal each.
type full struct {
	*site.Site
	disk   *disk
	daemon *site.Process
	what   string // there is no more of: "inodes" or "pages"
	spare  int
	kill   bool   // the daemon is killed while the disk is full
	fault  string // what the lasting wish met
}

const fullName = "www.example.com"

func TestDiskThatTakesNoMore(t *testing.T) {
	unpack(t)
	for sentence, test := range map[string]func(*testing.T){
		"it is full":                        fullDisk,
		"it is full before the first start": fullDiskAtFirst,
		"it is read-only":                   readOnlyDisk,
	} {
		t.Run(sentence, func(t *testing.T) {
			t.Parallel() // most of it is waiting for the next attempt
			test(t)
		})
	}
}

// fullDisk renews on filesystems that have room for less and less of it. Every attempt is to fail by name, to leave
// the old pair served, and to work by itself once there is room.
func fullDisk(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{AlwaysValid: true})
	var all []*full
	for what, enough := range map[string]int{"inodes": 14, "pages": 12} {
		for spare := range enough {
			all = append(all, newFull(t, ca, what, spare))
		}
	}
	for _, step := range []func(*full, *testing.T){(*full).fill, (*full).fail, (*full).restart, (*full).free, (*full).recover} {
		for _, f := range all {
			step(f, t)
		}
	}
	summarize(t, ca, all)
}

// newFull leaves the proofs to a CA that does not look: so many daemons share one.
func newFull(t *testing.T, ca *pebble.Server, what string, spare int) *full {
	t.Helper()
	f := &full{Site: site.New(t, ca, site.Options{Responder: true}), what: what, spare: spare, kill: spare%2 == 1}
	f.disk = newMemory(t, f.State)
	f.Spec(t, fullName, "{}")
	f.daemon = f.Start(t)
	return f
}

// fill issues the first certificate and takes the room away.
func (f *full) fill(t *testing.T) {
	f.first(t)
	f.disk.limit(f.what, f.spare)
}

// first waits for the first certificate, and until nothing is left to be done about it.
func (f *full) first(t *testing.T) {
	t.Helper()
	eventually(t, patience, "the first certificate", func() error {
		list, err := f.Control.List(t.Context())
		if err == nil && (len(list) != 1 || list[0].Phase != control.Valid) {
			err = fmt.Errorf("there is none: %+v", list)
		}
		return err
	})
}

// fail asks for another name, a wish that lasts. Who is killed afterwards is first asked for a renewal, to hear what
// comes of that; the others would have failed twice then, and would wait longer.
func (f *full) fail(t *testing.T) {
	if f.kill {
		err := renew(t, f.Site, true, fullName)
		switch {
		case err == nil && f.Live(t, fullName) == 1:
			t.Errorf("%s: a renewal was reported that did not happen", f)
		case err != nil && !strings.Contains(err.Error(), "free space or inodes on the filesystem of "+f.State):
			t.Errorf("%s: the error does not tell what to do: %v", f, err)
		}
		f.sound(t)
	}
	f.fault = f.edit(t)
	f.sound(t)
}

// edit asks for another name and waits for the outcome: an error, or none.
func (f *full) edit(t *testing.T) (fault string) {
	t.Helper()
	before := len(logged(t, f.Site))
	f.Spec(t, fullName, "dnsNames: [www.example.com, example.com]\n")
	eventually(t, patience, f.String()+": something comes of the edit", func() error {
		for _, e := range logged(t, f.Site)[before:] {
			switch {
			case e.Cert != fullName:
			case e.Message == "activated revision":
				return nil
			case e.Error != "":
				fault = e.Error
				return nil
			}
		}
		return errors.New("nothing in the log")
	})
	return strings.ReplaceAll(fault, f.State+"/", "")
}

// restart kills every other daemon, and starts it again while there is no room.
func (f *full) restart(t *testing.T) {
	if !f.kill {
		return
	}
	f.daemon.Kill()
	f.sound(t)
	f.daemon = f.Start(t)
	f.sound(t)
}

func (f *full) free(*testing.T) { f.disk.free() }

// recover waits until the daemon sees that there is room.
func (f *full) recover(t *testing.T) {
	eventually(t, recovery, f.String()+": the renewal, by itself", func() error {
		pair, err := f.Served(fullName)
		if err == nil {
			err = pair.Leaf.VerifyHostname("example.com")
		}
		return err
	})
	eventually(t, patience, f.String()+": no order is open", func() error {
		_, err := os.Stat(filepath.Join(f.State, "certs", fullName, "pending"))
		if !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("there is one: %w", err)
		}
		return nil
	})
	f.daemon.Stop(t)
	f.sound(t)
}

// sound checks what consumers see, and what the next daemon finds.
func (f *full) sound(t *testing.T) {
	t.Helper()
	if err := f.at(t, max(1, reported(t, f.Site)[fullName])); err != nil {
		t.Errorf("%s: %v", f, err)
	}
	for _, err := range store.Check(f.State) {
		t.Errorf("%s: %v", f, err)
	}
}

// at wants that revision or a later one to be served.
func (f *full) at(t *testing.T, revision int) error {
	t.Helper()
	if live := f.Live(t, fullName); live < revision {
		return fmt.Errorf("revision %d is served, want %d", live, revision)
	}
	_, err := f.Served(fullName)
	return err
}

func (f *full) String() string { return fmt.Sprintf("%d %s left", f.spare, f.what) }

func summarize(t *testing.T, ca *pebble.Server, all []*full) {
	t.Helper()
	have, leftovers, faults := 0, 0, map[string]int{}
	operation := regexp.MustCompile(`\S+ \S+: no space left`)
	for _, f := range all {
		have += f.Live(t, fullName)
		leftovers += len(temporary(t, f.State))
		faults[operation.FindString(f.fault)]++
	}
	for _, fault := range slices.Sorted(maps.Keys(faults)) {
		t.Logf("%2d %s", faults[fault], cmp.Or(fault, "had room enough"))
	}
	orders, certificates := made(t, ca, `Added order "`), made(t, ca, `Issued certificate serial`)
	t.Logf("%d full disks: %d orders, %d certificates made and %d kept, %d leftovers",
		len(all), orders, certificates, have, leftovers)
	if certificates != have || orders > certificates+len(all) {
		t.Errorf("the CA made %d certificates of %d orders, and %d are there", certificates, orders, have)
	}
}

// temporary lists what is neither old nor new.
func temporary(t *testing.T, dir string) (found []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if base := filepath.Base(path); strings.HasPrefix(base, ".") && strings.HasSuffix(base, ".tmp") {
			found = append(found, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// fullDiskAtFirst starts on empty filesystems that are too small. The daemon is to say so and to end, and
// to start once there is room.
func fullDiskAtFirst(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	for spare := 0; ; spare += 2 {
		s := site.New(t, ca, site.Options{})
		d := newMemory(t, s.State)
		d.limit("inodes", spare)
		p := s.Launch(t)
		select {
		case <-p.Ready():
			t.Logf("it needs between %d and %d inodes to start", spare-1, spare)
			p.Stop(t)
			return
		case <-p.Ended():
		}
		says(t, s, p.ExitCode(t), "free space or inodes on the filesystem of "+s.State)
		d.free()
		s.Start(t).Stop(t)
		for _, err := range store.Check(s.State) {
			t.Errorf("%d inodes, then more: %v", spare, err)
		}
	}
}

// says expects a daemon that could not start to have said, last, what to do.
func says(t *testing.T, s *site.Site, code int, want string) {
	t.Helper()
	log, err := os.ReadFile(s.Path("acmed.log"))
	if err != nil {
		t.Fatal(err)
	}
	if last := log[strings.LastIndexByte(strings.TrimSpace(string(log)), '\n')+1:]; code != 1 || !strings.Contains(string(last), want) {
		t.Errorf("it ended with %d and said %s", code, last)
	}
}

// readOnlyDisk turns the filesystem read-only under a daemon, as the kernel does after an error, and starts one
// on such a filesystem. Both are to serve what they have and to say what to do.
func readOnlyDisk(t *testing.T) {
	ca := pebble.Start(t, pebble.Options{})
	f := &full{Site: site.New(t, ca, site.Options{Admin: "127.0.0.1:9402"}), what: "writes"}
	f.disk = newDisk(t, "ext4", f.State)
	f.disk.remount(unix.MS_RDONLY, "")
	says(t, f.Site, f.Launch(t).ExitCode(t), "make the filesystem of "+f.State+" writable again")
	f.disk.remount(0, "")
	f.Spec(t, fullName, "{}")
	f.daemon = f.Start(t)
	f.first(t)
	f.disk.remount(unix.MS_RDONLY, "")
	t.Log(f.edit(t))
	f.refuses(t)
	err := renew(t, f.Site, true, fullName)
	if err == nil || !strings.Contains(err.Error(), "make the filesystem of "+f.State+" writable again") {
		t.Errorf("asked for a renewal on a read-only filesystem: %v", err)
	}
	f.daemon.Kill()
	f.daemon = f.Start(t)
	f.refuses(t)
	f.disk.remount(0, "")
	f.recover(t)
}

// refuses expects a daemon that is well, serves what it has, and does not renew.
func (f *full) refuses(t *testing.T) {
	t.Helper()
	for _, path := range []string{"healthz", "readyz"} {
		eventually(t, patience, path+" is fine", func() error { return ok("http://127.0.0.1:9402/" + path) })
	}
	if f.Live(t, fullName) != 1 {
		t.Errorf("revision %d is served", f.Live(t, fullName))
	}
	f.sound(t)
}
