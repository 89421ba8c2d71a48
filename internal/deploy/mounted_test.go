package deploy_test

import (
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"acmed/internal/spec"
)

// TestAMountInThePlaceOfAFileIsNamed is about files that containers and units bind one by one: the kernel replaces none.
func TestAMountInThePlaceOfAFileIsNamed(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	for _, content := range []string{"privkey", "fullchain", "combined"} {
		t.Run(content, func(t *testing.T) {
			dir := folderFor(t)
			write(t, dir+"/elsewhere", "old", 0o600)
			write(t, dir+"/tls", "", 0o600)
			if err := unix.Mount(dir+"/elsewhere", dir+"/tls", "", unix.MS_BIND, ""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() {
				if err := unix.Unmount(dir+"/tls", unix.MNT_DETACH); err != nil {
					t.Error(err)
				}
			})
			j := job(t, "www.example.com", spec.Deploy{Files: []spec.File{{Path: dir + "/tls", Content: content}, {Path: dir + "/other", Content: "cert"}}})
			results := one(t, newExecutor(t, nil), j)
			r := results["file "+dir+"/tls"]
			if r.OK || !strings.HasPrefix(r.Problem, dir+"/tls is a mount point of ") || !strings.Contains(r.Problem, "/elsewhere from ") || !strings.Contains(r.Hint, "mount its directory "+dir+" instead of the file") {
				t.Errorf("%+v", r)
			}
			if other := results["file "+dir+"/other"]; !other.Withdrawn || read(t, dir+"/other") != "" || read(t, dir+"/elsewhere") != "old" {
				t.Errorf("%+v", other)
			}
			if left := names(t, dir); len(left) != 2 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}
