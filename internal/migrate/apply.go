package migrate

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"acmed/internal/acme"
	"acmed/internal/spec"
	"acmed/internal/store"
)

// Apply does what the plan says: accounts and revisions first, then the files that make acmed look after them, so that
// nothing is ordered that is on its way. What was cut short is completed by the next import. The daemon must not run:
// the state folder has one owner at a time. It reports how many certificates are done.
func (p *Plan) Apply(report func(done int)) error {
	if err := p.applyState(report); err != nil {
		return err
	}
	for _, i := range p.Issuers {
		if err := create(i.File, i.text); err != nil {
			return fmt.Errorf("writing issuer %s: %w; see acmed check, and import again", i.Name, err)
		}
	}
	_, gid, err := ownerOf(p.config.StateDir)
	if err != nil {
		return err
	}
	for i := range p.Providers {
		if err := p.Providers[i].write(gid); err != nil {
			return err
		}
	}
	for i := range p.Certificates {
		if s := &p.Certificates[i]; s.does() {
			if err := createHiding(s.have.Want.Deploy.Run, s.SpecFile, s.Spec, gid); err != nil {
				return fmt.Errorf("writing the spec of %s: %w", s.Name, err)
			}
		}
	}
	return nil
}

// applyState changes the state folder, as the user whom it belongs to.
func (p *Plan) applyState(report func(done int)) error {
	uid, gid, err := ownerOf(p.config.StateDir)
	if err != nil {
		return err
	}
	return as(uid, gid, func() error {
		s, err := store.Open(store.Config{Dir: p.config.StateDir})
		if err != nil {
			return err
		}
		err = p.fill(s, report)
		return errors.Join(err, s.Close())
	})
}

func (p *Plan) fill(s *store.Store, report func(done int)) error {
	for i := range p.Accounts {
		if a := &p.Accounts[i]; a.Action == Import {
			if err := s.CreateAccount(a.Issuer, a.account(), a.have.Key); err != nil {
				return err
			}
		}
	}
	for i := range p.Certificates {
		if c := &p.Certificates[i]; c.Action == Import {
			if err := c.commit(s); err != nil {
				return err
			}
			report(i + 1)
		}
	}
	return nil
}

func (a *AccountStep) account() store.Account {
	return store.Account{Directory: a.have.Directory, URL: a.have.URL, Contact: a.have.Contact, Created: time.Now().Round(0)}
}

// commit makes the certificate's first revision and has it live. An import that was cut short may have begun that.
func (s *Step) commit(st *store.Store) error {
	number, err := st.Newest(s.Name)
	if err != nil {
		return err
	}
	if number == 0 {
		if err := st.Begin(s.Name, s.have.Pair.Key, store.Order{Issuer: s.Issuer, Directory: s.have.Directory, Reason: "imported"}); err != nil {
			return err
		}
		rev, err := st.Commit(s.Name, s.have.Pair.Chain.DER, s.revision())
		if err != nil {
			return err
		}
		number = rev.Number
	}
	live, err := st.Live(s.Name)
	if err != nil || live != 0 {
		return err
	}
	return st.Activate(s.Name, number)
}

// revision describes what was issued to another client. It came when it was issued: renewal goes by its whole life.
func (s *Step) revision() store.Revision {
	leaf := s.have.Pair.Chain.Chain[0]
	return store.Revision{
		Issuer: s.Issuer, Directory: s.have.Directory, Account: s.have.Account, Profile: s.have.Want.Profile, Key: s.Key,
		CertID: acme.CertID(leaf), Committed: leaf.NotBefore.UTC(),
	}
}

// create writes a file that is not there, whole or not at all.
func create(file, text string) error { return createFor(file, text, 0o644, -1) }

// createHiding creates a file with command lines, which may hold a password: only root and the group of the daemon may
// read one that has a command with arguments.
func createHiding(commands []spec.Run, file, text string, gid int) error {
	if slices.ContainsFunc(commands, func(r spec.Run) bool { return len(r.Command) > 1 }) {
		return createFor(file, text, 0o640, gid)
	}
	return create(file, text)
}

// createFor writes one that, where root does it, belongs to a group; -1: to that of the process.
func createFor(file, text string, mode fs.FileMode, gid int) (err error) {
	tmp, err := os.CreateTemp(filepath.Dir(file), ".import-*.tmp")
	if err != nil {
		return fmt.Errorf("%w: create that folder, or set specDir and issuerDir in acmed.yaml", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // its content has another name by then
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Chmod(mode), giveTo(tmp, gid), tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), file); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(file))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// folder makes a folder that is not there, for a group as createFor does.
func folder(dir string, mode fs.FileMode, gid int) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil && gid >= 0 && os.Geteuid() == 0 {
		err = os.Chown(dir, 0, gid)
	}
	return err
}

func giveTo(f *os.File, gid int) error {
	if gid < 0 || os.Geteuid() != 0 {
		return nil
	}
	return f.Chown(0, gid)
}

func fingerprint(p *Pair) string {
	sum := sha256.Sum256(p.Chain.DER[0])
	return hex.EncodeToString(sum[:])
}

func samePublic(a, b crypto.Signer) bool {
	key, ok := a.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b.Public())
}
