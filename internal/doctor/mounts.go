package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"acmed/internal/mount"
)

// namespace is what one process, of those that share a mount namespace, has mounted.
type namespace struct {
	process string // such as "nginx (812)"
	mounts  []mount.Mount
}

// watched are the places that a mount must not show by themselves.
type watched struct {
	live, certs mount.Place
	names       map[string]bool // of the certificates to be looked at
	files       map[mount.Place]deployedFile
}

type deployedFile struct{ cert, path string }

// mounts looks for mounts that show one revision or one deployed file: a mount follows neither a link that is switched nor
// a file that is replaced. Containers make such mounts, and so do units with BindPaths=.
func (k *check) mounts(context.Context) {
	spaces, hidden := k.namespaces()
	if len(spaces) == 0 {
		return // without /proc nothing can be seen
	}
	w := k.watch(spaces[0].mounts)
	for _, space := range spaces {
		for _, m := range space.mounts {
			k.judge(w, space, m)
		}
	}
	if hidden {
		k.bad(Skipped, "delivery", "", "run acmed doctor as root", "what containers and services of other users have mounted cannot be looked at")
	}
}

// watch finds out where everything is that must not be mounted, and reports files that are mount points here.
func (k *check) watch(own []mount.Mount) *watched {
	w := &watched{names: map[string]bool{}, files: map[mount.Place]deployedFile{}}
	if state, err := filepath.EvalSymlinks(k.Settings.StateDir); err == nil {
		w.live, _ = mount.Locate(own, filepath.Join(state, "live"))
		w.certs, _ = mount.Locate(own, filepath.Join(state, "certs"))
	}
	for _, c := range k.certs {
		w.names[c.Name] = true
		for _, f := range c.Deploy.Files {
			dir, err := filepath.EvalSymlinks(filepath.Dir(f.Path))
			if err != nil {
				continue // file has said so
			}
			path := filepath.Join(dir, filepath.Base(f.Path))
			if m, ok := mount.At(own, path); ok {
				k.bad(Failure, "delivery", c.Name, mountHint, "%s is a mount point of %s from %s (%s), and cannot be replaced", f.Path, m.Root, m.Source, m.Type)
			} else if at, ok := mount.Locate(own, path); ok {
				w.files[at] = deployedFile{c.Name, f.Path}
			}
		}
	}
	return w
}

// judge reports a mount that a renewal does not reach.
func (k *check) judge(w *watched, space namespace, m mount.Mount) {
	if f, ok := w.files[mount.Place{Device: m.Device, Path: m.Root}]; ok {
		k.stuck(f.cert, m, space, f.path)
	}
	if rest, below := m.Below(w.certs); below {
		if name, revision, ok := revisionAt(rest); ok && w.names[name] {
			k.stuck(name, m, space, "revision "+revision)
		}
	}
	if _, below := m.Below(w.live); below {
		k.bad(Failure, "delivery", "", "mount "+k.Settings.StateDir+" itself, and reload inside: see docs/containers.md",
			"%s has mounted %s at %s, and its links lead out of the mount", space.process, filepath.Join(k.Settings.StateDir, "live"), m.Point)
	}
}

// revisionAt takes apart a path below certs/ that leads to a revision, or to what is left of it.
func revisionAt(path string) (name, revision string, ok bool) {
	const first, most = 1, 4 // "", NAME, "rev", NNNN
	parts := strings.Split(path, "/")
	if len(parts) < most || parts[2] != "rev" {
		return "", "", false
	}
	revision, _, _ = strings.Cut(strings.TrimLeft(parts[3], "."), ".") // one that is being removed is .NNNN.old.tmp
	return parts[first], revision, true
}

// stuck reports a mount of a revision or of a file.
func (k *check) stuck(cert string, m mount.Mount, space namespace, what string) {
	if m.Gone {
		k.bad(Failure, "delivery", cert, mountHint, "%s has mounted %s at %s, which was replaced since: it sees the old one, or nothing", space.process, what, m.Point)
		return
	}
	k.bad(Warning, "delivery", cert, mountHint, "%s has mounted %s at %s: it will not see the next one", space.process, what, m.Point)
}

// namespaces lists the mount namespaces of all processes, that of this process first. It also reports whether some are
// hidden from it.
func (k *check) namespaces() (spaces []namespace, hidden bool) {
	seen := map[string]bool{}
	for _, dir := range k.processes() {
		id, err := os.Readlink(filepath.Join(dir, "ns", "mnt"))
		if err == nil && seen[id] {
			continue
		}
		mounts, rerr := mount.Read(filepath.Join(dir, "mountinfo"))
		if err := errors.Join(err, rerr); err != nil {
			hidden = hidden || errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 // not even root sees every process
			continue
		}
		seen[id] = true
		comm, _ := os.ReadFile(filepath.Join(dir, "comm")) // it may have ended
		spaces = append(spaces, namespace{fmt.Sprintf("%s (%s)", strings.TrimSpace(string(comm)), filepath.Base(dir)), mounts})
	}
	return spaces, hidden
}

// processes lists the directories of processes in /proc, that of this process first, then by their numbers.
func (k *check) processes() []string {
	dirs, _ := filepath.Glob(filepath.Join(k.Proc, "[0-9]*")) // the pattern is good
	slices.SortFunc(dirs, func(a, b string) int {
		x, _ := strconv.Atoi(filepath.Base(a))
		y, _ := strconv.Atoi(filepath.Base(b))
		return x - y
	})
	return append([]string{filepath.Join(k.Proc, "self")}, dirs...)
}

const mountHint = "mount the directory above it instead, and reload inside: see docs/containers.md"
