package migrate

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxLinks bounds how many links one path may lead through.
const maxLinks = 40

// errLeadsOut is the error of a link whose target is outside the directory.
var errLeadsOut = errors.New("a link that leads out of that directory; copy it with cp -RL, and import the copy with --dir")

// resolve returns the path in the tree that p leads to, without links. os.Root follows only relative links; other clients
// write absolute ones, too, which are followed here when they lead into the tree. A missing rest of the path is kept.
func (t *tree) resolve(p string) (string, error) {
	done, rest := ".", strings.Split(filepath.Clean(p), "/")
	for links := 0; len(rest) > 0; {
		next := filepath.Join(done, rest[0])
		rest = rest[1:]
		if !filepath.IsLocal(next) && next != "." {
			return "", errLeadsOut
		}
		info, err := t.root.Lstat(next)
		if errors.Is(err, fs.ErrNotExist) {
			return filepath.Join(append([]string{next}, rest...)...), nil
		}
		if err != nil {
			return "", err
		}
		if info.Mode()&fs.ModeSymlink == 0 {
			done = next
			continue
		}
		if links++; links > maxLinks {
			return "", errors.New("too many links")
		}
		target, err := t.target(next)
		if err != nil {
			return "", err
		}
		done, rest = ".", append(strings.Split(target, "/"), rest...)
	}
	return done, nil
}

// target returns where the link at p leads, as a path in the tree.
func (t *tree) target(p string) (string, error) {
	target, err := t.root.Readlink(p)
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(p), target)
		if filepath.IsLocal(target) {
			return target, nil
		}
		target = t.path(target) // out of the tree, and perhaps in again
	}
	if inside, ok := t.below(target); ok {
		return inside, nil
	}
	return "", errLeadsOut
}

// below is the path in the tree of what an absolute path names there.
func (t *tree) below(abs string) (string, bool) {
	for _, dir := range append([]string{t.dir}, t.also...) {
		if rel, err := filepath.Rel(dir, abs); err == nil && filepath.IsLocal(rel) {
			return rel, true
		}
	}
	return "", false
}

// knownAs adds another path of the directory: that of the original, for a copy.
func (t *tree) knownAs(dir string) {
	if filepath.IsAbs(dir) && dir != "/" && dir != t.dir {
		t.also = append(t.also, filepath.Clean(dir))
	}
}

// programs lists the files in a directory that somebody may execute, and the links there that lead to none. A program may
// lie anywhere: it is looked at, not read.
func (t *tree) programs(p string) (programs, broken []string, err error) {
	names, err := t.list(p)
	for _, name := range names {
		info, err := os.Stat(t.path(filepath.Join(p, name)))
		switch {
		case strings.HasSuffix(name, "~"):
		case err != nil:
			broken = append(broken, name)
		case info.Mode().IsRegular() && info.Mode()&0o111 != 0:
			programs = append(programs, name)
		}
	}
	return programs, broken, err
}
