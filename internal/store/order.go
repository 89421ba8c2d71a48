package store

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// Pending is an order in flight.
type Pending struct {
	Order  Order
	name   string
	keySum string
	reader *Reader
}

// storedOrder is what the order file holds.
type storedOrder struct {
	Order
	KeySum string `json:"keySum,omitempty"` // SHA-256 checksum of key.pem, hex; "": there is none
}

// Begin makes an order with its key, both durable when it returns, so that the CA may be asked. An order that was
// pending is dropped with its key just before. One with a CSR has no key: key is nil then.
//
// It costs four fsyncs: the key, the order, their names in the new folder, and the name of the folder. A certificate
// without revisions costs one more, for the name of its own folder.
func (s *Store) Begin(name string, key crypto.Signer, o Order) error {
	keyPEM, keySum, err := keyOf(key, &o)
	if err != nil {
		return fmt.Errorf("beginning the order of %s: %w", name, err)
	}
	order, err := seal(storedOrder{o, keySum})
	if err != nil {
		return fmt.Errorf("beginning the order of %s: %w", name, err)
	}
	return s.change("beginning the order of", name, func() error {
		if err := s.makeFolders(name); err != nil {
			return err
		}
		return s.disk.assemble(pendingDir(name), privateMode, func(tmp string) error {
			if keyPEM != nil {
				if err := s.disk.put(path.Join(tmp, keyFile), secretMode, keyPEM, Durable); err != nil {
					return err
				}
			}
			if err := s.disk.put(path.Join(tmp, orderFile), secretMode, order, Durable); err != nil {
				return err
			}
			return s.drop(name)
		})
	})
}

// keyOf gives the key of an order as it is written, and the checksum of that; nothing for an order with a CSR.
func keyOf(key crypto.Signer, o *Order) (text []byte, checksum string, err error) {
	switch {
	case (key == nil) != (o.CSR != nil):
		return nil, "", errors.New("an order has either a key or a CSR")
	case key == nil:
		return nil, "", nil
	}
	text, err = encodeKey(key)
	return text, sum(text), err
}

// makeFolders makes the folders of a new certificate. The name of rev becomes durable with that of pending.
func (s *Store) makeFolders(name string) error {
	if err := s.present(); err != nil {
		return err
	}
	for _, dir := range []string{certDir(name), revDir(name)} {
		if s.exists(dir) {
			continue
		}
		if err := s.disk.mkdir(dir, folderMode); err != nil {
			return err
		}
	}
	if newest, err := s.Newest(name); newest > 0 || err != nil {
		return err
	}
	return s.disk.syncDir("certs")
}

// Pending returns the order in flight; nil when there is none. A damaged one is moved into the archive and reported
// as *DamagedError.
func (s *Store) Pending(name string) (p *Pending, err error) {
	err = s.change("reading the order of", name, func() error {
		p, err = s.pending(name)
		return err
	})
	return p, err
}

func (s *Store) pending(name string) (*Pending, error) {
	p, err := s.readPending(name)
	if errors.Is(err, fs.ErrNotExist) && !s.exists(pendingDir(name)) {
		return nil, nil
	}
	return p, s.replaceDamaged(pendingDir(name), s.lost(err))
}

func (r *Reader) readPending(name string) (*Pending, error) {
	var o storedOrder
	if err := r.readSealed(path.Join(pendingDir(name), orderFile), &o); err != nil {
		return nil, err
	}
	return &Pending{Order: o.Order, name: name, keySum: o.KeySum, reader: r}, nil
}

// Public returns the public key that is being certified. A damaged one is a *DamagedError: the order is lost, drop it.
func (p *Pending) Public() (crypto.PublicKey, error) {
	if p.Order.CSR == nil {
		key, err := p.Key()
		if err != nil {
			return nil, err
		}
		return key.Public(), nil
	}
	req, err := x509.ParseCertificateRequest(p.Order.CSR)
	if err != nil {
		err = p.reader.damaged(path.Join(pendingDir(p.name), orderFile), err)
		return nil, fmt.Errorf("reading the CSR of the order of %s: %w", p.name, p.reader.advise(err))
	}
	return req.PublicKey, nil
}

// Key returns the order's key, which one with a CSR has not. A damaged one is a *DamagedError: the order is lost, drop it.
func (p *Pending) Key() (crypto.Signer, error) {
	if p.Order.CSR != nil {
		return nil, fmt.Errorf("reading the key of the order of %s: %w", p.name, ErrNoKey)
	}
	data, err := p.pem()
	if err != nil {
		return nil, fmt.Errorf("reading the key of the order of %s: %w", p.name, p.reader.advise(err))
	}
	return parseKey(data)
}

// ErrNoKey is for a private key that is not here: the certificate is for a CSR of the operator's.
var ErrNoKey = errors.New("its private key is not here, but where its CSR was made")

func (p *Pending) pem() ([]byte, error) {
	return p.reader.readKey(path.Join(pendingDir(p.name), keyFile), p.keySum)
}

// readKey returns a key file that has the checksum want.
func (r *Reader) readKey(p, want string) ([]byte, error) {
	data, err := r.read(p)
	if err != nil {
		return nil, r.lost(err)
	}
	if sum(data) != want {
		return nil, r.damaged(p, errors.New("its checksum is wrong"))
	}
	return data, nil
}

// SaveOrder replaces the order in flight; its key stays. Durable costs two fsyncs, Whole one. Lazy risks the order.
func (s *Store) SaveOrder(name string, o Order, d Durability) error {
	return s.change("saving the order of", name, func() error {
		p, err := s.pending(name)
		if err != nil {
			return err
		}
		if p == nil {
			return errors.New("there is none: begin one first")
		}
		data, err := seal(storedOrder{o, p.keySum})
		if err != nil {
			return err
		}
		return s.disk.replace(path.Join(pendingDir(name), orderFile), secretMode, data, d)
	})
}

// Drop forgets the order in flight and its key. It is no error when there is none. A power cut may bring it back.
func (s *Store) Drop(name string) error {
	return s.change("dropping the order of", name, func() error { return s.drop(name) })
}

func (s *Store) drop(name string) error {
	if !s.exists(pendingDir(name)) {
		return nil
	}
	return s.disk.removeDir(pendingDir(name))
}

// committed tells that p has become the newest revision. The order's URL is compared too, for keys may be reused, and a
// CSR always is.
func (r *Reader) committed(p *Pending) bool {
	newest, err := r.Newest(p.name)
	if err != nil || newest == 0 {
		return false
	}
	rev, err := r.meta(p.name, newest)
	return err == nil && rev.Sums[privkeyFile] == p.keySum && rev.Order == p.Order.URL && (p.keySum != "" || rev.Order != "")
}

func encodeKey(key crypto.Signer) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

func parseKey(data []byte) (crypto.Signer, error) {
	block, _ := pem.Decode(data)
	if block == nil {
		return nil, errors.New("parsing a private key: it is not PEM")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("parsing a private key: %w", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("parsing a private key: a %T cannot sign", key)
	}
	return signer, nil
}
