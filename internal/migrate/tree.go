package migrate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode/utf8"
)

const (
	maxText    = 64 << 10  // of a file of settings
	maxPEM     = 256 << 10 // of a key or a chain
	maxList    = 4 << 20   // of a file that lists all certificates
	maxEntries = 50_000    // of a folder
)

// tree is another client's directory. It follows links as long as they stay inside, absolute ones too.
type tree struct {
	dir  string // absolute
	root *os.Root
	also []string // other paths of the same directory, which absolute links in it may have
}

func openTree(dir string) (*tree, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, err
	}
	t := &tree{dir: abs, root: root}
	if real, err := filepath.EvalSymlinks(abs); err == nil && real != abs {
		t.also = append(t.also, real)
	}
	return t, nil
}

func (t *tree) close() { _ = t.root.Close() } // nothing was written

// path is the absolute path of p.
func (t *tree) path(p string) string { return filepath.Join(t.dir, p) }

// read returns the content of a regular file of a fair size.
func (t *tree) read(p string, most int64) ([]byte, error) {
	where, err := t.resolve(p)
	if err != nil {
		return nil, t.about(p, err)
	}
	f, err := t.root.OpenFile(where, os.O_RDONLY|syscall.O_NONBLOCK, 0) // O_NONBLOCK: a FIFO must not hold us up
	if err != nil {
		return nil, t.about(p, err)
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, t.about(p, err)
	case !info.Mode().IsRegular():
		return nil, t.about(p, errors.New("not a regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(data)) > most {
		err = fmt.Errorf("larger than %d bytes", most)
	}
	if err != nil {
		return nil, t.about(p, err)
	}
	return data, nil
}

// text is read for a file of settings.
func (t *tree) text(p string, most int64) (string, error) {
	data, err := t.read(p, most)
	if err == nil && (!utf8.Valid(data) || strings.ContainsRune(string(data), 0)) {
		err = t.about(p, errors.New("not UTF-8 text"))
	}
	return string(data), err
}

// about says which file an error is about, with its whole path.
func (t *tree) about(p string, err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	return fmt.Errorf("reading %s: %w", t.path(p), err)
}

// list returns the sorted names in a folder; none when it does not exist.
func (t *tree) list(p string) ([]string, error) {
	where, err := t.resolve(p)
	if err != nil {
		return nil, t.about(p, err)
	}
	f, err := t.root.Open(where)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, t.about(p, err)
	}
	defer f.Close()
	names, err := f.Readdirnames(maxEntries + 1)
	switch {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, t.about(p, err)
	case len(names) > maxEntries:
		return nil, t.about(p, fmt.Errorf("more than %d entries", maxEntries))
	}
	slices.Sort(names)
	return names, nil
}

// SyntaxError is a line of another client's file that cannot be understood. It never holds a value of that file.
type SyntaxError struct {
	File    string
	Line    int
	Key     string // that the line sets; "": unknown
	Problem string
}

func (e *SyntaxError) Error() string {
	if e.Key != "" {
		return fmt.Sprintf("%s:%d: %s: %s", e.File, e.Line, e.Key, e.Problem)
	}
	return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Problem)
}
