package store

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path"
	"time"
)

// Commit makes the pending order a revision: its key, unless it has a CSR, and chain, DER with the leaf
// first, which must belong together. It fills the fields of r that are empty from the leaf and from the order, always takes Number, Order, Instead
// and Sums from there, and returns the result. The revision is durable and not live.
//
// It costs six fsyncs: four files, their names in the new folder, and the name of the folder. The key is linked and
// not copied: Begin made it durable.
func (s *Store) Commit(name string, chain [][]byte, r Revision) (Revision, error) {
	err := s.change("committing a revision of", name, func() error {
		p, err := s.pending(name)
		if err != nil {
			return err
		}
		if p == nil {
			return errors.New("no order is pending: begin one first")
		}
		files, leaf, err := p.assemble(chain, &r)
		if err != nil {
			return err
		}
		newest, err := s.Newest(name)
		if err != nil {
			return err
		}
		r.Number = newest + 1
		r.describe(p.Order, leaf, files)
		return s.writeRevision(name, &r, files)
	})
	if err != nil {
		return Revision{}, err
	}
	_ = s.Drop(name) // the order is done; when it stays, the next sweep recognises it
	return r, nil
}

// assemble makes the files of a revision from chain, if its leaf is for the order's key.
func (p *Pending) assemble(chain [][]byte, r *Revision) (f *Files, leaf *x509.Certificate, err error) {
	f = &Files{}
	if p.Order.CSR == nil {
		if f.Privkey, err = p.pem(); err != nil {
			return nil, nil, err
		}
	}
	for i, der := range chain {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
		f.Fullchain = append(f.Fullchain, block...)
		if i == 0 {
			f.Cert = block
		} else {
			f.Chain = append(f.Chain, block...)
		}
	}
	if p.Order.CSR != nil {
		leaf, err = p.certified(chain)
		r.CSR, r.SPKI = sum(p.Order.CSR), sum(leaf.RawSubjectPublicKeyInfo)
		return f, leaf, err
	}
	pair, err := tls.X509KeyPair(f.Fullchain, f.Privkey)
	if err != nil {
		return nil, nil, fmt.Errorf("the chain is not for the key of the order: %w", err)
	}
	return f, pair.Leaf, nil
}

// certified returns the leaf of chain if it is for the key of the order's CSR; an empty one with an error.
func (p *Pending) certified(chain [][]byte) (*x509.Certificate, error) {
	none := &x509.Certificate{}
	if len(chain) == 0 {
		return none, errors.New("the chain is empty")
	}
	req, err := x509.ParseCertificateRequest(p.Order.CSR)
	if err != nil {
		return none, err
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return none, err
	}
	if !bytes.Equal(leaf.RawSubjectPublicKeyInfo, req.RawSubjectPublicKeyInfo) {
		return none, errors.New("the chain is not for the key of the order's CSR")
	}
	return leaf, nil
}

// served returns the leaf of a revision, DER, if its key is that of the leaf, or elsewhere.
func served(rev *Revision, files *Files) (leaf []byte, err error) {
	if rev.CSR == "" {
		pair, err := tls.X509KeyPair(files.Fullchain, files.Privkey)
		if err != nil {
			return nil, err
		}
		return pair.Certificate[0], nil
	}
	block, _ := pem.Decode(files.Fullchain)
	if block == nil {
		return nil, errors.New("its full chain is not PEM")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	if sum(cert.RawSubjectPublicKeyInfo) != rev.SPKI {
		return nil, errors.New("its certificate is not for the key of its CSR")
	}
	return cert.Raw, nil
}

// describe fills r.
func (r *Revision) describe(o Order, leaf *x509.Certificate, files *Files) {
	r.Issuer = cmp.Or(r.Issuer, o.Issuer)
	r.Directory = cmp.Or(r.Directory, o.Directory)
	r.Account = cmp.Or(r.Account, o.Account)
	r.Order, r.Instead = o.URL, o.Instead
	r.Profile = cmp.Or(r.Profile, o.Profile)
	r.Key = cmp.Or(r.Key, o.Key)
	r.Serial = cmp.Or(r.Serial, fmt.Sprintf("%x", leaf.SerialNumber))
	r.SHA256 = sum(leaf.Raw)
	r.IssuedBy = cmp.Or(r.IssuedBy, leaf.Issuer.CommonName)
	if len(r.DNSNames)+len(r.IPAddresses) == 0 {
		r.DNSNames = leaf.DNSNames
		for _, ip := range leaf.IPAddresses {
			r.IPAddresses = append(r.IPAddresses, ip.String())
		}
	}
	if r.NotBefore.IsZero() {
		r.NotBefore = leaf.NotBefore
	}
	if r.NotAfter.IsZero() {
		r.NotAfter = leaf.NotAfter
	}
	if r.Committed.IsZero() {
		r.Committed = time.Now().UTC()
	}
	r.Sums = map[string]string{}
	for base, data := range files.byName() {
		if base != privkeyFile || r.CSR == "" {
			r.Sums[base] = sum(*data)
		}
	}
}

func (s *Store) writeRevision(name string, r *Revision, files *Files) error {
	meta, err := seal(r)
	if err != nil {
		return err
	}
	return s.disk.assemble(revisionDir(name, r.Number), folderMode, func(tmp string) error {
		if r.CSR == "" {
			if err := s.disk.link(path.Join(pendingDir(name), keyFile), path.Join(tmp, privkeyFile)); err != nil {
				return err
			}
		}
		for _, f := range []struct {
			base string
			data []byte
		}{{certFile, files.Cert}, {chainFile, files.Chain}, {fullchainFile, files.Fullchain}, {metaFile, meta}} {
			if err := s.disk.put(path.Join(tmp, f.base), publicMode, f.data, Durable); err != nil {
				return err
			}
		}
		return nil
	})
}

// Activate points live/NAME at a revision whose files are sound. All of them get one time before, for servers that
// read only files that are newer than what they have. It costs six fsyncs: five files and the link.
func (s *Store) Activate(name string, number int) error {
	return s.change("activating a revision of", name, func() error {
		if err := s.sound(name, number); err != nil {
			return err
		}
		return s.point(name, revisionDir(name, number))
	})
}

// point makes live/NAME a link to the directory p, in one step, once the files in p are newer than those that it shows
// now.
func (s *Store) point(name, p string) error {
	link := liveLink(name)
	if now, err := s.root.Readlink(link); err != nil || now != "../"+p {
		if err := s.freshen(name, p); err != nil {
			return err
		}
	}
	tmp := temp(link)
	err := s.disk.anew(tmp, func() error { return s.disk.symlink("../"+p, tmp) })
	if err == nil {
		err = s.disk.rename(tmp, link)
	}
	if err != nil {
		s.disk.discard(tmp)
		return err
	}
	return s.disk.syncDir("live")
}

// Prune removes old revisions: never the newest keep, and never the one that live points at. What stood in for the
// first one goes as well, once live points at a revision. It costs one fsync
// when there is something to remove, for the link that spares the rest must be durable first.
func (s *Store) Prune(name string, keep int) error {
	return s.change("removing old revisions of", name, func() error {
		if err := s.dropPlaceholder(name); err != nil {
			return err
		}
		numbers, err := s.numbers(name)
		if err != nil || len(numbers) <= max(keep, 1) {
			return err
		}
		live, err := s.Live(name)
		if err != nil {
			return err
		}
		if err := s.disk.syncDir("live"); err != nil {
			return err
		}
		for _, n := range numbers[max(keep, 1):] {
			if n == live {
				continue
			}
			if err := s.disk.removeDir(revisionDir(name, n)); err != nil {
				return err
			}
		}
		return nil
	})
}
