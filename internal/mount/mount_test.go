package mount_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"acmed/internal/mount"
)

const table = `21 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 21 0:25 / /run rw,nosuid shared:5 master:2 - tmpfs tmpfs rw,size=10k
31 21 254:1 /@/state /var/lib/acmed rw - btrfs /dev/vdb rw,subvol=/@/state
40 21 254:1 /@/state/certs/a/rev/0001 /srv/with\040space/certs ro - btrfs /dev/vdb rw
41 21 254:0 /etc/ssl/key.pem//deleted /etc/key.pem rw - ext4 /dev/vda rw
not a line
42 21 254:0 / /run rw - ext4 /dev/vda rw
`

func read(t *testing.T) []mount.Mount {
	t.Helper()
	file := filepath.Join(t.TempDir(), "mountinfo")
	if err := os.WriteFile(file, []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	mounts, err := mount.Read(file)
	if err != nil || len(mounts) != 6 {
		t.Fatalf("got %+v, %v", mounts, err)
	}
	return mounts
}

func TestMountsAreReadWithEscapesAndWithWhatIsGone(t *testing.T) {
	mounts := read(t)
	for i, want := range map[int]mount.Mount{
		3: {Device: "254:1", Root: "/@/state/certs/a/rev/0001", Point: "/srv/with space/certs", Type: "btrfs", Source: "/dev/vdb"},
		4: {Device: "254:0", Root: "/etc/ssl/key.pem", Point: "/etc/key.pem", Type: "ext4", Source: "/dev/vda", Gone: true},
	} {
		if mounts[i] != want {
			t.Errorf("got %+v", mounts[i])
		}
	}
	if _, err := mount.Read("/nowhere"); err == nil {
		t.Error("a file that is missing is read")
	}
}

func TestAPathIsLocatedInItsFileSystem(t *testing.T) {
	mounts := read(t)
	for path, want := range map[string]mount.Place{
		"/etc/ssl/key.pem":          {Device: "254:0", Path: "/etc/ssl/key.pem"},
		"/":                         {Device: "254:0", Path: "/"},
		"/var/lib/acmed/certs/a":    {Device: "254:1", Path: "/@/state/certs/a"},
		"/var/lib/acmed":            {Device: "254:1", Path: "/@/state"},
		"/var/lib/acmed-deploy/key": {Device: "254:0", Path: "/var/lib/acmed-deploy/key"},
		"/run/key":                  {Device: "254:0", Path: "/key"}, // the later mount hides the tmpfs
	} {
		if got, ok := mount.Locate(mounts, path); !ok || got != want {
			t.Errorf("%s: got %+v, %t", path, got, ok)
		}
	}
}

func TestAMountIsFoundByWhatItShows(t *testing.T) {
	mounts := read(t)
	state, _ := mount.Locate(mounts, "/var/lib/acmed/certs/a/rev")
	var found []string
	for _, m := range mounts {
		if rest, ok := m.Below(state); ok {
			found = append(found, m.Point+" "+rest)
		}
	}
	if !slices.Equal(found, []string{"/srv/with space/certs /0001"}) {
		t.Errorf("got %q", found)
	}
	if m, ok := mount.At(mounts, "/run"); !ok || m.Type != "ext4" {
		t.Errorf("got %+v", m)
	}
	if _, ok := mount.At(mounts, "/etc"); ok {
		t.Error("what is no mount point is found")
	}
}
