package store

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Check compares a state directory with docs/state-directory.md and returns every difference. It needs no lock: the
// daemon may be running. A directory that no acmed has laid out yet holds no difference.
func Check(dir string) []error {
	r, err := newReader(dir)
	if err != nil {
		return []error{err}
	}
	var errs []error
	switch fresh, err := r.fresh(); {
	case err != nil:
		errs = []error{fmt.Errorf("opening the state directory %s: %w", dir, err)}
	case !fresh:
		errs = r.walk(".")
	}
	if err := r.Close(); err != nil {
		errs = append(errs, err)
	}
	return errs
}

// fresh reports whether the folder holds no state yet. Without FORMAT only what an interrupted first start leaves
// may be there.
func (r *Reader) fresh() (bool, error) {
	if _, err := r.root.Lstat(formatFile); !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	names, err := r.list(".")
	if err != nil {
		return false, err
	}
	known := rules()
	for _, name := range names {
		if name == lockFile || name == lostFound || isTemp(name) {
			continue
		}
		if inside, err := r.list(name); find(known, name) == nil || err != nil || name != "specs" && len(inside) > 0 {
			return false, fmt.Errorf("it holds %s but no %s file, so it is not acmed's or not whole: set stateDir to an empty folder, or restore a whole backup", name, formatFile)
		}
	}
	return true, nil
}

// Check compares all that belongs to one certificate with docs/state-directory.md.
func (r *Reader) Check(name string) []error {
	if err := valid(name); err != nil {
		return []error{err}
	}
	errs := append(r.walk(certDir(name)), r.walk(recordFile(name))...)
	if link := liveLink(name); r.exists(link) { // a walk would follow it
		if err := r.visit(find(rules(), link), link); err != nil {
			errs = append(errs, r.advise(err))
		}
	}
	return errs
}

// walk checks everything from p on down. What vanishes meanwhile is no difference.
func (r *Reader) walk(p string) (errs []error) {
	known := rules()
	err := fs.WalkDir(r.root.FS(), p, func(p string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			errs = append(errs, r.advise(err))
			return nil
		}
		if base := path.Base(p); base == lostFound || isTemp(base) {
			return skip(entry)
		}
		rule := find(known, p)
		if rule == nil {
			errs = append(errs, fmt.Errorf("%s does not belong there: move it elsewhere", r.abs(p)))
			return skip(entry)
		}
		if err := r.visit(rule, p); err != nil {
			errs = append(errs, r.advise(err))
		}
		if p == "archive" {
			return fs.SkipDir
		}
		return nil
	})
	if err != nil {
		errs = append(errs, err)
	}
	return errs
}

// skip keeps a walk out of an entry.
func skip(entry fs.DirEntry) error {
	if entry.IsDir() {
		return fs.SkipDir
	}
	return nil
}

// visit checks one path.
func (r *Reader) visit(rule *rule, p string) error {
	info, err := r.root.Lstat(p)
	if err == nil {
		err = r.inspect(rule, p, info)
	}
	if err == nil && rule.check != nil {
		err = rule.check(r, p)
	}
	if err != nil && !r.exists(p) {
		return nil
	}
	return err
}

// inspect checks type, mode and owner.
func (r *Reader) inspect(rule *rule, p string, info fs.FileInfo) error {
	mode, uid := info.Mode(), owner(info)
	switch {
	case mode.Type() != rule.mode.Type():
		return fmt.Errorf("%s is not a %s: move it elsewhere", r.abs(p), kind(rule.mode))
	case uid != r.uid:
		return fmt.Errorf("%s belongs to uid %d and not to uid %d: run chown -h %d %[1]s", r.abs(p), uid, r.uid, r.uid)
	case mode.Type() != fs.ModeSymlink && mode.Perm()&^rule.mode.Perm() != 0:
		return fmt.Errorf("%s has mode %#o, which is looser than %#o: run chmod %[3]o %[1]s", r.abs(p), mode.Perm(), rule.mode.Perm())
	}
	return nil
}

func kind(mode fs.FileMode) string {
	switch mode.Type() {
	case fs.ModeDir:
		return "folder"
	case fs.ModeSymlink:
		return "symbolic link"
	default:
		return "regular file"
	}
}

// nameIn returns the element of p, a path like certs/NAME/rev, that names the certificate or issuer.
func nameIn(p string) string {
	p = strings.TrimPrefix(p, "specs/")
	_, p, _ = strings.Cut(p, "/")
	name, _, _ := strings.Cut(p, "/")
	return name
}

func (r *Reader) checkName(p string) error {
	if err := valid(strings.TrimSuffix(nameIn(p), ".yaml")); err != nil {
		return fmt.Errorf("%s does not belong there: %w", r.abs(p), err)
	}
	return nil
}

func (r *Reader) checkLive(p string) error {
	n, err := r.Live(nameIn(p))
	if err == nil && n == 0 {
		dir, err := r.standing(nameIn(p))
		if dir != "" && !r.exists(dir) {
			err = r.damaged(p, errors.New("there is no such placeholder"))
		}
		return err
	}
	if err == nil && !r.exists(revisionDir(nameIn(p), n)) {
		err = r.damaged(p, fmt.Errorf("there is no revision %d", n))
	}
	return err
}

func (r *Reader) checkRevision(p string) error {
	name, n := nameIn(p), numberOf(path.Base(p))
	if n == 0 {
		return fmt.Errorf("%s does not belong there: it is not the number of a revision; move it elsewhere", r.abs(p))
	}
	if err := r.sound(name, n); err != nil {
		return err
	}
	files, err := r.files(name, n)
	if err != nil {
		return err
	}
	if rev, err := r.meta(name, n); err != nil {
		return err
	} else if rev.CSR != "" && files.Privkey != nil {
		return fmt.Errorf("%s does not belong there: the key of that certificate is where its CSR was made; move it elsewhere", r.abs(path.Join(p, privkeyFile)))
	}
	for rest := files.Fullchain; len(bytes.TrimSpace(rest)) > 0; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return r.damaged(path.Join(p, fullchainFile), errors.New("it is not PEM"))
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return r.damaged(path.Join(p, fullchainFile), err)
		}
	}
	return nil
}

func (r *Reader) checkPending(p string) error {
	pending, err := r.readPending(nameIn(p))
	if err != nil {
		return r.lost(err)
	}
	_, err = pending.Public()
	return err
}

func (r *Reader) checkAccount(p string) error {
	if _, _, err := r.Account(nameIn(p)); err != nil {
		return err
	}
	_, err := r.NextKey(nameIn(p))
	return err
}

func (r *Reader) checkRecord(p string) error {
	return errors.Join(r.checkJSONName(p), r.readSealed(p, new(Record)))
}

func (r *Reader) checkIssuer(p string) error {
	return errors.Join(r.checkJSONName(p), r.readSealed(p, new(IssuerState)))
}

func (r *Reader) checkJSONName(p string) error {
	if err := valid(strings.TrimSuffix(path.Base(p), ".json")); err != nil {
		return fmt.Errorf("%s does not belong there: %w", r.abs(p), err)
	}
	return nil
}
