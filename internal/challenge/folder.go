// Package challenge makes the proofs of control that a CA asks for visible and takes them away again: it owns the
// token folder, the http-01 handler, the server that faces port 80, the handshakes of tls-alpn-01 and the TXT
// records of dns-01 and dns-account-01.
//
// It never talks to a CA, never decides when a proof is due, and knows no keys: a key authorization is public.
package challenge

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"acmed/internal/acme"
)

const (
	tempPrefix = ".acmed-"   // of files that are not yet renamed to their token
	tempAge    = time.Second // in which that has happened, unless the writer was killed
	maxKeyAuth = 512         // bytes; a token and a SHA-256 thumbprint need 172 at most
)

var (
	_ acme.Solver = (*Folder)(nil)
	_ Answerer    = (*Folder)(nil)
)

// Folder keeps http-01 proofs as files: the name is the token, the content the key authorization (RFC 8555 §8.3),
// so that any web server can answer from it. All methods may be called concurrently.
//
// The folder is opened by its path for every call: what replaces it meanwhile, such as the next release of a web
// site, is the folder from then on. Nothing is fsynced: a token that a power cut takes is presented again when its
// order is resumed, and /run is a tmpfs anyway.
type Folder struct {
	base string   // exists, and is followed wherever it leads
	sub  []string // below base: created when missing, never followed out of base
	// allowed returns why nothing is written below the directory to which base leads; nil: everything is allowed.
	allowed func(dir string) error
	ops     ops
}

// ops are the steps that tests make fail before or after they took effect.
type ops struct {
	rename func(root *os.Root, from, to string) error
	remove func(root *os.Root, name string) error
}

// OpenFolder returns the token folder dir and creates it, mode 0755, unless it exists. Its parent must exist.
func OpenFolder(dir string) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the token folder: %w", err)
	}
	return newFolder(nil, filepath.Dir(dir), filepath.Base(dir))
}

// Webroot returns the folder .well-known/acme-challenge below dir, the document root of a web server, and creates
// both of its parts, mode 0755, unless they exist. No link there can lead out of dir. Each time dir is opened, allowed is
// called with the directory to which it leads then; nil: everything is allowed.
func Webroot(dir string, allowed func(dir string) error) (*Folder, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the webroot: %w", err)
	}
	return newFolder(allowed, dir, ".well-known", "acme-challenge")
}

func newFolder(allowed func(dir string) error, base string, sub ...string) (*Folder, error) {
	f := &Folder{base: base, sub: sub, allowed: allowed, ops: ops{rename: (*os.Root).Rename, remove: (*os.Root).Remove}}
	err := f.within("opening", func(*os.Root) error { return nil })
	if err != nil {
		return nil, err
	}
	return f, nil
}

// Present writes p's key authorization to the file that its token names.
func (f *Folder) Present(_ context.Context, p acme.Proof) error {
	if err := check(p); err != nil {
		return err
	}
	return f.within("presenting an http-01 token in", func(root *os.Root) error { return f.publish(root, p) })
}

// CleanUp removes the file that p's token names. A file that is not there is no error. The key authorization is not
// looked at: whoever cleans up after a restart does not have it.
func (f *Folder) CleanUp(_ context.Context, p acme.Proof) error {
	if err := checkToken(p); err != nil {
		return err
	}
	return f.within("removing an http-01 token from", func(root *os.Root) error { return f.discard(root, p.Token) })
}

// Sweep removes the tokens whose last change is longer than olderThan before now, and the temporary files that
// somebody was killed over, and returns how many it removed. Nothing else in the folder is touched, but any ACME
// client's tokens look alike: a webroot that another client uses too is not to be swept.
func (f *Folder) Sweep(now time.Time, olderThan time.Duration) (n int, err error) {
	err = f.within("sweeping", func(root *os.Root) error {
		entries, err := fs.ReadDir(root.FS(), ".")
		errs := []error{err}
		for _, entry := range entries {
			if !stale(entry, now, olderThan) {
				continue
			}
			err := f.discard(root, entry.Name())
			errs = append(errs, err)
			if err == nil {
				n++
			}
		}
		return errors.Join(errs...)
	})
	return n, err
}

// KeyAuthorization does what that of ReadFolder does.
func (f *Folder) KeyAuthorization(token string) (string, bool) {
	return reader(f.path()).KeyAuthorization(token)
}

func (f *Folder) path() string {
	return filepath.Join(append([]string{f.base}, f.sub...)...)
}

// within opens the folder for do.
func (f *Folder) within(doing string, do func(*os.Root) error) error {
	root, err := f.open()
	if err == nil {
		defer root.Close()
		err = do(root)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w; acmed must be able to write there", doing, f.path(), err)
	}
	return nil
}

// open opens the folder and creates what is missing of it.
func (f *Folder) open() (*os.Root, error) {
	root, err := os.OpenRoot(f.base)
	if err == nil && f.allowed != nil {
		if err = f.allow(root); err != nil {
			root.Close()
		}
	}
	for _, name := range f.sub {
		if err != nil {
			return nil, err
		}
		root, err = descend(root, name)
	}
	return root, err
}

// allow looks at the directory that is open, which no link can exchange any more.
func (f *Folder) allow(root *os.Root) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	real, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()))
	if err != nil {
		return err
	}
	return f.allowed(real)
}

// descend opens the folder name below parent, created when missing, and closes parent.
func descend(parent *os.Root, name string) (*os.Root, error) {
	defer parent.Close()
	root, err := parent.OpenRoot(name)
	if to, lerr := parent.Readlink(name); err != nil && lerr == nil {
		return nil, fmt.Errorf("%s is a symbolic link to %s, which acmed does not follow: remove it, or set webroot to a directory without it: %w", name, to, err)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return root, err
	}
	if err := parent.Mkdir(name, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	if err := parent.Chmod(name, 0o755); err != nil { // whatever the umask
		return nil, err
	}
	return parent.OpenRoot(name)
}

// publish makes p's file appear with its whole content at once.
func (f *Folder) publish(root *os.Root, p acme.Proof) error {
	temp := tempPrefix + rand.Text()
	err := writeFile(root, temp, p.KeyAuth)
	if err == nil {
		err = f.ops.rename(root, temp, p.Token)
	}
	if err != nil {
		return errors.Join(err, f.discard(root, temp))
	}
	return nil
}

// writeFile creates a file that everyone may read, whatever the umask.
func writeFile(root *os.Root, name, content string) error {
	file, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = file.WriteString(content)
	return errors.Join(err, file.Chmod(0o644), file.Close())
}

func (f *Folder) discard(root *os.Root, name string) error {
	if err := f.ops.remove(root, name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func stale(entry fs.DirEntry, now time.Time, olderThan time.Duration) bool {
	switch {
	case strings.HasPrefix(entry.Name(), tempPrefix):
		olderThan = min(olderThan, tempAge)
	case !validToken(entry.Name()):
		return false
	}
	info, err := entry.Info() // does not follow links; an error means that it is gone
	return err == nil && info.Mode().IsRegular() && now.Sub(info.ModTime()) > olderThan
}

func check(p acme.Proof) error {
	if err := checkToken(p); err != nil {
		return err
	}
	if !validKeyAuth(p.Token, p.KeyAuth) {
		return errors.New("solving an http-01 challenge: the key authorization does not belong to the token")
	}
	return nil
}

func checkToken(p acme.Proof) error {
	switch {
	case p.Type != "http-01":
		return fmt.Errorf("solving a %q challenge: a token folder proves http-01 only", p.Type)
	case !validToken(p.Token):
		return errors.New("solving an http-01 challenge: the token is malformed (RFC 8555 §8.3)")
	}
	return nil
}

// validToken tells whether s matches ^[A-Za-z0-9_-]{16,128}$ and so is safe as a file name.
func validToken(s string) bool {
	return len(s) >= 16 && len(s) <= 128 && isBase64URL(s)
}

// validKeyAuth tells whether s is token "." thumbprint (RFC 8555 §8.1).
func validKeyAuth(token, s string) bool {
	thumbprint, ok := strings.CutPrefix(s, token+".")
	return ok && thumbprint != "" && len(s) <= maxKeyAuth && isBase64URL(thumbprint)
}

func isBase64URL(s string) bool {
	for _, c := range []byte(s) {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_':
		default:
			return false
		}
	}
	return true
}
