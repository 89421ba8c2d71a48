package store

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Reader reads a state directory without its lock: beside the daemon, and as another user. It follows no path out
// of the folder and believes only regular files of the folder's owner.
type Reader struct {
	dir  string // absolute
	uid  uint32 // of the owner
	root *os.Root
	base *os.File // the folder that root is
}

// Files are the PEM files of a revision.
type Files struct {
	Privkey   []byte // PKCS#8; nil: it is not here, for the certificate is for a CSR of the operator's
	Cert      []byte // the leaf
	Chain     []byte // the rest
	Fullchain []byte // Cert and Chain
}

// OpenReader opens a state directory for reading.
func OpenReader(dir string) (*Reader, error) {
	r, err := newReader(dir)
	if err != nil {
		return nil, err
	}
	if _, err := r.root.Lstat(formatFile); err != nil {
		err = fmt.Errorf("opening the state directory %s: %w: see that stateDir names the folder that acmed run uses", dir, err)
		return nil, errors.Join(err, r.Close())
	}
	return r, nil
}

func newReader(dir string) (*Reader, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w", err)
	}
	root, err := os.OpenRoot(abs)
	if err != nil {
		return nil, fmt.Errorf("opening the state directory: %w: see that stateDir names a folder that acmed may read", err)
	}
	base, err := root.Open(".")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the state directory: %w", err), root.Close())
	}
	r := &Reader{dir: abs, root: root, base: base}
	info, err := base.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening the state directory: %w", err), r.Close())
	}
	r.uid = owner(info)
	return r, nil
}

func owner(info fs.FileInfo) uint32 { return info.Sys().(*syscall.Stat_t).Uid }

// Close lets go of the folder.
func (r *Reader) Close() error { return errors.Join(r.base.Close(), r.root.Close()) }

// Live returns the number of the revision that live/NAME points at; 0: there is none, or a placeholder.
func (r *Reader) Live(name string) (int, error) {
	if err := valid(name); err != nil {
		return 0, err
	}
	target, err := r.root.Readlink(liveLink(name))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("reading live/%s: %w", name, r.advise(err))
	}
	if isPlaceholder(name, target) {
		return 0, nil
	}
	n := numberOf(path.Base(target))
	if n == 0 || target != "../"+revisionDir(name, n) {
		return 0, fmt.Errorf("reading live/%s: it points at %.200q and not at a revision of its certificate: remove the link, and acmed makes it anew", name, target)
	}
	return n, nil
}

// Newest returns the highest revision number; 0: there is none.
func (r *Reader) Newest(name string) (int, error) {
	numbers, err := r.numbers(name)
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	return numbers[0], nil
}

// numbers returns the numbers of all revisions, newest first.
func (r *Reader) numbers(name string) ([]int, error) {
	if err := valid(name); err != nil {
		return nil, err
	}
	names, err := r.list(revDir(name))
	if err != nil {
		return nil, fmt.Errorf("listing the revisions of %s: %w", name, r.advise(err))
	}
	numbers := make([]int, 0, len(names))
	for _, base := range names {
		if n := numberOf(base); n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.SortFunc(numbers, func(a, b int) int { return b - a })
	return numbers, nil
}

// Revision returns one revision, after comparing its files with their checksums. A difference is a *DamagedError.
func (r *Reader) Revision(name string, number int) (Revision, error) {
	rev, _, err := r.load(name, number)
	return rev, r.about(name, number, err)
}

// Revisions returns all revisions whose meta.json is sound, newest first, and the errors of the others. It does
// not read their files.
func (r *Reader) Revisions(name string) ([]Revision, error) {
	numbers, err := r.numbers(name)
	if err != nil {
		return nil, err
	}
	var errs []error
	revisions := make([]Revision, 0, len(numbers))
	for _, n := range numbers {
		rev, err := r.meta(name, n)
		if err != nil {
			errs = append(errs, r.about(name, n, err))
			continue
		}
		revisions = append(revisions, rev)
	}
	return revisions, errors.Join(errs...)
}

// Good returns the newest revision whose files have their checksums, and so are those that Commit found to belong
// together; a zero Revision when there is none. Revisions that it had to skip are reported as *DamagedError beside
// it. Modes are left to Check: a key that an administrator lets a group read must not stop renewal.
func (r *Reader) Good(name string) (Revision, error) {
	numbers, err := r.numbers(name)
	if err != nil {
		return Revision{}, err
	}
	var skipped []error
	for _, n := range numbers {
		rev, _, err := r.load(name, n)
		if err == nil {
			return rev, errors.Join(skipped...)
		}
		if _, ok := errors.AsType[*DamagedError](err); !ok {
			return Revision{}, r.about(name, n, err)
		}
		skipped = append(skipped, r.about(name, n, err))
	}
	return Revision{}, errors.Join(skipped...)
}

// Files returns the PEM files of a revision as they are, without Privkey when there is none. It parses nothing and follows no link, so that a caller with
// more rights than the folder's owner can judge them itself.
func (r *Reader) Files(name string, number int) (Files, error) {
	if err := valid(name); err != nil {
		return Files{}, err
	}
	files, err := r.files(name, number)
	return files, r.about(name, number, err)
}

func (r *Reader) files(name string, number int) (Files, error) {
	rev := revisionDir(name, number)
	dir, err := r.openPlain(rev)
	if err != nil {
		return Files{}, r.lost(err)
	}
	defer func() { _ = dir.Close() }() // nothing was written
	return r.pems(func(base string) ([]byte, error) {
		data, err := r.readPlain(dir, path.Join(rev, base))
		if base == privkeyFile && errors.Is(err, fs.ErrNotExist) {
			return nil, nil // whether it is needed, the caller knows
		}
		return data, err
	}, false)
}

// pems reads the PEM files of a revision.
func (r *Reader) pems(read func(base string) ([]byte, error), keyless bool) (Files, error) {
	var f Files
	for base, to := range f.byName() {
		if keyless && base == privkeyFile {
			continue
		}
		data, err := read(base)
		if err != nil {
			return Files{}, r.lost(err)
		}
		*to = data
	}
	return f, nil
}

// byName gives the files under their names.
func (f *Files) byName() map[string]*[]byte {
	return map[string]*[]byte{privkeyFile: &f.Privkey, certFile: &f.Cert, chainFile: &f.Chain, fullchainFile: &f.Fullchain}
}

// Leaf returns the certificate of a revision.
func (r *Reader) Leaf(name string, number int) (*x509.Certificate, error) {
	_, files, err := r.load(name, number)
	if err != nil {
		return nil, r.about(name, number, err)
	}
	block, _ := pem.Decode(files.Cert)
	if block == nil {
		return nil, r.damaged(path.Join(revisionDir(name, number), certFile), errors.New("it is not PEM"))
	}
	return x509.ParseCertificate(block.Bytes)
}

// Chain returns the certificates of a revision, the leaf first. It reads no key.
func (r *Reader) Chain(name string, number int) (chain []*x509.Certificate, err error) {
	rev, err := r.meta(name, number)
	if err != nil {
		return nil, r.about(name, number, err)
	}
	p := path.Join(revisionDir(name, number), fullchainFile)
	text, err := r.read(p)
	if err != nil {
		return nil, r.about(name, number, r.lost(err))
	}
	if sum(text) != rev.Sums[fullchainFile] {
		return nil, r.about(name, number, r.damaged(p, errors.New("its checksum is wrong")))
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, r.about(name, number, r.damaged(p, err))
		}
		chain = append(chain, cert)
	}
	return chain, nil
}

// Key returns the private key of a revision; ErrNoKey when it is for a CSR of the operator's.
func (r *Reader) Key(name string, number int) (crypto.Signer, error) {
	rev, files, err := r.load(name, number)
	if err == nil && rev.CSR != "" {
		err = ErrNoKey
	}
	if err != nil {
		return nil, r.about(name, number, err)
	}
	return parseKey(files.Privkey)
}

// meta reads what is known of a revision.
func (r *Reader) meta(name string, number int) (rev Revision, err error) {
	if err := valid(name); err != nil {
		return Revision{}, err
	}
	p := path.Join(revisionDir(name, number), metaFile)
	if err := r.readSealed(p, &rev); err != nil {
		return Revision{}, r.lost(err)
	}
	if rev.Number != number {
		return Revision{}, r.damaged(p, fmt.Errorf("it describes revision %d", rev.Number))
	}
	return rev, nil
}

// load reads a revision and compares its files with their checksums.
func (r *Reader) load(name string, number int) (Revision, Files, error) {
	rev, err := r.meta(name, number)
	if err != nil {
		return Revision{}, Files{}, err
	}
	dir := revisionDir(name, number)
	files, err := r.pems(func(base string) ([]byte, error) { return r.read(path.Join(dir, base)) }, rev.CSR != "")
	if err != nil {
		return Revision{}, Files{}, err
	}
	for base, data := range files.byName() {
		if base == privkeyFile && rev.CSR != "" {
			continue
		}
		if sum(*data) != rev.Sums[base] {
			return Revision{}, Files{}, r.damaged(path.Join(dir, base), errors.New("its checksum is wrong"))
		}
	}
	return rev, files, nil
}

// sound tells whether the files of a revision can be served.
func (r *Reader) sound(name string, number int) error {
	rev, files, err := r.load(name, number)
	if err != nil {
		return err
	}
	leaf, err := served(&rev, &files)
	if err != nil {
		return r.damaged(revisionDir(name, number), err)
	}
	if sum(leaf) != rev.SHA256 || string(files.Fullchain) != string(files.Cert)+string(files.Chain) {
		return r.damaged(revisionDir(name, number), errors.New("its files do not belong together"))
	}
	return nil
}

// readSealed decodes a sealed file into v. A file whose checksum is wrong is a *DamagedError.
func (r *Reader) readSealed(p string, v any) error {
	data, err := r.read(p)
	if err != nil {
		return err
	}
	if err := unseal(data, v); err != nil {
		return r.damaged(p, err)
	}
	return nil
}

// about says which revision an error is about.
func (r *Reader) about(name string, number int, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("reading revision %d of %s: %w", number, name, r.advise(err))
}

// lost makes a *DamagedError of the errors that tell that a file is gone for good where there must be one.
func (r *Reader) lost(err error) error {
	broken, ok := errors.AsType[*fs.PathError](err)
	gone := errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.ELOOP)
	if ok && (gone || errors.Is(err, syscall.EIO)) {
		return r.damaged(broken.Path, broken.Err)
	}
	return err
}

func (r *Reader) damaged(p string, err error) *DamagedError {
	return &DamagedError{Path: r.abs(p), Err: err}
}

func (r *Reader) abs(p string) string { return filepath.Join(r.dir, p) }

// listNames returns the valid names among a folder's files that end in suffix, in no order.
func (r *Reader) listNames(dir, suffix string) ([]string, error) {
	bases, err := r.list(dir)
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", dir, r.advise(err))
	}
	names := make([]string, 0, len(bases))
	for _, base := range bases {
		if name, ok := strings.CutSuffix(base, suffix); ok && valid(name) == nil {
			names = append(names, name)
		}
	}
	return names, nil
}
