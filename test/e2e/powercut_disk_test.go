//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is a filesystem of its own, mounted on a folder of the test. The tests' mount namespace and the loop devices,
// which free themselves, leave nothing behind however the tests end.
type disk struct {
	t      *testing.T
	kind   string // "ext4", "xfs" or "tmpfs"
	source string // an image; "": tmpfs
	at     string
}

// newDisk makes and mounts an ext4 or XFS filesystem in an image, through a loop device.
func newDisk(t *testing.T, kind, at string) *disk {
	t.Helper()
	d := &disk{t: t, kind: kind, source: filepath.Join(t.TempDir(), kind+".img"), at: at}
	const size = 320 << 20 // mkfs.xfs refuses less than 300 MiB; nearly all of it is a hole
	image, err := os.Create(d.source)
	if err == nil {
		err = errors.Join(image.Truncate(size), image.Close(), os.MkdirAll(at, 0o755), host("mkfs."+kind, "-q", d.source))
	}
	if err != nil {
		t.Fatalf("making a filesystem: %v", err)
	}
	d.mount()
	t.Cleanup(d.detach)
	if err := os.Chmod(at, 0o711); err != nil { // its owner's work, as acmed would say
		t.Fatal(err)
	}
	return d
}

// newMemory mounts a tmpfs.
func newMemory(t *testing.T, at string) *disk {
	t.Helper()
	d := &disk{t: t, kind: "tmpfs", at: at}
	if err := errors.Join(os.MkdirAll(at, 0o755), unix.Mount("tmpfs", at, "tmpfs", 0, "mode=0711")); err != nil {
		t.Fatalf("mounting a tmpfs: %v", err)
	}
	t.Cleanup(d.detach)
	return d
}

func (d *disk) mount() {
	d.t.Helper()
	if err := host("mount", "-t", d.kind, "-o", "loop", d.source, d.at); err != nil {
		d.t.Fatalf("these tests need loop devices and %s in the kernel, and root: %v", d.kind, err)
	}
}

// remount changes the options of the mount: to read-only and back, or the limits of a tmpfs.
func (d *disk) remount(flags uintptr, options string) {
	d.t.Helper()
	d.patiently("remounting", func() error { return unix.Mount("", d.at, "", unix.MS_REMOUNT|flags, options) })
}

func (d *disk) unmount() {
	d.t.Helper()
	d.patiently("unmounting", func() error { return unix.Unmount(d.at, 0) })
}

// detach is for the end: whatever the state, the mount goes.
func (d *disk) detach() {
	if err := unix.Unmount(d.at, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: not mounted
		d.t.Errorf("unmounting %s: %v", d.at, err)
	}
}

// patiently waits for the last file that is being written.
func (d *disk) patiently(doing string, do func() error) {
	d.t.Helper()
	eventually(d.t, patience, doing+" "+d.at, func() error {
		if err := do(); !errors.Is(err, unix.EBUSY) {
			if err != nil {
				d.t.Fatalf("%s %s: %v", doing, d.at, err)
			}
			return nil
		}
		return unix.EBUSY
	})
}

// cut is a power cut: from now on nothing reaches the image, neither data nor what is in the log in memory
// (FS_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH, which XFS calls XFS_FSOP_GOING_FLAGS_NOLOGFLUSH).
func (d *disk) cut() {
	d.t.Helper()
	const fsIocShutdown, noLogFlush = 0x8004587d, 2
	root, err := os.Open(d.at)
	if err == nil {
		err = errors.Join(unix.IoctlSetPointerInt(int(root.Fd()), fsIocShutdown, noLogFlush), root.Close())
	}
	if err != nil {
		d.t.Fatalf("cutting the power of %s: %v", d.at, err)
	}
}

// limit leaves a tmpfs so many free inodes or pages.
func (d *disk) limit(what string, spare int) {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.at, &s); err != nil {
		d.t.Fatal(err)
	}
	switch what {
	case "inodes":
		d.remount(0, fmt.Sprint("nr_inodes=", s.Files-s.Ffree+uint64(spare)))
	case "pages":
		d.remount(0, fmt.Sprint("size=", (s.Blocks-s.Bfree+uint64(spare))*uint64(s.Bsize)))
	}
}

// free takes the limits away.
func (d *disk) free() {
	d.t.Helper()
	d.remount(0, "nr_inodes=100000,size=64m")
}

// eventually polls until the condition holds.
func eventually(t *testing.T, timeout time.Duration, what string, condition func() error) {
	t.Helper()
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		err := condition()
		if err == nil {
			return
		}
		select {
		case <-deadline.C:
			t.Fatalf("%s: not after %s: %v", what, timeout, err)
		case <-tick.C:
		}
	}
}
