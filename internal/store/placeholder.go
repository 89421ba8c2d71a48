package store

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
)

func placeholderDir(name string) string { return "certs/" + name + "/placeholder" }

func placeholderAt(name string, number int) string {
	return fmt.Sprintf("%s/%04d", placeholderDir(name), number)
}

// SetPlaceholder points live/NAME at a self-signed certificate, DER, and its key: both durable before the link. It is
// refused where a revision is live. A placeholder that was there before goes.
//
// It costs eight fsyncs: four files, their folder's names, that folder's name and the name of all of them, and the
// link. A certificate without revisions costs one more, for the name of its own folder.
func (s *Store) SetPlaceholder(name string, key crypto.Signer, der []byte) error {
	privkey, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("making the placeholder of %s: %w", name, err)
	}
	cert := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	files := &Files{Privkey: privkey, Cert: cert, Fullchain: cert}
	return s.change("making the placeholder of", name, func() error {
		if _, err := together(files); err != nil {
			return err
		}
		live, err := s.Live(name)
		if err != nil {
			return err
		}
		if live > 0 {
			return fmt.Errorf("revision %d is live, and no placeholder may take its place", live)
		}
		old, err := s.placeholders(name)
		if err != nil {
			return err
		}
		number := 1 + slices.Max(append(old, 0))
		if err := s.writePlaceholder(name, number, files); err != nil {
			return err
		}
		if err := s.point(name, placeholderAt(name, number)); err != nil {
			return err
		}
		for _, n := range old { // one that stays is removed with the next
			if err := s.disk.removeDir(placeholderAt(name, n)); err != nil {
				return err
			}
		}
		return nil
	})
}

func (s *Store) writePlaceholder(name string, number int, files *Files) error {
	if err := s.makeFolders(name); err != nil {
		return err
	}
	if dir := placeholderDir(name); !s.exists(dir) {
		if err := s.disk.mkdir(dir, folderMode); err != nil {
			return err
		}
	}
	if err := s.disk.syncDir(certDir(name)); err != nil {
		return err
	}
	return s.disk.assemble(placeholderAt(name, number), folderMode, func(tmp string) error {
		if err := s.disk.put(path.Join(tmp, privkeyFile), secretMode, files.Privkey, Durable); err != nil {
			return err
		}
		for _, base := range []string{certFile, chainFile, fullchainFile} {
			if err := s.disk.put(path.Join(tmp, base), publicMode, *files.byName()[base], Durable); err != nil {
				return err
			}
		}
		return nil
	})
}

// dropPlaceholder removes what stood in for the revision that is live now, once the link to that is durable.
func (s *Store) dropPlaceholder(name string) error {
	if !s.exists(placeholderDir(name)) {
		return nil
	}
	if live, err := s.Live(name); live == 0 || err != nil {
		return err // what is in use stays
	}
	if err := s.disk.syncDir("live"); err != nil {
		return err
	}
	return s.disk.removeDir(placeholderDir(name))
}

// Placeholder returns the certificate that live/NAME points at when that is a placeholder; nil: it is none. One that
// cannot be served is a *DamagedError.
func (r *Reader) Placeholder(name string) (*x509.Certificate, error) {
	dir, err := r.standing(name)
	if dir == "" {
		return nil, err
	}
	return r.placeholder(dir)
}

// standing returns the folder of the placeholder that live/NAME points at; "": it points at none.
func (r *Reader) standing(name string) (dir string, err error) {
	if err := valid(name); err != nil {
		return "", err
	}
	target, err := r.root.Readlink(liveLink(name))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "", nil
	case err != nil:
		return "", fmt.Errorf("reading live/%s: %w", name, r.advise(err))
	case !isPlaceholder(name, target):
		return "", nil
	}
	return placeholderAt(name, numberOf(path.Base(target))), nil
}

// placeholder reads the one in a folder.
func (r *Reader) placeholder(dir string) (*x509.Certificate, error) {
	files, err := r.pems(func(base string) ([]byte, error) { return r.read(path.Join(dir, base)) }, false)
	if err != nil {
		return nil, r.advise(err)
	}
	leaf, err := together(&files)
	if err != nil {
		return nil, r.damaged(dir, err)
	}
	return leaf, nil
}

// together tells whether files can be served, and returns their leaf.
func together(files *Files) (*x509.Certificate, error) {
	pair, err := tls.X509KeyPair(files.Fullchain, files.Privkey)
	if err != nil {
		return nil, fmt.Errorf("the certificate is not for the key: %w", err)
	}
	if string(files.Fullchain) != string(files.Cert)+string(files.Chain) {
		return nil, errors.New("its files do not belong together")
	}
	return pair.Leaf, nil
}

// placeholders returns the numbers of all placeholders of a certificate, in no order.
func (r *Reader) placeholders(name string) (numbers []int, err error) {
	bases, err := r.list(placeholderDir(name))
	for _, base := range bases {
		if n := numberOf(base); n > 0 {
			numbers = append(numbers, n)
		}
	}
	return numbers, err
}

// isPlaceholder tells whether target, of live/NAME, is one of its certificate.
func isPlaceholder(name, target string) bool {
	n := numberOf(path.Base(target))
	return n > 0 && target == "../"+placeholderAt(name, n)
}

func (r *Reader) checkPlaceholder(p string) error {
	if numberOf(path.Base(p)) == 0 {
		return fmt.Errorf("%s does not belong there: it is not the number of a placeholder; move it elsewhere", r.abs(p))
	}
	_, err := r.placeholder(p)
	return err
}
