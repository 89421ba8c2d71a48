package store_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// platter is the disk behind the page cache, at its worst: it holds nothing but what was synced. A file that was
// never synced is empty, and a name is there once its folder was synced.
type platter struct {
	t    testing.TB
	root string
	next int
	ids  map[uint64]int // of inodes: their numbers are used again while the platter still has the removed one
	held map[int]node   // by id
}

// node is what the platter holds of an inode.
type node struct {
	data  []byte           // of a file, or the target of a link
	time  time.Time        // of a file
	names map[string]child // of a folder
}

type child struct {
	id   int
	mode fs.FileMode
	link string
}

func newPlatter(t testing.TB, root string) *platter {
	p := &platter{t: t, root: root, ids: map[uint64]int{}, held: map[int]node{}}
	p.syncAll()
	return p
}

// sync makes one file or folder durable.
func (p *platter) sync(path string) {
	full := filepath.Join(p.root, path)
	info, err := os.Lstat(full)
	must(p.t, err)
	if !info.IsDir() {
		data, err := os.ReadFile(full)
		must(p.t, err)
		p.held[p.id(info)] = node{data: data, time: info.ModTime()}
		return
	}
	entries, err := os.ReadDir(full)
	must(p.t, err)
	names := map[string]child{}
	for _, e := range entries {
		info, err := e.Info()
		must(p.t, err)
		link, _ := os.Readlink(filepath.Join(full, e.Name()))
		names[e.Name()] = child{p.id(info), info.Mode(), link}
	}
	p.held[p.id(info)] = node{names: names}
}

func (p *platter) syncAll() {
	must(p.t, filepath.WalkDir(p.root, func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type() != fs.ModeSymlink {
			p.sync(strings.TrimPrefix(path, p.root))
		}
		return err
	}))
}

// made gives an id to something new.
func (p *platter) made(path string) {
	info, err := os.Lstat(filepath.Join(p.root, path))
	must(p.t, err)
	delete(p.ids, inode(info))
	p.id(info)
}

func (p *platter) id(info fs.FileInfo) int {
	n := inode(info)
	if p.ids[n] == 0 {
		p.next++
		p.ids[n] = p.next
	}
	return p.ids[n]
}

// restore writes what the platter holds to a new folder.
func (p *platter) restore(dir string) {
	info, err := os.Stat(p.root)
	must(p.t, err)
	p.restoreNode(dir, child{p.id(info), info.Mode(), ""})
}

func (p *platter) restoreNode(to string, c child) {
	switch c.mode.Type() {
	case fs.ModeSymlink:
		must(p.t, os.Symlink(c.link, to))
	case fs.ModeDir:
		must(p.t, os.Mkdir(to, 0o700))
		must(p.t, os.Chmod(to, c.mode.Perm()))
		for name, c := range p.held[c.id].names {
			p.restoreNode(filepath.Join(to, name), c)
		}
	default:
		must(p.t, os.WriteFile(to, p.held[c.id].data, 0o600))
		must(p.t, os.Chmod(to, c.mode.Perm()))
		if at := p.held[c.id].time; !at.IsZero() { // else it was never synced
			must(p.t, os.Chtimes(to, at, at))
		}
	}
}

// holds tells whether what a file holds is durable, whatever its times are.
func (p *platter) holds(path string) bool {
	info, err := os.Lstat(filepath.Join(p.root, path))
	if err != nil {
		return false
	}
	data, err := os.ReadFile(filepath.Join(p.root, path))
	return err == nil && p.held[p.id(info)].data != nil && string(data) == string(p.held[p.id(info)].data)
}

func inode(info fs.FileInfo) uint64 { return info.Sys().(*syscall.Stat_t).Ino }
