package deploy

import (
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"acmed/internal/mount"
)

// mounted reports whether an entry of an open directory is a mount point. Kernels before 5.8 do not say.
func (d *folder) mounted(base string) bool {
	var st unix.Statx_t
	err := unix.Statx(d.fd(), base, unix.AT_SYMLINK_NOFOLLOW|unix.AT_NO_AUTOMOUNT, unix.STATX_TYPE, &st)
	return err == nil && st.Attributes_mask&unix.STATX_ATTR_MOUNT_ROOT != 0 && st.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// mountedOver is why a file cannot be replaced at which something is mounted. The error names the mount.
func mountedOver(path string) *blocked {
	what := ""
	mounts, err := mount.Read("/proc/self/mountinfo")
	if m, ok := mount.At(mounts, path); ok && err == nil {
		what = fmt.Sprintf(" of %s from %s (%s)", m.Root, m.Source, m.Type)
	}
	return &blocked{fmt.Sprintf("%s is a mount point%s, and cannot be replaced", path, what),
		fmt.Sprintf("mount its directory %s instead of the file, see docs/containers.md", filepath.Dir(path))}
}
