package store

import (
	"crypto"
	"errors"
	"fmt"
	"path"
)

// storedAccount is what account.json holds.
type storedAccount struct {
	Account
	KeySum string `json:"keySum"` // SHA-256 checksum of key.pem, hex
}

// Account returns the account at an issuer and its key; nil and nil when there is none. A damaged one is a
// *DamagedError and stays: ArchiveAccount makes room for another.
func (r *Reader) Account(issuer string) (*Account, crypto.Signer, error) {
	if err := valid(issuer); err != nil {
		return nil, nil, err
	}
	if !r.exists(accountDir(issuer)) {
		return nil, nil, nil
	}
	a, err := r.readAccount(issuer)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the account at %s: %w", issuer, r.advise(r.lost(err)))
	}
	data, err := r.readKey(path.Join(accountDir(issuer), keyFile), a.KeySum)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the account at %s: %w", issuer, r.advise(err))
	}
	key, err := parseKey(data)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the account at %s: %w", issuer, err)
	}
	return &a.Account, key, nil
}

func (r *Reader) readAccount(issuer string) (a storedAccount, err error) {
	return a, r.readSealed(path.Join(accountDir(issuer), accountFile), &a)
}

// CreateAccount makes an account with its key, both durable when it returns, so that the CA may be asked. It never
// replaces one. It costs four fsyncs.
func (s *Store) CreateAccount(issuer string, a Account, key crypto.Signer) error {
	keyPEM, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("creating the account at %s: %w", issuer, err)
	}
	data, err := seal(storedAccount{a, sum(keyPEM)})
	if err != nil {
		return fmt.Errorf("creating the account at %s: %w", issuer, err)
	}
	return s.serially("creating the account at", issuer, func(*stripe) error {
		if err := s.present(); err != nil {
			return err
		}
		if s.exists(accountDir(issuer)) {
			return errors.New("there is one already: archive it first")
		}
		return s.disk.assemble(accountDir(issuer), privateMode, func(tmp string) error {
			if err := s.disk.put(path.Join(tmp, keyFile), secretMode, keyPEM, Durable); err != nil {
				return err
			}
			return s.disk.put(path.Join(tmp, accountFile), secretMode, data, Durable)
		})
	})
}

// SaveAccount replaces what is known of an account; its key stays.
func (s *Store) SaveAccount(issuer string, a Account) error {
	return s.serially("saving the account at", issuer, func(*stripe) error {
		old, err := s.readAccount(issuer)
		if err != nil {
			return err
		}
		data, err := seal(storedAccount{a, old.KeySum})
		if err != nil {
			return err
		}
		return s.disk.replace(path.Join(accountDir(issuer), accountFile), secretMode, data, Durable)
	})
}

// ArchiveAccount moves an account and its key into the archive. It is no error when there is none.
func (s *Store) ArchiveAccount(issuer string) error {
	return s.serially("archiving the account at", issuer, func(*stripe) error {
		_, err := s.archive(accountDir(issuer))
		return err
	})
}
