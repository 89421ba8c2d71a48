// Package mount reads the mounts of a process from /proc/PID/mountinfo.
//
// It owns the format (proc_pid_mountinfo(5)) and the way from a path to the file system that holds it. It mounts nothing.
package mount

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Mount is one line of mountinfo.
type Mount struct {
	Device string // major:minor of the file system
	Root   string // the part of the file system that is mounted, without the mark of one that was removed
	Point  string // where, as seen from the root of the process
	Type   string // of the file system, such as ext4
	Source string // such as /dev/sda1
	Gone   bool   // Root was removed or replaced since
}

// removed is how the kernel marks a root that no name leads to any more.
const removed = "//deleted"

// Read returns the mounts that a file such as /proc/self/mountinfo lists, in the order in which they were made.
func Read(file string) (mounts []Mount, err error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20) // the options of an overlay can be long
	for lines.Scan() {
		if m, ok := parse(lines.Text()); ok {
			mounts = append(mounts, m)
		}
	}
	return mounts, lines.Err()
}

// parse reads a line: ID, parent, device, root, mount point, options, any number of tags, "-", type, source, options.
func parse(line string) (m Mount, ok bool) {
	const device, root, point, most = 2, 3, 4, 6
	before, after, ok := strings.Cut(line, " - ")
	fields, rest := strings.Fields(before), strings.Fields(after)
	if !ok || len(fields) < most || len(rest) < 2 {
		return m, false
	}
	m = Mount{Device: fields[device], Point: unescape(fields[point]), Type: rest[0], Source: unescape(rest[1])}
	m.Root, m.Gone = strings.CutSuffix(unescape(fields[root]), removed)
	return m, true
}

// unescape undoes \040 for a space and the like.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// At returns what is mounted exactly at path, the last if there are several.
func At(mounts []Mount, path string) (m Mount, ok bool) {
	for _, candidate := range mounts {
		if candidate.Point == path {
			m, ok = candidate, true
		}
	}
	return m, ok
}

// Place is a path inside a file system, however it is mounted.
type Place struct{ Device, Path string }

// Locate returns where path, which leads through no link, is in its file system.
func Locate(mounts []Mount, path string) (p Place, ok bool) {
	longest := -1
	for _, m := range mounts {
		rest, within := below(path, m.Point)
		if within && len(m.Point) >= longest { // a later mount hides an earlier one
			longest, p, ok = len(m.Point), Place{m.Device, filepath.Join(m.Root, rest)}, true
		}
	}
	return p, ok
}

// below returns path relative to dir, if it is dir or below it.
func below(path, dir string) (rest string, ok bool) {
	if dir == "/" {
		return path, true
	}
	rest, ok = strings.CutPrefix(path, dir)
	return rest, ok && (rest == "" || rest[0] == '/')
}

// Below returns the path of the root of m relative to p, if it is p or below it.
func (m Mount) Below(p Place) (rest string, ok bool) {
	if m.Device != p.Device {
		return "", false
	}
	return below(m.Root, p.Path)
}
