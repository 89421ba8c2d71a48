package store

import (
	"errors"
	"io/fs"
	"path"
)

// ArchiveCertificate moves all of a certificate into the archive: its revisions with their keys, an open order, and what
// is known of it. It returns where they are now. live/NAME goes first, so that nothing points at what is moved, and the
// record last, so that a call that was cut short can be made again. It is no error when there is nothing.
func (s *Store) ArchiveCertificate(name string) (archived []string, err error) {
	err = s.serially("archiving", name, func(p *stripe) error {
		delete(p.swept, name)
		if err := s.removeDurably(liveLink(name)); err != nil {
			return err
		}
		for _, thing := range []string{certDir(name), recordFile(name)} {
			to, err := s.archive(thing)
			if err != nil {
				return err
			}
			if to != "" {
				archived = append(archived, s.abs(to))
			}
		}
		return nil
	})
	return archived, err
}

func (s *Store) removeDurably(p string) error {
	err := s.disk.remove(p)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.disk.syncDir(path.Dir(p))
}

// archive moves a thing into the archive for good; "": there was none.
func (s *Store) archive(thing string) (to string, err error) {
	to, err = s.setAside(thing)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	// The new name first: a power cut in between must not cost the key.
	if err := s.disk.syncDir("archive"); err != nil {
		return "", err
	}
	return to, s.disk.syncDir(path.Dir(thing))
}
