package deploy

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"acmed/internal/acl"
)

// accessAttribute of a deployed file holds the owner, group and mode that its spec had at that deployment, see
// perms.String. It distinguishes a spec that was changed from a file that was changed by hand.
const accessAttribute = "user.acmed.access"

// securityLabels are the labels of Linux security modules. Other attributes in the security namespace belong to the
// content of a file.
func securityLabels() []string { return []string{"security.selinux", "security.SMACK64"} }

// String is what accessAttribute holds.
func (p perms) String() string { return fmt.Sprintf("%d:%d %#o", p.uid, p.gid, uint32(p.mode)) }

// inherited is what a file takes over from the regular file that it replaces. The zero value is that of a file that
// replaces none.
type inherited struct {
	path    string            // of that file
	list    acl.List          // its access control list; nil: none
	dropped acl.List          // the list that it loses, because the spec has another owner, group or mode; nil: none
	labels  map[string][]byte // its security labels
	stale   bool              // accessAttribute is that of another owner, group or mode
	time    time.Time         // of its last change
}

// inherit looks at an entry of an open directory, and follows no link.
func (d *folder) inherit(base string, want perms) (h inherited, err error) {
	fd, err := unix.Openat(d.fd(), base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return h, nil
	}
	if err != nil {
		return h, &fs.PathError{Op: "open", Path: d.join(base), Err: err}
	}
	defer func() { _ = unix.Close(fd) }() // nothing was written
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG {
		return h, err
	}
	h.path, h.time = d.join(base), time.Unix(st.Mtim.Unix())
	handle := fmt.Sprintf("/proc/self/fd/%d", fd) // attributes cannot be read through O_PATH itself
	list, err := acl.Access(handle)
	if err != nil {
		return h, fmt.Errorf("looking at the access control list of %s: %w", h.path, err)
	}
	h.labels = labelsOf(handle)
	recorded := attribute(handle, accessAttribute)
	h.stale = recorded != nil && string(recorded) != want.String()
	fits := st.Uid == want.uid && st.Gid == want.gid && list.Mode() == want.mode
	if keep := recorded != nil && !h.stale || recorded == nil && fits; keep {
		h.list = list
	} else {
		h.dropped = list
	}
	return h, nil
}

// attribute returns an extended attribute; nil: there is none, or it cannot be read.
func attribute(path, name string) []byte {
	data := make([]byte, 1<<10)
	n, err := unix.Getxattr(path, name, data)
	if err != nil {
		return nil
	}
	return data[:n]
}

func labelsOf(path string) map[string][]byte {
	labels := map[string][]byte{}
	for _, name := range securityLabels() {
		if label := attribute(path, name); label != nil {
			labels[name] = label
		}
	}
	return labels
}

// dress gives a new file all that is not its content: owner, group and mode, or the list that it inherits, its labels and
// its time. The note is about what it could not have. At no moment can anybody open the file who may not read it in the end.
func (o ops) dress(f *os.File, p perms, h inherited, at time.Time) (note string, err error) {
	if err := o.own(f, p, h.list == nil); err != nil {
		return "", err
	}
	if h.list != nil {
		err := o.perform("acl", f.Name(), func() error { return acl.Set(f, h.list.WithMode(p.mode)) })
		if err != nil {
			return "", &blocked{fmt.Sprintf("setting the access control list (%v): %v", h.list, err),
				"remove it with setfacl -b " + h.path + ", or deploy to a file system that has such lists"}
		}
	}
	notes := o.label(f, h.labels)
	if h.dropped != nil {
		notes = append(notes, fmt.Sprintf("access control list removed (%v): the spec has another owner, group or mode", h.dropped))
	}
	_ = unix.Fsetxattr(int(f.Fd()), accessAttribute, []byte(p.String()), 0) // without it, owner, group and mode of the file itself count
	return strings.Join(notes, "; "), o.date(f, at)
}

// label gives a file security labels, and returns what is worth knowing about those that it could not have.
func (o ops) label(f *os.File, labels map[string][]byte) (notes []string) {
	for _, name := range securityLabels() {
		label, ok := labels[name]
		if !ok || string(attribute(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), name)) == string(label) {
			continue
		}
		if err := o.perform("label", f.Name(), func() error { return unix.Fsetxattr(int(f.Fd()), name, label, 0) }); err != nil {
			notes = append(notes, fmt.Sprintf("security label %s not set: %v", name, errors.Unwrap(err)))
		}
	}
	return notes
}

// date gives a file its time. File systems that cannot set times keep that of the write.
func (o ops) date(f *os.File, at time.Time) error {
	stamp := unix.NsecToTimeval(at.UnixNano())
	err := unix.Futimes(int(f.Fd()), []unix.Timeval{stamp, stamp})
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return &fs.PathError{Op: "chtimes", Path: f.Name(), Err: err}
	}
	return nil
}
