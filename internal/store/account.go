package store

import (
	"crypto"
	"errors"
	"fmt"
	"io/fs"
	"path"
)

// storedAccount is what account.json holds.
type storedAccount struct {
	Account
	KeySum  string `json:"keySum"`            // SHA-256 checksum of the key in use, hex
	NextSum string `json:"nextSum,omitempty"` // of the key that the CA was asked to put in its place; "": none
}

// settled is the account once the key that was offered has become the one in use, if key.pem says so already: a copy that
// is no snapshot may hold an older account.json beside it.
func (a storedAccount) settled(keySum string) storedAccount {
	if a.NextSum != "" && keySum == a.NextSum {
		a.KeySum, a.NextSum = a.NextSum, ""
	}
	return a
}

// Account returns the account at an issuer and its key; nil and nil when there is none. A damaged one is a
// *DamagedError and stays: ArchiveAccount makes room for another.
func (r *Reader) Account(issuer string) (*Account, crypto.Signer, error) {
	if err := valid(issuer); err != nil {
		return nil, nil, err
	}
	if !r.exists(accountDir(issuer)) {
		if _, err := r.root.Lstat(accountDir(issuer)); errors.Is(err, fs.ErrPermission) {
			return nil, nil, fmt.Errorf("reading the account at %s: %w", issuer, err)
		}
		return nil, nil, nil
	}
	a, key, err := r.account(issuer)
	if err != nil { // the key may just have changed its name
		a, key, err = r.account(issuer)
	}
	if err != nil {
		return nil, nil, fmt.Errorf("reading the account at %s: %w", issuer, r.advise(r.lost(err)))
	}
	return &a.Account, key, nil
}

func (r *Reader) account(issuer string) (a storedAccount, key crypto.Signer, err error) {
	if a, err = r.readAccount(issuer); err == nil {
		key, err = r.accountKey(issuer, a)
	}
	return a, key, err
}

// NextKey returns the key that OfferKey made durable and SettleKey has not settled yet; nil and nil when there is none.
func (r *Reader) NextKey(issuer string) (crypto.Signer, error) {
	if err := valid(issuer); err != nil || !r.exists(accountDir(issuer)) {
		return nil, err
	}
	a, err := r.readAccount(issuer)
	if err == nil && a.NextSum == "" {
		return nil, nil
	}
	var data []byte
	if err == nil {
		data, err = r.readKey(nextKey(issuer), a.NextSum)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the next key of the account at %s: %w", issuer, r.advise(r.lost(err)))
	}
	return parseKey(data)
}

// readAccount reads account.json as it is to be understood beside key.pem.
func (r *Reader) readAccount(issuer string) (a storedAccount, err error) {
	if err = r.readSealed(path.Join(accountDir(issuer), accountFile), &a); err != nil || a.NextSum == "" {
		return a, err
	}
	data, err := r.read(currentKey(issuer))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return a, err
	}
	return a.settled(sum(data)), nil
}

// accountKey reads the key in use. It is in next.pem from when account.json names it until it is renamed.
func (r *Reader) accountKey(issuer string, a storedAccount) (crypto.Signer, error) {
	data, err := r.readKey(currentKey(issuer), a.KeySum)
	if err != nil {
		next, nextErr := r.readKey(nextKey(issuer), a.KeySum)
		if nextErr != nil {
			return nil, err
		}
		data = next
	}
	return parseKey(data)
}

func currentKey(issuer string) string { return path.Join(accountDir(issuer), keyFile) }
func nextKey(issuer string) string    { return path.Join(accountDir(issuer), nextKeyFile) }

// CreateAccount makes an account with its key, both durable when it returns, so that the CA may be asked. It never
// replaces one. It costs four fsyncs.
func (s *Store) CreateAccount(issuer string, a Account, key crypto.Signer) error {
	keyPEM, err := encodeKey(key)
	if err != nil {
		return fmt.Errorf("creating the account at %s: %w", issuer, err)
	}
	data, err := seal(storedAccount{Account: a, KeySum: sum(keyPEM)})
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
		old.Account = a
		return s.writeAccount(issuer, old)
	})
}

func (s *Store) writeAccount(issuer string, a storedAccount) error {
	data, err := seal(a)
	if err != nil {
		return err
	}
	return s.disk.replace(path.Join(accountDir(issuer), accountFile), secretMode, data, Durable)
}

// OfferKey makes the key durable that is to take the place of the account's, so that the CA may be asked. Until SettleKey
// both are kept. It refuses to while another one is offered. It costs four fsyncs.
func (s *Store) OfferKey(issuer string, next crypto.Signer) error {
	keyPEM, err := encodeKey(next)
	if err != nil {
		return fmt.Errorf("offering a key for the account at %s: %w", issuer, err)
	}
	return s.serially("offering a key for the account at", issuer, func(*stripe) error {
		if err := s.present(); err != nil {
			return err
		}
		a, err := s.tidyAccount(issuer)
		if err != nil {
			return err
		}
		if a.NextSum != "" {
			return errors.New("another one is offered already: settle that first")
		}
		if err := s.disk.replace(nextKey(issuer), secretMode, keyPEM, Durable); err != nil {
			return err
		}
		a.NextSum = sum(keyPEM)
		return s.writeAccount(issuer, a)
	})
}

// SettleKey ends what OfferKey began: one write of account.json says which key is in use. The key that was offered takes
// the place of the other one if accepted, which is gone then; else it goes into the archive, for the CA has seen it. It is
// no error when none is offered.
func (s *Store) SettleKey(issuer string, accepted bool) error {
	return s.serially("settling the key of the account at", issuer, func(*stripe) error {
		a, err := s.tidyAccount(issuer)
		if err != nil || a.NextSum == "" {
			return err
		}
		if accepted {
			a.KeySum = a.NextSum
		}
		a.NextSum = ""
		if err := s.writeAccount(issuer, a); err != nil {
			return err
		}
		_, err = s.tidyAccount(issuer)
		return err
	})
}

// TidyAccount ends what an interrupted change of the account's key has left. It is no error when there is no account.
func (s *Store) TidyAccount(issuer string) error {
	return s.serially("tidying the account at", issuer, func(*stripe) error {
		if !s.exists(accountDir(issuer)) {
			return nil
		}
		_, err := s.tidyAccount(issuer)
		return err
	})
}

// tidyAccount puts the key in use where it belongs, and one that account.json does not name into the archive. It returns
// what account.json holds.
func (s *Store) tidyAccount(issuer string) (storedAccount, error) {
	if err := s.disk.sweep(s.Reader, accountDir(issuer)); err != nil {
		return storedAccount{}, err
	}
	a, err := s.readAccount(issuer)
	if err != nil || !s.exists(nextKey(issuer)) {
		return a, err
	}
	// Before anything is removed, account.json that says so is on the disk for good.
	if err := s.disk.syncDir(accountDir(issuer)); err != nil {
		return a, err
	}
	data, err := s.read(nextKey(issuer))
	switch {
	case err != nil:
		return a, err
	case sum(data) == a.NextSum: // it is still to be settled
		return a, nil
	case a.NextSum != "":
		return a, s.damaged(nextKey(issuer), errors.New("its checksum is wrong"))
	case sum(data) == a.KeySum:
		if err := s.disk.rename(nextKey(issuer), currentKey(issuer)); err != nil {
			return a, err
		}
		return a, s.disk.syncDir(accountDir(issuer))
	}
	_, err = s.archive(nextKey(issuer))
	return a, err
}

// ArchiveAccount moves an account and its key into the archive. It is no error when there is none.
func (s *Store) ArchiveAccount(issuer string) error {
	return s.serially("archiving the account at", issuer, func(*stripe) error {
		_, err := s.archive(accountDir(issuer))
		return err
	})
}
